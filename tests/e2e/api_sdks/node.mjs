// Drives every operation of the official JavaScript library that Nuncio serves, with real deliveries in between that the
// library's own verifier checks. Arguments: folder with node_modules, server address, admin token.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { setTimeout as sleep } from "node:timers/promises";

const [folder, server, token] = process.argv.slice(2);
const { Svix, Webhook } = createRequire(`${folder}/`)("svix");
const PATIENCE = 30_000;

const got = [];
let status = 200;
const listener = createServer((request, response) => {
  const parts = [];
  request.on("data", (part) => parts.push(part));
  request.on("end", () => {
    got.push({ path: request.url, headers: request.headers, body: Buffer.concat(parts) });
    response.writeHead(status).end("thanks");
  });
});
await new Promise((ready) => listener.listen(0, "127.0.0.1", ready));
const hook = `http://127.0.0.1:${listener.address().port}`;
const arrivals = (path) => got.filter((one) => one.path === path);

async function until(what, question) {
  for (const deadline = Date.now() + PATIENCE; Date.now() < deadline; await sleep(50)) {
    const answer = await question();
    if (answer) return answer;
  }
  assert.fail(`in vain waited for ${what}`);
}

async function refused(code, call) {
  const error = await call().then(() => assert.fail(`expected ${code}`), (error) => error);
  assert.equal(error.code, code, JSON.stringify(error.body ?? error.message));
  return error.body;
}

const api = new Svix(token, { serverUrl: server });
await api.health.get();

// Applications.
const uid = `js-${randomUUID()}`;
const app = await api.application.create({ name: "JavaScript", uid, metadata: { a: "1" } });
assert.equal(app.uid, uid);
assert.ok(app.createdAt instanceof Date && !Number.isNaN(app.createdAt.getTime()));
assert.equal((await api.application.getOrCreate({ name: "other", uid })).id, app.id);
await refused(409, () => api.application.create({ name: "again", uid }));
assert.equal((await api.application.update(uid, { name: "Renamed", uid })).name, "Renamed");
assert.deepEqual((await api.application.patch(uid, { metadata: { b: "2" } })).metadata, { b: "2" });
const other = await api.application.update(`${uid}-put`, { name: "Put", uid: `${uid}-put` });
const page = await api.application.list({ limit: 1 });
assert.equal(page.data.length, 1);
assert.equal(page.done, false);
const next = await api.application.list({ limit: 1, iterator: page.iterator });
assert.notEqual(next.data[0].id, page.data[0].id);
const invalid = await refused(422, () => api.application.create({ name: "", uid: "a b" }));
assert.deepEqual(invalid.detail.map(({ loc }) => loc.join(".")).sort(), ["body.name", "body.uid"]);
await refused(400, () => api.application.list({ iterator: `${page.iterator}x` }));

// Event types.
const kind = `js.${randomUUID().slice(0, 8)}`;
const schemas = { 1: { type: "object", properties: { n: { type: "integer", examples: [7] } } } };
assert.deepEqual((await api.eventType.create({ name: kind, description: "JS's", schemas })).schemas, schemas);
assert.equal((await api.eventType.patch(kind, { deprecated: true })).deprecated, true);
assert.equal((await api.eventType.update(kind, { description: "Anew", schemas })).deprecated, false);
assert.equal((await api.eventType.get(kind)).description, "Anew");
const listedTypes = await api.eventType.list({ limit: 250, withContent: true });
assert.ok(["sync.user", "sync.organization", kind].every((name) => listedTypes.data.some((type) => type.name === name)));

// Endpoints.
const one = await api.endpoint.create(uid, { url: `${hook}/one`, uid: "one", headers: { "X-One": "1" } });
const own = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const two = await api.endpoint.create(uid, {
  url: `${hook}/two`, uid: "two", secret: own, filterTypes: [kind], channels: ["blue"], rateLimit: 1000, version: 3,
});
assert.deepEqual([two.filterTypes, two.channels, two.rateLimit, two.version], [[kind], ["blue"], 1000, 3]);
await refused(422, () => api.endpoint.create(uid, { url: "http://10.0.0.1/" }));
assert.equal((await api.endpoint.getSecret(uid, "two")).key, own);
assert.equal((await api.endpoint.update(uid, "two", { url: `${hook}/two`, uid: "two", filterTypes: [kind] })).channels, null);
assert.deepEqual((await api.endpoint.patch(uid, "two", { channels: ["blue"] })).channels, ["blue"]);
assert.deepEqual((await api.endpoint.list(uid)).data.map((endpoint) => endpoint.uid), ["two", "one"]);
await api.endpoint.updateHeaders(uid, "one", { headers: { "X-One": "2" } });
await api.endpoint.patchHeaders(uid, "one", { headers: { "X-Two": "3" } });
assert.deepEqual((await api.endpoint.getHeaders(uid, "one")).headers, { "X-One": "2", "X-Two": "3" });

// A message, delivered and verified.
const payload = { b: 1, a: "ü", nested: { z: [1, 2.5, null] } };
const eventId = `evt-${randomUUID()}`;
const sent = await api.message.create(uid, { eventType: kind, payload, eventId, channels: ["blue"] });
assert.deepEqual(sent.payload, payload);
assert.equal((await api.message.get(uid, eventId)).id, sent.id);
await refused(409, () => api.message.create(uid, { eventType: kind, payload: {}, eventId }));
for (const [path, name] of [["/one", "one"], ["/two", "two"]]) {
  const [{ headers, body }] = await until(`${path} to get it`, () => arrivals(path).length && arrivals(path));
  assert.deepEqual(new Webhook((await api.endpoint.getSecret(uid, name)).key).verify(body, headers), payload);
}
assert.equal(arrivals("/one")[0].headers["x-two"], "3");
const idempotencyKey = `key-${randomUUID()}`;
const first = await api.message.create(uid, { eventType: "js.once", payload: { n: 1 } }, { idempotencyKey });
const again = await api.message.create(uid, { eventType: "js.once", payload: { n: 1 } }, { idempotencyKey });
assert.equal(first.id, again.id);
await until("the second message", () => arrivals("/one").length === 2);
assert.deepEqual((await api.message.list(uid, { eventTypes: [kind] })).data.map(({ id }) => id), [sent.id]);
assert.equal((await api.message.list(uid, { before: new Date(Date.now() - 3_600_000) })).data.length, 0);

// Attempts.
await until("both attempts", async () => (await api.messageAttempt.listByMsg(uid, sent.id)).data.length === 2);
const [attempt] = (await api.messageAttempt.listByMsg(uid, eventId, { endpointId: "one" })).data;
assert.deepEqual([attempt.endpointId, attempt.responseStatusCode, attempt.response, attempt.status], [one.id, 200, "thanks", 0]);
assert.equal((await api.messageAttempt.get(uid, sent.id, attempt.id)).id, attempt.id);
const byEndpoint = await api.messageAttempt.listByEndpoint(uid, "two", { status: 0, statusCodeClass: 200, channel: "blue" });
assert.deepEqual(byEndpoint.data.map(({ msgId }) => msgId), [sent.id]);
const attempted = await api.messageAttempt.listAttemptedMessages(uid, "two");
assert.deepEqual(attempted.data.map(({ id, status }) => [id, status]), [[sent.id, 0]]);
const destinations = await api.messageAttempt.listAttemptedDestinations(uid, sent.id);
assert.deepEqual(destinations.data.map(({ uid }) => uid), ["one", "two"]);

// Sent again.
await api.messageAttempt.resend(uid, sent.id, "two");
await until("the message again", () => arrivals("/two").length === 2);
assert.deepEqual((await api.endpoint.sendExample(uid, "two", { eventType: kind })).payload, { n: 7 });
await until("the example", () => arrivals("/two").length === 3);
status = 500;
const lost = await api.message.create(uid, { eventType: kind, payload: { lost: true }, channels: ["blue"] });
await until("it to fail for good", async () =>
  (await api.messageAttempt.listAttemptedDestinations(uid, lost.id)).data.every((one) => one.status === 2));
status = 200;
const before = arrivals("/two").length;
const since = new Date(Date.now() - 3_600_000);
assert.equal((await api.endpoint.recover(uid, "two", { since })).status, "running");
await until("the recovery", () => arrivals("/two").length === before + 1);
await api.endpoint.create(uid, { url: `${hook}/late`, uid: "late" });
assert.equal((await api.endpoint.replayMissing(uid, "late", { since })).status, "running");
await until("what it missed", () => arrivals("/late").length >= 3);
await until("the statistics", async () => {
  const { success, fail } = await api.endpoint.getStats(uid, "two", { since });
  return success === 3 && fail === 0;
});

// Secrets rotated: both sign.
const old = (await api.endpoint.getSecret(uid, "late")).key;
await api.endpoint.rotateSecret(uid, "late", { key: own });
const count = arrivals("/late").length;
await api.message.create(uid, { eventType: "js.rotated", payload: { r: 1 } });
await until("the message after the rotation", () => arrivals("/late").length > count);
for (const secret of [old, own]) new Webhook(secret).verify(arrivals("/late").at(-1).body, arrivals("/late").at(-1).headers);

// Expunged.
await api.message.expungeContent(uid, sent.id);
assert.deepEqual((await api.message.get(uid, sent.id)).payload, { expired: true });
await api.messageAttempt.expungeContent(uid, sent.id, attempt.id);
assert.notEqual((await api.messageAttempt.get(uid, sent.id, attempt.id)).response, "thanks");

// Portal access.
const access = await api.authentication.appPortalAccess(uid, {});
const customer = new Svix(access.token, { serverUrl: server });
assert.equal((await customer.application.get(uid)).id, app.id);
await refused(403, () => customer.application.list());
await refused(404, () => customer.endpoint.list(other.id));
await customer.authentication.logout();
await refused(401, () => customer.application.get(uid));
const second = new Svix((await api.authentication.dashboardAccess(uid)).token, { serverUrl: server });
await second.application.get(uid);
await api.authentication.expireAll(uid, {});
await refused(401, () => second.application.get(uid));

// Gone.
await api.endpoint.delete(uid, "late");
await refused(404, () => api.endpoint.get(uid, "late"));
await api.eventType.delete(kind);
assert.equal((await api.eventType.get(kind)).archived, true);
await api.eventType.delete(kind, { expunge: true });
await refused(404, () => api.eventType.get(kind));
await api.application.delete(other.id);
await api.application.delete(uid);
await refused(404, () => api.application.get(app.id));
console.log("every operation of svix on npm did as it should");
listener.close();
process.exit(0);
