"""A project that is open: its plan, its gc roots, its revisions."""
