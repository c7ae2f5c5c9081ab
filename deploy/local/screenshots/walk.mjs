// Pictures of every page of the portal and the console, at 1280 and 390 pixels, in light and dark.
//
//   node walk.mjs BASE ADMIN_TOKEN RECEIVER FAILING OUT
//
// Fills the installation at BASE first: a project, endpoints, messages. Playwright and axe-core come from the folder in
// NODE_MODULES. Ends with 1 when a page breaks its content security policy, throws, overflows, or axe-core objects.
import { mkdirSync } from "node:fs";
import { faults, restApi, startBrowser, watch } from "./browser.mjs";

const [base, token, receiver, failing, out] = process.argv.slice(2);
mkdirSync(out, { recursive: true });
const api = restApi(base, token);

const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

const empty = await api("POST", "/app", { name: "Fresh project" });
for (const name of ["Initech", "Hooli", "Umbrella"]) await api("POST", "/app", { name });
const app = await api("POST", "/app", { name: "Acme Cloud", metadata: {} });
const endpoint = (draft) => api("POST", `/app/${app.id}/endpoint`, draft);
const good = await endpoint({ url: `${receiver}/webhooks/users`, description: "User directory sync", headers: { "x-environment": "production" } });
const bad = await endpoint({ url: `${failing}/hooks/billing-and-invoicing/a-rather-long-path/that-goes-on`, description: "Billing", filterTypes: ["sync.organization"] });
const paused = await endpoint({ url: `${receiver}/staging`, description: "Staging, paused while we migrate", filterTypes: ["sync.user"] });
await api("PUT", "/event-type/sync.organization.membership.invitation.accepted.by.an.invited.member.of.another.organization", { description: "A name as long as they come" });
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

const { browser, close } = await startBrowser();
let wrong = 0;
const complain = (text) => { wrong += 1; console.error(`✗ ${text}`); };

async function link(id) {
  return (await api("POST", `/auth/app-portal-access/${id}`, {})).url.replace(/^https?:\/\/[^/]+/, base);
}

for (const colorScheme of ["light", "dark"]) {
  for (const width of [1280, 390]) {
    const context = await browser.newContext({ colorScheme, viewport: { width, height: 900 }, bypassCSP: false, timezoneId: "Europe/Zurich", locale: "en-GB" });
    const page = await context.newPage();
    watch(page, complain);

    const shot = async (name, path) => {
      if (path) await page.goto(base + path);
      await page.waitForTimeout(250);
      await page.screenshot({ path: `${out}/${name}-${width}-${colorScheme}.png`, fullPage: true });
      for (const fault of await faults(page)) complain(`${name} at ${width} in ${colorScheme}: ${fault}`);
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
    await shot("portal-disable", `/portal/endpoints/${good.id}/disable`);
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
await close();
console.log(wrong ? `${wrong} things are wrong` : "every page is as it should be");
process.exit(wrong ? 1 : 0);
