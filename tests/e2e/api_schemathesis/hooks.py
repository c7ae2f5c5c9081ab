"""What the document cannot say of requests that are to be accepted: a name of a request is its own, and an app that is
made along the way is the one in the path. Requests that are to be refused stay as they are."""

import re
import uuid

import schemathesis


@schemathesis.hook
def before_call(context, case, kwargs):
    if case.meta is not None and case.meta.generation.mode.is_negative:
        return
    # Two requests with the same key are the same request, whose answer is kept although what it made may be gone since.
    headers = case.headers or {}
    if re.fullmatch("[!-~]{1,256}", headers.get("idempotency-key") or ""):
        headers["idempotency-key"] = uuid.uuid4().hex
    body = case.body
    if isinstance(body, dict) and isinstance(body.get("application"), dict):
        case.body = {**body, "application": {**body["application"], "uid": case.path_parameters["app_id"]}}
