"""Which firewall Podman uses on this computer decides whether its networks stay apart."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from worker_orchestrator.engines.docker.podman_host import firewall_driver


def netavark(folder: Path, says: object) -> None:
    """A program of that name, which says this when it is asked for its version."""
    program = folder / "netavark"
    program.write_text(f"#!/bin/sh\n[ $1 = version ] && echo '{says if isinstance(says, str) else json.dumps(says)}'\n")
    program.chmod(0o755)


@pytest.mark.parametrize(
    ("says", "driver"),
    [
        ({"version": "1.17.2", "default_fw_driver": "nftables"}, "nftables"),
        ({"version": "1.14.0", "default_fw_driver": "iptables"}, "iptables"),
        ({"version": "1.4.0"}, "iptables"),
        ("no JSON", ""),
        ([], ""),
    ],
)
def test_netavark_is_asked_where_nothing_is_configured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: object, driver: str
) -> None:
    """An old one does not say, and uses iptables unless it is told."""
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    netavark(tmp_path, says)
    assert firewall_driver([tmp_path / "none"], [str(tmp_path)]) == driver


def test_what_is_configured_wins(tmp_path: Path) -> None:
    netavark(tmp_path, {"default_fw_driver": "nftables"})
    (tmp_path / "containers.conf").write_text('[network]\nfirewall_driver = "iptables"\n')
    assert firewall_driver([tmp_path], [str(tmp_path)]) == "iptables"


def test_nothing_is_said_where_there_is_no_netavark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert firewall_driver([tmp_path], [str(tmp_path)]) == ""
