"""How it looks: terminal, JSON lines. Faces only read events."""
