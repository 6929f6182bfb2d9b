"""One command per file: arguments in, exit code out. Commands never import each other."""
