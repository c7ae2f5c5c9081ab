// What must not be possible, and what must be without scripts.
import { check, newTab, openPortal, portalLink, until } from "./theatre.mjs";

// A link that has expired opens nothing, and says how to get another one.
export async function expiredLink(stage) {
  const page = await newTab(stage);
  await until("the link has expired", async () => {
    await page.goto("about:blank");
    await page.goto(`${stage.base}/portal#token=${stage.expired}`);
    await page.waitForSelector("h1:not(:text-is('Webhooks'))");
    return (await page.textContent("main")).includes("has expired");
  });
  check("it says how to get a new one", (await page.textContent("main")).includes("open the webhook settings again"));
  check("the token has left the address bar", !page.url().includes("token"));
  check("nothing was opened", (await page.goto(`${stage.base}/portal/endpoints`)).status() === 401);
  await page.context().close();
}

// The ids of another app are ids of nothing.
export async function foreignIds(stage) {
  const app = await stage.api("POST", "/app", { name: "Curious" });
  const page = await newTab(stage);
  await openPortal(stage, page, app.id);
  const { endpoint, message } = stage.foreign;
  const paths = ["", "/settings", "/edit", "/delete", "/verify", "/live"].map((rest) => `endpoints/${endpoint}${rest}`);
  for (const path of [...paths, `messages/${message}`, `messages/${message}/live`]) {
    const response = await page.goto(`${stage.base}/portal/${path}`);
    check(`${path} is not found`, response.status() === 404);
    check(`${path} tells nothing`, !(await page.content()).includes("/foreign"));
  }
  await page.goto(`${stage.base}/portal/messages?id=${message}`);
  await page.waitForSelector("text=There is no message");
  await page.context().close();
}

// Everything can be read with scripts switched off, and the link opens by being pasted.
export async function withoutScripts(stage) {
  const page = await newTab(stage, { javaScriptEnabled: false });
  const link = await portalLink(stage, stage.foreign.app);
  await page.goto(link);
  await page.fill("#link", link);
  await page.click("button:has-text('Open')");
  await page.waitForURL("**/portal/endpoints");
  await page.click("a.whole:has-text('/foreign')");
  const row = page.locator(`.lines tr:has-text('${stage.foreign.message}')`);
  check("times are readable", / UTC/.test(await row.locator("time").first().textContent()));
  await row.locator("a.whole").click();
  await page.waitForSelector("pre:has-text('org_9')");
  await page.click(".attempts summary");
  await page.waitForSelector("pre:has-text('thank you')");
  for (const path of ["event-types", "messages", `endpoints/${stage.foreign.endpoint}/verify?lang=go`]) {
    await page.goto(`${stage.base}/portal/${path}`);
    await page.waitForSelector("main h1");
  }
  await page.context().close();
}
