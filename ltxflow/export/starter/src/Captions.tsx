import type { Caption } from "@remotion/captions";
import { Fragment } from "react";
import { AbsoluteFill, useCurrentFrame, useVideoConfig } from "remotion";

/** ltxflow marks words that are italic; @remotion/captions has no such field. */
type Word = Caption & { italic?: boolean };

/** The words of the narration, a page at a time; a page ends where the captions mark it. */
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
          wordBreak: "keep-all",
          overflowWrap: "anywhere",
        }}
      >
        {page.words.map((word, index) => (
          <Fragment key={index}>
            {/* Chinese, Japanese and Thai have no blanks: a line may break between entries, which are whole words. */}
            {index > 0 && !word.text.startsWith(" ") ? <wbr /> : null}
            {word.italic ? <i>{plain(word.text, index)}</i> : plain(word.text, index)}
          </Fragment>
        ))}
      </div>
    </AbsoluteFill>
  );
};

/** A word without markup that was written into it by hand, the first one without its blank. */
const plain = (text: string, index: number): string => {
  const bare = text.replace(/<\/?(?:i|em|b|strong|u|s|font|c|v)(?:[\s.][^<>]*)?>|\{\\[^{}]*\}/gi, "");
  return index === 0 ? bare.trimStart() : bare;
};

type Page = { words: Word[]; startMs: number; endMs: number };

const pages = (captions: Word[]): Page[] => {
  const found: Page[] = [];
  let words: Word[] = [];
  captions.forEach((caption, index) => {
    words.push(caption);
    const first = words[0];
    if (first && (caption.pageBreakAfter || index === captions.length - 1)) {
      found.push({ words, startMs: first.startMs, endMs: caption.endMs });
      words = [];
    }
  });
  return found;
};
