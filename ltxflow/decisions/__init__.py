"""Decisions about takes, and what a build writes to the lock."""
