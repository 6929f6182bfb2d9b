import type { Caption } from "@remotion/captions";
import { TransitionSeries, linearTiming } from "@remotion/transitions";
import { fade } from "@remotion/transitions/fade";
import { AbsoluteFill, Audio, Sequence, useVideoConfig } from "remotion";
import { Captions } from "./Captions";
import { ClipView } from "./ClipView";
import type { FilmSettings } from "./film-props";
import { fileUrl } from "./load";
import { clipVolume } from "./sound";
import type { Clip, Scene } from "./timeline";
import { Title } from "./Title";

type Props = { scene: Scene; captions: Caption[]; settings: FilmSettings };

export const SceneView: React.FC<Props> = ({ scene, captions, settings }) => (
  <AbsoluteFill>
    <Picture scene={scene} settings={settings} />
    <Narration scene={scene} />
    {settings.showTitles && scene.title ? <Title text={scene.title} /> : null}
    {settings.showCaptions ? <Captions captions={captions} /> : null}
  </AbsoluteFill>
);

const isFinal = ({ state }: Clip): boolean => !state || state === "final";

/** Studio's name of a clip: "hook/b (draft)" until it is final. */
const labelOf = (scene: Scene, clip: Clip): string =>
  `${scene.id}/${clip.id}${isFinal(clip) ? "" : ` (${clip.state})`}`;

/** The clips in sequence, each over the previous one for the length of its transition. */
const Picture: React.FC<{ scene: Scene; settings: FilmSettings }> = ({ scene, settings }) => {
  const { fps } = useVideoConfig();
  return (
    <TransitionSeries>
      {scene.clips.flatMap((clip, index) => [
        clip.transition ? (
          <TransitionSeries.Transition
            key={`${clip.id}-in`}
            presentation={fade()}
            timing={linearTiming({ durationInFrames: clip.transition.durationInFrames })}
          />
        ) : null,
        <TransitionSeries.Sequence
          key={clip.id}
          name={labelOf(scene, clip)}
          durationInFrames={clip.durationInFrames}
        >
          <ClipView
            clip={clip}
            name={`${scene.id}/${clip.id}`}
            label={settings.showStates && !isFinal(clip) ? labelOf(scene, clip) : ""}
            volume={(frame) => clipVolume(scene, index, frame, fps, settings)}
          />
        </TransitionSeries.Sequence>,
      ])}
    </TransitionSeries>
  );
};

const Narration: React.FC<{ scene: Scene }> = ({ scene: { id, narration } }) =>
  narration ? (
    <Sequence
      name={`narration ${id}`}
      from={narration.startFrame}
      durationInFrames={narration.durationInFrames}
      layout="none"
    >
      <Audio src={fileUrl(narration.src)} volume={narration.volume} />
    </Sequence>
  ) : null;
