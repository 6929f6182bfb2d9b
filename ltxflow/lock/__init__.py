"""ltxflow.lock: read, write, merge."""
