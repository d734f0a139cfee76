"""Clients of a service registry over HTTP."""

from __future__ import annotations

try:
    import httpx2 as _httpx2  # noqa: F401 - to say at once what is missing
except ModuleNotFoundError as error:
    raise ImportError("registry.services needs httpx2: install actor-registry[server]") from error

from registry.errors import InvalidField, ServiceNotFound
from registry.services.answers import RegistryHealth, RegistryStats, ServiceCheck
from registry.services.blocking import Kept, ServiceClient
from registry.services.client import AsyncServiceClient
from registry.services.errors import AnswerInvalid, RegistryRefused, RegistryUnreachable, ServicesError
from registry.services.keeping import AsyncKept, KeepState
from registry.state.service_records import ServiceView

__all__ = [
    "AnswerInvalid",
    "AsyncKept",
    "AsyncServiceClient",
    "InvalidField",
    "KeepState",
    "Kept",
    "RegistryHealth",
    "RegistryRefused",
    "RegistryStats",
    "RegistryUnreachable",
    "ServiceCheck",
    "ServiceClient",
    "ServiceNotFound",
    "ServiceView",
    "ServicesError",
]
