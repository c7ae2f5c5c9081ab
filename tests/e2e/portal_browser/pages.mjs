// Every page, full of markup that others wrote, in light and in dark: it stays text, and axe-core reports nothing.
import { COLOURS, faults } from "../../../deploy/local/screenshots/browser.mjs";
import { check, newTab, openPortal, until } from "./theatre.mjs";

const MARKUP = '"><svg onload=alert(1)>';

export async function pages(stage) {
  const { app, endpoint, message } = await fill(stage);
  const page = await newTab(stage);
  const look = looker(stage, page);

  await page.goto(`${stage.base}/portal`);
  await page.waitForURL("**/portal/endpoints");
  await look("no session");
  const empty = await stage.api("POST", "/app", { name: "Empty" });
  await openPortal(stage, page, empty.id);
  await look("the empty list");
  await look("no messages", "/portal/messages");
  await openPortal(stage, page, app);
  await look("the list", null, MARKUP);
  await look("a search", `/portal/endpoints?q=${encodeURIComponent(MARKUP)}`, MARKUP);
  await look("a new endpoint", "/portal/endpoints/new");
  await page.fill("#url", `ftp://${MARKUP}`);
  await page.fill("#description", MARKUP);
  await page.click("summary");
  await page.fill("#headers", MARKUP);
  await page.click("button:has-text('Add endpoint')");
  await page.waitForSelector(".notice.bad");
  await look("mistakes");
  await look("an endpoint", `/portal/endpoints/${endpoint}`, MARKUP);
  await look("settings", `/portal/endpoints/${endpoint}/settings`, MARKUP);
  await page.click("button:has-text('Reveal')");
  await page.click("summary:has-text('Rotate')");
  await look("the secret");
  await look("editing", `/portal/endpoints/${endpoint}/edit`);
  await look("verification", `/portal/endpoints/${endpoint}/verify?lang=php`);
  await look("deleting", `/portal/endpoints/${endpoint}/delete`, MARKUP);
  await look("messages", "/portal/messages");
  await page.goto(`${stage.base}/portal/messages/${message}`);
  await page.click(".attempts summary");
  await look("a message", null, MARKUP);
  await look("event types", "/portal/event-types", MARKUP);
  await look("nothing", "/portal/nowhere");

  await page.goto(`${stage.base}/console`);
  await look("signing in");
  await page.fill("#token", stage.admin);
  await page.click("button:has-text('Sign in')");
  await page.waitForURL("**/console/projects");
  await look("projects", null, MARKUP);
  await look("a new project", "/console/projects/new");
  await look("a project", `/console/projects/${app}`, MARKUP);
  await look("deleting a project", `/console/projects/${app}/delete`, MARKUP);
  await look("health", "/console/health");
  await look("what is set aside", "/console/set-aside");
  await page.click(".lines a.whole");
  await look("an event that is set aside", null, MARKUP);
  await look("deleting what is set aside", "/console/set-aside/purge");
  await page.context().close();
}

// An app with markup wherever it can be written.
async function fill(stage) {
  const { api, receiver } = stage;
  receiver.answer = (path) => path.includes("hostile")
    ? { status: 500, body: `${MARKUP} said the server`, headers: { "x-hostile": MARKUP } } : { status: 200 };
  const kind = `hostile.${Date.now()}`;
  await api("POST", "/event-type", { name: kind, description: MARKUP,
    schemas: { 1: { type: "object", title: MARKUP, properties: { text: { const: MARKUP } } } } });
  const { id: app } = await api("POST", "/app", { name: `Acme ${MARKUP}`, metadata: { "portal-name": MARKUP, "portal-accent": "#ffee00" } });
  const { id: endpoint } = await api("POST", `/app/${app}/endpoint`, {
    url: `${receiver.url}/hostile?<svg/onload=alert(1)>`, description: MARKUP, headers: { "x-own": MARKUP } });
  const { id: message } = await api("POST", `/app/${app}/msg`, { eventType: kind, payload: { text: MARKUP } });
  await until("the hostile attempt", async () => (await api("GET", `/app/${app}/attempt/endpoint/${endpoint}`)).data.length > 0);
  return { app, endpoint, message };
}

function looker(stage, page) {
  return async (name, path, text) => {
    if (path) await page.goto(stage.base + path);
    await page.waitForLoadState("load");
    const markup = await page.evaluate(() => document.querySelectorAll("[onload], [onerror], body script").length);
    check(`${name}: markup is text`, markup === 0);
    if (text) check(`${name}: but it is shown`, (await page.textContent("body")).includes(text));
    for (const [colorScheme, rules] of [["light"], ["dark", COLOURS]]) {
      await page.emulateMedia({ colorScheme });
      for (const fault of await faults(page, rules)) stage.complain(`${name} in ${colorScheme}: ${fault}`);
    }
  };
}
