"""`/docs` and `/openapi.json`."""

from __future__ import annotations

import re

import jsonschema_rs

from tests.registry.api.conftest import Served


def test_page_needs_no_other_server(served: Served) -> None:
    """Everything that the page loads comes from this server, and the page may load nothing else."""
    page = served.client.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["content-security-policy"].startswith("default-src 'self';")
    loaded = re.findall(r'(?:src|href|url)\s*[=:]\s*[\'"]([^\'"]+)', page.text)
    assert {"/docs/swagger-ui.css", "/docs/swagger-ui-bundle.js", "/openapi.json"} <= set(loaded)
    for address in loaded:
        assert address == "data:," or served.client.get(address).status_code == 200, address


def test_root_leads_to_the_page(served: Served) -> None:
    """Whoever opens the server's address in a browser is sent to the documentation."""
    answer = served.client.get("/")
    assert (answer.status_code, answer.headers["location"]) == (302, "/docs")
    assert served.client.post("/").status_code == 405


def test_each_operation_says_what_it_is_about(served: Served) -> None:
    """The summaries are titles of their own: what is done, and to what."""
    paths = served.client.get("/openapi.json").json()["paths"]
    summaries = {
        f"{method} {path}": operation["summary"]
        for path, operations in paths.items()
        for method, operation in operations.items()
    }
    assert summaries["get /backends"] == "List backends"
    assert summaries["delete /leases/{id}"] == "Release a lease"
    assert len(set(summaries.values())) == len(summaries)
    assert all(" " in summary for summary in summaries.values()), summaries


def test_other_files_are_not_served(served: Served) -> None:
    """Only what the page loads is there."""
    for name in ("redoc.standalone.js", "..%2F__init__.py", "x"):
        assert served.client.get(f"/docs/{name}").status_code == 404


def test_document_is_whole(served: Served) -> None:
    """Each operation declares the key it needs, and every error in its form; all references lead somewhere."""
    document = served.client.get("/openapi.json").json()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert ("security" in operation) == (method != "get"), path
            for status, answer in operation["responses"].items():
                whole = "text/event-stream" if path == "/watch" else "application/json"
                error = "application/json" if operation.get("tags") == ["services"] else "application/problem+json"
                media_type = whole if status < "3" else error
                assert list(answer["content"]) == [media_type], (path, method, status)
    for reference in set(re.findall(r'"#/components/schemas/(\w+)"', str(document).replace("'", '"'))):
        jsonschema_rs.validator_for(
            {**document["components"]["schemas"][reference], "components": document["components"]}
        )
