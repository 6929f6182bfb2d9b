"""ComfyUI workflows: templates rendered in a sandbox, and workflows of others imported."""
