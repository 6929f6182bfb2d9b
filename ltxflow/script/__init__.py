"""What you wrote: YAML with positions, profiles, templates, prompts; load() freezes it into a Project."""
