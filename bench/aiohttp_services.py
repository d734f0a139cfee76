"""A service registry of the usual kind: an aiohttp server with a dict and a lock. Imported where aiohttp is installed.

It does what ours does for a heartbeat, a registration and a list, as far as one process can: no owner, no journal, no
probes, and all of it gone with the process.
"""

from __future__ import annotations

import asyncio
import json
import socket
import time
from datetime import UTC, datetime
from functools import partial
from typing import Any

from aiohttp import web

FIELDS = ("name", "host", "port", "hostname", "url", "status")
HEALTHY_S = 120.0

_json = partial(web.json_response, dumps=partial(json.dumps, separators=(",", ":"), ensure_ascii=False))


class Services:
    """The services, and a lock around them."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._services: dict[str, dict[str, Any]] = {}

    async def register(self, request: web.Request) -> web.Response:
        """`POST /services`."""
        body = await request.json()
        for field in FIELDS:
            if field not in body:
                return _json({"error": f"Missing required field: {field}"}, status=400)
        service = {field: body[field] for field in FIELDS}
        service |= {"timestamp": _now(), "last_heartbeat": time.time(), "health_status": "unknown"}
        service["metadata"] = body.get("metadata") or {}
        async with self._lock:
            self._services[service["name"]] = service
        message = f"Service '{service['name']}' registered successfully"
        return _json({"message": message, "service": _shown(service)}, status=201)

    async def heartbeat(self, request: web.Request) -> web.Response:
        """`POST /services/{name}/heartbeat`."""
        name = request.match_info["name"]
        async with self._lock:
            service = self._services.get(name)
            if service is None:
                return _json({"error": f"Service '{name}' not found"}, status=404)
            service["last_heartbeat"] = time.time()
        return _json({"message": "Heartbeat received", "timestamp": _now()})

    async def list(self, request: web.Request) -> web.Response:
        """`GET /services`."""
        wanted = request.query.get("healthy")
        async with self._lock:
            services = [_shown(service) for service in self._services.values()]
        if wanted:
            services = [service for service in services if service["is_healthy"] is (wanted.lower() == "true")]
        return _json({"services": services, "total": len(services), "timestamp": _now()})


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _shown(service: dict[str, Any]) -> dict[str, Any]:
    healthy = service["status"] == "running" and time.time() - service["last_heartbeat"] < HEALTHY_S
    return {**service, "is_healthy": healthy}


def serve(listening: socket.socket) -> None:
    """Answer on a listening socket until the process is killed."""
    services = Services()
    app = web.Application()
    app.router.add_post("/services", services.register)
    app.router.add_post("/services/{name}/heartbeat", services.heartbeat)
    app.router.add_get("/services", services.list)
    web.run_app(app, sock=listening, access_log=None, print=None)
