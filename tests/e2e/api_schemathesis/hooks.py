"""Gives every request with a valid idempotency key one of its own: two with the same are the same request, whose answer
is kept although what it made may be gone since."""

import re
import uuid

import schemathesis


@schemathesis.hook
def before_call(context, case, kwargs):
    headers = case.headers or {}
    if re.fullmatch("[!-~]{1,256}", headers.get("idempotency-key") or ""):
        headers["idempotency-key"] = uuid.uuid4().hex
