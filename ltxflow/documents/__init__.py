"""YAML files with positions, checked against their schemas."""
