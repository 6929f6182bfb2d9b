import type { CalculateMetadataFunction } from "remotion";
import { getRemotionEnvironment } from "remotion";
import { z } from "zod";
import type { LoadedFilm } from "./load";
import { TIMELINE, loadFilm } from "./load";

/** What can be turned in Studio, or with --props. None of it changes a length: that is the timeline's. */
export const filmSchema = z.object({
  showTitles: z.boolean(),
  showCaptions: z.boolean(),
  /** Label the clips that are not final: draft, stale or slate. */
  showStates: z.boolean(),
  /** The clips' own sound, in decibels. */
  soundDb: z.number().min(-60).max(12),
  /** How far it is taken down under the narration. */
  duckDb: z.number().min(-60).max(0),
  /** Render although clips are missing: their time stays, with a card in it. */
  allowGaps: z.boolean(),
});

export type FilmSettings = z.infer<typeof filmSchema>;
export type FilmProps = FilmSettings & { film?: LoadedFilm };

export const DEFAULTS: FilmProps = {
  showTitles: true,
  showCaptions: true,
  showStates: false,
  soundDb: 0,
  duckDb: -12,
  allowGaps: false,
};

/** The film's size, rate and length are the timeline's: nothing is measured, nothing is guessed. */
export const calculateMetadata: CalculateMetadataFunction<FilmProps> = async ({ props, abortSignal }) => {
  const film = await loadFilm(abortSignal);
  const { timeline } = film;
  if (!timeline.complete && !props.allowGaps && getRemotionEnvironment().isRendering) {
    throw new Error(`${TIMELINE} is not complete: run "ltxflow build", or render with --props='{"allowGaps":true}'`);
  }
  return {
    durationInFrames: Math.max(1, timeline.durationInFrames),
    fps: timeline.fps,
    width: timeline.width,
    height: timeline.height,
    props: { ...props, film },
  };
};
