// Verifies deliveries with the official npm packages, which are looked up in the directory named by the first argument.
//
// Reads one JSON object a line from stdin, {"library", "secret", "headers", "body"}, and answers each with {"ok": true}
// or {"ok": false, "error": ...} on stdout. Knows nothing of how the deliveries were signed.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { join } from "node:path";

const require = createRequire(join(process.argv[2], "package.json"));
const libraries = { standardwebhooks: require("standardwebhooks"), svix: require("svix") };

function verify({ library, secret, headers, body }) {
  const { Webhook, WebhookVerificationError } = libraries[library];
  try {
    new Webhook(secret).verify(body, headers);
  } catch (error) {
    if (error instanceof WebhookVerificationError) return { ok: false, error: error.message };
    throw error;
  }
  return { ok: true };
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(verify(JSON.parse(line)))}\n`);
}
