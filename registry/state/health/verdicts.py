"""What a status becomes by what was found."""

from __future__ import annotations

import re
from typing import NamedTuple

from registry.kinds import BackendStatus, Outcome
from registry.state.rules import HealthRules

FINDINGS = frozenset(
    {
        BackendStatus.HEALTHY,
        BackendStatus.UNHEALTHY,
        BackendStatus.WARMING,
        BackendStatus.RATE_LIMITED,
        BackendStatus.MISCONFIGURED,
    }
)
"""What a probe may find."""

TROUBLES = {
    Outcome.UNREACHABLE: "no connection",
    Outcome.TIMEOUT: "no answer in time",
    Outcome.BROKEN: "the answer broke off",
    Outcome.SERVER_ERROR: "a server error",
}
"""The ends of requests that speak against a backend. A wrong request and a client that has left say nothing: breakers
that count those take healthy backends out (sglang#25811)."""


class Verdict(NamedTuple):
    """A status, and what was found in a row."""

    status: BackendStatus
    failures: int
    successes: int


def judge(before: Verdict, found: BackendStatus, rules: HealthRules) -> Verdict:
    """What follows from a finding.

    A healthy backend must fail `failure_threshold` times in a row, an unhealthy one succeed `recovery_threshold`
    times; any other status changes at once. One that drains goes on draining, whatever is found.
    """
    status = before.status
    if found is BackendStatus.HEALTHY:
        failures, successes = 0, before.successes + 1
        recovered = status is not BackendStatus.UNHEALTHY or successes >= rules.recovery_threshold
        becomes = found if recovered else status
    else:
        failures, successes = before.failures + 1, 0
        failed = status is not BackendStatus.HEALTHY or failures >= rules.failure_threshold
        becomes = found if failed else status
    return Verdict(status if status is BackendStatus.DRAINING else becomes, failures, successes)


_NUMBER = re.compile(r"\b(?![1-5]\d\d\b)\d+(?:\.\d+)*")


def is_news(before: str | None, after: str | None) -> bool:
    """Whether a reason says something else than the one before: a time or a counter in it is no news.

    Else each probe of a backend whose errors hold a number would be a durable change. The code of an HTTP status is
    no such number.

    >>> is_news("no answer after 5.01 s", "no answer after 5.02 s")
    False
    >>> is_news("HTTP 500", "HTTP 502"), is_news("no answer", "refused"), is_news(None, "refused")
    (True, True, True)
    """
    if before is None or after is None:
        return before is not after
    return before != after and _NUMBER.sub("#", before) != _NUMBER.sub("#", after)
