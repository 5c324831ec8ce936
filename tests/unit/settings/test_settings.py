"""Settings: where they come from, what is refused, and that docs/settings.md tells the same."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from worker_orchestrator.errors import InvalidSetting
from worker_orchestrator.settings.loading import load
from worker_orchestrator.settings.settings import DEFAULT_ENV, Settings, settings

ENTRY = "an entry that is not allowed, but must be NAME=value"
ADDRESS = "localhost, gateway or an IP address of this computer, such as 127.0.0.1."
ORIGIN = "a web origin with its scheme, such as https://app.example.com."
HOST = "a host name or an IP address, without http:// and a port, such as my-host."
IN_TABLES_ALONE = {"windows", "own_max_machines", "other_pools", "without_image"}
NAME = "a name or an IP address without a port, such as my-host."
DOCUMENT = Path(__file__).parents[3] / "docs" / "settings.md"


def table() -> str:
    """The document's table of settings."""
    rows = []
    for setting in settings():
        default: Any = setting.default
        if setting.name == "env":
            default = "DATABASE_URL=…"
        elif setting.name == "state_dir":
            default = "the platform's user state folder"
        values = setting.values.replace("|", r"\|")
        shown = (
            f"`{default:g}`"
            if isinstance(default, float)
            else f"`{default}`"
            if default not in {None, "", (), False}
            else ""
        )
        if setting.name == "state_dir":
            shown = default
        given = " ".join(filter(None, [setting.flag, values])) or setting.variable
        rows.append(f"| `{given}` | {shown} | {setting.help} |")
    return "\n".join(rows)


def test_the_document_lists_every_setting_as_it_is() -> None:
    found = re.search(r"\| flag .*?\n\|---\|---\|---\|\n(.*?)<!-- end of settings -->", DOCUMENT.read_text(), re.DOTALL)
    assert found is not None
    assert found.group(1).strip() == table()


def test_the_defaults_are_the_documented_ones() -> None:
    found = load({}, {})
    assert (found.host, found.port, found.engine, found.image) == ("localhost", 9092, "docker", "yashtech00/worker:v1")
    assert (found.min_idle, found.max_idle, found.max_machines) == (2, None, 100)
    assert (found.first_port, found.last_port, found.refresh_interval, found.assign_timeout) == (9093, 65535, 10, 30)
    assert (found.on_release, found.durability, found.env) == ("reuse", "process", DEFAULT_ENV)


def test_flags_win_over_the_environment_over_the_file_over_defaults(tmp_path: Path) -> None:
    config = tmp_path / "orchestrator.toml"
    config.write_text('min_idle = 3\nport = 4000\nimage = "a"\n')
    found = load({"port": "6000"}, {"ORCHESTRATOR_PORT": "5000", "ORCHESTRATOR_MIN_IDLE": "4"}, config)
    assert (found.port, found.min_idle, found.image, found.max_machines) == (6000, 4, "a", 100)


def test_a_folder_that_may_not_be_searched_has_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when root runs a command as another user from a folder of its own."""

    def refused(path: Path, *, follow_symlinks: bool = True) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.chdir(tmp_path)
    (tmp_path / "orchestrator.toml").write_text("min_idle = 3\n")
    assert load({}, {}).min_idle == 3
    monkeypatch.setattr(Path, "stat", refused)
    assert load({}, {}).min_idle == 2


def test_a_file_may_spell_names_with_dashes(tmp_path: Path) -> None:
    config = tmp_path / "o.toml"
    config.write_text("min-idle = 3\n")
    assert load({}, {"ORCHESTRATOR_CONFIG": str(config)}).min_idle == 3


def test_environment_of_workers_is_added_to_the_default_and_may_replace_it(tmp_path: Path) -> None:
    assert load({"env": ["A=1", "B=x=y,z"]}, {}).env == {**DEFAULT_ENV, "A": "1", "B": "x=y,z"}
    assert load({}, {"ORCHESTRATOR_ENV": "A=1\nDATABASE_URL=no"}).env == {"A": "1", "DATABASE_URL": "no"}
    config = tmp_path / "o.toml"
    config.write_text("env = { A = 1 }\n")
    assert load({}, {}, config).env["A"] == "1"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("port", "0", "--port is '0', but must be a whole number from 1 to 65535."),
        ("port", "http", "--port is 'http', but must be a whole number from 1 to 65535."),
        ("min_idle", "-1", "--min-idle is '-1', but must be a whole number from 0 to 10000."),
        ("engine", "podman", "--engine is 'podman', but must be one of docker, kubernetes, memory."),
        ("ready_path", "health", "--ready-path is 'health', but must be a path that begins with / and has no spaces."),
        ("assign_timeout", "soon", "--assign-timeout is 'soon', but must be a number of seconds from 0.1 to 3600."),
        ("image", " ", "--image is ' ', but must be text that is not empty."),
        ("durability", "disk", "--durability is 'disk', but must be one of process, power."),
        (
            "env",
            ["A=1", "secret"],
            f'--env has {ENTRY}: one entry has no "=". It is not shown, since it may be a secret.',
        ),
        ("env", ["=secret"], f'--env has {ENTRY}: one entry has no name before its "=".'),
        ("env", ["a\0b=secret"], f"""--env has {ENTRY}: a name is UTF-8 without "=" and NUL, but one is 'a\\x00b'."""),
        ("env", ["my.key=a\0b"], f"--env has {ENTRY}: a value is UTF-8 without NUL, but that of 'my.key' is not."),
        (
            "docker_host",
            "tcp://me:secret@\0:1",
            "--docker-host is 'tcp://***@\\x00:1', but must be text of printable characters.",
        ),
        ("publish_address", "nowhere", f"--publish-address is 'nowhere', but must be {ADDRESS}"),
        ("publish_address", "fe80::1%eth0", f"--publish-address is 'fe80::1%eth0', but must be {ADDRESS}"),
        ("allow_origin", ["https://a.example", "b.example"], f"--allow-origin is 'b.example', but must be {ORIGIN}"),
        ("allow_origin", ["null"], f"--allow-origin is 'null', but must be {ORIGIN}"),
        (
            "allow_origin",
            ["https://a.example/page"],
            f"--allow-origin is 'https://a.example/page', but must be {ORIGIN}",
        ),
        ("advertise_host", "http://my-host", f"--advertise-host is 'http://my-host', but must be {HOST}"),
        ("advertise_host", "my-host:80", f"--advertise-host is 'my-host:80', but must be {HOST}"),
        ("advertise_host", "my host", f"--advertise-host is 'my host', but must be {HOST}"),
        ("advertise_host", "ex/ample", f"--advertise-host is 'ex/ample', but must be {HOST}"),
        ("advertise_host", "[::1]:80", f"--advertise-host is '[::1]:80', but must be {HOST}"),
        ("advertise_host", "[my-host]", f"--advertise-host is '[my-host]', but must be {HOST}"),
        ("advertise_host", "fe80::1%eth0", f"--advertise-host is 'fe80::1%eth0', but must be {HOST}"),
        ("advertise_host", "300.1.1.1", f"--advertise-host is '300.1.1.1', but must be {HOST}"),
        ("advertise_host", "a..b", f"--advertise-host is 'a..b', but must be {HOST}"),
        ("advertise_host", " ", f"--advertise-host is ' ', but must be {HOST}"),
        ("allow_host", ["a b"], f"--allow-host is 'a b', but must be {NAME}"),
        ("allow_host", ["http://my-host"], f"--allow-host is 'http://my-host', but must be {NAME}"),
        ("allow_host", ["my-host:9092"], f"--allow-host is 'my-host:9092', but must be {NAME}"),
    ],
)
def test_what_is_not_allowed_is_refused_by_name_with_the_value_and_what_is_allowed(
    name: str, value: Any, said: str
) -> None:
    with pytest.raises(InvalidSetting) as refused:
        load({name: value}, {})
    assert refused.value.message == said


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("publish_address", "Localhost", "localhost"),
        ("publish_address", "0.0.0.0", "0.0.0.0"),
        ("publish_address", "0:0:0:0:0:0:0:1", "::1"),
        ("advertise_host", " my-host.example ", "my-host.example"),
        ("advertise_host", "192.0.2.7", "192.0.2.7"),
        ("advertise_host", "2001:DB8::1", "2001:db8::1"),
        ("advertise_host", "[::1]", "::1"),
        ("allow_host", ["my-host", " fd00::1"], ("my-host", "fd00::1")),
        ("allow_host", "a,10.0.0.5", ("a", "10.0.0.5")),
        ("allow_origin", ["https://a.example", "http://[::1]:3000/"], ("https://a.example", "http://[::1]:3000/")),
    ],
)
def test_addresses_names_and_origins_are_read(name: str, value: Any, read: Any) -> None:
    assert getattr(load({name: value}, {}), name) == read


def test_an_unknown_variable_is_refused_with_the_one_that_was_meant() -> None:
    with pytest.raises(
        InvalidSetting, match=r"ORCHESTRATOR_MIN_IDEL is not a setting\. Did you mean ORCHESTRATOR_MIN_IDLE?"
    ):
        load({}, {"ORCHESTRATOR_MIN_IDEL": "1"})


def test_an_unknown_key_of_the_file_is_refused_with_its_file(tmp_path: Path) -> None:
    config = tmp_path / "o.toml"
    config.write_text("zzz = 1\n")
    with pytest.raises(
        InvalidSetting, match=r"zzz in .*o.toml \(line 1\) is not a setting. The settings are: .*min_idle"
    ):
        load({}, {}, config)


@pytest.mark.parametrize(("text", "said"), [("a = ", "not valid TOML"), (None, "cannot be read: No such file")])
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, text: str | None, said: str) -> None:
    config = tmp_path / "o.toml"
    if text is not None:
        config.write_text(text)
    with pytest.raises(InvalidSetting, match=said):
        load({}, {}, config)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"max_idle": "1"}, "max_idle is 1, but must be at least min_idle, which is 2."),
        ({"min_idle": "5", "max_machines": "4"}, "min_idle is 5, but must be at most max_machines, which is 4."),
        ({"last_port": "9000"}, "last_port is 9000, but must be at least first_port, which is 9093."),
    ],
)
def test_settings_that_contradict_each_other_are_refused(flags: dict[str, str], said: str) -> None:
    with pytest.raises(InvalidSetting) as refused:
        load(flags, {})
    assert refused.value.message == said


def test_a_secret_in_a_workers_environment_never_shows_in_an_error() -> None:
    for bad in ("bad.name=hunter2\0", "=hunter2", "hunter2"):
        with pytest.raises(InvalidSetting) as refused:
            load({}, {"ORCHESTRATOR_ENV": bad})
        assert "hunter2" not in refused.value.message


def test_names_of_variables_are_those_that_docker_takes(tmp_path: Path) -> None:
    names = ["discovery.type", "1ST", "a b", "my-key", "größe", "bash.func%%", "\t", "a:b/c"]
    assert load({"env": [f"{name}=x" for name in names]}, {}).env == {**DEFAULT_ENV, **dict.fromkeys(names, "x")}
    config = tmp_path / "o.toml"
    config.write_text('env = { "discovery.type" = "single-node" }\n')
    assert load({}, {}, config).env["discovery.type"] == "single-node"


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('"a=b" = "secret"', """a name is UTF-8 without "=" and NUL, but one is 'a=b'."""),
        ('"" = "secret"', 'one entry has no name before its "=".'),
        ("A = true", "a value is a text or a number, but that of 'A' is neither."),
        ('A = ["secret"]', "a value is a text or a number, but that of 'A' is neither."),
    ],
)
def test_a_refused_entry_of_a_table_is_told_by_its_name(table: str, said: str, tmp_path: Path) -> None:
    config = tmp_path / "o.toml"
    config.write_text(f"env = {{ {table} }}\n")
    with pytest.raises(InvalidSetting) as refused:
        load({}, {}, config)
    assert refused.value.message == f"env in {config} (line 1) has {ENTRY}: {said}"


def test_every_setting_has_a_flag_a_variable_and_a_sentence_of_help() -> None:
    for setting in settings():
        assert setting.flag.startswith("--") is not setting.secret
        assert setting.variable.startswith("ORCHESTRATOR_")
        assert setting.help.endswith(".")
        assert setting.repeatable is setting.help.endswith("May be repeated.")
        assert bool(setting.values) is not (setting.secret or isinstance(setting.default, bool)), setting.name
    assert {setting.name for setting in settings()} == {field.name for field in fields(Settings)} - IN_TABLES_ALONE


if __name__ == "__main__":
    print(table())
