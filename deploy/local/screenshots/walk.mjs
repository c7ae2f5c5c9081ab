// Pictures of every page of the portal and the console, at 1280 and 390 pixels, in light and dark.
//
//   node walk.mjs BASE ADMIN_TOKEN RECEIVER FAILING OUT
//
// Fills the installation at BASE first: a project, endpoints, messages. Playwright and axe-core come from the folder in
// NODE_MODULES. Ends with 1 when a page breaks its content security policy, throws, overflows, or axe-core objects.
import { createRequire } from "node:module";
import { mkdirSync } from "node:fs";

const require = createRequire(`${process.env.NODE_MODULES}/x.js`);
const { chromium } = require("playwright-core");
const axe = require("axe-core").source;
const [base, token, receiver, failing, out] = process.argv.slice(2);
mkdirSync(out, { recursive: true });

async function api(method, path, body) {
  const response = await fetch(`${base}/api/v1${path}`, {
    method,
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    body: body && JSON.stringify(body),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
  return text && JSON.parse(text);
}

const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

const empty = await api("POST", "/app", { name: "Fresh project" });
for (const name of ["Initech", "Hooli", "Umbrella"]) await api("POST", "/app", { name });
const app = await api("POST", "/app", { name: "Acme Cloud", metadata: {} });
const endpoint = (draft) => api("POST", `/app/${app.id}/endpoint`, draft);
const good = await endpoint({ url: `${receiver}/webhooks/users`, description: "User directory sync", headers: { "x-environment": "production" } });
const bad = await endpoint({ url: `${failing}/hooks/billing-and-invoicing/a-rather-long-path/that-goes-on`, description: "Billing", filterTypes: ["sync.organization"] });
const paused = await endpoint({ url: `${receiver}/staging`, description: "Staging, paused while we migrate", filterTypes: ["sync.user"] });
await endpoint({ url: `${receiver}/old`, description: '<svg onload=alert(1)>"><script>alert(2)</script>', disabled: true });
await api("POST", `/app/${app.id}/endpoint/${paused.id}/pause`);
let message;
for (let n = 0; n < 40; n++) {
  const user = n % 3 !== 0;
  message = await api("POST", `/app/${app.id}/msg`, user
    ? { eventType: "sync.user", payload: { type: "sync.user", userId: `user_${n}` } }
    : { eventType: "sync.organization", payload: { type: "sync.organization", organizationId: `org_${n}` } });
}
await wait(6000);
const first = (await api("GET", `/app/${app.id}/msg?event_types=sync.organization`)).data[0];

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync"],
});
let wrong = 0;
const complain = (text) => { wrong += 1; console.error(`✗ ${text}`); };

async function link(id) {
  return (await api("POST", `/auth/app-portal-access/${id}`, {})).url.replace(/^https?:\/\/[^/]+/, base);
}

for (const colorScheme of ["light", "dark"]) {
  for (const width of [1280, 390]) {
    const context = await browser.newContext({ colorScheme, viewport: { width, height: 900 }, bypassCSP: false, timezoneId: "Europe/Zurich", locale: "en-GB" });
    const page = await context.newPage();
    page.on("pageerror", (error) => complain(`${page.url()}: ${error}`));
    page.on("console", (said) => { if (said.type() === "error" && !/status of 4/.test(said.text())) complain(`${page.url()}: ${said.text()}`); });
    page.on("dialog", (dialog) => { complain(`${page.url()}: a dialog`); dialog.dismiss(); });

    const shot = async (name, path) => {
      if (path) await page.goto(base + path);
      await page.waitForTimeout(250);
      const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      if (over > 0) complain(`${name} at ${width}: ${over} px too wide`);
      await page.screenshot({ path: `${out}/${name}-${width}-${colorScheme}.png`, fullPage: true });
      const check = await context.newCDPSession(page);
      const { result } = await check.send("Runtime.evaluate", {
        expression: `${axe}; axe.run({ runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }).then((r) => JSON.stringify(r.violations.map((v) => [v.id, v.nodes.map((n) => n.target.join(" ") + ": " + (n.any[0]?.message || n.failureSummary))])))`,
        awaitPromise: true,
      });
      for (const [id, nodes] of JSON.parse(result.value || "[]")) complain(`${name} at ${width} in ${colorScheme}: ${id}: ${nodes.slice(0, 3).join("; ")}`);
    };

    await page.goto(await link(empty.id));
    await page.waitForURL("**/portal/endpoints");
    await shot("portal-empty");
    await page.goto(await link(app.id));
    await page.waitForURL("**/portal/endpoints");
    if (page.url().includes("token")) complain("the token stays in the address bar");
    await shot("portal-endpoints");
    await shot("portal-add", "/portal/endpoints/new");
    await page.fill("#url", "ftp://nowhere");
    await page.click("summary");
    await page.fill("#rate", "fast");
    await page.click("button:has-text('Add endpoint')");
    await shot("portal-add-mistakes");
    await shot("portal-edit", `/portal/endpoints/${bad.id}/edit`);
    await shot("portal-endpoint", `/portal/endpoints/${good.id}`);
    await page.click("form[action$='/test'] button");
    await page.waitForSelector("text=was delivered", { timeout: 15000 });
    await shot("portal-test");
    await shot("portal-endpoint-failing", `/portal/endpoints/${bad.id}?span=7d`);
    await shot("portal-endpoint-paused", `/portal/endpoints/${paused.id}`);
    await shot("portal-settings", `/portal/endpoints/${good.id}/settings`);
    await page.click("button:has-text('Reveal')");
    await page.click("summary:has-text('Rotate')");
    await shot("portal-secret");
    await shot("portal-verify", `/portal/endpoints/${good.id}/verify?lang=python`);
    await shot("portal-delete", `/portal/endpoints/${good.id}/delete`);
    await shot("portal-messages", "/portal/messages");
    await page.goto(`${base}/portal/messages/${first.id}`);
    await page.click(".attempts summary >> nth=0");
    await shot("portal-message");
    await shot("portal-event-types", "/portal/event-types");
    await shot("portal-nothing", "/portal/nowhere");
    await page.goto(`${base}/portal/endpoints`);
    await page.click("button:has-text('Sign out')");
    await shot("portal-left");
    await shot("portal-expired", "/portal/endpoints");

    await shot("console-sign-in", "/console");
    await page.fill("#token", token);
    await page.click("button:has-text('Sign in')");
    await page.waitForURL("**/console/projects");
    await shot("console-projects");
    await shot("console-new", "/console/projects/new");
    await shot("console-project", `/console/projects/${app.id}`);
    await shot("console-health", "/console/health");
    await shot("console-set-aside", "/console/set-aside");
    const event = await page.$(".lines a.whole");
    if (event) {
      await event.click();
      await shot("console-set-aside-event");
    }
    await context.close();
  }
}
await browser.close();
console.log(wrong ? `${wrong} things are wrong` : "every page is as it should be");
process.exit(wrong ? 1 : 0);
