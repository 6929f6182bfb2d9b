import type { Caption } from "@remotion/captions";
import { AbsoluteFill, useCurrentFrame, useVideoConfig } from "remotion";

/** The words of the narration, a page at a time; a page ends where the captions say so. */
export const Captions: React.FC<{ captions: Caption[] }> = ({ captions }) => {
  const frame = useCurrentFrame();
  const { fps, width, height } = useVideoConfig();
  const now = (frame * 1000) / fps;
  const page = pages(captions).find(({ startMs, endMs }) => startMs <= now && now < endMs);
  if (!page) {
    return null;
  }
  const unit = Math.min(width, height) / 100;
  return (
    <AbsoluteFill style={{ justifyContent: "flex-end", alignItems: "center", paddingBottom: unit * 9 }}>
      <div
        dir="auto"
        style={{
          maxWidth: "82%",
          padding: `${unit}px ${unit * 2.2}px`,
          borderRadius: unit * 1.2,
          backgroundColor: "rgba(8, 10, 14, 0.66)",
          color: "white",
          fontFamily: "'Noto Sans', 'Segoe UI', system-ui, sans-serif",
          fontSize: unit * 4.6,
          fontWeight: 500,
          lineHeight: 1.3,
          textAlign: "center",
          textWrap: "balance",
        }}
      >
        {page.text}
      </div>
    </AbsoluteFill>
  );
};

type Page = { text: string; startMs: number; endMs: number };

const pages = (captions: Caption[]): Page[] => {
  const found: Page[] = [];
  let words: Caption[] = [];
  captions.forEach((caption, index) => {
    words.push(caption);
    const first = words[0];
    if (first && (caption.pageBreakAfter || index === captions.length - 1)) {
      const text = words.map((word) => word.text).join("").trim();
      found.push({ text, startMs: first.startMs, endMs: caption.endMs });
      words = [];
    }
  });
  return found;
};
