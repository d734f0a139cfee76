"""What the tests of a whole system have in common."""

from registry import Backend, BackendStatus, BackendType, DiscoverySource, Model, Registry

A = Backend(url="http://a:8000", id="a", models=(Model(id="m"),), status=BackendStatus.HEALTHY)
B = Backend(url="http://b:8000", id="b", models=(Model(id="m"),), status=BackendStatus.HEALTHY)

WHOLE_MODEL = Model(
    id="llama3:70b",
    name="Llama 3",
    context_length=8192,
    supports_vision=True,
    supports_tools=True,
    supports_json_mode=True,
    max_output_tokens=512,
)
WHOLE_BACKEND = Backend(
    url="http://gpu-1:8000",
    id="gpu-1",
    name="GPU 1",
    backend_type=BackendType.VLLM,
    models=(WHOLE_MODEL, Model(id="m")),
    status=BackendStatus.UNHEALTHY,
    priority=-5,
    discovery_source=DiscoverySource.MDNS,
    metadata={"rack": "7"},
)
"""With every field that a backend had at first."""


def emptied(registry: Registry) -> Registry:
    """The registry without a service and without a backend."""
    for service in registry.list_services():
        registry.remove_service(service.name)
    for backend in registry.get_all_backends(fresh=True):
        registry.remove_backend(backend.id)
    return registry
