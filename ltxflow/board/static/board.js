// What every page does: follow the board's events, act, keep focus, tell.
const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
const page = document.body.dataset.page;
const csrf = $('meta[name="csrf"]').content;
export const tab = Math.random().toString(36).slice(2, 12);

const stored = (name, value) => {
  try {
    if (value === undefined) return localStorage.getItem(`ltxflow-${name}`);
    value === "" ? localStorage.removeItem(`ltxflow-${name}`) : localStorage.setItem(`ltxflow-${name}`, value);
  } catch { /* storage is switched off */ }
  return value ?? null;
};

// --- changes in place: elements stay, so that focus, playing videos and what was typed survive

export const morph = (old, fresh) => {
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName || (old.id && fresh.id && old.id !== fresh.id)) {
    old.replaceWith(fresh);
    return;
  }
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  if (old.isEqualNode(fresh) || "keep" in old.dataset) return; // "keep": what a script put there stays
  const typed = old.matches("form.part") && $("textarea", old);
  if (typed && typed.value !== typed.dataset.was) {
    const now = $("textarea", fresh)?.dataset.was;
    if (now !== typed.dataset.was) old.dispatchEvent(new CustomEvent("behind", { bubbles: true, detail: now ?? "" }));
    return; // what a person types is theirs, and so is the revision that it is based on
  }
  for (const { name } of [...old.attributes]) {
    const isOurs = name === "style" || name === "open" || (old.nodeName === "BUTTON" && name === "aria-pressed") || name === "hidden";
    if (!fresh.hasAttribute(name) && !isOurs && !name.startsWith("data-js")) old.removeAttribute(name);
  }
  for (const { name, value } of [...fresh.attributes]) {
    if (old.nodeName === "BUTTON" && name === "aria-pressed") continue;
    if (name === "open" || (name === "style")) continue;
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  if (old.nodeName === "TEXTAREA") old.value = fresh.value;
  if (old.nodeName === "INPUT" && old.type === "radio" && fresh.defaultChecked !== old.defaultChecked) {
    old.checked = fresh.defaultChecked;
  }
  if (old.nodeName === "PROGRESS") old.value = fresh.value;
  const byId = new Map([...old.children].filter((child) => child.id).map((child) => [child.id, child]));
  let at = old.firstChild;
  for (const child of [...fresh.childNodes]) {
    const known = child.id ? byId.get(child.id) : null;
    if (known) {
      if (known !== at) old.insertBefore(known, at);
      else at = at.nextSibling;
      morph(known, child);
    } else if (at && !(at.id && byId.has(at.id)) && at.nodeName === child.nodeName && !child.id && !at.dataset?.js) {
      const next = at.nextSibling;
      morph(at, child);
      at = next;
    } else {
      old.insertBefore(child, at);
    }
  }
  while (at) {
    const next = at.nextSibling;
    if (!at.dataset?.js) at.remove();
    at = next;
  }
};

const parsed = (html) => {
  const template = document.createElement("template");
  template.innerHTML = html;
  return template.content.firstElementChild;
};

const put = (holder, html) => {
  const fresh = parsed(`<div>${html}</div>`);
  if (!holder) return;
  for (const attribute of [...holder.attributes]) fresh.setAttribute(attribute.name, attribute.value);
  morph(holder, fresh);
};

let reloading = null;
/** Draw the whole page again from the server, in place. */
export const redraw = () => {
  if (page === "player") {
    document.dispatchEvent(new CustomEvent("timeline"));
    return Promise.resolve();
  }
  reloading ??= (async () => {
    await new Promise((done) => setTimeout(done, 30));
    const answer = await fetch(location.pathname + location.search);
    const text = await answer.text();
    reloading = null;
    const fresh = new DOMParser().parseFromString(text, "text/html");
    if (answer.ok || answer.status === 404) {
      morph($("#main"), document.adoptNode($("#main", fresh)));
      document.dispatchEvent(new CustomEvent("redrawn"));
    }
  })().catch(() => { reloading = null; });
  return reloading;
};

const overview = async () => {
  const answer = await fetch("/overview");
  if (!answer.ok) return;
  put($("#head"), await answer.text());
  document.dispatchEvent(new CustomEvent("redrawn"));
};

const due = new Map();
/** Do something once within this time, however often it is asked for. */
const soon = (act, within) => {
  if (!due.has(act)) due.set(act, setTimeout(() => { due.delete(act); act(); }, within));
};

// --- telling

const waiting = new Set();
let lastSaid = 0;
let timer = 0;
/** Say a line to a screen reader: politely, and no more often than every 4 seconds. */
export const say = (text) => {
  if (text) waiting.add(text);
  const wait = Math.max(0, lastSaid + 4000 - Date.now());
  timer ||= setTimeout(() => {
    timer = 0;
    lastSaid = Date.now();
    const lines = [...waiting];
    waiting.clear();
    $("#live").textContent = lines.length > 3 ? `${lines.slice(-2).join(". ")}, and ${lines.length - 2} more` : lines.join(". ");
  }, wait);
};

export const toast = (text, level = "info") => {
  const shown = document.createElement("p");
  shown.className = `toast ${level}`;
  shown.textContent = text;
  $("#toasts").append(shown);
  while ($("#toasts").childElementCount > 4) $("#toasts").firstElementChild.remove();
  setTimeout(() => shown.remove(), level === "error" ? 12000 : 6000);
};

const notify = (text) => {
  if (stored("notify") === "on" && window.Notification?.permission === "granted" && document.hidden) {
    new Notification(document.title, { body: text });
  }
};

// --- asking and acting

export const send = async (address, body) => {
  const answer = await fetch(address, {
    method: "POST",
    headers: { "content-type": "application/json", "x-csrf-token": csrf, "x-tab": tab },
    body: JSON.stringify(body),
  });
  const text = await answer.text();
  try {
    return { status: answer.status, ...JSON.parse(text) };
  } catch {
    return { status: answer.status, problems: [{ message: text.trim() || `the board answered ${answer.status}`, hint: "" }] };
  }
};

/** Ask before something that costs or loses; return the reason that was typed, "" without, null for no. */
export const ask = (title, text, command, { reason = false } = {}) =>
  new Promise((done) => {
    const dialog = $("#ask");
    $("#ask-title").textContent = title;
    $("#ask-text").textContent = text;
    $("#ask-command").textContent = command;
    $("#ask-yes").textContent = title;
    $("#ask-reason-line").hidden = !reason;
    $("#ask-reason").value = "";
    dialog.returnValue = "no";
    dialog.addEventListener("close", () => done(dialog.returnValue === "yes" ? $("#ask-reason").value.trim() : null), { once: true });
    dialog.showModal();
    (reason ? $("#ask-reason") : $("#ask-yes")).focus();
  });

export const complaint = (answer) =>
  answer.conflict ? `${answer.conflict}. Now: ${answer.now}` : (answer.problems ?? []).map((p) => (p.hint ? `${p.message} – ${p.hint}` : p.message)).join("; ");

$("#ask-reason").addEventListener("keydown", (event) => {
  if (event.key === "Enter") {
    event.preventDefault(); // the first button of the form says no
    $("#ask").close("yes");
  }
});

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-do]");
  if (!button) return;
  const command = button.parentElement.querySelector(".command")?.textContent ?? "";
  let reason = "";
  if (button.dataset.confirm) {
    reason = await ask(button.textContent.replace(" …", ""), button.dataset.confirm, command, { reason: "reason" in button.dataset });
    if (reason === null) return;
  }
  const clips = (button.dataset.clips ?? "").split(" ").filter(Boolean);
  const answer = await send(`/do/${button.dataset.do}`, { clips, reason });
  const text = answer.status === 200 ? `started: ${answer.command}` : complaint(answer);
  toast(text, answer.status === 200 ? "info" : "error");
  say(text);
});

// --- settings

const settings = $("#settings");
$("#open-settings").addEventListener("click", () => settings.showModal());
for (const radio of $$('input[name="theme"]')) {
  radio.checked = (stored("theme") ?? "") === radio.value;
  radio.addEventListener("change", () => {
    stored("theme", radio.value);
    radio.value ? (document.documentElement.dataset.theme = radio.value) : delete document.documentElement.dataset.theme;
  });
}
$("#set-keys").checked = stored("keys") !== "off";
$("#set-keys").addEventListener("change", (event) => stored("keys", event.target.checked ? "" : "off"));
$("#set-notify").checked = stored("notify") === "on";
$("#set-notify").addEventListener("change", async (event) => {
  if (event.target.checked && (await window.Notification?.requestPermission()) !== "granted") event.target.checked = false;
  stored("notify", event.target.checked ? "on" : "");
});

/** Call `act` with the key for single keys that nothing else wants; they can be switched off. */
export const onKey = (act) =>
  document.addEventListener("keydown", (event) => {
    const { target } = event;
    if (event.ctrlKey || event.metaKey || event.altKey || stored("keys") === "off" || $("dialog[open]")) return;
    if (target.closest('textarea, select, input:not([type="range"]):not([type="radio"]):not([type="checkbox"])')) return;
    if (act(event.key.toLowerCase(), target, event)) event.preventDefault();
  });

// --- events

const short = (seconds) => (seconds < 90 ? `${seconds} s` : `${Math.round(seconds / 60)} min`);

const onRun = (run) => {
  $("#run").hidden = !run.is_running;
  $("#run-count").textContent = `${run.done} of ${run.total}`;
  $("#run-left").textContent = run.left_s === null ? "" : `${short(run.left_s)} left`;
  $("#run-bar").value = run.fraction;
  for (const each of run.running) {
    const holders = [document.getElementById(`clip-${each.path.replaceAll("/", "--")}`), $(`#doing[data-clip="${each.path}"]`)];
    for (const holder of holders.filter(Boolean)) {
      const bar = $("progress", holder);
      if (!bar) continue;
      bar.value = each.fraction;
      $(".step", holder).textContent = each.text;
      $(".left", holder).textContent = each.left_s === null ? "" : `${short(each.left_s)} left`;
    }
  }
};

let updates = [];
const onClip = ({ path, html, by }) => {
  const began = performance.now();
  const card = document.getElementById(`clip-${path.replaceAll("/", "--")}`);
  if (card) morph(card, parsed(html));
  if (page === "clip" && location.pathname === `/clip/${path}`) redraw();
  else if (page === "clip" && $$(".neighbour a").some((link) => link.getAttribute("href") === `/clip/${path}`)) redraw();
  else if (page === "plan" || page === "build") redraw();
  updates.push(performance.now() - began);
  updates = updates.slice(-50);
};

const handlers = {
  run: onRun,
  clip: onClip,
  film: () => redraw(),
  timeline: () => document.dispatchEvent(new CustomEvent("timeline")),
  head: () => page === "storyboard" && overview(),
  live: () => page === "build" && soon(redraw, 700),
  jobs: ({ html }) => put($("#jobs"), html),
  problem: ({ html }) => put($("#problems"), html),
  note: ({ text, by, level }) => {
    if (by !== tab) {
      toast(text, level);
      say(text);
    }
  },
  finished: ({ text, ok }) => {
    toast(text, ok ? "info" : "error");
    say(text);
    notify(text);
    document.dispatchEvent(new CustomEvent("timeline"));
    redraw();
  },
  reset: () => redraw(),
};

let last = $('meta[name="events"]').content;
let source = null;
let hiddenTimer = 0;
const connect = () => {
  if (source) return;
  source = new EventSource(`/events?after=${encodeURIComponent(last)}`);
  for (const [kind, handle] of Object.entries(handlers)) {
    source.addEventListener(kind, (event) => {
      last = event.lastEventId || last;
      handle(JSON.parse(event.data));
    });
  }
  source.addEventListener("open", () => (document.documentElement.dataset.jsLive = "yes"));
  source.addEventListener("error", () => {
    delete document.documentElement.dataset.jsLive;
    if (source?.readyState === EventSource.CLOSED) {
      source = null;
      setTimeout(connect, 3000);
    }
  });
};
const disconnect = () => {
  source?.close();
  source = null;
};
// A browser keeps six connections to one host: a page that nobody sees gives its own back.
document.addEventListener("visibilitychange", () => {
  clearTimeout(hiddenTimer);
  if (!document.hidden) connect();
  else if (stored("notify") !== "on") hiddenTimer = setTimeout(disconnect, 30000);
});
addEventListener("pagehide", disconnect);
addEventListener("pageshow", connect);
connect();

const clocks = () => {
  for (const time of $$("time[data-at]")) {
    time.textContent ||= new Date(Number(time.dataset.at) * 1000).toLocaleTimeString();
  }
};
clocks();
document.addEventListener("redrawn", clocks);
window.ltxflow = { updates: () => updates }; // for benchmarks

export { $, $$, stored };
const parts = { storyboard: "storyboard.js", clip: "clip.js", player: "player.js" };
if (parts[page]) import(`/static/${parts[page]}`);
