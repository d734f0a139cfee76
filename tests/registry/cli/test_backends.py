"""`actor-registry backends`, against a running server."""

from __future__ import annotations

import pytest

from tests.processes import program
from tests.registry.cli.commands import Command, Served

pytestmark = pytest.mark.usefixtures("served")

ODD_IDS = ["a/b", "..", ".", "a?x=1#y", "a%2Fb", "gpu/drain", "drain", "ж", " ", "[red]x", "a\nb", "-x"]


def test_life_of_a_backend(command: Command) -> None:
    """Each command says in a line what it has done, and the next one sees it."""
    added = command("backends", "add", "http://life:8000", "--model", "m1", "--model", "m2").stdout
    assert added.startswith("added life:8000 (unknown, revision ")
    row = next(row for row in command("backends", "list").table() if row[0] == "life:8000")
    assert row == ["life:8000", "unknown", "generic", "0", "0", "0", "m1, m2", "http://life:8000"]
    assert command("backends", "drain", "life:8000").stdout.startswith("draining life:8000 (revision ")
    said = command("backends", "undrain", "life:8000").stdout
    assert said.startswith("no longer draining life:8000 (unknown, revision ")
    assert command("backends", "update", "life:8000", "--weight", "3").stdout.startswith("changed life:8000 (")
    assert ["weight", "3"] in command("backends", "show", "life:8000").table()
    assert command("backends", "remove", "life:8000").stdout == "removed life:8000 (unknown)\n"
    assert command("backends", "show", "life:8000").sentence(1) == "backend not found: life:8000"


def test_everything_that_can_be_given(command: Command) -> None:
    """Each option reaches the field of its name; `--json` prints what the server has answered."""
    added = command(
        *("backends", "add", "http://all", "--id", "all", "--name", "All", "--type", "vllm", "--model", "m"),
        *("--status", "healthy", "--priority", "-2", "--weight", "5", "--max-concurrency", "7"),
        *("--label", "zone=eu", "--label", "note=a=b", "--json"),
    ).json()
    expected = {
        "id": "all",
        "name": "All",
        "url": "http://all",
        "backend_type": "vllm",
        "status": "healthy",
        "priority": -2,
        "weight": 5,
        "max_concurrency": 7,
        "labels": {"zone": "eu", "note": "a=b"},
        "discovery_source": "manual",
        "pending_requests": 0,
    }
    assert {name: added[name] for name in expected} == expected
    assert [model["id"] for model in added["models"]] == ["m"]
    assert command("backends", "show", "all", "--json").json() == added
    assert added in command("backends", "--json").json()["backends"]
    cells = command("backends", "show", "all").table()
    for row in (
        ["label", "zone=eu"],
        ["label", "note=a=b"],
        ["pending", "0/7"],
        ["status", "healthy"],
        ["models", "m"],
    ):
        assert row in cells
    assert command("backends", "remove", "all", "--json").json()["id"] == "all"


def test_what_is_not_given_stays(command: Command) -> None:
    """An update changes what it names, label by label, and nothing else."""
    before = command(
        *("backends", "add", "http://stay", "--label", "a=1", "--label", "b=2", "--max-concurrency", "4", "--json")
    ).json()
    after = command(
        *(
            "backends",
            "update",
            "stay",
            "--label",
            "c=3",
            "--remove-label",
            "a",
            "--unlimited",
            "--name",
            "Stay",
            "--json",
        )
    ).json()
    changed = {"labels": {"b": "2", "c": "3"}, "max_concurrency": None, "name": "Stay"}
    assert after == {**before, **changed, "revision": after["revision"]}
    assert after["revision"] > before["revision"]
    limited = command("backends", "update", "stay", "--max-concurrency", "2", "--priority", "1", "--json").json()
    assert (limited["max_concurrency"], limited["priority"], limited["labels"]) == (2, 1, {"b": "2", "c": "3"})
    command("backends", "remove", "stay")


def test_choosing_from_the_list(command: Command) -> None:
    """Options of the list choose, all of them together; when nothing is left that is said."""
    for name, more in (("eu", ["--type", "vllm"]), ("us", ["--status", "healthy"])):
        arguments = ["--id", f"choose-{name}", "--model", f"m-{name}", "--label", f"zone={name}", "--label", "n=1"]
        assert command("backends", "add", f"http://choose-{name}", *arguments, *more).code == 0

    def chosen(*options: str) -> list[str]:
        return [one["id"] for one in command("backends", "list", *options, "--json").json()["backends"]]

    assert chosen("--model", "m-eu") == ["choose-eu"]
    assert chosen("--label", "zone=us") == ["choose-us"]
    assert chosen("--label", "n=1") == ["choose-eu", "choose-us"]
    assert chosen("--label", "n=1", "--type", "vllm") == ["choose-eu"]
    assert chosen("--label", "n=1", "--status", "healthy") == ["choose-us"]
    assert chosen("--label", "n=1", "--model", "m-eu", "--status", "healthy") == []
    said = command("backends", "--label", "zone=moon").stdout
    assert said == "no backends to which all of this applies\n"
    for name in ("eu", "us"):
        command("backends", "remove", f"choose-{name}")


@pytest.mark.parametrize("id", ODD_IDS)
def test_odd_id(command: Command, id: str) -> None:
    """An id may hold whatever it likes: it is not taken for a path, an option or a command."""
    assert command("backends", "add", "http://odd", "--id", id, "--json").json()["id"] == id
    assert command("backends", "drain", "--json", "--", id).json()["status"] == "draining"
    assert command("backends", "show", "--json", "--", id).json()["id"] == id
    assert command("backends", "remove", "--json", "--", id).json()["id"] == id


def test_terminal_of_few_characters(command: Command, served: Served) -> None:
    """What a terminal cannot show is shown by its number."""
    command("backends", "add", "http://few", "--id", "ж")
    arguments = ("-m", "registry", "backends", "show", "ж", "--data-dir", str(served.directory))
    with program(*arguments, PYTHONIOENCODING="ascii") as run:
        assert run.ends() == 0, run.stderr
        assert "\\u0436" in run.stdout
    command("backends", "remove", "ж")


def test_refusals_of_the_server(command: Command) -> None:
    """What the server refuses is told in its words, with the field, and the exit code is 1."""
    assert command("backends", "add", "http://twice").code == 0
    assert command("backends", "add", "http://twice").sentence(1) == "backend already exists: twice"
    assert "weight" in command("backends", "update", "twice", "--weight", "0").sentence(1)
    assert "max_concurrency" in command("backends", "add", "http://x", "--max-concurrency", "0").sentence(1)
    assert "url" in command("backends", "add", "ftp://x").sentence(1)
    assert "labels" in command("backends", "add", "http://x", "--label", "a=" + "x" * 5000).sentence(1)
    for arguments in (["show"], ["drain"], ["undrain"], ["update", "--weight", "1"], ["remove"]):
        assert command("backends", *arguments, "nobody").sentence(1) == "backend not found: nobody"
    command("backends", "remove", "twice")


def test_only_if_nobody_was_faster(command: Command) -> None:
    """A change that is meant for a revision is refused when the backend has another one by now."""
    old = command("backends", "add", "http://fast", "--json").json()["revision"]
    new = command("backends", "update", "fast", "--weight", "2", "--if-revision", str(old), "--json").json()["revision"]
    for arguments in (["update", "--weight", "3"], ["remove"]):
        said = command("backends", *arguments, "fast", "--if-revision", str(old)).sentence(1)
        assert str(new) in said
    assert command("backends", "remove", "fast", "--if-revision", str(new)).code == 0


def test_admin_key(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the key, or with a wrong one, one may look and not change; it is said which, and no key is shown."""
    sent_none = "Changes need the admin key: send it as Authorization: Bearer KEY"
    for key, reason in (
        ("", f"{sent_none} - give the admin key by ACTOR_REGISTRY_ADMIN_KEY"),
        ("wrong-key", "the admin key in ACTOR_REGISTRY_ADMIN_KEY is not the server's"),
    ):
        monkeypatch.setenv("ACTOR_REGISTRY_ADMIN_KEY", key)
        assert command("backends").code == 0
        assert command("backends", "add", "http://key").sentence(1) == reason


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["update", "a"], "nothing to change is given"),
        (
            ["update", "a", "--unlimited", "--max-concurrency", "1"],
            "--unlimited and --max-concurrency exclude each other",
        ),
        (["update", "a", "--label", "k=v", "--remove-label", "k"], "--remove-label 'k': the same label is given"),
        (["add", "http://a", "--label", "k"], "--label 'k': must be KEY=VALUE"),
        (["add", "http://a", "--label", "=v"], "--label '=v': must be KEY=VALUE"),
        (["add", "http://a", "--label", "k=1", "--label", "k=2"], "--label 'k=2': 'k' is named twice"),
        (["list", "--label", "a:b=c"], "--label 'a:b': a label with a colon in its key cannot be asked for"),
        (["show", ""], "the id of a backend must not be empty"),
        (["show"], "Missing argument 'ID'"),
        (["add"], "Missing argument 'URL'"),
        (["add", "http://a", "--weight", "much"], "Invalid value for '--weight'"),
        (["list", "--status", "ill"], "Invalid value for '--status'"),
        (["list", "--type", "hal"], "Invalid value for '--type'"),
        (["lst"], "No such command 'lst'. Did you mean 'list'?"),
        (["--no-such"], "No such option: --no-such"),
    ],
)
def test_wrong_use(command: Command, arguments: list[str], said: str) -> None:
    """What cannot be meant is refused before the server is asked, with exit code 2."""
    assert command("backends", *arguments).sentence(2).startswith(said)


def test_address_by_flag(command: Command, served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address leads to the server without its directory, with or without a slash at the end."""
    monkeypatch.delenv("ACTOR_REGISTRY_DATA_DIR")
    for url in (served.url, served.url + "/"):
        assert "revision" in command("backends", "--json", "--server", url).json()
    monkeypatch.setenv("ACTOR_REGISTRY_SERVER", served.url)
    assert "revision" in command("backends", "--json").json()


@pytest.mark.parametrize("arguments", ["add http://a --id", "add", "show", "list --model", "update a --name"])
def test_argument_that_is_no_text(served: Served, command: Command, arguments: str) -> None:
    """Bytes that are no UTF-8 are refused in words that name them."""
    assert served.url
    assert command("backends", *arguments.split(), "x\udcff").sentence(2).startswith("'x\\udcff' is no text")
