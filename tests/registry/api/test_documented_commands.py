"""The control plane as `docs/http.md` shows it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from tests.processes import ROOT
from tests.registry.api.conftest import Served

SERVER = "http://127.0.0.1:8081"


def commands() -> Iterator[tuple[str, str, dict[str, str], str]]:
    """Method, path, header fields and body of each `curl` of the section."""
    section = (ROOT / "docs" / "http.md").read_text().partition("## The control plane")[2].partition("\n## ")[0]
    for line in re.findall(r"^curl (.*)$", section, re.MULTILINE):
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


def test_commands_work_one_after_the_other(served: Served) -> None:
    """Each of them is done; the revision in the condition is the only thing that is made up."""
    done = []
    for method, target, headers, body in commands():
        if "if-match" in headers:
            assert headers["if-match"] == '"7"'
            headers["if-match"] = served.client.get(target).headers["etag"]
        with served.client.stream(method, target, headers=headers, content=body) as answer:
            done.append((method, target.partition("?")[0], answer.status_code))
    assert done == [
        ("GET", "/backends", 200),
        ("POST", "/backends", 201),
        ("PATCH", "/backends/gpu-3", 200),
        ("POST", "/backends/gpu-3/drain", 200),
        ("DELETE", "/backends/gpu-3", 200),
        ("GET", "/watch", 200),
    ]
