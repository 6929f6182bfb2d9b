"""Write timeline.zod.ts, the zod schemas of timeline.schema.json. Run by `make schemas`."""

from pathlib import Path

from ltxflow.export.remotion import timeline_typescript

NAME = "timeline.zod.ts"

if __name__ == "__main__":
    Path(__file__).with_name(NAME).write_text(timeline_typescript()[NAME], "utf-8")
