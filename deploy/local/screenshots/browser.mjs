// Chromium and axe-core, as the walk that takes pictures and the end-to-end tests both drive them.
//
// Owns the browser's flags, one profile per run that is gone afterwards, and the rule of what is wrong with a page: an
// exception, a broken content security policy, a dialog, something wider than the window, anything axe-core objects to.
// playwright-core and axe-core come from the folder in NODE_MODULES, the browser from CHROMIUM.
import { createRequire } from "node:module";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const require = createRequire(`${process.env.NODE_MODULES}/x.js`);
const { chromium } = require("playwright-core");
const axe = require("axe-core").source;

// What depends on colours alone: enough to look at in dark what was looked at in light.
export const COLOURS = { type: "rule", values: ["color-contrast", "link-in-text-block"] };

const STANDARDS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];

// Starts Chromium; `close` ends it, and its profile with it.
export async function startBrowser() {
  const home = mkdtempSync(join(tmpdir(), "nuncio-chromium-"));
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
    // Everything that Chromium keeps, crash reports and caches included, goes with its profile.
    env: { ...process.env, HOME: home, XDG_CONFIG_HOME: home, XDG_CACHE_HOME: home, TMPDIR: home },
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"],
    timeout: 120000,
  });
  return {
    browser,
    close: async () => {
      await browser.close();
      rmSync(home, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

// Calls `complain` with whatever a page does that no page may do.
export function watch(page, complain) {
  page.on("pageerror", (error) => complain(`${page.url()}: ${error}`));
  page.on("console", (said) => {
    if (said.type() === "error" && !/status of (4\d\d|503)/.test(said.text())) complain(`${page.url()}: ${said.text()}`);
  });
  page.on("dialog", (dialog) => {
    complain(`${page.url()}: a dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
}

// What is wrong with the page as it is now: how it is laid out, and what axe-core says under those of its rules. Each
// as one line.
export async function faults(page, rules = STANDARDS) {
  const found = [];
  const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  if (over > 0) found.push(`${over} px too wide`);
  // Evaluated over the debugging protocol, which the page's content security policy does not concern.
  const session = await page.context().newCDPSession(page);
  const { result, exceptionDetails } = await session.send("Runtime.evaluate", {
    expression: `window.axe ||= (() => { ${axe}; return axe; })(); axe.run({ runOnly: ${JSON.stringify(rules)} }).then((r) => JSON.stringify({
      passes: r.passes.length,
      violations: r.violations.map((v) => [v.id, v.nodes.map((n) => n.target.join(" ") + ": " + (n.any[0]?.message || n.failureSummary))]) }))`,
    awaitPromise: true,
  });
  await session.detach();
  if (exceptionDetails) throw new Error(`axe-core: ${exceptionDetails.exception?.description || exceptionDetails.text}`);
  const { passes, violations } = JSON.parse(result.value);
  if (!passes) found.push("axe-core found nothing to look at");
  for (const [id, nodes] of violations) found.push(`${id}: ${nodes.slice(0, 3).join("; ")}`);
  return found;
}

// A client of the REST API at `base`.
export function restApi(base, token) {
  return async (method, path, body) => {
    const response = await fetch(`${base}/api/v1${path}`, {
      method,
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
      body: body && JSON.stringify(body),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return text && JSON.parse(text);
  };
}
