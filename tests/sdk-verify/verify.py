"""Verifies deliveries with the official Python packages.

Reads one JSON object a line from stdin, {"library", "secret", "headers", "body"}, and answers each with {"ok": true}
or {"ok": false, "error": ...} on stdout. Knows nothing of how the deliveries were signed.
"""

import json
import sys

import standardwebhooks
import svix.webhooks

LIBRARIES = {
    "standardwebhooks": (standardwebhooks.Webhook, standardwebhooks.WebhookVerificationError),
    "svix": (svix.webhooks.Webhook, svix.webhooks.WebhookVerificationError),
}


def verify(case):
    webhook, refused = LIBRARIES[case["library"]]
    try:
        webhook(case["secret"]).verify(case["body"], case["headers"])
    except refused as error:
        return {"ok": False, "error": str(error)}
    return {"ok": True}


for line in sys.stdin:
    print(json.dumps(verify(json.loads(line))), flush=True)
