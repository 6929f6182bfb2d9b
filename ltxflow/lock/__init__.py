"""Read, write and merge ltxflow.lock."""
