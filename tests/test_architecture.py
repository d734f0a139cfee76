"""The rooms of the project: which package may import which."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

LAYERS = (
    {"__main__"},
    {"cli"},
    {"babysitter", "server"},
    {"gateway", "discovery", "health", "api", "testing"},
    {"services"},
    {"supervisor"},
    {"connection"},
    {"directory"},
    {"server_file"},
    {"client", "owner"},
    {"actor", "replica", "watching"},
    {"service_replica"},
    {"operations"},
    {"views"},
    {"commands", "models", "stores"},
    {"state"},
    {"policies"},
    {"metrics", "owner_log", "addresses"},
    {"urls"},
    {"errors", "kinds", "texts", "version"},
)
"""The modules of `registry`, from the outermost to the innermost; each imports only what stands below it, or beside."""

BESIDE = {
    ("gateway", "api"): "the gateway process mounts the control plane",
    ("health", "gateway"): "probes speak the gateway's HTTP/1.1, under the same rules",
}
"""Imports between packages of one layer, and why."""

ANYWHERE = {"complaints", "config", "config_values", "log_writer", "logs"}
"""Settings and logging: of the server's processes alone, and they import nothing of these."""

PURE = ("registry.state", "registry.policies")

IO_MODULES = {
    *("asyncio", "concurrent", "ctypes", "fcntl", "http", "io", "mmap", "multiprocessing", "os", "pathlib", "pickle"),
    *("random", "secrets", "select", "selectors", "shutil", "signal", "socket", "sqlite3", "ssl", "subprocess"),
    *("tempfile", "threading", "time", "urllib.request", "uuid", "uvloop"),
}

SERVER_ONLY = (
    *(
        "fastapi",
        "fastapi_offline",
        "httptools",
        "httpx2",
        "prometheus_client",
        "pydantic",
        "rich",
        "starlette",
        "structlog",
        "typer",
    ),
    *("uvicorn", "uvloop", "yaml"),
)


def modules(package: str) -> Iterator[tuple[str, Path]]:
    """All modules of a package by their full names."""
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imports(path: Path) -> set[str]:
    """Full names of all that a module imports, also within functions, but for what only type checkers see."""
    tree = ast.parse(path.read_text())
    unseen = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in unseen:
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


ALL = {name: imports(path) for package in ("actors", "registry") for name, path in modules(package)}


def is_in(name: str, package: str) -> bool:
    """Whether a full name is a package, or of it."""
    return name == package or name.startswith(f"{package}.")


def room(name: str) -> str:
    """The part of `registry` that a full name belongs to; empty for the package itself."""
    return name.split(".")[1] if "." in name else ""


def layer(part: str) -> int:
    """How far in a part of `registry` is."""
    return next(depth for depth, parts in enumerate(LAYERS) if part in parts)


def test_every_module_is_seen() -> None:
    """The tests below look at something."""
    assert {"actors.owner", "registry", "registry.state.backends", "registry.owner"} <= set(ALL)
    assert "actors.turns.engine.Engine" in ALL["actors.owner"]
    assert "registry.server.serve" in ALL["registry.cli.serve"]  # within a function


def test_every_part_has_its_place() -> None:
    """A new part of the registry must be given a place among the layers."""
    placed = {part for parts in LAYERS for part in parts} | ANYWHERE | {""}
    assert {room(name) for name in ALL if is_in(name, "registry")} <= placed


def test_actors_knows_nothing_of_the_registry() -> None:
    """The runtime serves any actor: it imports nothing of the domain, and no library that it would need for one."""
    for name, imported in ALL.items():
        if is_in(name, "actors"):
            assert not {one for one in imported if is_in(one, "registry")}, name
            foreign = {one.split(".")[0] for one in imported} - set(sys.stdlib_module_names)
            assert foreign <= {"actors", "msgspec"} | ({"psutil"} if name == "actors.processes.machine" else set()), (
                name
            )


def test_actors_has_no_word_of_the_domain() -> None:
    """The runtime does not speak of AI servers either."""
    words = {"llm", "model", "openai", "backend", "gateway"}
    for name, path in modules("actors"):
        names = {
            node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else node.name
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Name | ast.Attribute | ast.FunctionDef | ast.ClassDef)
        }
        spoken = {word for one in names for word in one.lower().split("_")}
        assert not spoken & words, name


@pytest.mark.parametrize("name", [name for name in ALL if is_in(name, "registry") and room(name)])
def test_imports_point_one_way(name: str) -> None:
    """A module imports only what lies further in than itself, or of its own part."""
    part = room(name)
    for imported in ALL[name]:
        if not is_in(imported, "registry"):
            continue
        other = room(imported)
        assert other, f"{name} imports the package's table of contents ({imported})"
        if other in ANYWHERE or other == part or (part, other) in BESIDE:
            continue
        assert part in ANYWHERE or layer(other) > layer(part), f"{name} imports {imported}"


@pytest.mark.parametrize("name", [name for name in ALL if any(is_in(name, package) for package in PURE)])
def test_state_and_policies_do_no_io(name: str) -> None:
    """The state machine has no files, no network, no clock and no chance: only logic, logging and what is as pure."""
    imported = ALL[name]
    assert not {one for one in imported if any(is_in(one, module) for module in IO_MODULES)}
    allowed = {"state", "policies", "kinds", "errors", "urls", "metrics"}
    assert {room(one) for one in imported if is_in(one, "registry")} <= allowed
    assert {one.rpartition(".")[0] for one in imported if is_in(one, "actors")} <= {"actors.tables", "actors.errors"}


@pytest.mark.parametrize("name", ["registry.urls", "registry.errors", "registry.kinds", "registry.metrics"])
def test_what_the_state_imports_does_no_io_either(name: str) -> None:
    """Purity holds for what the state machine stands on."""
    assert not {one for one in ALL[name] if any(is_in(one, module) for module in IO_MODULES)}


def test_the_pure_part_calls_no_builtin_that_does_io() -> None:
    """Nothing is opened or printed there, even without an import."""
    for name, path in [*modules("registry/state"), *modules("registry/policies")]:
        called = {
            node.func.id
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert not called & {"open", "print", "input", "exec", "eval", "__import__"}, name


def loaded_by(*names: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after it imported these."""
    program = f"import sys, {', '.join(names)}; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True)
    return set(ran.stdout.split())


def test_owner_loads_no_web_framework() -> None:
    """What the owner process imports is small: the state, its store and the runtime."""
    loaded = loaded_by("actors.processes.child", "actors.owner", "registry.owner")
    assert {"registry.owner", "sqlite3", "msgspec"} <= loaded
    assert not loaded & {*SERVER_ONLY, "psutil"}


def test_the_supervisor_of_a_server_loads_no_web_framework() -> None:
    """Nobody waits at a start for what only the processes under it need, and it stays small."""
    loaded = loaded_by("registry.server")
    assert {"registry.config", "actors.supervisor"} <= loaded
    assert not loaded & {"fastapi", "starlette", "uvloop", "httptools", "httpx2", "prometheus_client"}


def test_figures_of_the_machine_are_loaded_when_they_are_asked_for() -> None:
    """Neither the supervisor nor a user's program pays for psutil before."""
    assert "psutil" not in loaded_by("actors.supervisor", "actors.handle", "registry.supervisor")


def test_plain_install_is_enough_for_the_python_interface() -> None:
    """A user's program and its workers load nothing of the extras."""
    loaded = loaded_by("registry.supervisor", "registry.models", "registry.client")
    assert not loaded & (set(SERVER_ONLY) - {"pydantic"})


def test_command_line_loads_libraries_when_they_are_needed() -> None:
    """`actor-registry --help` waits for nothing that it does not show."""
    heavy = {*SERVER_ONLY, "sqlite3", "rich.table"} - {"typer", "rich"}
    assert not loaded_by("registry.cli.app") & heavy


def test_packages_load_nothing_by_themselves() -> None:
    """Importing a package loads only its table of contents."""
    loaded = loaded_by("actors", "registry")
    ours = {name for name in loaded if is_in(name, "actors") or is_in(name, "registry")}
    assert ours == {"actors", "actors.lazy", "registry"}


@pytest.mark.parametrize("package", ["actors", "registry"])
def test_every_public_name_can_be_imported(package: str) -> None:
    """The table of contents names nothing that is not there, and everything that type checkers are told of."""
    module = importlib.import_module(package)
    for name in module.__all__:
        assert getattr(module, name).__name__ == name
    told = {
        alias.asname
        for node in ast.walk(ast.parse(Path(str(module.__file__)).read_text()))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname
    }
    assert told == set(module.__all__)


@pytest.mark.parametrize("package", ["actors", "registry"])
def test_unknown_name_of_a_package(package: str) -> None:
    """A name that is not there is an AttributeError, as of any module."""
    module = importlib.import_module(package)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = module.no_such_name
