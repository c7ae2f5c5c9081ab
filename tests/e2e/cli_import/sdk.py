"""Reads all that a server knows with the official Python library, whose models refuse what Svix would not answer.
Arguments: server address, token. Prints the ids of endpoints and the names of event types, as JSON."""

import json
import sys

from svix.api import Svix, SvixOptions
from svix.api.application import ApplicationListOptions
from svix.api.endpoint import EndpointListOptions
from svix.api.event_type import EventTypeListOptions

svix = Svix(sys.argv[2], SvixOptions(server_url=sys.argv[1]))


def items(page_after):
    iterator = None
    while True:
        page = page_after(iterator)
        yield from page.data
        if page.done:
            return
        iterator = page.iterator


names = []
for app in items(lambda iterator: svix.application.list(ApplicationListOptions(iterator=iterator))):
    for endpoint in items(lambda iterator: svix.endpoint.list(app.id, EndpointListOptions(iterator=iterator))):
        assert svix.endpoint.get_secret(app.id, endpoint.id).key
        assert svix.endpoint.get_headers(app.id, endpoint.id).headers is not None
        names.append(endpoint.id)
for event_type in items(lambda iterator: svix.event_type.list(EventTypeListOptions(iterator=iterator))):
    names.append(event_type.name)
print(json.dumps(names))
