// The whole story, as an operator and then a customer live it.
import { check, isMarked, isSignedBy, mark, newTab, until } from "./theatre.mjs";

export async function story(stage) {
  const page = await newTab(stage);
  const app = await project(stage, page);
  const path = await addEndpoint(stage, page);
  const publish = async () => (await stage.api("POST", `/app/${app}/msg`, {
    eventType: "sync.user", payload: { type: "sync.user", userId: "user_1" },
  })).id;
  const play = { ...stage, page, path, publish, hook: `${stage.receiver.url}/hook` };
  await testEvent(play);
  await attemptAppears(play);
  await failAndResend(play);
  await filterByTime(play);
  await rotate(play);
  await pauseAndResume(play);
  await remove(play);
  await page.goto(`${stage.base}/portal/endpoints`);
  await page.click("button:has-text('Sign out')");
  await page.waitForSelector("h1:has-text('You have signed out')");
  await page.context().close();
}

// Signs in to the console, makes a project and opens its portal with Edit.
async function project(stage, page) {
  await page.goto(`${stage.base}/console`);
  await page.fill("#token", "not-a-token");
  await page.click("button:has-text('Sign in')");
  await page.waitForSelector("#token[aria-invalid=true]");
  await page.fill("#token", stage.admin);
  await page.click("button:has-text('Sign in')");
  await page.waitForURL("**/console/projects");
  await page.click("a:has-text('New project') >> nth=0");
  await page.fill("#name", "Acme Cloud");
  await page.click("button:has-text('Create project')");
  await page.waitForSelector("h1:has-text('Acme Cloud')");
  const app = new URL(page.url()).pathname.split("/").pop();
  await page.click("section:has(h2:has-text('Webhooks')) button:has-text('Edit')");
  await page.waitForURL("**/portal/endpoints");
  check("the token has left the address bar", !page.url().includes("token"));
  return app;
}

// A bad URL is refused beside its field, while one types and when one submits; then a good one.
async function addEndpoint(stage, page) {
  await page.click("text=Add your first endpoint");
  await page.fill("#url", "ftp://nowhere.example");
  await page.press("#url", "Tab");
  await page.waitForSelector("#url-error:not(:empty)");
  await page.click("button:has-text('Add endpoint')");
  await page.waitForSelector(".notice.bad");
  check("what was typed is still there", (await page.inputValue("#url")) === "ftp://nowhere.example");
  check("and it has the focus", await page.evaluate(() => document.activeElement.id === "url"));
  await page.fill("#url", `${stage.receiver.url}/hook`);
  await page.fill("#description", "User directory");
  await page.click("button:has-text('Add endpoint')");
  await page.waitForSelector("text=The endpoint was added");
  return new URL(page.url()).pathname;
}

async function testEvent({ page, receiver }) {
  await page.selectOption("#test-type", "sync.user");
  await page.click("form[action$='/test'] button");
  await page.waitForURL("**?test=*");
  await page.waitForSelector("text=The test event was delivered");
  const [request] = receiver.at("/hook");
  check("the catalogue's example arrived", JSON.parse(request.body).type === "sync.user");
}

async function attemptAppears({ page, path, base, publish }) {
  await page.goto(base + path);
  await mark(page);
  const message = await publish();
  await page.waitForSelector(`.lines tr:has-text('${message}') .badge.good`);
  check("the page was not loaded again", await isMarked(page));
}

async function failAndResend({ page, receiver, publish }) {
  receiver.answer = () => ({ status: 500, body: "the database is away", headers: { "x-request-id": "req-42" } });
  const message = await publish();
  const row = `.lines tr:has-text('${message}')`;
  await page.waitForSelector(`${row} .badge.bad:has-text('500')`);
  const countdown = await until("the next attempt is counted down to", async () => {
    const text = await page.textContent(`${row} time[data-when=countdown]`);
    return /^in \d+ (second|minute)/.test(text) && text;
  });
  check(`${countdown} is to come`, countdown);

  await page.click(`${row} a.whole`);
  await page.waitForSelector("h1:has-text('sync.user')");
  await page.waitForSelector("section[aria-label=Endpoints] .badge:has-text('Retrying')");
  await page.click(".attempts summary");
  await page.waitForSelector("pre:has-text('the database is away')");
  await page.waitForSelector(".attempt-body dt:text-is('x-request-id') + dd:text-is('req-42')");
  receiver.answer = () => ({ status: 200 });
  await page.click("section[aria-label=Endpoints] button:has-text('Resend')");
  await page.waitForSelector("text=The message is on its way again");
  await mark(page);
  await page.waitForSelector("section[aria-label=Endpoints] .badge:has-text('Delivered')");
  check("the message's page was not loaded again", await isMarked(page));
}

// The tab is in Zurich: an hour ahead of UTC in winter.
async function filterByTime({ page, base, path }) {
  await page.goto(base + path);
  await page.click("summary:has-text('Filter attempts')");
  check("no zone is named, as it is the viewer's", (await page.textContent("label[for=f-after]")).trim() === "After");
  await page.fill("#f-after", "2026-01-15T10:30");
  await page.click("button:text-is('Apply')");
  await page.waitForURL("**?*after=*");
  check("UTC is sent", new URL(page.url()).searchParams.get("after") === "2026-01-15T09:30");
  check("what was filled in is shown", (await page.inputValue("#f-after")) === "2026-01-15T10:30");
}

async function reveal({ page, base, path }) {
  await page.goto(`${base}${path}/settings`);
  check("a secret is hidden at first", !(await page.content()).match(/whsec_[A-Za-z0-9+/]/));
  await page.click("button:has-text('Reveal')");
  return page.textContent("#secret-text");
}

async function rotate(play) {
  const { page, receiver, publish } = play;
  const old = await reveal(play);
  await page.click("summary:has-text('Rotate')");
  await page.click("button:text-is('Rotate')");
  await page.waitForSelector("text=A new secret signs from now on");
  const fresh = await reveal(play);
  check("the secret is another one", fresh !== old);
  const message = await publish();
  const request = await until("the next delivery", () => receiver.received.find((one) => one.headers["svix-id"] === message));
  check("the new secret signed it", isSignedBy(request, fresh));
  check("so did the old one", isSignedBy(request, old));
}

async function pauseAndResume({ page, base, path, receiver, publish }) {
  await page.goto(base + path);
  await page.click(".heading button:has-text('Pause')");
  await page.waitForSelector("text=The endpoint is paused");
  await mark(page);
  const before = receiver.received.length;
  const messages = [await publish(), await publish(), await publish()];
  const waiting = ".figure:has(.name:text-is('Waiting')) .value";
  await page.waitForSelector(`${waiting}:text-is('3')`);
  check("the backlog appeared without a reload", await isMarked(page));
  check("nothing is sent meanwhile", receiver.received.length === before);
  await page.click(".heading button:has-text('Resume')");
  await page.waitForSelector("text=The endpoint is active again");
  await until("what waited is sent", () => messages.every((id) => receiver.received.some((one) => one.headers["svix-id"] === id)));
  await page.waitForSelector(`${waiting}:text-is('0')`);
}

async function remove({ page, base, path, hook }) {
  await page.goto(`${base}${path}/settings`);
  await page.click("a:has-text('Delete…')");
  await page.waitForSelector("h1:has-text('Delete this endpoint?')");
  check("the question names the URL", (await page.textContent("main .url")) === hook);
  await page.click("button:has-text('Delete endpoint')");
  await page.waitForSelector("text=Nothing receives your events yet");
  check("it is gone", (await page.goto(base + path)).status() === 404);
}
