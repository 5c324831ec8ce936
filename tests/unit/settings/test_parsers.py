"""The settings of what a worker may do: what is read as what, and what is refused with which words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from worker_orchestrator.errors import InvalidSetting
from worker_orchestrator.settings.loading import load
from worker_orchestrator.settings.parsers import as_bytes, duration, hit_ratio, share

NAMES_OR_WORDS = (
    "any, host, or names that workers may reach, such as packages.example.com, *.example.org, git.example.com:8443 or "
    "index.example.com:8080=10.0.0.5"
)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("512m", 512 * 1024**2),
        ("2g", 2 * 1024**3),
        ("64k", 65536),
        ("7b", 7),
        ("1.5g", 1536 * 1024**2),
        ("2GiB".lower(), 2 * 1024**3),
        ("2 gb", 2 * 1024**3),
        ("1t", 1024**4),
        ("8000000", 8_000_000),
        ("", 0),
        ("0", 0),
    ],
)
def test_sizes_are_as_docker_writes_them(text: str, count: int) -> None:
    assert as_bytes(text) == count


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("memory", "512M", "512m"),
        ("memory", 8_000_000, "8000000"),
        ("memory", "1.5GB", "1.5gb"),
        ("cpus", ".5", 0.5),
        ("cpus", "0.0123456", 0.0123456),
        ("cap_drop", "SYS_ADMIN,CAP_BPF", ()),
        ("user", "ACME\\svc$", "ACME\\svc$"),
        ("network", "my net/ä".replace("/", " "), "my net ä"),
        ("log_limit", "0", "0"),
        ("cpus", "1.5", 1.5),
        ("cpus", 2, 2.0),
        ("pids_limit", "0", 0),
        ("cap_drop", ["cap_net_raw", "CHOWN", "NET_RAW"], ("CHOWN", "NET_RAW")),
        ("cap_drop", "kill,mknod", ("KILL", "MKNOD")),
        ("cap_drop", ["all", "KILL"], ("ALL",)),
        ("user", 1000, "1000"),
        ("user", "web:1000", "web:1000"),
        ("read_only", True, True),
        ("read_only", "Yes", True),
        ("read_only", "0", False),
        ("network", "my_net-1", "my_net-1"),
        ("image", " my/worker ", "my/worker"),
        ("image", "Registry.Example:5000/team/worker:V1", "Registry.Example:5000/team/worker:V1"),
        ("image", "worker@sha256:" + "A0" * 32, "worker@sha256:" + "A0" * 32),
    ],
)
def test_what_is_allowed_is_read(name: str, value: Any, read: Any) -> None:
    assert getattr(load({name: value}, {}), name) == read


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("memory", "5m", "--memory is '5m', but must be a size such as 512m or 2g, of at least 6m."),
        ("memory", "0", "--memory is '0', but must be a size such as 512m or 2g, of at least 6m."),
        ("memory", "1.5x", "--memory is '1.5x', but must be a size such as 512m or 2g, of at least 6m."),
        ("memory", "1.5.5g", "--memory is '1.5.5g', but must be a size such as 512m or 2g, of at least 6m."),
        ("memory", True, "--memory is True, but must be a size such as 512m or 2g, of at least 6m."),
        ("log_limit", "1k", "--log-limit is '1k', but must be a size such as 512m or 2g, of at least 64k, or 0."),
        ("cpus", "0", "--cpus is '0', but must be a number of processors of at least 0.01, such as 1.5."),
        ("cpus", "nan", "--cpus is 'nan', but must be a number of processors of at least 0.01, such as 1.5."),
        *(
            ("image", wrong, f"--image is '{wrong}', but must be an image's name, such as my/worker:latest, in ")
            for wrong in ("my worker", "MyWorker", "registry.example/team/Worker:v1", "https://registry.example/worker")
        ),
        ("user", "me and you", "--user is 'me and you', but must be a user's name or number, optionally "),
        ("read_only", "perhaps", "--read-only is 'perhaps', but must be yes or no."),
        ("read_only", 1, "--read-only is 1, but must be yes or no."),
        (
            "network",
            "container:x",
            "--network is 'container:x', but must be a network's name, without / : ? # % and \\.",
        ),
        (
            "network",
            "../images",
            "--network is '../images', but must be a network's name, without / : ? # % and \\.",
        ),
        (
            "outbound",
            "none",
            f"--outbound is 'none', but must be {NAMES_OR_WORDS}.",
        ),
        (
            "cap_drop",
            ["KILL", "SYS_ADMINS"],
            "--cap-drop is 'SYS_ADMINS', but must be ALL, or one of those that Docker grants: AUDIT_WRITE, ",
        ),
        (
            "cap_drop",
            {"a": 1},
            "--cap-drop is {'a': 1}, but must be ALL, or one of those that Docker grants: AUDIT_WRITE, ",
        ),
    ],
)
def test_what_is_not_allowed_is_refused(name: str, value: Any, said: str) -> None:
    with pytest.raises(InvalidSetting) as refused:
        load({name: value}, {})
    assert refused.value.message.startswith(said)


def test_a_number_of_thousands_of_digits_is_refused_like_any_other() -> None:
    for name in ("memory", "cpus", "user", "pids_limit"):
        with pytest.raises(InvalidSetting, match="but must be a"):
            load({name: 10**5000}, {})


def test_a_named_network_cannot_be_closed_by_us() -> None:
    with pytest.raises(InvalidSetting) as refused:
        load({"network": "mine", "outbound": "host"}, {})
    assert (
        refused.value.message
        == "outbound is host, which needs the network that the service makes: do not set network (mine)."
    )


def test_a_file_may_say_true(tmp_path: Path) -> None:
    config = tmp_path / "o.toml"
    config.write_text('read_only = true\ncap_drop = ["ALL"]\ncpus = 0.5\nmemory = "1g"\n')
    found = load({}, {"ORCHESTRATOR_READ_ONLY": "off"}, config)
    assert (found.read_only, found.cap_drop, found.cpus, found.memory) == (False, ("ALL",), 0.5, "1g")


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (90, 90),
        ("90", 90),
        ("15m", 900),
        ("10h", 36_000),
        ("1h30m", 5400),
        ("1H", 3600),
        ("1d12h", 129_600),
        ("90s", 90),
    ],
)
def test_durations_are_what_people_write(written: Any, seconds: int) -> None:
    assert duration(60, 31 * 86_400)(written) == seconds


@pytest.mark.parametrize(
    "written", ["", "h", "30m1h", "1.5h", "1 h", "-5m", "59s", "32d", True, None, 1.5, "9" * 5000, ["1h"]]
)
def test_what_is_no_duration_is_refused(written: Any) -> None:
    with pytest.raises(ValueError, match=r"15m, 10h or 1h30m.*from 60 s to 31 days"):
        duration(60, 31 * 86_400)(written)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("25%", 0.25),
        ("0.25", 0.25),
        (0.25, 0.25),
        (1, 1.0),
        ("12.5 %", 0.125),
        ("0%", 0.0),
        ("1000%", 10.0),
        (10, 10.0),
    ],
)
def test_a_share_is_a_percentage_or_a_number(written: Any, read: float) -> None:
    assert share(written) == read


@pytest.mark.parametrize(
    ("written", "read"), [("99%", 0.99), (0.99, 0.99), ("50 %", 0.5), ("0.9999", 0.9999), ("99.5%", 0.995)]
)
def test_a_hit_ratio_is_a_share_below_one(written: Any, read: float) -> None:
    assert hit_ratio(written) == read


@pytest.mark.parametrize("written", ["1", 1, "100%", "49%", 0.3, "0.99999", "many", True, None, float("nan")])
def test_what_is_no_hit_ratio_is_refused(written: Any) -> None:
    with pytest.raises(ValueError, match=re.escape("from 0.5 to 0.9999")):
        hit_ratio(written)


@pytest.mark.parametrize(
    "written", ["", "%", "-1%", "1001%", 11, "a quarter", "1e3", True, None, float("nan"), ["25%"]]
)
def test_what_is_no_share_is_refused(written: Any) -> None:
    with pytest.raises(ValueError, match="from 0 to 1000%"):
        share(written)
