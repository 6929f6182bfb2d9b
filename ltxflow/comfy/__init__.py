"""One ComfyUI server: graphs, node signatures, HTTP and WebSocket."""
