"""Servers of the shared store that are not ours."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

NGINX = """\
daemon off; pid {root}/pid; error_log {root}/error.log; worker_processes 2; user root;
events {{ worker_connections 64; }}
http {{
  access_log off; client_body_temp_path {root}/body; proxy_temp_path {root}/proxy; fastcgi_temp_path {root}/fcgi;
  uwsgi_temp_path {root}/uwsgi; scgi_temp_path {root}/scgi;
  server {{
    listen 127.0.0.1:{port};
    location / {{ root {root}/data; dav_methods PUT; create_full_put_path on; client_max_body_size 0; }}
  }}
}}
"""


@contextmanager
def nginx(root: Path) -> Iterator[str]:
    """Run nginx with WebDAV, as its manual sets up a cache, while the context lasts."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (root / "data").mkdir(parents=True)
    (root / "nginx.conf").write_text(NGINX.format(root=root, port=port))
    process = subprocess.Popen(["nginx", "-e", root / "error.log", "-c", root / "nginx.conf"])
    try:
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert process.poll() is None, (root / "error.log").read_text()
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()
