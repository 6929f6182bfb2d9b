"""ComfyUI workflows: templates rendered in a sandbox, and imported workflows."""
