"""What people decide about takes, and how it enters ltxflow.lock."""
