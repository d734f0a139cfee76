"""An AI server that does as it is told, run by `python ai_server.py PORT CONTROL`.

CONTROL is a JSON file, read anew for each request: `models` are its models, `said_of_each` what else is said of each of
them, `status` what the pages of models answer, `health` what `/health` answers; with `dated` each list says when it was
made. Before it listens, `fail` makes it exit with this code, and `deaf` lets it never end by SIGTERM. What it is asked
for is added to a file beside CONTROL.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


def told() -> dict[str, Any]:
    """What it is told at this moment."""
    said: dict[str, Any] = json.loads(Path(sys.argv[2]).read_text())
    return said


class Pages(BaseHTTPRequestHandler):
    """Its pages."""

    def do_GET(self) -> None:
        """Answer."""
        now = told()
        with Path(sys.argv[2]).with_suffix(".asked").open("a") as asked:
            asked.write(f"{self.path}\n")
        if self.path == "/health":
            self._say(now.get("health", 404), {})
        elif self.path in now.get("paths", ["/v1/models", "/models"]):
            date = {"created": time.time_ns(), "permission": [{"id": str(time.time_ns())}]} if "dated" in now else {}
            more = {**date, **now.get("said_of_each", {})}
            models = [{"id": id, "object": "model", **more} for id in now.get("models", [])]
            self._say(now.get("status", 200), {"object": "list", "data": models})
        elif self.path == "/seen":
            self._say(200, {"environment": dict(os.environ), "argv": sys.argv, "cwd": str(Path.cwd())})
        else:
            self._say(404, {})

    def _say(self, status: int, body: object) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def leave(*_: object) -> None:
    """End as one that was asked to."""
    sys.stdout.write("the server says goodbye\n")
    sys.stdout.flush()
    sys.exit(0)


def main() -> None:
    """Serve."""
    first = told()
    if "fail" in first:
        sys.stderr.write("the server fails\n")
        sys.exit(first["fail"])
    signal.signal(signal.SIGTERM, signal.SIG_IGN if first.get("deaf") else leave)
    ThreadingHTTPServer.daemon_threads = True
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Pages).serve_forever()


if __name__ == "__main__":
    main()
