"""Settings of several pools: what each takes over from outside of its table, and what is refused, with its place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from worker_orchestrator.core.windows import Window
from worker_orchestrator.errors import InvalidSetting
from worker_orchestrator.settings.loading import load, read
from worker_orchestrator.settings.pool import PoolSettings
from worker_orchestrator.settings.setting import Inherited
from worker_orchestrator.settings.settings import DEFAULT_ENV, Settings, settings

Load = Callable[..., Settings]
OTHER: Mapping[str, Any] = {
    "image": "other", "worker_port": 1234, "min_idle": 3, "max_idle": 9, "spare": 0.5, "shrink_after": 7.0,
    "sizing": "adaptive", "target": 0.95,
    "max_machines": 50, "outbound": "host", "env": {"A": "1"}, "memory": "1g", "cpus": 1.5, "pids_limit": 99,
    "log_limit": "1m", "cap_drop": ("ALL",), "allow_sudo": True, "read_only": True, "user": "1000", "runtime": "runsc",
    "ready": "tcp", "ready_path": "/health", "start_timeout": 20.0, "stop_timeout": 3.0, "on_release": "recycle",
    "ttl": 3600, "max_age": 86_400, "idle_timeout": 900, "confirm_within": 60, "on_expiry": "destroy",
    "idle_traffic": "any", "idle_traffic_min": 5000, "idle_cpu": 0.1, "warn_before": 90,
    "late_dir": "/run/project", "late_hook": ("/app/set-up", "--fast"),
    "late_post": "/configure", "late_timeout": 5.0, "on_setup_failure": "replace", "parked": 6, "parked_check": 20.0,
    "wake_on_visit": "off", "preview_access": "link", "preview_host": "localhost",
}  # fmt: skip
"""Other values than the defaults, for every setting of a pool but those that others exclude, and that of another engine."""


NAMED = (
    "at most 16 names with different ports of the container, such as http=3000; a name has 1 to 31 lower-case letters, "
    "digits and hyphens, and begins with a letter"
)


@pytest.fixture
def from_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    monkeypatch.chdir(tmp_path)

    def load_text(text: str, flags: Mapping[str, Any] | None = None, **variables: str) -> Settings:
        Path("o.toml").write_text(text, encoding="utf-8")
        return load(flags or {}, variables, Path("o.toml"))

    return load_text


def toml(values: Mapping[str, Any]) -> str:
    def shown(value: Any) -> str:
        if isinstance(value, Mapping):
            return f"{{ {', '.join(f'{key} = {shown(each)}' for key, each in value.items())} }}"
        if isinstance(value, tuple):
            return f"[{', '.join(map(shown, value))}]"
        return str(value).lower() if isinstance(value, bool) else f'"{value}"' if isinstance(value, str) else str(value)

    return "".join(f"{name} = {shown(value)}\n" for name, value in values.items())


# what there is


def test_without_tables_there_is_the_pool_default_with_the_settings_outside(from_file: Load) -> None:
    found = from_file(toml(OTHER))
    assert list(found.pools) == ["default"]
    assert found.pools["default"] == PoolSettings(**{**OTHER, "env": {**DEFAULT_ENV, "A": "1"}, "max_machines": None})
    assert found.max_machines == 50


def test_default_is_there_and_first_also_beside_other_pools(from_file: Load) -> None:
    assert list(from_file("[pools.web]\n[pools.a]\n").pools) == ["default", "web", "a"]


def test_the_fields_of_settings_are_those_of_the_pool_default() -> None:
    changed = replace(Settings(), min_idle=7, image="a")
    assert (changed.pools["default"].min_idle, changed.pools["default"].image) == (7, "a")


def test_each_setting_of_a_pool_says_when_it_is_inherited() -> None:
    kinds = {setting.name: setting.inherited for setting in settings()}
    of_pool = {field.name for field in fields(PoolSettings)} - {"windows"}
    assert {name for name, kind in kinds.items() if kind is not None} == of_pool
    assert of_pool == OTHER.keys() | {
        "network",
        "insecure_shared_network",
        "ports",
        "ready_port",
        "pod_template",
        "unreachable_grace",
    }
    assert {name for name, kind in kinds.items() if kind is Inherited.NEVER} == {
        "min_idle", "max_idle", "max_machines", "spare", "sizing", "target", "shrink_after", "parked",
    }  # fmt: skip
    assert {name for name, kind in kinds.items() if kind is Inherited.WITH_IMAGE} == {
        "worker_port", "ports", "ready", "ready_path", "ready_port",
        "late_dir", "late_hook", "late_post", "late_timeout", "on_setup_failure",
        "preview_host",
    }  # fmt: skip


# what is inherited


def test_an_empty_table_is_a_pool_with_everything_from_outside_but_the_sizes(from_file: Load) -> None:
    found = from_file(toml(OTHER) + "[pools.web]\n").pools["web"]
    sizes: dict[str, Any] = {
        "min_idle": 2,
        "max_idle": None,
        "spare": 0.0,
        "shrink_after": None,
        "parked": None,
        "max_machines": None,
    }
    sizes |= {"sizing": "fixed", "target": 0.99}
    assert found == PoolSettings(**{**OTHER, "env": {**DEFAULT_ENV, "A": "1"}, **sizes})


def test_a_table_with_an_image_takes_over_nothing_that_belongs_to_another_one(from_file: Load) -> None:
    found = from_file(toml(OTHER) + '[pools.web]\nimage = "my/web"\n').pools["web"]
    assert (found.image, found.worker_port, found.ready, found.ready_path) == ("my/web", None, "http", "/")
    assert (found.user, found.cap_drop, found.outbound, found.on_release) == ("1000", ("ALL",), "host", "recycle")
    assert (found.memory, found.read_only) == ("1g", True)


def test_it_is_known_which_pools_have_the_default_image_beside_one_of_default_alone(tmp_path: Path) -> None:
    """A stranger expects them to inherit it; so `config` says why they do not, also where it leaves out defaults."""
    file = tmp_path / "orchestrator.toml"
    file.write_text('[pools.default]\nimage = "mine"\n[pools.web]\n[pools.own]\nimage = "own"\n')
    found = read({}, {}, file)
    assert (found.settings.without_image, found.settings.pools["web"].image) == (("web",), PoolSettings().image)
    assert found.pool_sources["web"] == {"image": "default, since no pool inherits the image in [pools.default]"}
    assert read({"image": "flag"}, {}, file).settings.without_image == ()
    for text in ('image = "above"\n[pools.default]\nimage = "mine"\n[pools.web]\n', "[pools.web]\n"):
        file.write_text(text)
        assert read({}, {}, file).settings.without_image == ()


def test_a_table_has_the_last_word_on_its_pool(from_file: Load) -> None:
    """Also before flags and variables, which set `default` and what others inherit."""
    found = from_file('[pools.web]\nmemory = "2g"\nmin-idle = 4\n', {"memory": "3g"}, ORCHESTRATOR_USER="1000")
    assert (found.pools["web"].memory, found.pools["web"].min_idle, found.pools["web"].user) == ("2g", 4, "1000")
    assert (found.pools["default"].memory, found.pools["default"].min_idle) == ("3g", 2)
    assert (found.memory, found.user) == ("3g", "1000")


TWO = "ports = { http = 3000, hmr = 24678 }\n"


def test_ports_keep_their_order_and_belong_to_an_image(from_file: Load) -> None:
    """The first one is that of the URL. So they are inherited like `worker_port`."""
    found = from_file(f'{TWO}ready_port = "hmr"\n[pools.a]\n[pools.b]\nimage = "b"\n')
    assert found.ports == (("http", 3000), ("hmr", 24678))
    assert (found.pools["a"].ports, found.pools["a"].ready_port) == (found.ports, "hmr")
    assert (found.pools["b"].ports, found.pools["b"].ready_port) == ((), "")
    assert from_file("ports = { hmr = 24678, http = 3000 }\n").ports == (("hmr", 24678), ("http", 3000))
    assert from_file("ports = {}\n").ports == ()


@pytest.mark.parametrize("given", [["http=3000", "hmr=24678"], ["http=3000,hmr=24678"], "http=3000, hmr=24678"])
def test_ports_are_given_one_by_one_or_with_commas(given: Any) -> None:
    assert load({"ports": given}, {}).ports == (("http", 3000), ("hmr", 24678))
    assert load({}, {"ORCHESTRATOR_PORTS": "http=3000,hmr=24678"}).ports == (("http", 3000), ("hmr", 24678))


def test_whichever_of_worker_port_and_ports_is_nearer_to_the_pool_displaces_the_other(from_file: Load) -> None:
    """They say one thing in two ways, and only in one place they contradict each other."""
    a = from_file(f'{TWO}ready_port = "hmr"\n[pools.a]\nworker_port = 80\n').pools["a"]
    assert (a.worker_port, a.ports, a.ready_port) == (80, (), "")
    a = from_file(f"worker_port = 80\n[pools.a]\n{TWO}").pools["a"]
    assert (a.worker_port, len(a.ports)) == (None, 2)
    a = from_file(f'{TWO}ready_port = "hmr"\n[pools.a]\nports = {{ hmr = 1, ws = 2 }}\n').pools["a"]
    assert (a.ports, a.ready_port) == ((("hmr", 1), ("ws", 2)), "hmr"), "it names one of them as well"
    a = from_file(f'{TWO}ready_port = "hmr"\n[pools.a]\nports = {{ ws = 2 }}\n').pools["a"]
    assert (a.ports, a.ready_port) == ((("ws", 2),), "")


def test_flags_and_variables_displace_what_the_file_says_of_ports(from_file: Load) -> None:
    found = from_file("worker_port = 80\n[pools.default]\nworker_port = 81\n[pools.a]\n", {"ports": ["http=3000"]})
    assert (found.worker_port, found.ports) == (None, (("http", 3000),))
    assert (found.pools["a"].worker_port, found.pools["a"].ports) == (None, (("http", 3000),))
    found = from_file(f"[pools.default]\n{TWO}", {"worker_port": "80"}, ORCHESTRATOR_PORTS="a=1")
    assert (found.worker_port, found.ports) == (80, ())


def test_variables_of_workers_are_added_to_those_outside(from_file: Load) -> None:
    text = 'env = { A = "1", B = "1" }\n[pools.web]\nenv = { B = "2" }\n[pools.own]\ninherit = false\n[pools.both]\n'
    found = from_file(text + 'inherit = false\nenv = { C = "3" }\nmemory = "1g"\n', {"user": "1000"}).pools
    assert found["web"].env == {**DEFAULT_ENV, "A": "1", "B": "2"}
    assert found["own"].env == {}
    assert found["both"].env == {"C": "3"}
    assert found["both"].user == "1000", "inherit concerns env alone"
    assert from_file('[pools.web]\nenv = { B = "2" }\n').pools["web"].env == {**DEFAULT_ENV, "B": "2"}
    assert from_file("[pools.web]\ninherit = true\n").pools["web"].env == DEFAULT_ENV


# the table of `default`


def test_the_table_of_default_holds_for_this_pool_alone(from_file: Load) -> None:
    found = from_file('memory = "1g"\nmin_idle = 3\n[pools.default]\nmemory = "2g"\n[pools.web]\n')
    assert (found.memory, found.pools["default"].memory, found.pools["web"].memory) == ("2g", "2g", "1g")
    assert (found.min_idle, found.pools["default"].min_idle, found.pools["web"].min_idle) == (3, 3, 2)


def test_flags_and_variables_beat_the_table_of_default(from_file: Load) -> None:
    text = '[pools.default]\nmemory = "2g"\nimage = "a"\nenv = { A = "1" }\n'
    found = from_file(text, {"memory": "3g"}, ORCHESTRATOR_IMAGE="b", ORCHESTRATOR_ENV="B=2")
    assert (found.memory, found.image, found.env) == ("3g", "b", {**DEFAULT_ENV, "B": "2"})


def test_max_machines_of_default_is_its_own_limit(from_file: Load) -> None:
    found = from_file("max_machines = 40\n[pools.default]\nmax_machines = 20\n")
    assert (found.max_machines, found.pools["default"].max_machines) == (40, 20)
    found = from_file("[pools.default]\nmax_machines = 20\n", {"max_machines": "30"})
    assert (found.max_machines, found.pools["default"].max_machines) == (30, 20)
    assert from_file("[pools.default]\nmax_machines = 20\n").max_machines == 100


def test_an_image_in_the_table_of_default_leaves_out_what_belongs_to_the_one_outside(from_file: Load) -> None:
    text = 'image = "a"\nworker_port = 80\nready = "tcp"\nenv = { A = "1" }\n'
    text += '[pools.default]\nimage = "b"\nenv = { B = "2" }\n'
    found = from_file(text)
    assert (found.image, found.worker_port, found.ready) == ("b", None, "http")
    assert found.env == {**DEFAULT_ENV, "A": "1", "B": "2"}
    assert from_file(text, {"worker_port": "81"}).worker_port == 81


# windows


def test_windows_are_read_with_the_durations_that_people_write(from_file: Load) -> None:
    found = from_file(
        """
        [[pools.default.windows]]
        cron = "0  8 * * mon-FRI"
        for = 90

        [[pools.web.windows]]
        cron = "0 8 * * 1-5"
        for = "1h30m"
        min-idle = 8
        max_idle = 12
        timezone = "Europe/Berlin"

        [[pools.web.windows]]
        cron = "0 0 L * *"
        for = "2d"
        min_idle = 1
        """.replace("for = 90\n", "for = 90\n        min_idle = 3\n")
    )
    assert found.windows == (Window("0 8 * * mon-FRI", 90, ZoneInfo("UTC"), 3),)
    assert found.pools["default"].windows == found.windows
    assert found.pools["web"].windows == (
        Window("0 8 * * 1-5", 5400, ZoneInfo("Europe/Berlin"), 8, 12),
        Window("0 0 L * *", 172_800, ZoneInfo("UTC"), 1),
    )


# what is refused, and where it stands

CRON = "minute, hour, day of the month, month and day of the week in cron's words, such as 0 8 * * 1-5"
WINDOW = '[[pools.web.windows]]\ncron = "0 8 * * *"\nfor = "1h"\nmin_idle = 3\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "[pools.web]\nport = 3\n",
            (
                "port in [pools.web] of o.toml (line 2) is a setting of the service and not of a pool. Put it "
                "above all tables "
                "of the file."
            ),
        ),
        (
            '# secrets\n[pools.web]\ntoken = "hunter2-hunter2-hunter2"\n',
            (
                "token in [pools.web] of o.toml (line 3) is a setting of the service and not of a pool. Put it "
                "above all tables "
                "of the file."
            ),
        ),
        (
            '[pools.web]\nimag = "a"\n',
            "imag in [pools.web] of o.toml (line 2) is not a setting of a pool. Did you mean image?",
        ),
        (
            'memory = "1g"\n[pools.a]\nmemory = "1g"\n[pools.b]\nenv = {}\nmemory = "lots"\n',
            "memory in [pools.b] of o.toml (line 6) is 'lots', but must be a size such as 512m or 2g, of at least 6m.",
        ),
        (
            'pools.web.memory = """\nlots\n"""\n',
            (
                "memory in [pools.web] of o.toml (line 1) is 'lots\\n', but must be a size such as 512m or 2g, "
                "of at least 6m."
            ),
        ),
        (
            '[pools.web.env]\nA = "1"\nB = ["hunter2"]\n',
            (
                "env in [pools.web] of o.toml (line 1) has an entry that is not allowed, but must be "
                "NAME=value: a value is a text "
                "or a number, but that of 'B' is neither."
            ),
        ),
        ("[pools.web]\ninherit = 3\n", "inherit in [pools.web] of o.toml (line 2) is 3, but must be yes or no."),
        (
            "[pools.web]\nspare = -1\n",
            "spare in [pools.web] of o.toml (line 2) is -1, but must be a share such as 25% or 0.25, from 0 to 1000%.",
        ),
        ("pools = 3\n", "pools in o.toml (line 1) must be tables, one for each pool, such as [pools.web]."),
        ("[pools]\nweb = 3\n", "web in [pools] of o.toml (line 2) must be a table of settings: [pools.web]."),
        (
            "[pools.Web]\n",
            (
                "Web in [pools] of o.toml (line 1) is not the name of a pool, which has 1 to 40 lower-case "
                "letters, digits and "
                "hyphens, and a letter or digit at both ends."
            ),
        ),
        ("[pools.web]\nmax_idle = 1\n", "In pool web, max_idle is 1, but must be at least min_idle, which is 2."),
        ("max_idle = 1\n[pools.web]\n", "In pool default, max_idle is 1, but must be at least min_idle, which is 2."),
        (
            "[pools.web]\nmin_idle = 5\nmax_machines = 4\n",
            "In pool web, min_idle is 5, but must be at most its own max_machines, which is 4.",
        ),
        (
            "[pools.default]\nmax_machines = 1\n",
            "min_idle is 2, but must be at most its own max_machines, which is 1.",
        ),
        (
            "max_machines = 10\n[pools.web]\nmin_idle = 5\n[pools.a]\nmin_idle = 4\n[pools.b]\nmin_idle = 0\n",
            (
                "The min_idle of all pools together is 11, but must be at most max_machines, which is 10: "
                "default (2), web (5), a (4)."
            ),
        ),
        (
            "[pools.web]\nmin_idle = 1\nparked = 4\nmax_machines = 4\n",
            (
                "In pool web, parked is 4, which makes 5 machines with min_idle, but that must be at most its own "
                "max_machines, which is 4."
            ),
        ),
        (
            "max_machines = 10\n[pools.web]\nparked = 5\n[pools.a]\nparked = 1\n",
            (
                "The min_idle and parked of all pools together is 12, but must be at most max_machines, which is 10: "
                "default (2), web (7), a (3)."
            ),
        ),
        (
            "max_awake = 3\nparked = 2\n",
            "max_awake is 3, but must be at least the min_idle and parked of all pools together, which is 4.",
        ),
        (
            '[pools.web]\nready = "healthcheck"\nparked = 1\n',
            (
                "In pool web, parked is 1, which needs workers that are asked for an answer, but ready is healthcheck: "
                "what the engine says of a worker's health is old for a while after a pause. Choose ready http or tcp."
            ),
        ),
        ("parked = -1\n", "parked in o.toml (line 1) is -1, but must be a whole number from 0 to 10000."),
        (
            'outbound = "host"\n[pools.web]\nnetwork = "mine"\n',
            "In pool web, outbound is host, which needs the network that the service makes: do not set network (mine).",
        ),
        (
            'network = "mine"\n[pools.web]\ninsecure_shared_network = true\n',
            (
                "In pool web, insecure_shared_network is on, which needs a network that the service makes and "
                "that leads anywhere: "
                "do not set network (mine)."
            ),
        ),
        (
            "[pools.web]\nports = { http = 3000, HMR = 1 }\n",
            f"ports in [pools.web] of o.toml (line 2) is {{'http': 3000, 'HMR': 1}}, but must be {NAMED}.",
        ),
        ("ports = 3000\n", f"ports in o.toml (line 1) is 3000, but must be {NAMED}."),
        ("ports = { a = 1, b = 1 }\n", f"ports in o.toml (line 1) is {{'a': 1, 'b': 1}}, but must be {NAMED}."),
        ("ports = { a = 0 }\n", f"ports in o.toml (line 1) is {{'a': 0}}, but must be {NAMED}."),
        ("ports = { a = true }\n", f"ports in o.toml (line 1) is {{'a': True}}, but must be {NAMED}."),
        ('ports = ["a=1", "b"]\n', f"ports in o.toml (line 1) is 'b', but must be {NAMED}."),
        ('ports = ["a=1", "a=2"]\n', f"ports in o.toml (line 1) is ['a=1', 'a=2'], but must be {NAMED}."),
        (
            "[pools.web]\nworker_port = 80\nports = { http = 3000 }\n",
            (
                "In pool web, worker_port is 80, and ports says which ports the worker has as well. Set only one of "
                "them."
            ),
        ),
        (
            '[pools.web]\nready_port = "ws"\nports = { http = 3000, hmr = 1 }\n',
            "In pool web, ready_port is 'ws', but must be one of the names in ports: http, hmr.",
        ),
        ('ready_port = "ws"\n', "ready_port is 'ws', but ports gives no port a name."),
        (
            "first_port = 9093\nlast_port = 9094\n[pools.web]\nports = { a = 1, b = 2, c = 3 }\n",
            (
                "last_port is 9094, but must be at least 9095: first_port is 9093, and a machine of the pool web needs 3 "
                "host ports."
            ),
        ),
        (
            "[pools.web]\nwindows = 3\n",
            (
                "windows in [pools.web] of o.toml (line 2) must be tables, each with the header "
                "[[pools.web.windows]] and its own keys."
            ),
        ),
        (
            WINDOW + "min_idl = 3\n",
            "min_idl in [[pools.web.windows]] of o.toml (line 5) is not a key of a window. Did you mean min_idle?",
        ),
        (
            WINDOW + '[[pools.web.windows]]\ncron = "0 8 * * *"\nmin_idle = 1\n',
            (
                "[[pools.web.windows]] of o.toml (line 5) has no for. A window needs cron, for and min_idle, such as "
                'cron = "0 8 * * 1-5", for = "10h", min_idle = 8.'
            ),
        ),
        (
            WINDOW.replace("0 8 * * *", "0 8 * *"),
            f"cron in [[pools.web.windows]] of o.toml (line 2) is '0 8 * *', but must be {CRON}.",
        ),
        (
            WINDOW.replace("0 8 * * *", "@daily"),
            f"cron in [[pools.web.windows]] of o.toml (line 2) is '@daily', but must be {CRON}.",
        ),
        (
            WINDOW.replace("0 8 * * *", "0 24 * * *"),
            f"cron in [[pools.web.windows]] of o.toml (line 2) is '0 24 * * *', but must be {CRON}; its hour is wrong.",
        ),
        (
            WINDOW.replace("0 8 * * *", "0 8 31 2 *"),
            (
                f"cron in [[pools.web.windows]] of o.toml (line 2) is '0 8 31 2 *', but must be {CRON}; its day "
                "of the month is wrong."
            ),
        ),
        (
            WINDOW.replace("0 8 * * *", "0 8 */31 2 1#5"),
            (
                f"cron in [[pools.web.windows]] of o.toml (line 2) is '0 8 */31 2 1#5', but must be {CRON}; "
                "these days never come."
            ),
        ),
        (
            WINDOW.replace("1h", "1 hour"),
            (
                "for in [[pools.web.windows]] of o.toml (line 3) is '1 hour', but must be a duration such as "
                "15m, 10h or 1h30m, or a "
                "number of seconds, from 60 s to 31 days."
            ),
        ),
        (
            WINDOW + 'timezone = "Europe/Berln"\n',
            (
                "timezone in [[pools.web.windows]] of o.toml (line 5) is 'Europe/Berln', but must be the name "
                "of a time zone, such as "
                "Europe/Berlin or UTC: did you mean Europe/Berlin."
            ),
        ),
        (
            WINDOW + "timezone = 1\n",
            (
                "timezone in [[pools.web.windows]] of o.toml (line 5) is 1, but must be the name of a time "
                "zone, such as Europe/Berlin "
                "or UTC."
            ),
        ),
        (
            WINDOW + "max_idle = 2\n",
            "In pool web, max_idle of the window `0 8 * * *` is 2, but must be at least its min_idle, which is 3.",
        ),
        (
            "max_machines = 8\n" + WINDOW.replace("min_idle = 3", "min_idle = 9"),
            "In pool web, min_idle of the window `0 8 * * *` is 9, but must be at most max_machines, which is 8.",
        ),
        (
            "max_machines = 8\n" + WINDOW.replace("min_idle = 3", "min_idle = 7") + "[pools.web]\nparked = 2\n",
            (
                "In pool web, parked is 2, which makes 9 machines with min_idle of the window `0 8 * * *`, but that must be "
                "at most max_machines, which is 8."
            ),
        ),
    ],
)
def test_what_is_not_allowed_is_refused_with_its_place(from_file: Load, text: str, said: str) -> None:
    with pytest.raises(InvalidSetting) as refused:
        from_file(text)
    assert refused.value.message == said


@pytest.mark.parametrize(
    "name", ["Europe", "../../etc/passwd", "", "Europe/Berlin\0", "europe/berlin/x", "/etc/localtime"]
)
def test_no_file_but_a_time_zone_is_read_as_one(from_file: Load, name: str) -> None:
    text = WINDOW + f"timezone = {name!r}\n".replace("'", '"').replace("\\x00", "\\u0000")
    with pytest.raises(InvalidSetting, match="must be the name of a time zone"):
        from_file(text)


@pytest.mark.parametrize("name", ["a", "0", "a-b", "a" * 40, "9a"])
def test_names_of_pools_that_are_allowed(from_file: Load, name: str) -> None:
    assert name in from_file(f"[pools.{name}]\n").pools


@pytest.mark.parametrize("name", ["", "-a", "a-", "a" * 41, "a b", "a.b", "ä", "a_b", "a\n"])
def test_names_of_pools_that_are_refused(from_file: Load, name: str) -> None:
    with pytest.raises(InvalidSetting, match="is not the name of a pool") as refused:
        from_file(f"[pools.{name!r}]\n".replace("'", '"'))
    assert refused.value.message.isprintable()


def test_a_line_is_named_only_in_files_short_enough_to_look_for_it(from_file: Load) -> None:
    with pytest.raises(InvalidSetting, match=r"min_idle in o.toml \(line 399\) is 'x'"):
        from_file("\n" * 398 + 'min_idle = "x"\n')
    with pytest.raises(InvalidSetting, match=r"min_idle in o.toml is 'x'"):
        from_file("\n" * 400 + 'min_idle = "x"\n')


def test_what_looks_like_a_key_in_a_text_of_several_lines_is_not_named_for_it(from_file: Load) -> None:
    text = 'user = """\n[pools.web]\nmemory = 3\n"""\n[pools.web]\ncap_drop = [\n  "ALL",\n  "NONE",\n]\nmemory = 3\n'
    with pytest.raises(InvalidSetting, match=r"cap_drop in \[pools.web\] of o.toml \(line 6\) is 'NONE'"):
        from_file(text.replace('user = """', 'env = { A = """').replace('"""\n[pools', '""" }\n[pools'))


# sources


def test_sources_say_what_is_inherited_and_from_where(tmp_path: Path) -> None:
    config = tmp_path / "o.toml"
    config.write_text(
        'user = "1000"\nmin_idle = 1\n[pools.web]\nimage = "a"\ninherit = false\n[pools.default]\ncpus = 2\n'
    )
    found = read({"memory": "1g"}, {"ORCHESTRATOR_WORKER_PORT": "80"}, config)
    assert found.sources == {
        "user": f"user in {config}",
        "min_idle": f"min_idle in {config}",
        "cpus": f"cpus in [pools.default] of {config}",
        "memory": "--memory",
        "worker_port": "ORCHESTRATOR_WORKER_PORT",
    }
    assert found.pool_sources == {
        "web": {
            "user": f"inherited: user in {config}",
            "memory": "inherited: --memory",
            "image": f"image in [pools.web] of {config}",
            "env": f"inherit in [pools.web] of {config}",
        }
    }


# the document


@pytest.mark.parametrize("document", ["pools.md", "settings.md"])
def test_the_example_of_the_document_is_allowed_as_it_stands(from_file: Load, document: str) -> None:
    text = (Path(__file__).parents[3] / "docs" / document).read_text(encoding="utf-8")
    assert "default" in from_file(text.partition("```toml\n")[2].partition("```")[0]).pools


def test_the_document_names_every_setting_of_a_pool() -> None:
    text = (Path(__file__).parents[3] / "docs" / "pools.md").read_text(encoding="utf-8")
    assert [each.name for each in fields(PoolSettings) if f"`{each.name}`" not in text] == []


def test_sixteen_ports_may_have_names_and_no_more() -> None:
    names = [f"p{number}={number}" for number in range(1, 18)]
    assert len(load({"ports": names[:16]}, {}).ports) == 16
    with pytest.raises(InvalidSetting, match="at most 16"):
        load({"ports": names}, {})


@pytest.mark.parametrize(
    ("name", "is_one"),
    [("a", True), ("a-1", True), ("a" * 31, True), ("a" * 32, False), ("1a", False), ("-a", False), ("a_b", False)],
)
def test_names_of_ports(name: str, *, is_one: bool) -> None:
    try:
        load({"ports": [f"{name}=80"]}, {})
    except InvalidSetting:
        assert not is_one
    else:
        assert is_one
