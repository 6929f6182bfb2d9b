// A clip: takes in step, wipe, decisions, its prompt.
import { $, $$, ask, complaint, onKey, redraw, say, send, toast } from "./board.js";

const fps = () => Number($("#take-at")?.dataset.fps || 25);
const videos = () => ($("#wipe")?.hidden === false ? [$("#wipe-a"), $("#wipe-b")] : $$(".take video"));
const chosen = () => $('input[name="take"]:checked');

// --- takes in step

const seek = (frame) => {
  for (const video of [...videos(), ...$$(".take video")]) video.currentTime = (frame + 0.5) / fps();
  show(frame);
};
const show = (frame) => {
  if (!$("#take-at")) return;
  $("#take-at").value = frame;
  $("#take-frame").textContent = `${frame}`;
};
const isPlaying = () => $("#play-takes")?.getAttribute("aria-pressed") === "true";
const play = async (on) => {
  const button = $("#play-takes");
  if (!button) return;
  button.setAttribute("aria-pressed", String(on));
  button.textContent = on ? "Stop" : "Play";
  const all = videos();
  for (const video of $$("#compare video")) video.pause();
  if (!on) return seek(Number($("#take-at").value));
  const from = all[0]?.currentTime ?? 0;
  for (const video of all) video.currentTime = from;
  await Promise.allSettled(all.map((video) => video.play()));
};
const tick = () => {
  if (isPlaying()) {
    const [first, ...rest] = videos();
    if (first) {
      for (const video of rest) if (Math.abs(video.currentTime - first.currentTime) > 0.06) video.currentTime = first.currentTime;
      show(Math.min(Number($("#take-at").max), Math.floor(first.currentTime * fps())));
    }
  }
  requestAnimationFrame(tick);
};
requestAnimationFrame(tick);

const step = (by) => {
  play(false);
  seek(Math.min(Number($("#take-at").max), Math.max(0, Number($("#take-at").value) + by)));
};

const wipe = (on) => {
  const box = $("#wipe");
  if (!box) return;
  const was = isPlaying();
  play(false);
  box.hidden = !on;
  $(".take-grid .screen") && $("#compare").classList.toggle("wiping", on);
  $("#to-wipe").setAttribute("aria-pressed", String(on));
  if (on) {
    const picked = $(".take.picked video") ?? $$(".take video")[0];
    const other = $$(".take video").find((v) => v.dataset.take === chosen()?.value && v !== picked) ?? $$(".take video").find((v) => v !== picked);
    $("#wipe-a").src = picked?.src ?? "";
    $("#wipe-b").src = other?.src ?? "";
    $("#wipe-a-name").textContent = picked?.dataset.take ?? "";
    $("#wipe-b-name").textContent = other?.dataset.take ?? "";
    edge();
    seek(Number($("#take-at").value));
  }
  if (was) play(true);
};
const edge = () => {
  const at = Number($("#wipe-at").value);
  $("#wipe-b").style.clipPath = `inset(0 0 0 ${at}%)`;
  $("#wipe .edge").style.left = `${at}%`;
};

document.addEventListener("click", (event) => {
  const { id } = event.target;
  if (id === "play-takes") play(!isPlaying());
  else if (id === "take-back") step(-1);
  else if (id === "take-on") step(1);
  else if (id === "to-wipe") wipe($("#wipe").hidden);
  else if (id === "sound") {
    const on = event.target.getAttribute("aria-pressed") !== "true";
    event.target.setAttribute("aria-pressed", String(on));
    hear();
  }
});
const hear = () => {
  const on = $("#sound")?.getAttribute("aria-pressed") === "true";
  for (const video of $$(".take video")) video.muted = !(on && video.dataset.take === chosen()?.value);
};
document.addEventListener("input", (event) => {
  if (event.target.id === "wipe-at") edge();
  if (event.target.id === "take-at") {
    play(false);
    seek(Number(event.target.value));
  }
});

// --- decisions

const commands = () => {
  for (const code of $$("#decide [data-words]")) {
    const name = chosen()?.dataset.name;
    if (name) code.textContent = code.textContent.replace(/(ltxflow \w+ )\S+/, `$1${name}`);
  }
};
document.addEventListener("change", (event) => {
  if (event.target.name === "take") {
    commands();
    hear();
  }
});

const tell = (text, isBad = false) => {
  const line = $("#outcome");
  if (line) {
    line.textContent = text;
    line.classList.toggle("bad", isBad);
  }
};
const decide = async (button) => {
  const panel = $("#decide");
  const name = chosen()?.dataset.name;
  if (!name) return;
  const { verb } = button.dataset;
  const command = button.parentElement.querySelector(".command").textContent;
  let reason = "";
  if ("reason" in button.dataset || button.dataset.confirm) {
    const text = button.dataset.confirm ?? `Why is ${name} not good? The reason stays with the take.`;
    reason = await ask(button.textContent.replace(" …", ""), text, command, { reason: "reason" in button.dataset });
    if (reason === null) return;
  }
  const answer = await send(`/decide/${verb}`, { target: name, revision: panel.dataset.revision, reason });
  if (answer.status === 200) tell([answer.outcome === "done" ? `Done: ${answer.command}` : "It is so already.", ...answer.notes].join("; "));
  else tell(complaint(answer), true);
  await redraw();
};
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-verb]");
  if (button) decide(button);
});
onKey((key, target) => {
  const go = (id) => {
    const link = $(`#${id}`);
    link?.click();
    return Boolean(link);
  };
  if (key === "p" || key === "a") {
    const button = $(`[data-verb="${key === "p" ? "pick" : "approve"}"]`);
    if (button) decide(button);
    return Boolean(button);
  }
  if (key === "n") return go("go-after");
  if (key === "b") return go("go-before");
  if (key === "," || key === ".") {
    step(key === "," ? -1 : 1);
    return true;
  }
  if (key === " " && !target.closest("button, summary, a, input")) {
    play(!isPlaying());
    return true;
  }
  return false;
});

// --- the prompt

const path = () => decodeURIComponent(location.pathname).replace("/clip/", "");
const list = (problems) => {
  const found = document.createElement("ul");
  for (const each of problems) {
    const item = document.createElement("li");
    item.className = each.level ?? "error";
    item.textContent = [each.code, each.message].filter(Boolean).join(" ") + (each.hint ? ` – ${each.hint}` : "");
    found.append(item);
  }
  return found;
};
const timers = new WeakMap();
document.addEventListener("input", (event) => {
  const form = event.target.closest(".part");
  if (!form || event.target.nodeName !== "TEXTAREA") return;
  const area = event.target;
  $(".part-end", form).hidden = area.value === area.dataset.was;
  clearTimeout(timers.get(form));
  timers.set(form, setTimeout(async () => {
    const text = area.value;
    const answer = await send("/prompt/check", { path: path(), part: form.dataset.part, text });
    if (area.value === text) $(".part-problems", form).replaceChildren(list(answer.problems ?? []));
  }, 250));
});
document.addEventListener("click", (event) => {
  const form = event.target.closest(".part");
  if (!form || !("undo" in event.target.dataset)) return;
  const area = $("textarea", form);
  area.value = area.dataset.was;
  $(".part-end", form).hidden = true;
  $(".part-problems", form).replaceChildren();
  area.focus();
  redraw();
});
document.addEventListener("behind", (event) => {
  const message = `the file has another text now: “${event.detail}” – undo to go on from that`;
  $(".part-problems", event.target).replaceChildren(list([{ level: "error", message }]));
});
document.addEventListener("submit", async (event) => {
  const form = event.target.closest(".part");
  if (!form) return;
  event.preventDefault();
  const area = $("textarea", form);
  clearTimeout(timers.get(form));
  const body = { path: path(), part: form.dataset.part, text: area.value, revision: form.dataset.revision };
  const answer = await send("/prompt/save", body);
  if (answer.status === 200) {
    area.dataset.was = area.value;
    $(".part-end", form).hidden = true;
    const text = `saved to ${answer.file}`;
    toast(text);
    say(text);
    area.focus();
    await redraw();
  } else {
    const text = complaint(answer);
    $(".part-problems", form).replaceChildren(list([{ level: "error", message: text }]));
    say(text);
  }
});

const begin = () => {
  commands();
  const button = $("#play-takes");
  if (button) button.textContent = isPlaying() ? "Stop" : "Play";
};
begin();
document.addEventListener("redrawn", begin);
