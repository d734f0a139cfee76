"""`GET /v1/models`: what can be asked for right now."""

from __future__ import annotations

import msgspec

# A constant, since two gateways must say the same and no backend's answer says when its model was made.
CREATED = 0


def models_body(models: list[str]) -> bytes:
    """Render the list of models.

    Args:
        models: Identifiers, in the order of the answer.

    Example:
        >>> models_body(["a"])
        b'{"object":"list","data":[{"id":"a","object":"model","created":0,"owned_by":"actor-registry"}]}'
    """
    data = [{"id": model, "object": "model", "created": CREATED, "owned_by": "actor-registry"} for model in models]
    return msgspec.json.encode({"object": "list", "data": data})
