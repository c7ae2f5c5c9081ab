// Walks the portal and the console in Chromium, chapter by chapter.
//
//   NODE_MODULES=… SDK_MODULES=… CHROMIUM=… node main.mjs '{"base", "admin", "expired"}' [CHAPTER]
//
// Ends with 1 at the first chapter that does not go as it should, which stderr says.
import { restApi, startBrowser } from "../../../deploy/local/screenshots/browser.mjs";
import { branding } from "./branding.mjs";
import { keyboard } from "./keyboard.mjs";
import { pages } from "./pages.mjs";
import { expiredLink, foreignIds, withoutScripts } from "./safety.mjs";
import { story } from "./story.mjs";
import { startReceiver, until } from "./theatre.mjs";

const { base, admin, expired } = JSON.parse(process.argv[2]);
const api = restApi(base, admin);
const receiver = await startReceiver();
const { browser, close } = await startBrowser();
const complaints = [];
const stage = { base, admin, expired, api, receiver, browser, complain: (text) => complaints.push(text) };

// A neighbour whose ids nobody else may use.
const { id: app } = await api("POST", "/app", { name: "Neighbour" });
const { id: endpoint } = await api("POST", `/app/${app}/endpoint`, { url: `${receiver.url}/foreign` });
const { id: message } = await api("POST", `/app/${app}/msg`, {
  eventType: "sync.organization", payload: { type: "sync.organization", organizationId: "org_9" } });
await until("the neighbour's delivery", () => receiver.at("/foreign").length > 0);
stage.foreign = { app, endpoint, message };

const only = process.argv[3];
const chapters = [story, keyboard, expiredLink, foreignIds, withoutScripts, branding, pages];
for (const chapter of chapters.filter((one) => !only || one.name === only)) {
  const begun = Date.now();
  try {
    await chapter(stage);
  } catch (error) {
    complaints.push(error.stack);
  }
  console.log(`${complaints.length ? "✗" : "✓"} ${chapter.name}: ${((Date.now() - begun) / 1000).toFixed(1)} s`);
  if (complaints.length) break;
}
for (const complaint of complaints) console.error(complaint);
await close();
receiver.close();
process.exit(complaints.length ? 1 : 0);
