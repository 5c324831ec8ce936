"""Deadlines as people write and read them on the command line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import click
import msgspec
import pytest
from click.testing import CliRunner

from worker_orchestrator.cli.deadlines import deadline_options, deadlines_in_words, expiry_in_words, short_expiry
from worker_orchestrator.cli.list import _differs, _with_more
from worker_orchestrator.wire.v1 import Lease, Machine

NOW = datetime.now(UTC)
LEASE = Lease(
    ttl=3600,
    max_age=None,
    idle_timeout=None,
    confirm_within=None,
    expires_at=NOW + timedelta(minutes=12, seconds=30),
    expires_by="ttl",
    last_active_at=NOW,
)
MACHINE = Machine(
    id="m-1", pool="default", state="assigned", project="p", generation=3, url=None, host="localhost", port=None,
    container_id=None, address=None, template="t", reason="", evidence="", metadata={}, created_at=NOW, changed_at=NOW,
)  # fmt: skip
KEPT = msgspec.structs.replace(MACHINE, lease=LEASE)


@click.command()
@deadline_options
def spoken(**deadlines: int | None) -> None:
    click.echo(",".join(f"{name}={value}" for name, value in sorted(deadlines.items()) if value is not None))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], ""),
        (["--ttl", "90"], "ttl=90"),
        (["--ttl", "1h", "--idle-timeout", "15m"], "idle_timeout=900,ttl=3600"),
        (["--max-age", "1d", "--confirm-within", "1h30m"], "confirm_within=5400,max_age=86400"),
        (["--ttl", "0"], "ttl=0"),
        (["--max-age", "365d"], "max_age=31536000"),
    ],
)
def test_people_write_durations(words: list[str], said: str) -> None:
    assert CliRunner().invoke(spoken, words).output.strip() == said


@pytest.mark.parametrize("text", ["1x", "-1", "1.5", "", "366d", "forever"])
def test_what_is_no_duration_is_refused_with_what_is_allowed(text: str) -> None:
    done = CliRunner().invoke(spoken, ["--ttl", text])
    assert done.exit_code == 2
    assert f"{text!r} must be a duration such as 15m, 10h or 1h30m" in done.output.replace("\n", " ")


def test_when_it_ends_is_told_with_the_deadline_that_ends_it() -> None:
    lease = msgspec.structs.replace(LEASE, expires_at=datetime.now(UTC) + timedelta(minutes=12, seconds=30))
    assert short_expiry(lease) == "in 12m (ttl)"
    assert expiry_in_words(lease).endswith("Z (in 12m, by ttl)")
    none_to_come = msgspec.structs.replace(LEASE, expires_at=None, expires_by=None)
    assert short_expiry(none_to_come) == "-"
    assert not expiry_in_words(none_to_come)


@pytest.mark.parametrize(
    ("terms", "said"),
    [
        ({"ttl": 3600.0}, "ttl 1h"),
        ({"ttl": 5400.0, "max_age": 86_400.0}, "ttl 1h30m, max_age 1d"),
        ({"ttl": None, "idle_timeout": 1.5, "confirm_within": 61.0}, "idle_timeout 1.5s, confirm_within 1m1s"),
    ],
)
def test_deadlines_are_written_as_people_write_them(terms: dict[str, Any], said: str) -> None:
    lease = msgspec.structs.replace(LEASE, **terms)
    assert deadlines_in_words(msgspec.structs.replace(MACHINE, lease=lease)) == said


def test_the_list_has_the_column_where_some_machine_needs_it() -> None:
    headers = ("MACHINE", "CHANGED", "PORTS")
    assert _with_more(headers, [MACHINE, MACHINE]) == headers
    assert _with_more(headers, [MACHINE, KEPT]) == ("MACHINE", "CHANGED", "EXPIRES", "PORTS")
    assert _with_more((), [KEPT]) == (), "JSON has no headers"


def test_to_a_list_that_is_watched_a_keepalive_is_no_change() -> None:
    later = msgspec.structs.replace(LEASE, expires_at=NOW + timedelta(hours=1), last_active_at=NOW + timedelta(hours=1))
    assert not _differs(KEPT, msgspec.structs.replace(MACHINE, lease=later))
    assert not _differs(MACHINE, MACHINE)
    assert _differs(None, KEPT)
    assert _differs(MACHINE, KEPT)
    assert _differs(KEPT, MACHINE)
    assert _differs(KEPT, msgspec.structs.replace(MACHINE, lease=msgspec.structs.replace(LEASE, ttl=60)))
    assert _differs(KEPT, msgspec.structs.replace(KEPT, state="restarting"))
