"""Build a film: load, plan, approve, make, publish."""
