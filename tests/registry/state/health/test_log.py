"""What the log tells those who run the server about health."""

from __future__ import annotations

import logging

import pytest

from registry.kinds import Outcome
from tests.registry.state.health.wards import HEALTHY, UNHEALTHY, Ward, unchecked


def test_changes_of_a_backend_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """Not each probe, and not a failure that changes nothing yet."""
    ward = Ward(unchecked("a"))
    with caplog.at_level(logging.INFO):
        for status in (HEALTHY, HEALTHY, UNHEALTHY, UNHEALTHY, UNHEALTHY, UNHEALTHY, HEALTHY, HEALTHY, HEALTHY):
            ward.probe(status, error="connection refused")
    url = ward.record().url
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("INFO", "backend a is healthy: m"),
        ("WARNING", f"backend a ({url}) is unhealthy: connection refused"),
        ("INFO", "backend a is healthy: m"),
    ]


def test_failing_requests_are_told(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever reads the log sees that it was not a probe."""
    ward = Ward(unchecked("a"))
    ward.probe(HEALTHY)
    with caplog.at_level(logging.INFO):
        ward.request(Outcome.SERVER_ERROR, 3)
    (record,) = caplog.records
    assert record.message.endswith("is unhealthy: 3 requests in a row failed, the last one with: a server error")


def test_findings_of_a_service_are_told_when_they_are_others(caplog: pytest.LogCaptureFixture) -> None:
    """With its address when it does not answer; and when it is removed for its silence."""
    ward = Ward()
    ward.register("s")
    with caplog.at_level(logging.INFO):
        for status in (HEALTHY, HEALTHY, UNHEALTHY, UNHEALTHY):
            ward.probe(status, error="connection refused")
        ward.live(400)
    assert caplog.messages == [
        "service s is found healthy",
        "service s (http://127.0.0.1:9000/health) is found unhealthy: connection refused",
        "service s gave no sign of life for 300 s and was removed",
    ]
