"""Settings of several replicas: how they are read, and what does not go with them is refused with what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from worker_orchestrator.cli import backup, down, recover
from worker_orchestrator.errors import InvalidSetting
from worker_orchestrator.settings.command_line import command_line
from worker_orchestrator.settings.loading import load

SHARED: dict[str, Any] = {"engine": "kubernetes", "store": "kubernetes", "owner": "us"}


def test_a_service_is_alone_unless_it_is_said_otherwise() -> None:
    chosen = load({}, {})
    assert (chosen.store, chosen.owner, chosen.replica_address, chosen.standby) == ("sqlite", "", "", "forward")
    shared = load({**SHARED, "replica_address": "http://10.0.0.7:9092/"}, {})
    assert (shared.store, shared.replica_address) == ("kubernetes", "http://10.0.0.7:9092")
    assert load({**SHARED, "replica_address": "http://[fd00::7]:9092"}, {}).replica_address == "http://[fd00::7]:9092"


@pytest.mark.parametrize("name", ["", "A", "-a", "a-", "a" * 41, "a.b", "a b"])
def test_an_owner_has_a_name_of_which_names_in_the_cluster_can_be_made(name: str) -> None:
    with pytest.raises(InvalidSetting, match="--owner is"):
        load({**SHARED, "owner": name}, {})


@pytest.mark.parametrize("address", ["10.0.0.7:9092", "http://", "http://a/b", "http://a:0", "http://u:p@a", "ftp://a"])
def test_an_address_of_a_replica_is_a_url_without_a_path(address: str) -> None:
    with pytest.raises(InvalidSetting, match=r"--replica-address is .*, but must be a URL without a path"):
        load({**SHARED, "replica_address": address}, {})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"owner": "us"},
            "owner is for several replicas, but store is sqlite. Leave it out, or set store to kubernetes.",
        ),
        ({"replica_address": "http://a"}, "replica_address is for several replicas"),
        ({"standby": "refuse"}, "standby is for several replicas"),
        ({**SHARED, "engine": "docker"}, "store is kubernetes, but engine is docker. Only machines that are pods"),
        ({**SHARED, "engine": "memory"}, "store is kubernetes, but engine is memory."),
        (
            {"engine": "kubernetes", "store": "kubernetes"},
            "store is kubernetes, but owner is not set. Give all replicas",
        ),
        (
            {**SHARED, "webhook": "https://a/b"},
            "webhook does not go with store kubernetes: no message of it would outlive",
        ),
        ({**SHARED, "e2b": True}, "e2b does not go with store kubernetes"),
        ({**SHARED, "mcp": True}, "mcp does not go with store kubernetes"),
        ({**SHARED, "durability": "power"}, "durability is for store sqlite"),
        ({**SHARED, "replica_address": "https://a"}, "replica_address begins with https:, and a standby that forwards"),
    ],
)
def test_what_does_not_go_with_replicas_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidSetting) as refused:
        load(given, {})
    assert refused.value.message.startswith(said)


def test_callers_may_be_sent_to_an_address_with_https() -> None:
    assert load({**SHARED, "replica_address": "https://a", "standby": "redirect"}, {}).standby == "redirect"


def test_commands_that_are_printed_name_the_store_and_the_owner() -> None:
    line = command_line(load(SHARED, {}), "doctor")
    assert "--store kubernetes" in line
    assert "--owner us" in line


def test_commands_of_a_database_say_what_to_do_where_there_is_none(tmp_path: Path) -> None:
    chosen = load({**SHARED, "state_dir": str(tmp_path), "namespace": "workers"}, {})
    with pytest.raises(InvalidSetting, match=r"kubectl --namespace workers delete pods,leases --selector .*/owner=us`"):
        down.run(chosen, everything=True, yes=True)
    with pytest.raises(InvalidSetting, match="Each new leader reads what there is"):
        recover.run(chosen, adopt=(), purge=(), accept=False, yes=False)
    with pytest.raises(InvalidSetting, match="Back up the cluster's etcd instead"):
        backup.run(chosen, tmp_path / "copy.db")
    assert list(tmp_path.iterdir()) == []
