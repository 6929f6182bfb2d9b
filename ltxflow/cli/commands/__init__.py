"""One verb, one file: arguments in, exit code out. Verbs never import each other."""
