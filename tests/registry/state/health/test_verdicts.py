"""What a status becomes by what was found: every status with every finding."""

import pytest

from registry.kinds import BackendStatus
from registry.state.health.verdicts import FINDINGS, Verdict, is_news, judge
from registry.state.rules import HealthRules

H, U, K, D, W, R, M = BackendStatus
BAD = (U, W, R, M)

EXPECTED: dict[BackendStatus, dict[BackendStatus, list[BackendStatus]]] = {
    H: {H: [H, H, H], **{found: [H, H, found] for found in BAD}},
    U: {H: [U, H, H], **{found: [found] * 3 for found in BAD}},
    K: {found: [found] * 3 for found in (H, *BAD)},
    W: {found: [found] * 3 for found in (H, *BAD)},
    R: {found: [found] * 3 for found in (H, *BAD)},
    M: {found: [found] * 3 for found in (H, *BAD)},
    D: {found: [D] * 3 for found in (H, *BAD)},
}
"""The status after one, two and three findings of one kind."""


def seen(status: BackendStatus, *findings: BackendStatus, rules: HealthRules | None = None) -> list[BackendStatus]:
    """The status after each finding."""
    verdict = Verdict(status, 0, 0)
    statuses = []
    for found in findings:
        verdict = judge(verdict, found, rules or HealthRules())
        statuses.append(verdict.status)
    return statuses


@pytest.mark.parametrize("found", sorted(FINDINGS))
@pytest.mark.parametrize("status", BackendStatus)
def test_each_status_with_each_finding(status: BackendStatus, found: BackendStatus) -> None:
    """A healthy backend fails three times, an unhealthy one succeeds twice, any other status follows at once."""
    assert seen(status, found, found, found) == EXPECTED[status][found]


@pytest.mark.parametrize(
    ("status", "findings", "statuses"),
    [
        (H, (U, U, H, U, U, H), (H, H, H, H, H, H)),
        (H, (U, R, M), (H, H, M)),
        (H, (M, U, W, H), (H, H, W, H)),
        (U, (H, U, H, H), (U, U, U, H)),
        (U, (H, W, H), (U, W, H)),
        (K, (U, H, H), (U, U, H)),
        (K, (H, U, U, U, H, H), (H, H, H, U, U, H)),
    ],
)
def test_only_what_comes_in_a_row_counts(
    status: BackendStatus, findings: tuple[BackendStatus, ...], statuses: tuple[BackendStatus, ...]
) -> None:
    """One finding of the other kind begins the count anew; failures of different kinds are of one kind."""
    assert seen(status, *findings) == list(statuses)


@pytest.mark.parametrize("threshold", [1, 2, 5])
def test_thresholds_are_settings(threshold: int) -> None:
    """A threshold is met by that many findings, and by no fewer."""
    rules = HealthRules(failure_threshold=threshold, recovery_threshold=threshold)
    assert seen(H, *[U] * threshold, rules=rules) == [H] * (threshold - 1) + [U]
    assert seen(U, *[H] * threshold, rules=rules) == [U] * (threshold - 1) + [H]


@pytest.mark.parametrize(
    ("before", "after", "news"),
    [
        (None, None, False),
        (None, "refused", True),
        ("refused", None, True),
        ("refused", "refused", False),
        ("refused", "no answer within 5 s", True),
        ("no answer within 5 s", "no answer within 4.98 s", False),
        ("HTTP 500", "HTTP 503", True),
        ("failed for the 9th time", "failed for the 10th time", False),
        ("request 1234567", "request 1234568", False),
    ],
)
def test_a_number_is_no_news(before: str | None, after: str | None, news: bool) -> None:
    """A reason whose times and counters alone differ is the same, but the code of an HTTP status is no counter."""
    assert is_news(before, after) is news
