"""The command line: one module a command, the error boundary, the answer cache."""
