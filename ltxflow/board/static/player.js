// The film as it stands, from its timeline: every frame is the timeline's. Three video elements: the clip, the one it
// fades from, the next one, loading.
import { $, onKey } from "./board.js";

const layers = [0, 1, 2].map((n) => ({ video: $(`#layer-${n}`), clip: null }));
const words = $("#words");
const voice = new Audio();
voice.preload = "auto";
let film = null;
let clips = [];
let frame = 0;
let speed = 0;
let began = { at: 0, frame: 0 };
let loop = 0;

const clamp = (value) => Math.min(1, Math.max(0, value));
const media = (src, sha) => `/media/public/${src.split("/").map(encodeURIComponent).join("/")}${sha ? `?d=${sha.slice(0, 12)}` : ""}`;

const load = async () => {
  film = await (await fetch("/timeline.json")).json();
  if (!film.scenes) return;
  $("#player").hidden = false;
  clips = film.scenes.flatMap((scene) =>
    scene.clips.map((clip, index) => ({ ...clip, scene, index, path: `${scene.id}/${clip.id}`, start: clip.absoluteFrom, end: clip.absoluteFrom + clip.durationInFrames, next: scene.clips[index + 1] })),
  );
  for (const layer of layers) layer.clip = null;
  words.src = film.captions ? `${media(film.captions.vtt)}?d=${Date.now()}` : ""; // edited by hand, too
  words.track.mode = "hidden"; // its lines are shown in step with the film, which is more than one video
  $("#p-at").max = film.durationInFrames - 1;
  $("#p-clips").replaceChildren(...clips.map(jump));
  seek(Math.min(frame, film.durationInFrames - 1));
};

const jump = (clip) => {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = clip.path;
  button.addEventListener("click", () => seek(clip.start));
  clip.button = button;
  return button;
};

// --- what is seen and heard at a frame

const at = (where) => clips.filter((clip) => clip.start <= where && where < clip.end);
const layerOf = (clip) => {
  let layer = layers.find((each) => each.clip === clip);
  if (!layer) {
    const busy = new Set(at(frame));
    layer = layers.find((each) => !busy.has(each.clip)) ?? layers[0];
    layer.clip = clip;
    layer.video.src = media(clip.src, clip.sha256);
  }
  return layer;
};
const volumeOf = (clip, where) => {
  const local = where - clip.start;
  const into = clip.transition?.durationInFrames ?? 0;
  const out = clip.next?.transition?.durationInFrames ?? 0;
  const { narration } = clip.scene;
  let duck = 0;
  if (narration) {
    const inScene = where - clip.scene.from;
    const end = narration.startFrame + narration.durationInFrames + 0.25 * film.fps;
    duck = Math.min(clamp(1 + (inScene - narration.startFrame) / (0.15 * film.fps)), clamp(1 - (inScene - end) / (0.4 * film.fps)));
  }
  const fade = clamp(into ? local / into : 1) * clamp(out ? (clip.durationInFrames - local) / out : 1);
  return clamp(clip.volume * fade * 10 ** ((-6 - 12 * duck) / 20) * ($("#p-volume").value / 100));
};

/** Show one frame of the film. Videos are sought to the middle of their frame, so that rounding cannot miss it. */
const draw = (isSeek) => {
  const now = at(frame);
  const fades = new Map(now.map((clip, index) => [clip, index && clip.transition ? clamp((frame - clip.start) / clip.transition.durationInFrames) : 1]));
  for (const layer of layers) if (!fades.has(layer.clip)) {
    layer.video.style.opacity = 0;
    layer.video.pause();
  }
  now.forEach((clip, index) => {
    if (!clip.src) return;
    const { video } = layerOf(clip);
    const wanted = (frame - clip.start + clip.trimStart + 0.5) / film.fps;
    video.style.zIndex = index + 1;
    video.style.opacity = fades.get(clip);
    video.muted = !clip.hasAudio || speed !== 1;
    video.volume = volumeOf(clip, frame);
    const isOff = Math.abs(video.currentTime - wanted) > (speed === 1 ? 2.2 : 0.4) / film.fps;
    if (isSeek || speed < 0 || isOff) video.currentTime = wanted;
    if (speed > 0 && video.paused) video.play().catch(() => {});
    if (speed > 0) video.playbackRate = speed;
    if (speed <= 0) video.pause();
  });
  const ahead = clips.find((clip) => clip.start > frame);
  if (ahead?.src && ahead.start - frame < 4 * film.fps && !layers.some((each) => each.clip === ahead) && now.length < 3) {
    const { video } = layerOf(ahead);
    video.currentTime = (ahead.trimStart + 0.5) / film.fps;
  }
  const top = now.at(-1);
  const slate = $("#slate");
  slate.hidden = Boolean(top?.src);
  if (top && !top.src) slate.textContent = `${top.path} is not made yet`;
  speak(top?.scene, isSeek);
  caption();
  $("#p-time").textContent = `${Math.floor(frame / film.fps / 60)}:${String(Math.floor(frame / film.fps) % 60).padStart(2, "0")}:${String(frame % film.fps).padStart(2, "0")}`;
  $("#p-clip").textContent = top ? `${top.path}, frame ${frame - top.start}${top.isStandIn ? " (stand-in)" : top.isStale ? " (stale)" : ""}` : "";
  if (document.activeElement !== $("#p-at") || speed) $("#p-at").value = frame;
  $("#p-at").setAttribute("aria-valuetext", `${$("#p-time").textContent}, ${top?.path ?? ""}`);
  for (const clip of clips) clip === top ? clip.button.setAttribute("aria-current", "true") : clip.button.removeAttribute("aria-current");
  $("#player").dataset.jsFrame = frame;
};

const speak = (scene, isSeek) => {
  const narration = scene?.narration;
  if (!narration) return voice.pause();
  const wanted = (frame - scene.from - narration.startFrame) / film.fps;
  const src = media(narration.src);
  if (!voice.src.endsWith(src)) voice.src = src;
  voice.volume = clamp(narration.volume * ($("#p-volume").value / 100));
  if (speed !== 1 || wanted < 0 || wanted >= narration.seconds) return voice.pause();
  if (isSeek || voice.paused || Math.abs(voice.currentTime - wanted) > 0.12) voice.currentTime = wanted;
  if (voice.paused) voice.play().catch(() => {});
};

const caption = () => {
  const now = (frame + 0.5) / film.fps;
  const cue = [...(words.track.cues ?? [])].find(({ startTime, endTime }) => startTime <= now && now < endTime);
  const line = $("#caption");
  const text = cue?.getCueAsHTML().textContent ?? "";
  line.hidden = !text || $("#p-captions").getAttribute("aria-pressed") !== "true";
  if (line.textContent !== text) line.textContent = text;
};
words.addEventListener("load", () => film?.scenes && caption());

// --- time: the clock decides, the videos follow

const run = () => {
  if (!speed) return;
  const passed = ((performance.now() - began.at) / 1000) * film.fps * speed;
  const next = Math.floor(began.frame + passed);
  if (next >= film.durationInFrames || next < 0) {
    frame = next < 0 ? 0 : film.durationInFrames - 1;
    return play(0);
  }
  if (next !== frame) {
    frame = next;
    draw(false);
  }
  loop = requestAnimationFrame(run);
};
const play = (value) => {
  cancelAnimationFrame(loop);
  if (!film?.scenes) return;
  if (value > 0 && frame >= film.durationInFrames - 1) frame = 0;
  speed = value;
  began = { at: performance.now(), frame: frame + 0.001 };
  $("#p-play").textContent = speed ? "Stop" : "Play";
  $("#p-play").setAttribute("aria-pressed", String(Boolean(speed)));
  draw(true);
  if (speed) loop = requestAnimationFrame(run);
};
const seek = (to) => {
  if (!film?.scenes) return;
  frame = Math.min(film.durationInFrames - 1, Math.max(0, to));
  began = { at: performance.now(), frame: frame + 0.001 };
  draw(true);
};
const hop = (by) => {
  const starts = clips.map((clip) => clip.start);
  seek(by > 0 ? (starts.find((start) => start > frame) ?? frame) : (starts.findLast((start) => start < frame - (speed ? 12 : 0)) ?? 0));
};
const stepBy = (by) => {
  play(0);
  seek(frame + by);
};

$("#p-play")?.addEventListener("click", () => play(speed ? 0 : 1));
$("#p-back")?.addEventListener("click", () => stepBy(-1));
$("#p-on")?.addEventListener("click", () => stepBy(1));
$("#p-before")?.addEventListener("click", () => hop(-1));
$("#p-after")?.addEventListener("click", () => hop(1));
$("#p-at")?.addEventListener("input", (event) => seek(Number(event.target.value)));
$("#p-volume")?.addEventListener("input", () => film?.scenes && draw(false));
$("#p-captions")?.addEventListener("click", (event) => {
  event.currentTarget.setAttribute("aria-pressed", String(event.currentTarget.getAttribute("aria-pressed") !== "true"));
  if (film?.scenes) draw(false);
});
onKey((key, target) => {
  if (key === " " && target.closest("button, a, summary, input[type=checkbox], input[type=radio]")) return false;
  const acts = {
    " ": () => play(speed ? 0 : 1),
    k: () => play(0),
    l: () => play(speed > 0 ? Math.min(4, speed * 2) : 1),
    j: () => play(speed < 0 ? Math.max(-4, speed * 2) : -1),
    ",": () => stepBy(-1),
    ".": () => stepBy(1),
  };
  acts[key]?.();
  return key in acts;
});
document.addEventListener("timeline", load);
addEventListener("hashchange", () => seek(Number(location.hash.slice(1)) || 0));
frame = Number(location.hash.slice(1)) || 0;
load();

// For tests: whether each visible layer shows the frame that the timeline says.
window.player = {
  seek,
  frame: () => frame,
  layers: () => layers.filter(({ video }) => Number(video.style.opacity) > 0).map(({ video, clip }) => ({ layer: layers.findIndex((each) => each.video === video), path: clip.path, opacity: Number(video.style.opacity), time: video.currentTime, isSeeking: video.seeking, ready: video.readyState })),
};
