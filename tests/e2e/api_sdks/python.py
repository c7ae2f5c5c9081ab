"""Drives every operation of the official Python library that Nuncio serves, in either generation of the library, with
real deliveries in between that the library's own verifier checks. Arguments: server address, admin token."""

import json
import sys
import threading
import time
import uuid
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import svix
from svix import models
from svix.api import Svix, SvixOptions
from svix.webhooks import Webhook

try:
    from svix.exceptions import HTTPValidationError, HttpError
except ImportError:
    from svix.api.errors.http_error import HttpError
    from svix.api.errors.http_validation_error import HTTPValidationError

from svix.api.application import ApplicationListOptions
from svix.api.endpoint import EndpointGetStatsOptions, EndpointListOptions
from svix.api.event_type import EventTypeDeleteOptions, EventTypeListOptions
from svix.api.message import MessageCreateOptions, MessageGetOptions, MessageListOptions
from svix.api.message_attempt import (
    MessageAttemptListAttemptedDestinationsOptions,
    MessageAttemptListAttemptedMessagesOptions,
    MessageAttemptListByEndpointOptions,
    MessageAttemptListByMsgOptions,
)

SERVER, TOKEN = sys.argv[1], sys.argv[2]
NEW = hasattr(models, "EndpointUpsertIn")
PATIENCE = 30


def new_name(old, new):
    return getattr(models, new if NEW else old)


EndpointUpdate = new_name("EndpointUpdate", "EndpointUpsertIn")
EventTypeUpdate = new_name("EventTypeUpdate", "EventTypeUpsertIn")
TYPES = "event_types" if NEW else "filter_types"
RATE = "throttle_rate" if NEW else "rate_limit"


class Receiver(BaseHTTPRequestHandler):
    got = []
    status = 200

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        Receiver.got.append((self.path, dict(self.headers), body))
        self.send_response(Receiver.status)
        self.end_headers()
        self.wfile.write(b"thanks")

    def log_message(self, *_):
        pass


listener = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
threading.Thread(target=listener.serve_forever, daemon=True).start()
HOOK = f"http://127.0.0.1:{listener.server_port}"


def replace(group, *arguments):
    """`update` in the first generation, `upsert` in the second."""
    return (group.upsert if NEW else group.update)(*arguments)


def until(what, question):
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        answer = question()
        if answer:
            return answer
        time.sleep(0.05)
    raise AssertionError(f"in vain waited for {what}")


def refused(status, call):
    try:
        call()
    except (HttpError, HTTPValidationError) as error:
        assert error.status_code == status, (error.status_code, error)
        return error
    raise AssertionError(f"expected {status}")


def arrivals(path):
    return [got for got in list(Receiver.got) if got[0] == path]


def main():
    api = Svix(TOKEN, SvixOptions(server_url=SERVER))
    api.health.get()

    # Applications.
    uid = f"py-{uuid.uuid4().hex}"
    app = api.application.create(models.ApplicationIn(name="Python", uid=uid, metadata={"a": "1"}))
    assert app.uid == uid and app.metadata == {"a": "1"} and app.id.startswith("app_")
    same = api.application.get_or_create(models.ApplicationIn(name="other", uid=uid))
    assert same.id == app.id and same.name == "Python"
    refused(409, lambda: api.application.create(models.ApplicationIn(name="again", uid=uid)))
    assert api.application.get(uid).id == app.id
    changed = replace(api.application, uid, models.ApplicationIn(name="Renamed", uid=uid, throttle_rate=5))
    assert changed.name == "Renamed" and changed.metadata == {} and changed.throttle_rate == 5
    patched = api.application.patch(uid, models.ApplicationPatch(metadata={"b": "2"}))
    assert patched.metadata == {"b": "2"} and patched.name == "Renamed" and patched.throttle_rate == 5
    assert api.application.patch(app.id, models.ApplicationPatch(throttle_rate=None)).throttle_rate is None
    created = replace(api.application, f"{uid}-put", models.ApplicationIn(name="Put", uid=f"{uid}-put"))
    assert created.uid == f"{uid}-put"
    page = api.application.list(ApplicationListOptions(limit=1))
    assert len(page.data) == 1 and page.done is False and page.iterator
    following = api.application.list(ApplicationListOptions(limit=1, iterator=page.iterator))
    assert following.data[0].id > page.data[0].id and following.prev_iterator.startswith("-")
    back = api.application.list(ApplicationListOptions(limit=1, iterator=following.prev_iterator))
    assert back.data[0].id == page.data[0].id
    newest = api.application.list(ApplicationListOptions(limit=1, order="descending"))
    assert newest.data[0].id >= created.id
    errors = refused(422, lambda: api.application.create(models.ApplicationIn(name="", uid="a b")))
    assert {tuple(item.loc) for item in errors.detail} == {("body", "name"), ("body", "uid")}
    refused(422, lambda: api.application.list(ApplicationListOptions(limit=251)))

    # Event types.
    kind = f"py.{uuid.uuid4().hex[:8]}"
    seeds = {item.name for item in api.event_type.list(EventTypeListOptions(limit=250)).data}
    assert {"sync.user", "sync.organization"} <= seeds
    schema = {"type": "object", "properties": {"n": {"type": "integer", "examples": [7]}}}
    made = api.event_type.create(models.EventTypeIn(name=kind, description="Python's", schemas={"1": schema}))
    assert made.schemas["1"]["properties"]["n"]["examples"] == [7]
    refused(409, lambda: api.event_type.create(models.EventTypeIn(name=kind, description="again")))
    assert api.event_type.get(kind).description == "Python's"
    assert api.event_type.patch(kind, models.EventTypePatch(deprecated=True)).deprecated is True
    updated = replace(api.event_type, kind, EventTypeUpdate(description="Anew", schemas={"1": schema}))
    assert updated.description == "Anew" and updated.deprecated is False
    with_content = api.event_type.list(EventTypeListOptions(limit=250, with_content=True)).data
    assert any(item.name == kind and item.schemas for item in with_content)

    # Endpoints.
    endpoint = api.endpoint.create(
        uid,
        models.EndpointIn(url=f"{HOOK}/one", uid="one", description="One", metadata={"k": "v"}, headers={"X-One": "1"}),
    )
    assert endpoint.uid == "one" and endpoint.disabled is False and endpoint.description == "One"
    refused(409, lambda: api.endpoint.create(uid, models.EndpointIn(url=f"{HOOK}/x", uid="one")))
    refused(422, lambda: api.endpoint.create(uid, models.EndpointIn(url="ftp://example.com/")))
    assert api.endpoint.get(uid, "one").id == endpoint.id
    own = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    filtered = api.endpoint.create(
        uid, models.EndpointIn(url=f"{HOOK}/two", uid="two", secret=own, channels=["blue"], **{TYPES: [kind]})
    )
    assert getattr(filtered, TYPES) == [kind] and filtered.channels == ["blue"]
    assert api.endpoint.get_secret(uid, "two").key == own
    listed = api.endpoint.list(uid, EndpointListOptions(order="descending"))
    assert [item.uid for item in listed.data] == ["two", "one"] and listed.done
    replaced = replace(api.endpoint, uid, "two", EndpointUpdate(url=f"{HOOK}/two", uid="two", **{TYPES: [kind], RATE: 9}))
    assert getattr(replaced, RATE) == 9 and replaced.channels is None
    patch = api.endpoint.patch(uid, "two", models.EndpointPatch(channels=["blue"], **{RATE: None}))
    assert patch.channels == ["blue"] and getattr(patch, RATE) is None
    three = replace(api.endpoint, uid, "three", EndpointUpdate(url=f"{HOOK}/three", uid="three", disabled=True))
    assert three.disabled is True
    api.endpoint.delete(uid, "three")
    refused(404, lambda: api.endpoint.get(uid, "three"))

    # Headers.
    update = api.endpoint.set_headers if NEW else api.endpoint.update_headers
    update(uid, "one", models.EndpointHeadersIn(headers={"X-One": "2", "Authorization": "Bearer canary"}))
    shown = api.endpoint.get_headers(uid, "one")
    assert shown.headers == {"X-One": "2"} and set(shown.sensitive) == {"Authorization"}
    patch_headers = getattr(api.endpoint, "patch_headers", None) or api.endpoint.headers_patch
    patch_headers(uid, "one", models.EndpointHeadersPatchIn(headers={"X-Two": "3"}))
    assert api.endpoint.get_headers(uid, "one").headers == {"X-One": "2", "X-Two": "3"}

    # A message, delivered and verified.
    payload = {"b": 1, "a": "ü", "nested": {"z": [1, 2.5, None]}}
    event_id = f"evt-{uuid.uuid4().hex}"
    sent = api.message.create(
        uid,
        models.MessageIn(event_type=kind, payload=payload, event_id=event_id, channels=["blue"]),
        MessageCreateOptions(with_content=True),
    )
    assert sent.id.startswith("msg_") and sent.event_id == event_id
    assert sent.payload == payload, sent.payload
    assert api.message.get(uid, event_id).id == sent.id
    assert api.message.get(uid, sent.id, MessageGetOptions(with_content=False)).payload == {}
    refused(409, lambda: api.message.create(uid, models.MessageIn(event_type=kind, payload={}, event_id=event_id)))
    for path, name in [("/one", "one"), ("/two", "two")]:
        [(_, headers, body)] = until(f"{path} to get it", lambda: arrivals(path))
        assert json.loads(body) == payload
        lower = {key.lower(): value for key, value in headers.items()}
        assert lower["webhook-id"] == sent.id
        secret = api.endpoint.get_secret(uid, name).key
        Webhook(secret).verify(body, lower)
        if name == "one":
            assert lower["x-two"] == "3" and lower["authorization"] == "Bearer canary"
    quiet = api.message.create(
        uid, models.MessageIn(event_type="py.unknown", payload={"q": 1}), MessageCreateOptions(with_content=False)
    )
    assert quiet.payload == {}
    until("the second message", lambda: len(arrivals("/one")) == 2)
    assert len(arrivals("/two")) == 1
    once = MessageCreateOptions(idempotency_key=f"key-{uuid.uuid4().hex}")
    first = api.message.create(uid, models.MessageIn(event_type="py.once", payload={"n": 1}), once)
    again = api.message.create(uid, models.MessageIn(event_type="py.once", payload={"n": 1}), once)
    assert (first.id, first.timestamp) == (again.id, again.timestamp)
    refused(409, lambda: api.message.create(uid, models.MessageIn(event_type="py.once", payload={"n": 2}), once))
    listed = api.message.list(uid, MessageListOptions(event_types=[kind]))
    assert [item.id for item in listed.data] == [sent.id]
    assert [item.id for item in api.message.list(uid, MessageListOptions(channel="blue")).data] == [sent.id]
    hour = timedelta(hours=1)
    now = datetime.now(timezone.utc)
    assert len(api.message.list(uid, MessageListOptions(after=now - hour)).data) == 3
    assert api.message.list(uid, MessageListOptions(before=now - hour)).data == []

    # Attempts.
    attempts = until(
        "its attempt", lambda: api.message_attempt.list_by_msg(uid, sent.id, MessageAttemptListByMsgOptions()).data
    )
    until("both attempts", lambda: len(api.message_attempt.list_by_msg(uid, sent.id).data) == 2)
    attempts = api.message_attempt.list_by_msg(uid, event_id, MessageAttemptListByMsgOptions(endpoint_id="one", with_content=True)).data
    [attempt] = attempts
    assert attempt.endpoint_id == endpoint.id and attempt.response_status_code == 200 and attempt.response == "thanks"
    assert int(attempt.status) == 0 and attempt.url == f"{HOOK}/one" and int(attempt.trigger_type) == 0
    assert api.message_attempt.get(uid, sent.id, attempt.id).id == attempt.id
    by_endpoint = api.message_attempt.list_by_endpoint(
        uid, "two", MessageAttemptListByEndpointOptions(status=0, status_code_class=200, event_types=[kind], channel="blue")
    )
    assert [item.msg_id for item in by_endpoint.data] == [sent.id]
    failed = api.message_attempt.list_by_endpoint(uid, "two", MessageAttemptListByEndpointOptions(status=2))
    assert failed.data == [] and failed.done
    attempted = api.message_attempt.list_attempted_messages(
        uid, "one", MessageAttemptListAttemptedMessagesOptions(event_types=[kind])
    )
    assert [(item.id, int(item.status)) for item in attempted.data] == [(sent.id, 0)]
    destinations = api.message_attempt.list_attempted_destinations(
        uid, sent.id, MessageAttemptListAttemptedDestinationsOptions()
    )
    assert {item.uid: int(item.status) for item in destinations.data} == {"one": 0, "two": 0}

    # Sent again.
    api.message_attempt.resend(uid, sent.id, "two")
    until("the message again", lambda: len(arrivals("/two")) == 2)
    assert arrivals("/two")[1][1].get("webhook-id") == sent.id
    until(
        "the manual attempt",
        lambda: [
            item.trigger_type
            for item in api.message_attempt.list_by_endpoint(uid, "two").data
            if int(item.trigger_type) == 1
        ],
    )
    example = api.endpoint.send_example(uid, "two", models.EventExampleIn(event_type=kind))
    assert example.payload == {"n": 7}, example.payload
    until("the example", lambda: len(arrivals("/two")) == 3)
    assert json.loads(arrivals("/two")[2][2]) == {"n": 7}

    # Failed for good, then recovered.
    Receiver.status = 500
    lost = api.message.create(uid, models.MessageIn(event_type=kind, payload={"lost": True}, channels=["blue"]))
    until(
        "it to fail for good",
        lambda: [item for item in api.message_attempt.list_attempted_destinations(uid, lost.id).data if int(item.status) == 2],
    )
    until("all to fail", lambda: all(int(item.status) == 2 for item in api.message_attempt.list_attempted_destinations(uid, lost.id).data))
    Receiver.status = 200
    before = len(arrivals("/two"))
    task = api.endpoint.recover(uid, "two", models.RecoverIn(since=now - hour))
    assert task.status == "running" and task.task == "endpoint.recover" and task.id
    until("the recovery", lambda: len(arrivals("/two")) == before + 1)
    late = api.endpoint.create(uid, models.EndpointIn(url=f"{HOOK}/late", uid="late"))
    replay = api.endpoint.replay_missing(uid, "late", models.ReplayIn(since=now - hour))
    assert replay.task == "endpoint.replay"
    until("what it missed", lambda: len(arrivals("/late")) >= 4)
    stats = until(
        "the statistics",
        lambda: (lambda got: got if got.success >= 3 and got.fail == 0 else None)(
            api.endpoint.get_stats(uid, "two", EndpointGetStatsOptions(since=now - hour))
        ),
    )
    assert stats.pending == 0 and stats.sending == 0

    # Secrets rotated: both sign.
    old = api.endpoint.get_secret(uid, "late").key
    api.endpoint.rotate_secret(uid, "late", models.EndpointSecretRotateIn(key=own))
    assert api.endpoint.get_secret(uid, "late").key == own
    count = len(arrivals("/late"))
    api.message.create(uid, models.MessageIn(event_type="py.rotated", payload={"r": 1}))
    until("the message after the rotation", lambda: len(arrivals("/late")) > count)
    _, headers, body = arrivals("/late")[-1]
    lower = {key.lower(): value for key, value in headers.items()}
    for secret in (old, own):
        Webhook(secret).verify(body, lower)

    # Expunged.
    api.message.expunge_content(uid, sent.id)
    assert api.message.get(uid, sent.id, MessageGetOptions(with_content=True)).payload == {"expired": True}
    refused(400, lambda: api.message_attempt.resend(uid, sent.id, "two"))
    api.message_attempt.expunge_content(uid, sent.id, attempt.id)
    assert api.message_attempt.get(uid, sent.id, attempt.id).response != "thanks"

    # Portal access.
    access = api.authentication.app_portal_access(uid, models.AppPortalAccessIn())
    assert access.token in access.url and "/portal#" in access.url
    customer = Svix(access.token, SvixOptions(server_url=SERVER))
    assert customer.application.get(uid).id == app.id
    assert len(customer.endpoint.list(uid).data) == 3
    refused(403, lambda: customer.application.list())
    refused(403, lambda: customer.message.create(uid, models.MessageIn(event_type="a", payload={})))
    refused(404, lambda: customer.endpoint.list(created.id))
    customer.authentication.logout()
    refused(401, lambda: customer.application.get(uid))
    second = Svix(api.authentication.app_portal_access(uid, models.AppPortalAccessIn()).token, SvixOptions(server_url=SERVER))
    assert second.application.get(uid).id == app.id
    api.authentication.expire_all(uid, models.ApplicationTokenExpireIn(expiry=None))
    refused(401, lambda: second.application.get(uid))
    refused(401, lambda: Svix("testsk_wrong", SvixOptions(server_url=SERVER)).application.list())

    # Gone.
    api.event_type.delete(kind)
    assert api.event_type.get(kind).archived is True
    api.event_type.delete(kind, EventTypeDeleteOptions(expunge=True))
    refused(404, lambda: api.event_type.get(kind))
    api.application.delete(created.id)
    api.application.delete(uid)
    refused(404, lambda: api.application.get(app.id))
    print(f"every operation of svix {svix.__version__ if hasattr(svix, '__version__') else ''} did as it should")


main()
