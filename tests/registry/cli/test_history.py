"""`actor-registry history` and `status`, against a running server."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import pytest

from tests.registry.cli.commands import Command, Served

pytestmark = pytest.mark.usefixtures("served")


def test_who_changed_what(command: Command) -> None:
    """Each change has its revision, its time, who made it, and what it altered."""
    since = str(command("status", "--json").json()["revision"])
    assert command("history", "--since", since).stdout == "no changes\n"
    first = command("backends", "add", "http://past", "--json").json()["revision"]
    command("backends", "update", "past", "--weight", "2", "--label", "zone=eu")
    command("backends", "remove", "past")
    heads, *rows = command("history", "--since", since).table()
    assert heads == ["revision", "time", "by", "change"]
    assert [row[0] for row in rows] == [str(first), str(first + 1), str(first + 2)]
    assert {row[2] for row in rows} == {"gateway-1"}
    added, updated, removed = [row[3] for row in rows]
    assert added == "backend past: added, http://past"
    assert set(updated.removeprefix("backend past: ").split(", ")) == {"weight 1 → 2", "labels.zone none → eu"}
    assert removed == "backend past: removed"


def test_history_for_programs(command: Command) -> None:
    """`--json` prints a change a line, as the server tells it; `--limit` says how many."""
    first = command("backends", "add", "http://lines", "--json").json()["revision"]
    command("backends", "remove", "lines")
    one, two = command("history", "--json", "--since", str(first - 1)).lines()
    assert (one["revision"], one["cause"], one["rows"][0]["key"]) == (first, one["cause"], "lines")
    assert two["revision"] == first + 1
    assert command("history", "--json", "--since", str(first - 1), "--limit", "1").lines() == [one]
    assert command("history", "--json", "--limit", "1").lines() == [two]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--limit", "0"], 1, "limit"),
        (["--limit", "1000000000"], 1, "limit"),
        (["--since", "-1"], 1, "since"),
        (["--since", "yesterday"], 2, "--since"),
    ],
)
def test_wrong_range(command: Command, arguments: list[str], code: int, said: str) -> None:
    """A number out of its limits is refused by name."""
    assert said in command("history", *arguments).sentence(code)


def test_status(command: Command, served: Served) -> None:
    """The status says where the server is, its version, and what is in flight."""
    shown = dict(row for row in command("status").table() if len(row) == 2)
    told = command("status", "--json").json()
    assert shown["server"] == served.url
    try:
        assert shown["version"] == version("actor-registry")
    except PackageNotFoundError:
        assert shown["version"]
    assert shown["revision"] == str(told["revision"])
    assert (shown["leases"], shown["waiting"], shown["sessions"]) == ("0", "0", str(told["sessions"]))
    assert "healthy 0" in shown["backends"]
