"""The pages that browsers open, served from a port of their own, so that CORS is real.

In: what a page is to be given. Out: an address. Never: a file from outside `pages` and npm's
packages.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.compat.installed import node_modules

_PAGES = Path(__file__).parent / "pages"
_MODULES = "/node_modules/"


@contextmanager
def served_pages(given: Mapping[str, Any], pages: Mapping[str, str] | None = None) -> Iterator[str]:
    """Serve the pages, what they are given, and other pages by their name."""
    made = {"/given.json": ("application/json", json.dumps(given))}
    made |= {f"/{name}": ("text/html", text) for name, text in (pages or {}).items()}

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path not in made:
                super().do_GET()
                return
            media, text = made[self.path]
            body = text.encode()
            self.send_response(200)
            self.send_header("Content-Type", media)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def translate_path(self, path: str) -> str:
            if path.startswith(_MODULES):
                self.directory = str(node_modules())
                path = path.removeprefix(_MODULES[:-1])
            else:
                self.directory = str(_PAGES)
            return super().translate_path(path)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, name="pages", daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()
