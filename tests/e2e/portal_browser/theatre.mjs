// What the chapters share: a webhook receiver that answers as told, waiting with an end, and tabs that complain.
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { watch } from "../../../deploy/local/screenshots/browser.mjs";

// Long, as a busy machine is slow; nothing waits for it that goes well.
export const GUARD = 60000;

// Polls `probe` until it gives something that is true, and returns that.
export async function until(what, probe) {
  const end = Date.now() + GUARD;
  for (;;) {
    const found = await probe();
    if (found) return found;
    if (Date.now() > end) throw new Error(`this did not happen: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

export function check(what, holds) {
  if (!holds) throw new Error(`this does not hold: ${what}`);
}

// Records every POST and answers 200, unless `answer` says otherwise: a function of the path.
export async function startReceiver() {
  const received = [];
  const receiver = { received, answer: () => ({ status: 200, body: "thank you" }) };
  const server = createServer((request, response) => {
    const parts = [];
    request.on("data", (part) => parts.push(part));
    request.on("end", () => {
      received.push({ path: request.url, headers: request.headers, body: Buffer.concat(parts).toString() });
      const { status, body = "", headers = {} } = receiver.answer(request.url);
      response.writeHead(status, headers).end(body);
    });
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  receiver.url = `http://127.0.0.1:${server.address().port}`;
  receiver.at = (path) => received.filter((request) => request.path === path);
  receiver.close = () => {
    server.closeAllConnections();
    server.close();
  };
  return receiver;
}

// Whether the official library accepts the request under that secret.
export function isSignedBy(request, secret) {
  const { Webhook } = createRequire(`${process.env.SDK_MODULES}/x.js`)("svix");
  try {
    new Webhook(secret).verify(request.body, request.headers);
    return true;
  } catch {
    return false;
  }
}

// A tab of a browser of its own, without anyone's cookies.
export async function newTab(stage, options = {}) {
  const context = await stage.browser.newContext({ viewport: { width: 1280, height: 900 }, locale: "en-GB", timezoneId: "Europe/Zurich", ...options });
  context.setDefaultTimeout(GUARD);
  context.setDefaultNavigationTimeout(GUARD);
  const page = await context.newPage();
  watch(page, stage.complain);
  return page;
}

// A fresh link to an app's portal.
export async function portalLink(stage, app) {
  return (await stage.api("POST", `/auth/app-portal-access/${app}`, {})).url;
}

export async function openPortal(stage, page, app) {
  await page.goto(await portalLink(stage, app));
  await page.waitForURL("**/portal/endpoints");
}

// Marks the document, to tell whether it is still the same one later.
export const mark = (page) => page.evaluate(() => { window.stillHere = true; });
export const isMarked = (page) => page.evaluate(() => window.stillHere === true);
