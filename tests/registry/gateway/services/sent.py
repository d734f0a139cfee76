"""Requests about services, as bytes."""

from __future__ import annotations

import json
from typing import Any

REGISTRATION: dict[str, Any] = {
    "name": "a",
    "host": "10.0.0.1",
    "port": 8000,
    "hostname": "node-1",
    "url": "http://10.0.0.1:8000",
    "status": "running",
}


def request(method: str, target: str, body: bytes = b"", *fields: str) -> bytes:
    """A request with any method and body."""
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def register(*fields: str, **changes: Any) -> bytes:
    """A registration, with some of its values changed."""
    return request("POST", "/services", json.dumps({**REGISTRATION, **changes}).encode(), *fields)
