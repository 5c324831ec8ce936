"""Settings under whatever a person, a shell or a broken file may give: a value, or one sentence that keeps secrets."""

from __future__ import annotations

import datetime as dt
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from worker_orchestrator.core.windows import Window, next_start, previous_start
from worker_orchestrator.errors import InvalidSetting
from worker_orchestrator.settings.loading import load
from worker_orchestrator.settings.settings import DEFAULT_ENV, Settings, settings

SECRET = "hunter2\u00a7"
NAMES = sorted(setting.name for setting in settings())
FLAGS = {setting.name: setting.flag for setting in settings() if setting.flag}
TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=[]), max_size=40),
    st.sampled_from(
        [
            "",
            " ",
            "0",
            "1",
            "65535",
            "65536",
            "1e3",
            "nan",
            "-1",
            "\u0661",
            "\xb2",
            "~nobody/x",
            "a\0b",
            "a\nb",
            "\udcff",
        ]
    ),
)
VALUES = st.recursive(
    st.one_of(TEXTS, st.booleans(), st.integers(), st.floats(), st.just(2**64), st.just(dt.date(2026, 1, 1))),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=5,
)
WELL_FORMED = st.fixed_dictionaries(
    {},
    optional={
        "port": st.integers(1, 65535),
        "image": st.from_regex(r"[a-z0-9][a-z0-9._/:-]{0,30}", fullmatch=True),
        "min_idle": st.integers(0, 5),
        "max_idle": st.integers(5, 10),
        "parked": st.integers(0, 5),
        "parked_check": st.floats(1, 3600).map(lambda s: round(s, 3)),
        "max_machines": st.integers(10, 10_000),
        "assign_timeout": st.floats(0.1, 3600).map(lambda s: round(s, 3)),
        "ready_path": st.from_regex(r"/[!-~]{0,20}", fullmatch=True),
        "env": st.dictionaries(
            st.text(st.characters(exclude_characters="\0=", exclude_categories=["Cs"]), min_size=1, max_size=10),
            st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20),
            max_size=3,
        ),
        "allow_host": st.lists(st.from_regex(r"[a-z0-9.-]{1,20}", fullmatch=True), min_size=1, max_size=3),
        "on_release": st.sampled_from(["reuse", "recycle"]),
    },
)


def sentence(flags: Mapping[str, Any], environ: Mapping[str, str], config: bytes | None = None) -> str:
    """What `load` says; empty where the settings stand. Whatever else it raises fails the test."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "o.toml")
        if config is not None:
            path.write_bytes(config)
        try:
            assert isinstance(load(flags, environ, path if config is not None else None), Settings)
        except InvalidSetting as refused:
            said = refused.message
        else:
            return ""
    assert said.isprintable(), said
    assert said.endswith((".", "?"))
    return said


@given(name=st.sampled_from(sorted(FLAGS)), value=VALUES)
@example(name="state_dir", value="~nobody-of-this-name/x")
@example(name="port", value=0x1 << 20000)
def test_any_value_of_any_type_is_taken_or_refused_by_name(name: str, value: Any) -> None:
    said = sentence({name: value}, {})
    assert not said or said.startswith((f"{FLAGS[name]} ", f"{name} is ")) or "must be at " in said


@given(st.dictionaries(st.sampled_from([f"ORCHESTRATOR_{name.upper()}" for name in NAMES]) | TEXTS, TEXTS, max_size=4))
def test_any_environment_is_taken_or_refused(environ: Mapping[str, str]) -> None:
    sentence({}, {name: text for name, text in environ.items() if name != "ORCHESTRATOR_CONFIG"})


@given(st.dictionaries(TEXTS.map(lambda text: "ORCHESTRATOR_" + text), TEXTS, min_size=1, max_size=2))
def test_an_unknown_variable_is_refused_on_one_line(environ: Mapping[str, str]) -> None:
    sentence({}, {name: text for name, text in environ.items() if name != "ORCHESTRATOR_CONFIG"})


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
@example(b"port = " + b"9" * 5000)
@example(b"port = 0x" + b"f" * 9000)
@example(b"a = " + b"[" * 5000)
@example(b"\xff\xfe")
@example(b'"a\\nb" = 1')
def test_any_bytes_may_be_the_configuration_file(content: bytes) -> None:
    sentence({}, {}, content)


@given(name=st.sampled_from(NAMES), value=VALUES)
def test_any_value_in_toml_is_taken_or_refused(name: str, value: Any) -> None:
    said = sentence({}, {}, f"{name} = {toml(value)}\n".encode("utf-8", "surrogatepass"))
    assert not said or name in said or "not valid TOML" in said


@given(name=st.sampled_from([*NAMES, "windows", "inherit", "rules"]), value=VALUES)
@example(name="windows", value=[{"cron": "0 8 * * *", "for": "1h", "min_idle": 1, "timezone": "../UTC"}])
@example(name="windows", value=[{"cron": "9" * 5000 + " 8 * * *"}])
def test_any_value_in_a_pools_table_is_taken_or_refused(name: str, value: Any) -> None:
    said = sentence({}, {}, f"[pools.web]\n{name} = {toml(value)}\n".encode("utf-8", "surrogatepass"))
    assert not said or name in said or "pools.web" in said or "not valid TOML" in said
    assert not (name == "token" and isinstance(value, str) and len(value) > 5 and value in said)


@given(key=st.sampled_from(["cron", "for", "min_idle", "max_idle", "timezone"]), value=VALUES)
def test_any_value_of_a_window_is_taken_or_refused(key: str, value: Any) -> None:
    window = {"cron": "0 8 * * *", "for": "1h", "min_idle": 1} | {key: value}
    text = "".join(f"{name} = {toml(given)}\n" for name, given in window.items())
    said = sentence({}, {}, f"[[pools.web.windows]]\n{text}".encode("utf-8", "surrogatepass"))
    assert not said or said.startswith((f"{key} in [[pools.web.windows]] of ", "In pool web, ")) or "valid TOML" in said


@given(st.lists(st.text("0123456789*/,-#LWMONJAN", min_size=1, max_size=6), min_size=5, max_size=5).map(" ".join))
@example("0 0 * * 1#" + "9" * 5000)
@example("0 0 L/2 2 5L")
def test_any_expression_is_taken_or_refused_and_can_be_looked_up(cron: str) -> None:
    text = f'cron = "{cron}"\nfor = "1h"\nmin_idle = 1\n'
    said = sentence({}, {}, f"[[pools.web.windows]]\n{text}".encode())
    assert not said or "minute, hour, day of the month, month and day of the week in cron's words" in said
    if not said:
        window = Window(cron, 3600, ZoneInfo("Europe/Berlin"), 1)
        start = next_start(window, 1_774_742_400)
        assert start is None or previous_start(window, start) == start


@given(name=TEXTS, table=VALUES)
def test_any_name_and_any_value_in_place_of_a_pools_table_is_taken_or_refused(name: str, table: Any) -> None:
    sentence({}, {}, f"[pools]\n{toml(name)} = {toml(table)}\n".encode("utf-8", "surrogatepass"))


SECRETS = st.sampled_from([SECRET, f"{SECRET}=", f"a/{SECRET}=="])


@given(
    before=st.lists(st.sampled_from(["A=1", "B=", "C=x=y"]), max_size=2),
    bad=st.one_of(
        SECRETS.map(lambda s: f"\0BAD={s}"),
        SECRETS.map(lambda s: f"={s}"),
        st.just(SECRET),
        SECRETS.map(lambda s: f"A={s}\0"),
    ),
    after=st.lists(SECRETS, max_size=2),
)
def test_a_refused_list_of_variables_shows_no_value(before: list[str], bad: str, after: list[str]) -> None:
    """Neither the value of a bad one, nor what follows: it may be the rest of a secret of several lines."""
    said = sentence({"env": [*before, bad, *after]}, {})
    assert said.startswith("--env has an entry ")
    assert SECRET not in said


@given(lines=st.lists(SECRETS, min_size=1, max_size=3))
def test_the_lines_of_a_secret_that_a_shell_left_open_do_not_show(lines: list[str]) -> None:
    said = sentence({}, {"ORCHESTRATOR_ENV": "\n".join(["KEY=-----BEGIN", *lines])})
    assert said.startswith("ORCHESTRATOR_ENV has an entry ") or all("=" in line for line in lines)
    assert SECRET not in said


@given(
    st.sampled_from(
        [[[f"A={SECRET}"]], [{"A": SECRET}], {"A": {"B": SECRET}}, {"A": [SECRET]}, {"A": True, "B": SECRET}]
    )
)
def test_a_table_of_the_wrong_shape_shows_no_value(shape: Any) -> None:
    said = sentence({}, {}, f"env = {toml(shape)}\n".encode())
    assert "must be NAME=value" in said
    assert SECRET not in said


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20))
def test_no_sentence_repeats_a_token(text: str) -> None:
    """Neither under its name nor under one that resembles it."""
    for name in ("TOKEN", "TOKE", "TOKENS", "TOKEN_"):
        assert SECRET not in sentence({"port": "x"}, {f"ORCHESTRATOR_{name}": SECRET + text})
    for shape in (SECRET + text, [SECRET + text], {"a": SECRET + text}):
        assert SECRET not in sentence({}, {}, f"token = {toml(shape)}\nport = 0\n".encode())


@given(WELL_FORMED)
def test_well_formed_settings_mean_the_same_from_flags_environment_and_file(chosen: dict[str, Any]) -> None:
    """Whatever of them a person likes best."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "o.toml")
        config.write_text("".join(f"{name} = {toml(value)}\n" for name, value in chosen.items()), encoding="utf-8")
        from_file = load({}, {}, config)
    flags = {name: as_flag(value) for name, value in chosen.items()}
    assert load(flags, {}) == from_file
    for name, value in chosen.items():
        expected = {**DEFAULT_ENV, **value} if name == "env" else tuple(value) if name == "allow_host" else value
        assert getattr(from_file, name) == expected
    lines = [f"{variable}={text}" for variable, text in chosen.get("env", {}).items()]
    if not any(line.splitlines() != [line] for line in lines):
        environ = {f"ORCHESTRATOR_{name.upper()}": as_variable(value) for name, value in chosen.items()}
        assert load({}, environ) == from_file


def test_the_name_of_a_folder_in_place_of_a_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match=r"cannot be read: Is a directory\.$"):
        load({}, {}, tmp_path)


def as_flag(value: Any) -> Any:
    if isinstance(value, dict):
        return [f"{name}={text}" for name, text in value.items()]
    return value if isinstance(value, list) else str(value)


def as_variable(value: Any) -> str:
    flag = as_flag(value)
    return ("\n" if isinstance(value, dict) else ",").join(flag) if isinstance(flag, list) else flag


def toml(value: Any) -> str:
    """`value` as TOML."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case list():
            return f"[{', '.join(map(toml, value))}]"
        case dict():
            return f"{{{', '.join(f'{toml(str(name))} = {toml(item)}' for name, item in value.items())}}}"
        case int() if value.bit_length() > 64:
            return hex(value)
        case _:
            return str(value)
