"""Places to run an action."""
