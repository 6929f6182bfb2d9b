import { AbsoluteFill, Sequence } from "remotion";
import type { FilmProps } from "./film-props";
import { SceneView } from "./SceneView";

export const Film: React.FC<FilmProps> = ({ film, ...settings }) => {
  if (!film) {
    return null; // before calculateMetadata has answered
  }
  const { timeline, captions } = film;
  return (
    <AbsoluteFill style={{ backgroundColor: "black" }}>
      {timeline.scenes.map((scene) => (
        <Sequence
          key={scene.id}
          name={scene.title || scene.id}
          from={scene.from}
          durationInFrames={scene.durationInFrames}
          premountFor={timeline.fps}
        >
          <SceneView scene={scene} captions={captions[scene.id] ?? []} settings={settings} />
        </Sequence>
      ))}
    </AbsoluteFill>
  );
};
