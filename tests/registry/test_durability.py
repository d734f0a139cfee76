"""`--recover` and `--durability`: of a whole server, and of a user's program."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from actors.errors import StartFailed
from registry import Durability, Supervisor
from registry.config import load_config
from registry.errors import ConfigError
from tests.polling import until
from tests.processes import Program, program
from tests.registry.stores.journals import filled, renumber, reopened

GARBAGE = b"this is no database\n" * 1_000


@contextmanager
def server(data_dir: Path, *arguments: str, **extra: str) -> Iterator[Program]:
    """A server on a data directory, once it serves; it ends well."""
    command = ("-m", "registry", "serve", "--port", "0", "--gateways", "1", "--data-dir", str(data_dir), *arguments)
    with program(*command, **extra) as run:
        until(run.address, "the server serves", 20)
        yield run
        run.kill(signal.SIGTERM)
        assert run.ends() == 0
        assert "Traceback" not in run.stderr


def refused(*arguments: str, code: int) -> str:
    """The last line that is said to a command that cannot be followed."""
    with program("-m", "registry", "serve", "--port", "0", *arguments) as run:
        assert run.ends() == code, run.stderr
        run.leaves_nothing_running()
        assert "Traceback" not in run.stderr
        return run.stderr.splitlines()[-1]


def backends(run: Program) -> tuple[list[str], int]:
    """The ids of the backends of a server, and its revision."""
    with urllib.request.urlopen(f"{run.address()}/backends", timeout=10) as response:  # noqa: S310 - http
        body = json.load(response)
    return [one["id"] for one in body["backends"]], body["revision"]


def damaged(data_dir: Path) -> bytes:
    """Make a journal of 60 backends of which one row is damaged; the content of its file."""
    path = data_dir / "registry.db"
    filled(path)
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE backends SET record = '{' WHERE key = '\"b007\"'")
        db.commit()
    return path.read_bytes()


def kept(data_dir: Path) -> list[bytes]:
    """The contents of the damaged files that were kept."""
    return [file.read_bytes() for file in data_dir.iterdir() if ".damaged-" in file.name and file.name.endswith("Z")]


def test_damaged_journal_and_its_recovery(tmp_path: Path) -> None:
    """A damaged journal stops the start with a sentence; with `--recover` the rest of it is served from then on."""
    content = damaged(tmp_path)
    said = refused("--data-dir", str(tmp_path), code=1)
    assert said.startswith(f"actor-registry: the journal {tmp_path / 'registry.db'} is damaged: in table 'backends', ")
    assert 'row 8 (key "b007")' in said
    assert said.endswith("A start with --recover keeps what is readable of it")
    assert (tmp_path / "registry.db").read_bytes() == content
    with server(tmp_path, "--recover") as run:
        ids, revision = backends(run)
        assert ids == [f"b{number:03}" for number in range(60) if number != 7]
        assert revision >= 91  # the backends, which are none, have been asked meanwhile
        assert '59 rows kept, 1 known to be lost: "b007" (row 8: ' in run.stderr
        assert "the revision goes on with 91; the history of changes begins anew" in run.stderr
    assert kept(tmp_path) == [content]
    with server(tmp_path) as run:
        assert len(backends(run)[0]) == 59


def test_recovery_of_what_is_no_journal_at_all(tmp_path: Path) -> None:
    """If nothing can be read the server begins anew, says so, and the file is still there."""
    (tmp_path / "registry.db").write_bytes(GARBAGE)
    assert "is damaged: file is not a database" in refused("--data-dir", str(tmp_path), code=1)
    with server(tmp_path, "--recover") as run:
        ids, revision = backends(run)
        assert ids == []
        assert revision > 1_700_000_000_000_000
        assert "no revision could be read" in run.stderr
    assert kept(tmp_path) == [GARBAGE]


def test_recovery_of_a_sound_journal(tmp_path: Path) -> None:
    """`--recover` may be given at any start: a sound journal is left alone, and nothing is said of it."""
    filled(tmp_path / "registry.db")
    with server(tmp_path, "--recover") as run:
        ids, revision = backends(run)
        assert len(ids) == 60
        assert revision >= 90
        assert "damaged" not in run.stderr
    assert kept(tmp_path) == []


def test_newer_journal(tmp_path: Path) -> None:
    """A journal that a newer version wrote stops the start, also with `--recover`."""
    path = tmp_path / "registry.db"
    filled(path)
    renumber(path, 3)
    before = path.read_bytes()
    for arguments in ((), ("--recover",)):
        said = refused("--data-dir", str(tmp_path), *arguments, code=1)
        assert "has format 3, this version knows up to 2: a newer actor-registry wrote it" in said
    assert path.read_bytes() == before
    assert kept(tmp_path) == []


def test_recovery_in_a_directory_that_is_new() -> None:
    """Where there cannot be anything to recover the flag is refused."""
    said = refused("--ephemeral", "--recover", code=2)
    assert said.startswith("actor-registry: recover and ephemeral exclude each other")


def test_recovery_in_a_program(tmp_path: Path) -> None:
    """`Supervisor(recover=True)` does the same as the flag."""
    content = damaged(tmp_path)
    with pytest.raises(StartFailed, match="is damaged: in table 'backends', row 8"):
        Supervisor(tmp_path)
    with Supervisor(tmp_path, recover=True) as supervisor:
        assert len(supervisor.registry.get_all_backends()) == 59
    assert kept(tmp_path) == [content]
    assert len(reopened(tmp_path / "registry.db")[0]) == 59


@pytest.mark.parametrize("durability", [Durability.POWER, "power", "process"])
def test_durability_in_a_program(tmp_path: Path, durability: Durability) -> None:
    """Both words are accepted, as the enumeration has them and as plain text."""
    with Supervisor(tmp_path, durability=durability) as supervisor:
        assert supervisor.registry.get_all_backends() == []


def test_durability_that_does_not_exist() -> None:
    """Any other word is refused with these two, before anything is started."""
    with pytest.raises(ValueError, match="durability must be 'process' or 'power', not 'ever'"):
        Supervisor(durability="ever")  # type: ignore[arg-type] # it is wrong


@pytest.mark.parametrize("level", ["x", -1, 101, 20.0, None])
def test_log_level_that_does_not_exist(level: Any) -> None:
    """It is a number as in `logging`; anything else is refused before anything is started."""
    sentence = f"log_level must be a number as in logging, like logging.INFO (20), not {level!r}"
    with pytest.raises(ValueError, match=re.escape(sentence)):
        Supervisor(log_level=level)


def test_durability_of_a_server(tmp_path: Path) -> None:
    """The flag and the environment are understood, and a wrong word is refused with the right ones."""
    with server(tmp_path, "--durability", "power"):
        pass
    with server(tmp_path, ACTOR_REGISTRY_DURABILITY="power"):
        pass
    said = refused("--durability", "ever", code=2)
    assert "Invalid value for '--durability'" in said
    assert "'ever' is not one of 'process', 'power'" in said


def test_durability_in_the_configuration(tmp_path: Path) -> None:
    """The file has the same words; a flag goes over it."""
    path = tmp_path / "server.yaml"
    path.write_text("durability: power\n")
    assert load_config(path, {}, {}).durability is Durability.POWER
    assert load_config(path, {"durability": Durability.PROCESS}, {}).durability is Durability.PROCESS
    assert load_config(None, {}, {}).durability is Durability.PROCESS
    path.write_text("durability: ever\n")
    with pytest.raises(ConfigError, match=r"durability: .*'process' or 'power'"):
        load_config(path, {}, {})
