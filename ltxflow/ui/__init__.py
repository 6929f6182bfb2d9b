"""Output: terminal, live progress, JSON lines."""
