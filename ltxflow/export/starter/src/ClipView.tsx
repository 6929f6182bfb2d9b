import { AbsoluteFill, OffthreadVideo } from "remotion";
import { fileUrl } from "./load";
import type { Clip } from "./timeline";

type Props = { clip: Clip; name: string; label: string; volume: (frame: number) => number };

export const ClipView: React.FC<Props> = ({ clip, name, label, volume }) =>
  clip.src ? (
    <>
      <OffthreadVideo
        src={fileUrl(clip.src)}
        trimBefore={clip.trimStart}
        muted={!clip.hasAudio}
        volume={volume}
        style={{ width: "100%", height: "100%", objectFit: "cover" }}
      />
      {label ? <Label text={label} /> : null}
    </>
  ) : (
    <Missing name={name} />
  );

/** What a clip is that is not final. */
const Label: React.FC<{ text: string }> = ({ text }) => (
  <AbsoluteFill style={{ padding: "2vmin" }}>
    <span
      style={{
        alignSelf: "flex-start",
        padding: "0.6vmin 1.6vmin",
        borderRadius: "1vmin",
        backgroundColor: "rgba(10, 12, 16, 0.72)",
        color: "white",
        fontFamily: "system-ui, sans-serif",
        fontSize: "2.6vmin",
      }}
    >
      {text}
    </span>
  </AbsoluteFill>
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
