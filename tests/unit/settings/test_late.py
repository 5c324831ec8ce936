"""Settings of values that come at an assign: as flags, as one table, and what of it does not go together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from worker_orchestrator.core.spec import Late
from worker_orchestrator.errors import InvalidSetting
from worker_orchestrator.service.engine_options import docker_options
from worker_orchestrator.service.specification import spec_of
from worker_orchestrator.settings.difference import difference
from worker_orchestrator.settings.loading import load, read
from worker_orchestrator.settings.settings import Settings
from worker_orchestrator.settings.showing import as_json, as_text

Load = Callable[..., Settings]
TABLE = 'late = { dir = "/run/project", hook = ["/app/set-up", "a b"], timeout = 5 }\n'
FOLDER = (
    "an absolute path of letters, digits and . _ @ + - that is not /, /tmp or a system folder, and not below /proc, /sys "
    "or /dev, such as /run/project."
)
COMMAND = "a command and its arguments, such as /app/configure --fast; a file has a list of them"


@pytest.fixture
def from_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    monkeypatch.chdir(tmp_path)

    def load_text(text: str, flags: Mapping[str, Any] | None = None, **variables: str) -> Settings:
        Path("o.toml").write_text(text, encoding="utf-8")
        return load(flags or {}, variables, Path("o.toml"))

    return load_text


def late(settings: Settings, pool: str = "default") -> tuple[Any, ...]:
    chosen = settings.pools[pool]
    return chosen.late_dir, chosen.late_hook, chosen.late_post, chosen.late_timeout


# how they are given


def test_without_them_workers_take_no_values() -> None:
    settings = load({}, {})
    assert late(settings) == ("", (), "", 60.0)
    assert spec_of(settings).pool("default").late is None


def test_flags_and_variables_are_for_the_default_pool_and_split_the_hook_as_a_shell_does() -> None:
    settings = load(
        {"late_dir": "/run/project/", "late_hook": "/app/set-up 'a b' c"}, {"ORCHESTRATOR_LATE_TIMEOUT": "7"}
    )
    assert late(settings) == ("/run/project", ("/app/set-up", "a b", "c"), "", 7.0)


def test_a_table_says_the_same_above_all_tables_and_below_a_pool(from_file: Load) -> None:
    assert late(from_file(TABLE)) == ("/run/project", ("/app/set-up", "a b"), "", 5.0)
    assert late(from_file('[late]\ndir = "/run/project"\n')) == ("/run/project", (), "", 60.0)
    settings = from_file(f'[pools.web]\nimage = "web"\n{TABLE}')
    assert late(settings) == ("", (), "", 60.0)
    assert late(settings, "web") == ("/run/project", ("/app/set-up", "a b"), "", 5.0)


def test_a_flag_wins_over_one_key_of_the_table(from_file: Load) -> None:
    assert late(from_file(TABLE, {"late_hook": "/other"})) == ("/run/project", ("/other",), "", 5.0)


def test_a_pool_with_a_table_takes_over_nothing_of_the_one_outside(from_file: Load) -> None:
    settings = from_file(f'{TABLE}[pools.a]\n[pools.b]\nlate = {{ dir = "/b" }}\n[pools.c]\nlate = {{}}\n')
    assert late(settings, "a") == late(settings)
    assert late(settings, "b") == ("/b", (), "", 60.0)
    assert late(settings, "c") == ("", (), "", 60.0)


def test_a_pool_of_another_image_takes_over_none_of_them(from_file: Load) -> None:
    settings = from_file(f'{TABLE}on_setup_failure = "replace"\n[pools.a]\nimage = "other"\n')
    assert late(settings, "a") == ("", (), "", 60.0)
    assert (settings.on_setup_failure, settings.pools["a"].on_setup_failure) == ("replace", "keep")


def test_the_sources_name_the_key_in_its_table(tmp_path: Path) -> None:
    config = tmp_path / "o.toml"
    config.write_text(f"{TABLE}[pools.web]\n{TABLE}")
    found = read({}, {}, config)
    assert found.sources["late_dir"] == f"dir in [late] of {config}"
    assert found.pool_sources["web"]["late_hook"] == f"hook in [pools.web.late] of {config}"
    assert found.pool_sources["web"]["late_post"] == f"late in [pools.web] of {config}"


# what becomes of them


def test_they_are_what_the_core_and_the_engine_are_told(from_file: Load) -> None:
    text = f'on_release = "recycle"\non_setup_failure = "replace"\n{TABLE.replace(" }", ", post = " + repr("/set") + " }")}'
    settings = from_file(text)
    assert spec_of(settings).pool("default").late == Late(
        "/run/project", "/set", ("/app/set-up", "a b"), 5.0, replaces=True
    )
    options = docker_options(settings)["default"]
    assert (options.late_dir, options.late_post) == ("/run/project", "/set")


def test_a_post_alone_is_a_way_to_take_values_too() -> None:
    settings = load({"late_post": "/configure", "on_release": "recycle"}, {})
    assert spec_of(settings).pool("default").late == Late(post="/configure")


def test_a_reload_tells_each_that_changed_and_where_a_word_of_the_hook_ends(from_file: Load) -> None:
    assert difference(from_file(""), from_file(TABLE)).lines() == [
        "~ pool default, late_dir: - -> /run/project",
        "~ pool default, late_hook: - -> /app/set-up 'a b'",
        "~ pool default, late_timeout: 60 -> 5",
    ]


def test_a_password_in_an_address_of_the_hook_is_not_shown() -> None:
    shown = as_json("late_hook", ("fetch", "https://me:secret@host/x"))
    assert shown == ("fetch", "https://***@host/x")
    assert as_text(shown) == "fetch https://***@host/x"


# what is refused


@pytest.mark.parametrize(
    "folder",
    ["", "/", "//", "run", "/tmp", "/tmp/", "/etc", "/usr", "/lib64", "/proc", "/proc/x", "/sys/a", "/dev/shm", "/a/../b",
     "/a/./b", "/a//b", "/..", "/a b", "/a*", "/a:b", "/a\n", "/ä", "/" + "a" * 129, "/a" * 17, 7, None],
)  # fmt: skip
def test_folders_that_are_refused(folder: Any) -> None:
    with pytest.raises(InvalidSetting) as caught:
        load({"late_dir": folder} if folder is not None else {"late_dir": []}, {})
    assert caught.value.message.endswith(f"but must be {FOLDER}")


@pytest.mark.parametrize("folder", ["/run/project", "/tmp/project", "/etc/app", "/a", "/a/.b", "/a/b..", "/process/x"])
def test_folders_that_are_allowed(folder: str) -> None:
    assert load({"late_dir": folder}, {}).late_dir == folder


@pytest.mark.parametrize(
    ("hook", "said"),
    [
        ("/a 'b", f"{COMMAND}; one quote is not closed."),
        ("'' b", f"{COMMAND}; the first word is empty."),
        (["/a", "b\n"], f"{COMMAND}; they are printable text."),
        (["/a", 1], f"{COMMAND}."),
        (5, f"{COMMAND}."),
    ],
)
def test_hooks_that_are_refused(hook: Any, said: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        load({"late_dir": "/run/project", "late_hook": hook}, {})
    assert caught.value.message.endswith(f"but must be {said}")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (
            {"late_hook": "/a b"},
            "late_hook is '/a b', which needs late_dir: the hook reads there what it is to set up.",
        ),
        (
            {"late_post": "/set"},
            (
                "late_post is '/set', which needs on_release to be recycle, but it is reuse: the project that had a machine "
                "before knows the token with which values are posted to it."
            ),
        ),
        (
            {"on_setup_failure": "replace"},
            "on_setup_failure is replace, but neither late_dir nor late_post is set, so nothing is set up.",
        ),
        ({"late_timeout": 5}, "late_timeout is 5, but neither late_dir nor late_post is set, so nothing is set up."),
    ],
)
def test_what_does_not_go_together(flags: Mapping[str, Any], said: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        load(flags, {})
    assert caught.value.message == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            'late = "/run/project"\n',
            (
                "late in o.toml (line 1) must be a table with some of dir, hook, post, timeout, such as "
                'late = { dir = "/run/project", hook = ["/app/configure"] }.'
            ),
        ),
        (
            "[pools.web]\nlate = { folder = 1 }\n",
            (
                "folder in [pools.web.late] of o.toml (line 2) is not a key of late. The keys of late are: dir, hook, post, "
                "timeout."
            ),
        ),
        (
            'late = { dir = "/a" }\nlate-dir = "/b"\n',
            "late-dir in o.toml (line 2) is also in the table late. Set it in one of these places only.",
        ),
        (
            "[pools.web.late]\ntimeout = 0\n",
            "timeout in [pools.web.late] of o.toml (line 2) is 0, but must be a number of seconds from 1 to 3600.",
        ),
        ("lat = 1\n", "lat in o.toml (line 1) is not a setting. Did you mean late?"),
    ],
)
def test_what_is_wrong_in_a_table_is_refused_with_its_place(from_file: Load, text: str, said: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        from_file(text)
    assert caught.value.message == said
