"""The public/ tree: placements, timeline, captions, verification."""
