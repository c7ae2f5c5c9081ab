// What pages gain from scripts: links that open, times in the viewer's zone, copies, forms checked while they are filled
// in, and parts that move without a reload. Everything but opening a link works without.
"use strict";
(() => {
  const LIVE_EVERY = 3000;
  const CHECK_AFTER = 400;

  // Times: in the viewer's zone, the exact one on hover.
  const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
  const long = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });
  const hour = new Intl.DateTimeFormat(undefined, { weekday: "short", hour: "2-digit", minute: "2-digit" });
  const relative = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });
  const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];

  function ago(seconds) {
    const [unit, size] = UNITS.find(([, size]) => Math.abs(seconds) >= size) || UNITS[3];
    return relative.format(Math.trunc(seconds / size), unit);
  }

  function showTimes(root) {
    for (const time of root.querySelectorAll("time[data-when]")) {
      const at = new Date(time.dateTime);
      if (Number.isNaN(at.getTime())) continue;
      const seconds = (at.getTime() - Date.now()) / 1000;
      const kind = time.dataset.when;
      let text = exact.format(at);
      if (kind === "hour") text = hour.format(at);
      if (kind === "relative" && Math.abs(seconds) < 7 * 86400) text = ago(Math.min(seconds, 0));
      if (kind === "countdown") text = seconds > 0 ? ago(Math.ceil(seconds)) : "any moment now";
      if (time.textContent !== text) time.textContent = text;
      time.title = long.format(at);
    }
  }

  // Times that are asked for: in the viewer's zone as well. What is sent and what stands in the address is UTC.
  const minutes = (at) => at.toISOString().slice(0, 16);
  const asLocal = (at) => minutes(new Date(at.getTime() - at.getTimezoneOffset() * 60000));

  function askTimes() {
    for (const input of document.querySelectorAll("input[type=datetime-local]")) {
      const given = new Date(`${input.value}Z`);
      if (!Number.isNaN(given.getTime())) input.value = asLocal(given);
      for (const zone of input.labels[0].querySelectorAll("[data-zone]")) zone.remove();
      input.form.addEventListener("formdata", ({ formData }) => {
        const asked = new Date(input.value);
        if (!Number.isNaN(asked.getTime())) formData.set(input.name, minutes(asked));
      });
    }
  }

  // Copies.
  function offerCopies(root) {
    if (!navigator.clipboard) return;
    for (const button of root.querySelectorAll("[data-copy]")) {
      button.hidden = false;
      button.addEventListener("click", async () => {
        const source = document.getElementById(button.dataset.copy);
        await navigator.clipboard.writeText(source.textContent);
        const before = button.textContent;
        button.textContent = "Copied";
        setTimeout(() => { button.textContent = before; }, 1500);
      });
    }
  }

  // Parts that move. What someone reads, has opened or is about to press stays where it is.
  function isBusy(part) {
    const selection = document.getSelection();
    const selects = selection && !selection.isCollapsed && part.contains(selection.anchorNode);
    const focused = document.activeElement;
    return selects || (part.contains(focused) && focused !== part && focused.tagName !== "SUMMARY");
  }

  async function refresh(part, last) {
    if (document.hidden || isBusy(part)) return last;
    const response = await fetch(part.dataset.live, { headers: { accept: "text/html" } });
    if (response.status === 401 || response.status === 404) {
      location.reload();
      return last;
    }
    if (!response.ok) throw new Error(String(response.status));
    const text = await response.text();
    // The forms' tokens are other ones each time.
    const content = text.replace(/(name="csrf" value=)"[^"]*"/g, "$1");
    if (content === last || isBusy(part)) return last;
    const open = [...part.querySelectorAll("details[open][id]")].map((details) => details.id);
    const focused = part.contains(document.activeElement) && document.activeElement.closest("details[id]")?.id;
    const fresh = new DOMParser().parseFromString(text, "text/html");
    part.replaceChildren(...fresh.body.childNodes);
    for (const id of open) {
      const details = document.getElementById(id);
      if (details) details.open = true;
    }
    if (focused) document.querySelector(`#${CSS.escape(focused)} > summary`)?.focus({ preventScroll: true });
    showTimes(part);
    offerCopies(part);
    return content;
  }

  function keepLive(part) {
    let last = "";
    const turn = async () => {
      try {
        last = await refresh(part, last);
        part.removeAttribute("data-away");
      } catch {
        part.setAttribute("data-away", "");
      }
      setTimeout(turn, LIVE_EVERY);
    };
    setTimeout(turn, 1000);
  }

  // Forms: the server says what is wrong, beside the fields that were visited.
  function checkForm(form) {
    const visited = new Set();
    let waiting = 0;
    // While a button is pressed nothing may move it away from under the pointer.
    let pressed = false;
    form.addEventListener("pointerdown", (event) => { pressed = Boolean(event.target.closest("button")); });
    addEventListener("pointerup", () => { pressed = false; });
    const check = async () => {
      const body = new URLSearchParams(new FormData(form));
      const response = await fetch(form.dataset.check, { method: "POST", body });
      if (!response.ok) return;
      const mistakes = await response.json();
      if (pressed) return;
      for (const [field, text] of Object.entries(mistakes)) {
        const place = form.querySelector(`[data-error="${field}"]`);
        if (!place || (text && !visited.has(field))) continue;
        if (place.textContent !== text) place.textContent = text;
        const input = form.querySelector(`#${field}`);
        if (input && text) input.setAttribute("aria-invalid", "true");
        else if (input) input.removeAttribute("aria-invalid");
      }
    };
    const fieldOf = (input) => (["filter", "type", "other_types"].includes(input.name) ? "types" : input.name);
    form.addEventListener("change", (event) => {
      visited.add(fieldOf(event.target));
      if (event.target.name === "type") form.querySelector("[name=filter][value=some]").checked = true;
      clearTimeout(waiting);
      waiting = setTimeout(() => check().catch(() => {}), 0);
    });
    form.addEventListener("input", (event) => {
      if (!visited.has(fieldOf(event.target))) return;
      clearTimeout(waiting);
      waiting = setTimeout(() => check().catch(() => {}), CHECK_AFTER);
    });
  }

  // A link that opens: its fragment goes to the server in a body, and out of the address bar at once.
  async function open(place) {
    const token = new URLSearchParams(location.hash.slice(1)).get("token");
    history.replaceState(null, "", location.pathname);
    if (!token) {
      location.replace(place.dataset.home);
      return;
    }
    const response = await fetch(place.dataset.open, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ token }),
    });
    if (response.ok) {
      location.replace((await response.json()).to);
    } else if (response.status === 401) {
      // The page behind says that the session has ended, and what to do.
      const text = await response.text();
      const fresh = new DOMParser().parseFromString(text, "text/html");
      document.title = fresh.title;
      document.querySelector("main").replaceWith(fresh.querySelector("main"));
    } else {
      throw new Error(String(response.status));
    }
  }

  const opening = document.querySelector("[data-open]");
  if (opening) {
    open(opening).catch(() => {
      opening.querySelector("[data-say]").textContent =
        "This did not work: the server does not answer as it should. Open the link again in a moment.";
    });
    return;
  }
  showTimes(document);
  setInterval(() => showTimes(document), 1000);
  askTimes();
  offerCopies(document);
  document.querySelectorAll("[data-live]").forEach(keepLive);
  document.querySelectorAll("[data-check]").forEach(checkForm);
  const mistaken = document.querySelector("[aria-invalid=true]");
  if (mistaken) mistaken.focus();
  // What was just done need not be told again when the page is reloaded.
  if (location.search.includes("done=")) {
    const query = new URLSearchParams(location.search);
    query.delete("done");
    history.replaceState(null, "", location.pathname + (query.size ? `?${query}` : "") + location.hash);
  }
})();
