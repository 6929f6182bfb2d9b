import { AbsoluteFill, OffthreadVideo } from "remotion";
import { fileUrl } from "./load";
import type { Clip } from "./timeline";

type Props = { clip: Clip; name: string; volume: (frame: number) => number };

export const ClipView: React.FC<Props> = ({ clip, name, volume }) =>
  clip.src ? (
    <OffthreadVideo
      src={fileUrl(clip.src)}
      trimBefore={clip.trimStart}
      muted={!clip.hasAudio}
      volume={volume}
      style={{ width: "100%", height: "100%", objectFit: "cover" }}
    />
  ) : (
    <Missing name={name} />
  );

/** A clip that is not made yet keeps its time. */
const Missing: React.FC<{ name: string }> = ({ name }) => (
  <AbsoluteFill
    style={{
      alignItems: "center",
      justifyContent: "center",
      backgroundColor: "#16181d",
      color: "#8b93a1",
      fontFamily: "system-ui, sans-serif",
      fontSize: "4vmin",
    }}
  >
    {name} is not made yet
  </AbsoluteFill>
);
