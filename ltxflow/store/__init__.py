"""What has been made: blobs, traces, their index, the lock and the journal."""
