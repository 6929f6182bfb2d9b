"""Hand-over: one mp4, editors' timelines, Remotion, the storyboard."""
