"""YAML to a frozen Project, its configuration and its prompts."""
