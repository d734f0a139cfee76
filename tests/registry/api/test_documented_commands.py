"""The control plane as `docs/http.md` shows it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from tests.processes import ROOT
from tests.registry.api.conftest import Served

SERVER = "http://127.0.0.1:8081"


def commands(heading: str) -> Iterator[tuple[str, str, dict[str, str], str]]:
    """Method, path, header fields and body of each `curl` of a section."""
    section = (ROOT / "docs" / "http.md").read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    # A command ends with its line, unless the next one goes on with an indented rest.
    for line in re.findall(r"^curl (.*(?:\n +.*)*)$", section, re.MULTILINE):
        words = iter(shlex.split(line))
        method, target, headers, body = "", "", {}, ""
        for word in words:
            if word == "-X":
                method = next(words)
            elif word == "-H":
                name, _, value = next(words).partition(": ")
                headers[name.lower()] = value
            elif word == "-d":
                body = next(words)
            elif word != "-N":
                assert word.startswith(SERVER)
                target = word.removeprefix(SERVER)
        yield method or ("POST" if body else "GET"), target, headers, body


def done(served: Served, heading: str) -> list[tuple[str, str, int]]:
    """How each command of a section was answered, one after the other."""
    answers = []
    for method, target, headers, body in commands(heading):
        if "if-match" in headers:
            assert headers["if-match"] == '"7"'
            headers["if-match"] = served.client.get(target).headers["etag"]
        with served.client.stream(method, target, headers=headers, content=body) as answer:
            answers.append((method, target.partition("?")[0], answer.status_code))
    return answers


def test_commands_work_one_after_the_other(served: Served) -> None:
    """Each of them is done; the revision in the condition is the only thing that is made up."""
    assert done(served, "The control plane") == [
        ("GET", "/backends", 200),
        ("POST", "/backends", 201),
        ("PATCH", "/backends/gpu-3", 200),
        ("POST", "/backends/gpu-3/drain", 200),
        ("DELETE", "/backends/gpu-3", 200),
        ("GET", "/watch", 200),
    ]


def test_commands_about_services_work_one_after_the_other(served: Served) -> None:
    """A service is registered, gives a sign of life, is listed and removed."""
    assert done(served, "Services") == [
        ("POST", "/services", 201),
        ("POST", "/services/llama/heartbeat", 200),
        ("GET", "/services", 200),
        ("DELETE", "/services/llama", 200),
    ]


def test_the_readme_shows_the_same_commands() -> None:
    """What it shows of services stands in the section too, word for word."""
    readme, section = ((ROOT / page).read_text() for page in ("README.md", "docs/http.md"))
    shown = re.findall(r"^curl .*/services.*(?:\n +.*)*$", readme, re.MULTILINE)
    assert len(shown) == 2
    assert all(command in section for command in shown)
