"""A service with several pools, as a process: what the settings name, the command line shows and changes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from tests.integration.calling import call
from tests.integration.running import Running, a_service
from tests.integration.test_command_line import document, out, reaching, run
from tests.integration.waiting import eventually

SETTINGS = """
max_machines = 12

[pools.node20]
image = "my/node:20"
min_idle = 1
max_machines = 3
spare = "50%"

[pools.python]
image = "my/python:3"
min_idle = 0
"""


@pytest.fixture(scope="module")
def pools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Two idle machines of default, one of node20, none of python."""
    folder = tmp_path_factory.mktemp("pools")
    file = folder / "orchestrator.toml"
    file.write_text(SETTINGS)
    with a_service(folder, "--engine", "memory", "--config", str(file)) as service:
        service.await_idle(3)
        yield service
        assert "Traceback" not in service.log


@pytest.fixture
def service(pools: Running) -> Iterator[Running]:
    """As the settings say, and without projects when the test ends."""
    yield pools
    for name in ("default", "node20", "python"):
        reset = {
            "paused": False,
            "min_idle": None,
            "max_idle": None,
            "limit": None,
            "max_machines": None,
            "parked": None,
        }
        assert call(pools.ports.api, "PATCH", f"/v1/pools/{name}", reset).status == 200
    for machine in call(pools.ports.api, "GET", "/v1/machines?state=assigned&limit=1000").json["machines"]:
        assert call(pools.ports.api, "DELETE", f"/v1/projects/{machine['project']}/machine").status == 200
    eventually(lambda: state_of(pools, "node20") in {"ok", "short"}, "it is as it was")


def table(service: Running, *words: str) -> list[dict[str, str]]:
    """The rows of a table, by its headers."""
    header, *rows = out(service, *words).splitlines()
    starts = [header.index(name) for name in header.split()]
    ends = [*starts[1:], None]
    names = header.split()
    return [
        {name: row[start:end].strip() for name, start, end in zip(names, starts, ends, strict=True)} for row in rows
    ]


def state_of(service: Running, pool: str) -> str:
    return next(row["STATE"] for row in table(service, "pools") if row["POOL"] == pool)


def test_the_table_has_each_pool_of_the_settings(service: Running) -> None:
    rows = table(service, "pools")
    assert [row["POOL"] for row in rows] == ["default", "node20", "python"]
    assert [row["MIN"] for row in rows] == ["2", "1", "0"]
    assert [row["LIMIT"] for row in rows] == ["12", "3", "12"]
    assert out(service, "pools", "-o", "name").split() == ["default", "node20", "python"]
    assert [pool["spare"] for pool in document(service, "pools")] == [0, 0.5, 0]
    assert "HELD BACK" in out(service, "pools", "-o", "wide").splitlines()[0]


def test_a_machine_comes_from_the_pool_that_is_asked_for(service: Running) -> None:
    machine = document(service, "assign", "p", "--pool", "node20")
    assert (machine["pool"], machine["project"]) == ("node20", "p")
    assert document(service, "assign", "p")["id"] == machine["id"]
    assert service.get("/p").json["containerId"] == machine["id"]
    assert document(service, "assign", "cold", "--pool", "python")["pool"] == "python"
    assert document(service, "assign", "q")["pool"] == "default"


def test_another_pool_than_the_project_has_is_refused_with_what_to_do(service: Running) -> None:
    machine = document(service, "assign", "p", "--pool", "node20")
    refused = run(service, "assign", "p", "--pool", "python", code=1).stderr.decode()
    assert refused == (
        f"orchestrator: The project p has the machine {machine['id']} of the pool node20, not of python. Release it "
        "first, or ask without naming a pool.\n"
    )
    unknown = run(service, "assign", "q", "--pool", "nix", code=3).stderr.decode()
    assert unknown == "orchestrator: There is no pool nix. The pools are: default, node20, python.\n"


def test_lists_name_the_pool_and_may_be_of_some(service: Running) -> None:
    out(service, "assign", "p", "--pool", "node20")
    assert {row["POOL"] for row in table(service, "list")} >= {"default", "node20"}
    assert {row["POOL"] for row in table(service, "list", "--pool", "node20")} == {"node20"}
    both = document(service, "list", "--pool", "node20", "--pool", "default")
    assert both == [machine for machine in document(service, "list") if machine["pool"] != "python"]
    assert "Pool:" in out(service, "show", "p")
    assert " of the pool node20 (generation " in out(service, "why", "p")


def test_a_pool_is_changed_by_its_name(service: Running) -> None:
    changed = document(service, "scale", "--pool", "node20", "--max-machines", "2")
    assert (changed["max_machines"], changed["configured"]["max_machines"], changed["limit"]) == (2, 3, 12)
    assert "own limit 2  (the settings say 3)" in out(service, "scale", "--pool", "node20")
    assert "own limit" not in out(service, "scale")
    assert document(service, "scale", "--pool", "python", "--limit", "10")["limit"] == 10
    assert [pool["limit"] for pool in document(service, "pools")] == [10, 10, 10]
    refused = run(service, "scale", "--pool", "python", "--limit", "2", code=2).stderr.decode()
    together = "The min_idle of all pools together is 3, but must be at most the limit, which is 2."
    assert refused == f"orchestrator: {together}\n"
    assert document(service, "scale", "--pool", "node20", "--max-machines", "default")["max_machines"] == 3


def test_the_settings_tell_what_was_changed_of_each_pool_at_run_time(service: Running) -> None:
    out(service, "scale", "--pool", "node20", "--max-machines", "2")
    out(service, "scale", "--min-idle", "3", "--max-machines", "6", "--limit", "11")
    flags = ("--engine", "memory", "--config", str(service.folder / "orchestrator.toml"))
    values = {each["name"]: each for each in document(service, "config", *flags)}
    changed = {name: each["value"] for name, each in values.items() if each["source"] == "changed at run time"}
    of_pools = {"pools.default.max_machines": 6, "pools.node20.max_machines": 2}
    assert changed == {"min_idle": 3, "max_machines": 11, **of_pools}
    assert values["pools.node20.min_idle"]["source"] != "changed at run time"


def test_a_pool_at_its_own_limit_is_short_and_says_why(service: Running) -> None:
    for number in range(3):
        out(service, "assign", f"p{number}", "--pool", "node20")
    assert state_of(service, "node20") == "short"
    shown = out(service, "scale", "--pool", "node20")
    assert "  wanted    2 idle: spare asks for 50% of the 3 machines that projects have" in shown
    assert (
        "  held back All 3 machines of the pool node20 (its max_machines) are held by projects. Held longest: p0, p1 and p2."
        in shown
    )
    assert " assigns per minute " in shown
    refused = run(service, "assign", "more", "--pool", "node20", "--wait", "0", code=4).stderr.decode()
    assert "`orchestrator scale --pool node20 --max-machines N`" in refused


def test_one_paused_pool_makes_the_service_neither_unready_nor_silent(service: Running) -> None:
    paused = document(service, "pause", "--pool", "node20")
    for number in range(paused["machines"]["idle"]):
        out(service, "assign", f"p{number}", "--pool", "node20")
    assert state_of(service, "node20") == "paused"
    assert call(service.ports.api, "GET", "/readyz").status == 200
    health = out(service, "health")
    assert health.startswith("Service:       degraded")
    assert "Pool node20:   paused, " in health
    assert "`orchestrator resume --pool node20`" in health
    refused = run(service, "assign", "q", "--pool", "node20", "--wait", "0", code=4).stderr.decode()
    assert "the pool node20 is paused" in refused
    assert "paused" not in out(service, "resume", "--pool", "node20")


@pytest.mark.parametrize(
    "words", ["assign p --pool n", "list --pool n", "scale --pool n", "pause --pool n", "resume --pool n"]
)
def test_tab_completes_the_names_of_pools(service: Running, words: str) -> None:
    typed = f"orchestrator {words}"
    asked = {"_ORCHESTRATOR_COMPLETE": "bash_complete", "COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1)}
    script = "import sys; from worker_orchestrator.cli import main; main(prog_name='orchestrator')"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**reaching(service), **asked},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.split() == ["plain,node20"], done.stderr


def test_metrics_and_history_tell_the_pools_apart(service: Running) -> None:
    out(service, "assign", "p", "--pool", "node20")
    shown = service.get("/metrics").text
    assert 'orchestrator_machines{pool="node20",state="assigned"} 1.0' in shown
    assert 'orchestrator_pool_max_machines{pool="node20"} 3.0' in shown

    def counted() -> Any:
        samples = json.loads(service.get("/v1/history?seconds=60").body)["samples"]
        return any(sample["assigns"].get("node20") for sample in samples)

    eventually(counted, "a step is over", within_s=30)
