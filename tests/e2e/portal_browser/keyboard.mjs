// The main path without a mouse: every step is reached with Tab, and where one is can be seen.
import { check, newTab, openPortal } from "./theatre.mjs";

const PRESSES_MAX = 80;

export async function keyboard(stage) {
  const app = await stage.api("POST", "/app", { name: "By keyboard" });
  const page = await newTab(stage);
  await openPortal(stage, page, app.id);
  await tabTo(page, "Skip to the content");
  await page.keyboard.press("Enter");
  await tabTo(page, "Add your first endpoint");
  await follow(page, "Enter");
  await tabTo(page, "URL");
  await page.keyboard.type(`${stage.receiver.url}/keyboard`);
  await tabTo(page, "Description");
  await page.keyboard.type("Typed");
  await tabTo(page, "Add endpoint");
  await follow(page, "Enter");
  await tabTo(page, "Send test event");
  await follow(page, "Space");
  await page.waitForSelector("text=The test event was delivered");
  await tabTo(page, "Settings");
  await follow(page, "Enter");
  await tabTo(page, "Delete…");
  await follow(page, "Enter");
  await tabTo(page, "Delete endpoint");
  await follow(page, "Enter");
  await page.waitForSelector("text=Nothing receives your events yet");
  await page.context().close();
}

async function follow(page, key) {
  await Promise.all([page.waitForNavigation(), page.keyboard.press(key)]);
}

async function tabTo(page, name) {
  const passed = [];
  for (let presses = 0; presses < PRESSES_MAX; presses++) {
    await page.keyboard.press("Tab");
    const here = await page.evaluate(() => {
      const element = document.activeElement;
      const look = getComputedStyle(element);
      const label = element.labels?.[0]?.innerText || element.innerText || element.getAttribute("aria-label") || "";
      const seen = (look.outlineStyle !== "none" && parseFloat(look.outlineWidth) > 0) || look.boxShadow !== "none";
      return { label: label.trim().split("\n")[0], seen, body: element === document.body };
    });
    if (here.body) continue;
    check(`the focus on “${here.label}” can be seen`, here.seen);
    if (here.label === name || here.label.startsWith(`${name} `)) return;
    passed.push(here.label);
  }
  throw new Error(`Tab does not reach “${name}”; it passed ${passed.join(", ")}`);
}
