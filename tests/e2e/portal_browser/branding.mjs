// How the portal looks to customers of somebody: by the app's metadata, by a link, and always to be read.
import { COLOURS, faults } from "../../../deploy/local/screenshots/browser.mjs";
import { check, newTab } from "./theatre.mjs";

const LOGO = "data:image/svg+xml;base64," + btoa(
  '<svg xmlns="http://www.w3.org/2000/svg" width="56" height="28"><script>document.title="run"</script><rect width="56" height="28" fill="#a0f"/></svg>');
// The first is too pale to be read on white, the second too dark on black.
const PALE = "#ffff66";
const DARK = "#1a0033";

// What the head of the page shows.
const shown = (page) => page.evaluate(() => {
  const brand = document.querySelector(".brand");
  const style = getComputedStyle(document.querySelector("a.button"));
  return {
    name: brand.textContent.trim(),
    logo: brand.querySelector("img")?.naturalWidth ?? 0,
    button: style.backgroundColor,
    title: document.title,
  };
});

async function open(stage, app, branding, colorScheme) {
  const { url } = await stage.api("POST", `/auth/app-portal-access/${app}`, { branding });
  const page = await newTab(stage, { colorScheme });
  await page.goto(url);
  await page.waitForURL("**/portal/endpoints");
  await page.waitForSelector("a.button");
  const found = { ...await shown(page), faults: await faults(page, COLOURS) };
  await page.context().close();
  return found;
}

// A name, a logo and a colour of one's own, in light and in dark, from the app and from the link.
export async function branding(stage) {
  const plain = await stage.api("POST", "/app", { name: "Plain" });
  const metadata = { "portal-name": "Globex Events", "portal-accent": PALE };
  const own = await stage.api("POST", "/app", { name: "Globex", metadata });
  for (const scheme of ["light", "dark"]) {
    const usual = await open(stage, plain.id, undefined, scheme);
    check("without a word it is ours", usual.name === "Webhooks" && usual.title.includes("Webhooks"));
    const theirs = await open(stage, own.id, undefined, scheme);
    check("the app's name stands there", theirs.name === "Globex Events" && theirs.title.includes("Globex Events"));
    check("in the app's colour", theirs.button !== usual.button);
    const linked = await open(stage, own.id, { name: "<b>Initech</b>", logo: LOGO, accent: DARK }, scheme);
    check("the link's name goes before it, as text", linked.name === "<b>Initech</b>");
    check("its logo is seen, and runs nothing", linked.logo > 0 && !linked.title.includes("run"));
    check("and its colour", ![usual.button, theirs.button].includes(linked.button));
    for (const [what, found] of Object.entries({ usual, theirs, linked })) {
      check(`${what} can be read in ${scheme}: ${found.faults.join("; ")}`, found.faults.length === 0);
    }
  }
}
