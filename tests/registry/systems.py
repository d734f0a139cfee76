"""What the tests of a whole system have in common."""

from registry import Backend, BackendStatus, Model

A = Backend(url="http://a:8000", id="a", models=(Model(id="m"),), status=BackendStatus.HEALTHY)
B = Backend(url="http://b:8000", id="b", models=(Model(id="m"),), status=BackendStatus.HEALTHY)
