// The storyboard: arrow keys in film order, filters, size, a clip that plays where it is.
import { $, $$, onKey, stored } from "./board.js";

const links = () => $$(".clip .still");
const shown = new Set();

// One stop of the tab key for each scene; arrow keys go on from there.
const rove = () => {
  for (const scene of $$(".scene")) {
    const own = $$(".still", scene);
    const current = own.find((link) => link === document.activeElement) ?? own.find((link) => link.tabIndex === 0 && link.dataset.jsRoved) ?? own[0];
    for (const link of own) {
      const index = link === current ? 0 : -1;
      if (link.tabIndex !== index || !link.dataset.jsRoved) {
        link.tabIndex = index; // only where it changes: there may be thousands
        link.dataset.jsRoved = "yes";
      }
    }
  }
};

const go = (link) => {
  if (!link) return;
  link.focus();
  rove();
  link.scrollIntoView({ block: "nearest", inline: "nearest" });
};

const middle = (link) => {
  const box = link.getBoundingClientRect();
  return box.left + box.width / 2;
};

document.addEventListener("keydown", (event) => {
  const link = event.target.closest?.(".still");
  if (!link || event.ctrlKey || event.metaKey || event.altKey) return;
  const all = links();
  const at = all.indexOf(link);
  if (event.key === "ArrowRight") go(all[at + 1]);
  else if (event.key === "ArrowLeft") go(all[at - 1]);
  else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    const scene = link.closest(".scene");
    const other = event.key === "ArrowDown" ? scene.nextElementSibling : scene.previousElementSibling;
    const near = other && $$(".still", other).sort((a, b) => Math.abs(middle(a) - middle(link)) - Math.abs(middle(b) - middle(link)))[0];
    go(near);
  } else if (event.key === "Home") go($$(".still", link.closest(".scene"))[0]);
  else if (event.key === "End") go($$(".still", link.closest(".scene")).at(-1));
  else return;
  event.preventDefault();
});

// --- play in place

const calm = matchMedia("(prefers-reduced-motion: reduce)");
const stop = (link) => {
  link.querySelector("video")?.remove();
};
const play = (link) => {
  if (!link.dataset.video || link.querySelector("video")) return;
  const video = document.createElement("video");
  Object.assign(video, { src: link.dataset.video, muted: true, loop: true, playsInline: true });
  video.dataset.js = "yes";
  video.tabIndex = -1;
  link.append(video);
  video.play().catch(() => {});
};
let timer = 0;
const scenes = $("#scenes");
scenes?.addEventListener("pointerover", (event) => {
  const link = event.target.closest(".still");
  if (!link || calm.matches || event.pointerType !== "mouse") return;
  clearTimeout(timer);
  timer = setTimeout(() => play(link), 180);
});
scenes?.addEventListener("pointerout", (event) => {
  const link = event.target.closest(".still");
  if (!link || link.contains(event.relatedTarget)) return;
  clearTimeout(timer);
  stop(link);
});
onKey((key, target) => {
  const link = target.closest?.(".still");
  if (key !== " " || !link) return false;
  link.querySelector("video") ? stop(link) : play(link);
  return true;
});

// --- filters and size

const filter = () => {
  for (const button of $$("[data-filter]")) button.setAttribute("aria-pressed", String(shown.has(button.dataset.filter)));
  for (const scene of $$(".scene")) {
    let any = false;
    for (const clip of $$(".clip", scene)) {
      const fits = !shown.size || shown.has(clip.dataset.state) || (shown.has("look") && "look" in clip.dataset);
      if (clip.classList.contains("dim") === fits) clip.classList.toggle("dim");
      any ||= fits;
    }
    if (scene.hidden === any) scene.hidden = !any;
  }
};
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-filter]");
  if (button) {
    const name = button.dataset.filter;
    shown.has(name) ? shown.delete(name) : shown.add(name);
    filter();
  }
  const size = event.target.closest("[data-zoom]");
  if (size) zoom(size.dataset.zoom);
  const segment = event.target.closest("[data-go]");
  if (segment) {
    const clip = document.getElementById(segment.dataset.go);
    clip?.scrollIntoView({ block: "center" });
    go($(".still", clip));
  }
});
const zoom = (value) => {
  stored("zoom", value === "m" ? "" : value);
  value === "m" ? delete document.documentElement.dataset.zoom : (document.documentElement.dataset.zoom = value);
  for (const button of $$("button[data-zoom]")) button.setAttribute("aria-pressed", String(button.dataset.zoom === value));
};
zoom(stored("zoom") ?? "m");
rove();
document.addEventListener("redrawn", () => {
  filter();
  rove();
});
