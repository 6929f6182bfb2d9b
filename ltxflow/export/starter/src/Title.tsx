import { AbsoluteFill, interpolate, useCurrentFrame, useVideoConfig } from "remotion";

const SECONDS = 2.8;
const FADE_SECONDS = 0.4;

/** A scene's title over its first seconds: low on the left, above the captions. */
export const Title: React.FC<{ text: string }> = ({ text }) => {
  const frame = useCurrentFrame();
  const { fps, width, height } = useVideoConfig();
  const seconds = frame / fps;
  if (seconds >= SECONDS) {
    return null;
  }
  const unit = Math.min(width, height) / 100;
  const opacity = interpolate(seconds, [0, FADE_SECONDS, SECONDS - FADE_SECONDS, SECONDS], [0, 1, 1, 0]);
  return (
    <AbsoluteFill style={{ justifyContent: "flex-end", padding: `0 ${unit * 7}px ${unit * 27}px`, opacity }}>
      <div
        dir="auto"
        style={{
          color: "white",
          fontFamily: "'Noto Sans', 'Segoe UI', system-ui, sans-serif",
          fontSize: unit * 6.4,
          fontWeight: 650,
          letterSpacing: "-0.01em",
          textShadow: `0 ${unit * 0.3}px ${unit * 2.4}px rgba(0, 0, 0, 0.75)`,
        }}
      >
        {text}
      </div>
    </AbsoluteFill>
  );
};
