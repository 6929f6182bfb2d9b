"""What other tools use: the published tree and its timeline."""
