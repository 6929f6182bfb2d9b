import type { Caption } from "@remotion/captions";
import { getStaticFiles } from "@remotion/studio";
import { getRemotionEnvironment, staticFile } from "remotion";
import place from "../ltxflow.json";
import type { Timeline } from "./timeline";
import { timelineSchema } from "./timeline.zod";

/** Relative to the public folder, as is every `src` in it. */
export const TIMELINE: string = place.timeline;

export type LoadedFilm = {
  timeline: Timeline;
  /** By scene id, in the scene's time. */
  captions: Record<string, Caption[]>;
};

export const loadFilm = async (signal: AbortSignal): Promise<LoadedFilm> => {
  const read = timelineSchema.safeParse(await fetchJson(TIMELINE, signal));
  if (!read.success) {
    const first = read.error.issues[0];
    const where = first ? `${first.path.join(".")}: ${first.message}` : "";
    throw new Error(`${TIMELINE} is not what this was written for (${where}): run "ltxflow export remotion" again`);
  }
  const timeline: Timeline = read.data;
  const spoken = timeline.scenes.flatMap(({ id, script }) => (script.captions ? [{ id, src: script.captions }] : []));
  const loaded = await Promise.all(
    spoken.map(async ({ id, src }) => [id, (await fetchJson(src, signal)) as Caption[]] as const),
  );
  return { timeline, captions: Object.fromEntries(loaded) };
};

const fetchJson = async (src: string, signal: AbortSignal): Promise<unknown> => {
  const response = await fetch(staticFile(src), { signal, cache: "no-store" });
  if (!response.ok) {
    throw new Error(`${src} is missing in ${place.publicDir}: run "ltxflow build" first`);
  }
  return response.json();
};

/** A file's address. In Studio with the time it was written: a clip that is rendered again keeps its name. */
export const fileUrl = (src: string): string => {
  if (!getRemotionEnvironment().isStudio) {
    return staticFile(src);
  }
  const file = getStaticFiles().find(({ name }) => name === src);
  return `${staticFile(src)}?v=${file?.lastModified ?? 0}`;
};
