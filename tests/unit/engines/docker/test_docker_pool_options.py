"""The options of each pool, what holds for a machine whose pool is gone, and how a sentence names a pool."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from worker_orchestrator.engines.docker.pool_options import PoolOptions, in_pool, naming_pool
from worker_orchestrator.engines.docker.template import DockerOptions
from worker_orchestrator.errors import EngineObstructed, EngineRejected

DEFAULT = DockerOptions("plain", env={"A": "b"}, ready_path="/up")
GPU = DockerOptions("gpu", ready="tcp", outbound="host")
LABELS = {
    "worker-orchestrator.ready": "healthcheck",
    "worker-orchestrator.ready-path": "/live",
    "worker-orchestrator.outbound": "any",
}


def test_new_and_changed_pools_are_told() -> None:
    pools = PoolOptions({"default": DEFAULT, "gpu": GPU})
    assert pools.configure({"default": DEFAULT, "gpu": GPU}) == frozenset()
    assert pools.configure({"default": DEFAULT, "gpu": DEFAULT, "more": GPU}) == {"gpu", "more"}
    assert pools.configure({"more": GPU}) == frozenset(), "one that is left out has no template to be found"
    assert pools.configure({"default": DEFAULT, "more": GPU}) == {"default"}, "it was not looked at meanwhile"


def test_a_pool_that_is_gone_makes_no_machines() -> None:
    pools = PoolOptions({"default": DEFAULT, "gpu": GPU})
    pools.configure({"default": DEFAULT})
    with pytest.raises(EngineRejected, match="The settings have no pool gpu"):
        pools.chosen("gpu")
    assert pools.chosen("default") is DEFAULT
    assert dict(pools.all) == {"default": DEFAULT}


def test_the_options_of_a_named_pool_hold_for_all_its_machines() -> None:
    """Whatever a container remembers: how a worker shows that it is ready is a matter of who asks."""
    assert PoolOptions({"default": DEFAULT, "gpu": GPU}).of_machine("gpu", LABELS) is GPU


def test_a_machine_of_a_pool_that_is_gone_is_known_by_its_labels_and_then_by_what_its_pool_was() -> None:
    pools = PoolOptions({"default": DEFAULT, "gpu": GPU})
    pools.configure({"default": DEFAULT})
    labelled, unlabelled = pools.of_machine("gpu", LABELS), pools.of_machine("gpu", {})
    assert (labelled.ready, labelled.ready_path, labelled.outbound) == ("healthcheck", "/live", "any")
    assert labelled.image == "gpu"
    assert unlabelled == GPU


def test_of_a_pool_that_was_never_known_only_what_the_default_pool_asks_is_taken() -> None:
    """Its image and its variables say nothing of a machine of another pool."""
    pools = PoolOptions({"gpu": GPU, "default": DEFAULT})
    taken = pools.of_machine("old", {})
    assert (taken.ready, taken.ready_path, taken.outbound, taken.image, taken.env) == ("http", "/up", "any", "", None)
    assert pools.of_machine("old", LABELS).ready == "healthcheck"
    assert PoolOptions({"gpu": GPU}).of_machine("old", {}).ready == "tcp"
    assert PoolOptions({}).of_machine("old", {}).ready == "http"


@pytest.mark.parametrize(
    "labels",
    [
        {"worker-orchestrator.ready": "maybe", "worker-orchestrator.outbound": "everywhere"},
        {"worker-orchestrator.ready-path": "/ HTTP/1.1\r\nHost: x"},
        {"worker-orchestrator.ready-path": "no/slash"},
        {"worker-orchestrator.ready-path": "/live\n"},
    ],
)
def test_labels_that_we_did_not_write_count_for_nothing(labels: Mapping[str, str]) -> None:
    pools = PoolOptions({"default": DEFAULT})
    assert pools.of_machine("old", labels) == pools.of_machine("old", {})


def test_a_sentence_names_the_pool_and_its_settings_unless_it_is_the_default_one() -> None:
    said = (
        "The image exposes several ports: say which with --worker-port. Or choose --ready tcp, --publish-address ::1."
    )
    assert in_pool("default", said) == said
    assert in_pool("gpu", said) == (
        "In pool gpu: The image exposes several ports: say which with worker_port. Or choose ready tcp, --publish-address "
        "::1."
    )
    assert in_pool("gpu", "choose --ready-path") == "In pool gpu: choose ready_path"


def test_a_cause_outside_is_told_as_it_is() -> None:
    """It keeps its kind, which says when the next try is worth it."""
    with pytest.raises(EngineObstructed, match=r"^The disk is full") as obstructed, naming_pool("gpu"):
        raise EngineObstructed("The disk is full.", kind="disk")
    assert obstructed.value.kind == "disk"
    with pytest.raises(EngineRejected, match=r"^In pool gpu: No such runtime"), naming_pool("gpu"):
        raise EngineRejected("No such runtime.")
    with pytest.raises(EngineRejected, match=r"^No such runtime"), naming_pool("default"):
        raise EngineRejected("No such runtime.")
