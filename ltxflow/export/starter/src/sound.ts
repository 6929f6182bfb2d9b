import type { FilmSettings } from "./film-props";
import type { Scene } from "./timeline";

// How the clips' sound makes way for the narration: down before it starts, back up a while after it ends.
const ATTACK_SECONDS = 0.15;
const HOLD_SECONDS = 0.25;
const RELEASE_SECONDS = 0.4;

/** What a clip's sound is multiplied by at a frame of the clip: its gain, its crossfades, the narration over it. */
export const clipVolume = (
  scene: Scene,
  index: number,
  frame: number,
  fps: number,
  { soundDb, duckDb }: Pick<FilmSettings, "soundDb" | "duckDb">,
): number => {
  const clip = scene.clips[index];
  if (!clip) {
    return 0;
  }
  const ducked = duckDb * ducking(scene, clip.from + frame, fps);
  return clip.volume * crossfade(scene, index, frame) * 10 ** ((soundDb + ducked) / 20);
};

/** From 0 to 1 while the clip before goes from 1 to 0: together they are always 1. */
const crossfade = (scene: Scene, index: number, frame: number): number => {
  const clip = scene.clips[index];
  const into = clip?.transition?.durationInFrames ?? 0;
  const out = scene.clips[index + 1]?.transition?.durationInFrames ?? 0;
  const left = (clip?.durationInFrames ?? 0) - frame;
  return clamp(into ? frame / into : 1) * clamp(out ? left / out : 1);
};

/** How much of the ducking is on at a frame of the scene, from 0 to 1. */
const ducking = ({ narration }: Scene, frame: number, fps: number): number => {
  if (!narration) {
    return 0;
  }
  const start = narration.startFrame;
  const end = start + narration.durationInFrames + HOLD_SECONDS * fps;
  const down = 1 + (frame - start) / (ATTACK_SECONDS * fps);
  const up = 1 - (frame - end) / (RELEASE_SECONDS * fps);
  return Math.min(clamp(down), clamp(up));
};

const clamp = (value: number): number => Math.min(1, Math.max(0, value));
