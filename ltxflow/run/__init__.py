"""Where and when actions run."""
