"""`actor-registry status`: how the system is, on one screen."""

from __future__ import annotations

from typing import Any

from registry.cli.messages import understood
from registry.cli.options import AsJson, DataDir, Server, call
from registry.cli.output import print_fields, print_json


def status(*, server: Server = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show the server's address, version, revision, and what is in flight."""
    with call(server, data_dir) as client:
        body = client.get("/status")
        url = client.url
    if as_json:
        print_json(body)
        return
    fields = understood(body, dict[str, Any])
    print_fields([("server", url), *((name.replace("_", " "), _text(value)) for name, value in fields.items())])


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {part}" for key, part in value.items()) or "none"
    return str(len(value)) if isinstance(value, list) else str(value)
