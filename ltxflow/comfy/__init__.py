"""What a ComfyUI server says and wants: graphs, node signatures, HTTP and WebSocket."""
