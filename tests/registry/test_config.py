"""The server's configuration: what is understood, and what is said of everything else."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from registry.config import BackendConfig, Config, load_config
from registry.errors import ConfigError
from registry.kinds import BackendType, DiscoverySource, LogFormat
from registry.state.rules import DEFAULT_RULES, HealthRules

SECRET = "sk-do-not-show"
Load = Callable[..., Config]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Loads a configuration from the text of its file."""

    def load_text(text: str, overrides: Mapping[str, Any] | None = None, **environment: str) -> Config:
        path = tmp_path / "server.yaml"
        path.write_text(text)
        return load_config(path, overrides or {}, environment)

    return load_text


def complaint(load: Load, text: str, overrides: Mapping[str, Any] | None = None, **environment: str) -> str:
    """What is said of a configuration that is refused: one line, without secrets."""
    with pytest.raises(ConfigError) as refusal:
        load(text, overrides, **environment)
    said = str(refusal.value)
    assert "\n" not in said
    assert SECRET not in said
    assert SECRET not in repr(refusal.value)
    assert refusal.value.__cause__ is None
    return said


def test_defaults() -> None:
    """Without any settings the server listens on this machine only, at the known port, and keeps its state."""
    config = load_config(None, {}, {})
    assert (config.host, config.port, config.gateways) == ("127.0.0.1", 8081, 2)
    assert (config.data_dir, config.ephemeral, config.log_format) == (None, False, LogFormat.TEXT)
    assert config.backends == ()
    assert config.health_rules() == DEFAULT_RULES


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "---\n"])
def test_empty_file_means_the_defaults(load: Load, text: str) -> None:
    """An empty file is no mistake."""
    assert load(text) == Config()


def test_whole_file(load: Load, tmp_path: Path) -> None:
    """Every key is read."""
    config = load(
        f"""
        host: 0.0.0.0
        port: 9000
        gateways: 3
        data_dir: {tmp_path}
        log_format: json
        health_interval_s: 1.5
        health_timeout_s: 0.5
        failure_threshold: 1
        recovery_threshold: 4
        heartbeat_timeout_s: 3
        stale_after_s: 3.5
        cleanup_interval_s: 0.1
        allowed_networks: [10.1.0.0/16, 203.0.113.7, "2001:DB8::/32"]
        open_services: true
        connect_timeout_s: 2
        first_byte_timeout_s: 60
        stop_timeout_s: 10
        max_body_bytes: 2048
        allowed_hosts: [gateway.example]
        allowed_origins: ["https://chat.example"]
        backends:
          - url: http://gpu-1:8000/
            type: vllm
            priority: -1
            metadata: {{rack: "7"}}
          - url: https://api.example/v1
            id: cloud
            name: The cloud
            api_key: {SECRET}
        """
    )
    assert (config.host, config.port, config.gateways, config.data_dir) == ("0.0.0.0", 9000, 3, tmp_path)
    assert config.health_rules() == HealthRules(1.5, 0.5, 1, 4, 3, 3.5, 0.1)
    assert config.allowed_networks == ("10.1.0.0/16", "203.0.113.7/32", "2001:db8::/32")
    assert config.open_services
    assert (config.connect_timeout_s, config.first_byte_timeout_s) == (2, 60)
    assert (config.stop_timeout_s, config.max_body_bytes, config.log_format) == (10, 2048, LogFormat.JSON)
    assert config.allowed_hosts == {"gateway.example"}
    assert config.allowed_origins == {"https://chat.example"}
    first, second = config.backends
    assert (first.url, first.type, first.priority, first.metadata) == (
        "http://gpu-1:8000",
        BackendType.VLLM,
        -1,
        {"rack": "7"},
    )
    assert (second.id, second.name, second.key()) == ("cloud", "The cloud", SECRET)


def test_configured_backend_is_static_and_without_secrets(load: Load) -> None:
    """What is registered of a configured backend tells its source and does not hold its key."""
    (configured,) = load(f"backends: [{{url: 'http://x', api_key: {SECRET}}}]").backends
    backend = configured.backend()
    assert (backend.id, backend.discovery_source) == ("x", DiscoverySource.STATIC)
    assert SECRET not in backend.model_dump_json()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prot: 1", "unknown key 'prot'; did you mean 'port'?"),
        ("ports: 1", "unknown key 'ports'; did you mean 'port'?"),
        ("gateway: 1", "unknown key 'gateway'; did you mean 'gateways'?"),
        ("zzz: 1", "unknown key 'zzz'"),
        ("backends: [{url: 'http://x', apikey: 1}]", "unknown key 'backends[0].apikey'; did you mean 'api_key'?"),
    ],
)
def test_unknown_key_with_suggestion(load: Load, text: str, said: str) -> None:
    """A mistyped key is named with its place and, where one is near, the right one."""
    assert complaint(load, text).endswith(f"server.yaml: {said}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("port: 65536", "port: "),
        ("port: -1", "port: "),
        ("port: many", "port: "),
        ("port: 1.5", "port: "),
        ("gateways: 0", "gateways: "),
        ("gateways: 65", "gateways: "),
        ("refresh_s: 5", "unknown key 'refresh_s'"),
        ("health_interval_s: 0.09", "health_interval_s: "),
        ("health_interval_s: .nan", "health_interval_s: "),
        ("health_interval_s: .inf", "health_interval_s: "),
        ("health_interval_s: 86401", "health_interval_s: "),
        ("health_timeout_s: 0", "health_timeout_s: "),
        ("health_timeout_s: -5", "health_timeout_s: "),
        ("failure_threshold: 0", "failure_threshold: "),
        ("failure_threshold: 1.5", "failure_threshold: "),
        ("recovery_threshold: 101", "recovery_threshold: "),
        ("heartbeat_timeout_s: 0", "heartbeat_timeout_s: "),
        ("stale_after_s: .inf", "stale_after_s: "),
        ("stale_after_s: 31536001", "stale_after_s: "),
        ("cleanup_interval_s: 0.01", "cleanup_interval_s: "),
        ("cleanup_interval_s: often", "cleanup_interval_s: "),
        ("stale_after_s: 120", "stale_after_s (120) must be more than heartbeat_timeout_s (120)"),
        ("heartbeat_timeout_s: 400", "stale_after_s (300) must be more than heartbeat_timeout_s (400)"),
        ("open_services: perhaps", "open_services: "),
        ("allowed_networks: 10.0.0.0/8", "allowed_networks: must be a list"),
        ("allowed_networks: [10.0.0.0/8, 10.0.0/8]", "allowed_networks[1]: must be networks such as 10.0.0.0/8"),
        ("allowed_networks: [10.0.0.1/8]", "allowed_networks[0]: must be networks such as 10.0.0.0/8, or addresses: "),
        ("allowed_networks: [gpu-1]", "allowed_networks[0]: must be networks such as 10.0.0.0/8, or addresses: "),
        ("allowed_networks: [10]", "allowed_networks[0]: must be networks such as 10.0.0.0/8"),
        ("allowed_networks: [169.254.0.0/16]", "allowed_networks[0]: 169.254.0.0/16 is link-local"),
        ("allowed_networks: [169.254.169.254]", "allowed_networks[0]: 169.254.169.254/32 is link-local"),
        ("allowed_networks: ['fe80::/64']", "allowed_networks[0]: fe80::/64 is link-local"),
        ("connect_timeout_s: 0", "connect_timeout_s: "),
        ("connect_timeout_s: -1", "connect_timeout_s: "),
        ("first_byte_timeout_s: 0", "first_byte_timeout_s: "),
        ("stop_timeout_s: -0.1", "stop_timeout_s: "),
        ("max_body_bytes: 1023", "max_body_bytes: "),
        ("max_body_bytes: 1073741825", "max_body_bytes: "),
        ("host: ''", "host: "),
        ("log_format: xml", "log_format: "),
        ("ephemeral: maybe", "ephemeral: "),
        ("backends: nothing", "backends: "),
        ("backends: [{}]", "backends[0].url: "),
        ("backends: [7]", "backends[0]: "),
        ("backends: [{url: 'ftp://x'}]", "backends[0].url: must begin with http:// or https://"),
        ("backends: [{url: 'http://u:sk-do-not-show@x'}]", "backends[0].url: must not hold a user name or password"),
        ("backends: [{url: 'http://x', type: VLLM}]", "backends[0].type: "),
        ("backends: [{url: 'http://x', priority: 2147483648}]", "backends[0].priority: "),
        ("backends: [{url: 'http://x', api_key: ''}]", "backends[0].api_key: must be one line"),
        ('backends: [{url: "http://x", api_key: "sk-do-not-show\\nX: 1"}]', "backends[0].api_key: must be one line"),
        ("backends: [{url: 'http://x', api_key: 'sk-do-not-show-ä'}]", "backends[0].api_key: must be one line"),
        ("backends: [{url: 'http://x', api_key: [sk-do-not-show]}]", "backends[0].api_key: "),
    ],
)
def test_wrong_value_names_its_place(load: Load, text: str, said: str) -> None:
    """A value that cannot be used is named by its place in the file, and not shown: it may be a secret."""
    assert f"server.yaml: {said}" in complaint(load, text)


@pytest.mark.parametrize("port", [0, 1, 65_535])
@pytest.mark.parametrize("gateways", [1, 64])
def test_values_at_their_limits(load: Load, port: int, gateways: int) -> None:
    """The limits themselves are allowed."""
    config = load(f"port: {port}\ngateways: {gateways}\nmax_body_bytes: 1024\nhealth_interval_s: 86400")
    assert (config.port, config.gateways) == (port, gateways)


def test_a_probe_may_take_longer_than_the_interval(load: Load) -> None:
    """A short interval alone is no mistake: a target is probed once at a time."""
    assert load("health_interval_s: 1").health_rules() == HealthRules(interval_s=1, timeout_s=5)


def test_a_network_may_hold_the_link_local_one(load: Load) -> None:
    """Whoever allows all addresses is understood; link-local ones within are refused where they are connected to."""
    assert load("allowed_networks: [0.0.0.0/0, '::/0']").allowed_networks == ("0.0.0.0/0", "::/0")


def test_several_mistakes_are_told_together(load: Load) -> None:
    """Whoever mends a file need not start the server once a mistake."""
    said = complaint(load, "port: -1\nprot: 1\ngateways: 0")
    assert all(part in said for part in ("port: ", "unknown key 'prot'", "gateways: "))


def test_environment_variable_is_filled_in(load: Load) -> None:
    """`${NAME}` stands for a variable, also in the middle of a text."""
    text = "backends: [{url: 'http://${HOST}:8000', api_key: '${KEY}', metadata: {a: '${HOST}-${HOST}'}}]"
    (backend,) = load(text, HOST="gpu", KEY=SECRET).backends
    assert (backend.url, backend.key(), backend.metadata) == ("http://gpu:8000", SECRET, {"a": "gpu-gpu"})


def test_environment_variable_that_is_not_set(load: Load) -> None:
    """A variable that is not set is an error with its place, so that no secret is silently empty."""
    said = complaint(load, "backends: [{url: 'http://x', api_key: '${KEY}'}]", OTHER="1")
    assert said.endswith("server.yaml: backends[0].api_key: the environment variable KEY is not set")


@pytest.mark.parametrize("text", ["$NAME", "${NAME", "$(NAME)", "${1}", "100 $"])
def test_other_dollars_stay(load: Load, text: str) -> None:
    """Only the one form is filled in."""
    (backend,) = load(f"backends: [{{url: 'http://x', metadata: {{a: '{text}'}}}}]").backends
    assert backend.metadata == {"a": text}


def test_value_of_a_variable_is_not_filled_in_again(load: Load) -> None:
    """What a variable holds is text."""
    (backend,) = load("backends: [{url: 'http://x', api_key: '${A}'}]", A="${B}", B="b").backends
    assert backend.key() == "${B}"


def test_secrets_are_not_shown(load: Load) -> None:
    """A configuration can be logged: neither text nor JSON of it holds a key."""
    config = load("backends: [{url: 'http://x', api_key: '${KEY}'}]", KEY=SECRET)
    (backend,) = config.backends
    for shown in (repr(config), str(config), repr(backend), config.model_dump_json(), str(config.model_dump())):
        assert SECRET not in shown


def test_api_key_file(load: Load, tmp_path: Path) -> None:
    """A key may stand in a file of its own; the line's end is not part of it."""
    (tmp_path / "key").write_text(f"{SECRET}\n")
    config = load(f"backends: [{{url: 'http://x', api_key_file: {tmp_path}/key}}]")
    assert config.backends[0].key() == SECRET
    assert SECRET not in repr(config)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"", "must be one line"),
        (b"one\ntwo\n", "must be one line"),
        (b"\xff\xfe", "not UTF-8"),
    ],
)
def test_api_key_file_that_cannot_be_used(tmp_path: Path, content: bytes | None, said: str) -> None:
    """A key file that is missing or holds something else is named."""
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=said) as refusal:
        BackendConfig(url="http://x", api_key_file=path).key()
    assert str(path) in str(refusal.value)


def test_api_key_and_its_file_exclude_each_other(load: Load) -> None:
    """Which of two keys counts is not guessed."""
    said = complaint(load, f"backends: [{{url: 'http://x', api_key: {SECRET}, api_key_file: /key}}]")
    assert said.endswith("backends[0]: give either api_key or api_key_file, not both")


def test_command_line_goes_over_the_file(load: Load) -> None:
    """A flag that is given counts, one that is not leaves the file's value."""
    config = load("port: 1\nhost: 0.0.0.0\ngateways: 4", {"port": 2, "host": None, "gateways": 1})
    assert (config.port, config.host, config.gateways) == (2, "0.0.0.0", 1)


def test_backends_of_the_command_line_are_added(load: Load) -> None:
    """Backends of both places are there, the file's first."""
    config = load("backends: [{url: 'http://a'}]", {"backends": [{"url": "http://b"}]})
    assert [backend.url for backend in config.backends] == ["http://a", "http://b"]


def test_data_dir_of_the_command_line_goes_over_ephemeral_of_the_file(load: Load, tmp_path: Path) -> None:
    """Either of the two on the command line overrules the other in the file."""
    over = load("ephemeral: true", {"data_dir": tmp_path})
    assert (over.data_dir, over.ephemeral) == (tmp_path, False)
    over = load(f"data_dir: {tmp_path}", {"ephemeral": True})
    assert (over.data_dir, over.ephemeral) == (None, True)


def test_data_dir_and_ephemeral_exclude_each_other(load: Load) -> None:
    """Both in one place contradict each other."""
    assert "data_dir and ephemeral exclude each other" in complaint(load, "data_dir: /x\nephemeral: true")
    assert "exclude each other" in complaint(load, "", {"data_dir": Path("/x"), "ephemeral": True})


@pytest.mark.parametrize(
    "text",
    [
        "backends: [{url: 'http://x'}, {url: 'HTTP://X:80/'}]",
        "backends: [{url: 'http://a', id: x}, {url: 'http://b', id: x}]",
        "backends: [{url: 'http://a', id: x}, {url: 'http://x'}]",
    ],
)
def test_duplicate_ids(load: Load, text: str) -> None:
    """Two backends of one id are a mistake, in whatever way they came to it."""
    assert complaint(load, text).endswith("two backends have the id 'x'")


@pytest.mark.parametrize("other", ["http://127.0.0.1:1/v1", "http://localhost:1", "http://0.0.0.0:1/v1/"])
def test_one_server_is_named_once(load: Load, other: str) -> None:
    """Two spellings of one server's address are a mistake, unless an id says that two backends are meant."""
    said = complaint(load, "backends: [{url: 'http://127.0.0.1:1'}]", {"backends": [{"url": other}]})
    assert said.endswith("and http://127.0.0.1:1 are one server; name it once, or give each an id")
    config = load("backends: [{url: 'http://127.0.0.1:1', id: a}]", {"backends": [{"url": other}]})
    assert len(config.backends) == 2


@pytest.mark.parametrize("text", ["port: [", "a: b: c", "\tport: 1", "port: !!python/object:os.system {}", "%"])
def test_invalid_yaml(load: Load, text: str) -> None:
    """What is not YAML is refused with the place, in one line."""
    said = complaint(load, text)
    assert "server.yaml is not valid YAML: " in said
    assert "line 1" in said


@pytest.mark.parametrize("text", ["- port", "port", "7"])
def test_yaml_that_holds_no_settings(load: Load, text: str) -> None:
    """YAML of another shape is refused."""
    assert "must hold settings" in complaint(load, text)


def test_admin_key_from_the_environment(load: Load) -> None:
    """The variable that holds the admin key is named; the key itself is in no setting."""
    config = load("admin_key_env: KEY_OF_ADMINS")
    assert config.admin_key({"KEY_OF_ADMINS": f" {SECRET}\n"}) == SECRET
    assert SECRET not in repr(config)
    assert load("port: 1").admin_key({}) is None


def test_admin_key_file(load: Load, tmp_path: Path) -> None:
    """The admin key may stand in a file, with a line end."""
    (tmp_path / "key").write_text(f"{SECRET}\n")
    assert load(f"admin_key_file: {tmp_path}/key").admin_key({}) == SECRET


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "admin_key_env: the environment variable KEY is not set"),
        ({"KEY": ""}, "environment variable KEY: the key must be one line of ASCII characters, and not empty"),
        (
            {"KEY": f"{SECRET}-ä"},
            "environment variable KEY: the key must be one line of ASCII characters, and not empty",
        ),
    ],
)
def test_admin_key_that_cannot_be_used(load: Load, environment: dict[str, str], said: str) -> None:
    """A server that should have a key does not start without one, and does not show it."""
    config = load("admin_key_env: KEY")
    with pytest.raises(ConfigError) as caught:
        config.admin_key(environment)
    assert str(caught.value) == said


def test_admin_key_file_that_is_not_there(load: Load, tmp_path: Path) -> None:
    """The file is named."""
    with pytest.raises(ConfigError, match="key cannot be read: No such file"):
        load(f"admin_key_file: {tmp_path}/key").admin_key({})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("admin_key_env: 1KEY", "admin_key_env: String should match pattern"),
        ("admin_key_env: KEY\nadmin_key_file: /key", "give either admin_key_env or admin_key_file, not both"),
    ],
)
def test_admin_key_setting_that_is_wrong(load: Load, text: str, said: str) -> None:
    """A name that no variable can have, or two places for one key, are refused."""
    assert said in complaint(load, text)


def test_key_that_is_no_text(load: Load) -> None:
    """A key that is a number is refused with its place."""
    assert "server.yaml: [7]: " in complaint(load, "7: x")


def test_unreadable_file(tmp_path: Path) -> None:
    """A file that cannot be read is named, with the reason."""
    missing = tmp_path / "missing.yaml"
    with pytest.raises(ConfigError, match=r"missing\.yaml cannot be read: No such file or directory"):
        load_config(missing, {}, {})
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load_config(tmp_path, {}, {})
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_config(binary, {}, {})
    with pytest.raises(ConfigError, match=r"/dev/zero is longer than 16,777,216 bytes: is it the right file\?"):
        load_config(Path("/dev/zero"), {}, {})


def test_secret_in_broken_yaml_is_not_shown(load: Load) -> None:
    """A mistake in the line of a secret does not bring it to the screen."""
    complaint(load, f"backends:\n  - url: http://x\n    api_key: {SECRET} : [\n")
