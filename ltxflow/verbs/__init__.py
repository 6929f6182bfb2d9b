"""What verbs do to a film, without faces: one module a thing that is done, and the session that all begin with."""
