"""Words every floor needs: errors with positions, digests and keys, frames, files, events."""
