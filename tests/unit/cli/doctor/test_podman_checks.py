"""What doctor says of a computer on which Podman lacks what it starts in each worker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from worker_orchestrator.cli.doctor import podman_checks
from worker_orchestrator.cli.doctor.finding import ok, wrong
from worker_orchestrator.engines.docker import podman_host
from worker_orchestrator.engines.docker.connect import Endpoint
from worker_orchestrator.engines.docker.dialect import Dialect
from worker_orchestrator.settings.settings import Settings

HERE = Endpoint("unix:///run/podman/podman.sock", "Podman")


@pytest.mark.parametrize(
    ("program", "finding"),
    [
        ("/opt/tini", ok("init", "tini is there, which Podman starts as process 1 of each worker.")),
        (
            "",
            wrong(
                "init",
                "catatonit is not found, which Podman starts as process 1 of each worker.",
                "install it (`sudo apt-get install catatonit`): no worker starts without it",
            ),
        ),
    ],
)
def test_no_worker_starts_without_an_init(program: str, finding: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(podman_checks, "init_program", lambda: program)
    assert finding in list(podman_checks.check_podman(HERE, Dialect(name="Podman"), Settings()))
    assert not list(podman_checks.check_podman(HERE, Dialect(), Settings())), "another engine brings its own"


def test_crun_starts_nothing_where_both_versions_of_control_groups_are_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(podman_checks, "_UNIFIED", tmp_path)

    def said(**is_so: Any) -> list[str]:
        found = podman_checks.check_podman(HERE, Dialect(name="Podman", **is_so), Settings())
        return [finding.fix for finding in found if finding.check == "runtime"]

    (fix,) = said(cgroups=1, runtime="crun")
    assert fix.startswith('install runc, and set `runtime = "runc"`')
    assert not said(cgroups=1, runtime="runc") + said(cgroups=2, runtime="crun")
    monkeypatch.setattr(podman_checks, "_UNIFIED", tmp_path / "is not there")
    assert not said(cgroups=1, runtime="crun"), "all is of version 1"


def test_the_init_is_the_one_that_podman_is_told(tmp_path: Path) -> None:
    helpers, conf = tmp_path / "helpers", tmp_path / "etc"
    helpers.mkdir()
    conf.mkdir()
    catatonit = helpers / "catatonit"
    assert podman_host.init_program([conf], [str(helpers)]) in {"", "/usr/bin/catatonit"}
    catatonit.touch()
    assert podman_host.init_program([conf], [str(helpers)]).endswith("/catatonit")
    (conf / "containers.conf").write_text('[engine]\ninit_path = "/nowhere/tini"\n')
    assert not podman_host.init_program([conf], [str(helpers)])
    (conf / "containers.conf").write_text(f'[containers]\ninit_path = "{catatonit}"\n')
    assert podman_host.init_program([conf], [str(helpers)]) == str(catatonit)
