"""What people see: terminal, live progress, JSON lines."""
