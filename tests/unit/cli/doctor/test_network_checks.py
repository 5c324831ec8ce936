"""What `doctor` sees of the workers' network before anything is started."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from worker_orchestrator.cli.doctor.host_checks import _memory
from worker_orchestrator.cli.doctor.network_checks import address_ranges, check_publish_address, room_in

SMALL = {"DefaultAddressPools": [{"Base": "10.9.0.0/23", "Size": 24}]}


def network(*subnets: str, containers: int = 0, **more: Any) -> dict[str, Any]:
    configs = [{"Subnet": subnet, **more} for subnet in subnets]
    return {"Name": "n", "IPAM": {"Config": configs}, "Containers": {str(number): {} for number in range(containers)}}


def test_docker_has_31_ranges_unless_it_is_told_otherwise() -> None:
    assert address_ranges([], {}) == 31
    assert address_ranges([], {"DefaultAddressPools": None}) == 31
    assert address_ranges([], SMALL) == 2


def test_a_range_that_overlaps_with_a_network_is_taken() -> None:
    """Of whatever size it is; IPv6 and networks without addresses take none."""
    there = [network("172.17.0.0/16"), network("192.168.16.0/24", "fd00::/64"), network(), {"IPAM": None}]
    assert address_ranges(there, {}) == 29
    assert address_ranges([network("10.9.0.128/25"), network("10.9.1.0/24")], SMALL) == 0


@pytest.mark.parametrize(
    ("shown", "room"),
    [
        (network("10.0.0.0/29"), 5),
        (network("10.0.0.0/29", containers=5), 0),
        (network("10.0.0.0/30", containers=4), 0),
        (network("10.0.0.0/16", IPRange="10.0.7.0/28"), 13),
        (network("fd00::/64"), None),
        (network(), None),
    ],
)
def test_a_network_has_so_many_addresses_left(shown: dict[str, Any], room: int | None) -> None:
    assert room_in(shown) == room


@pytest.mark.parametrize("address", ["localhost", "127.0.0.1", "0.0.0.0"])  # asked about, not listened on
def test_an_address_that_is_there_needs_no_word(address: str) -> None:
    assert list(check_publish_address(address)) == []


def test_an_address_that_this_computer_does_not_have_is_wrong() -> None:
    (finding,) = check_publish_address("192.0.2.1")
    assert (finding.verdict, "--publish-address" in finding.fix) == ("wrong", True)


@pytest.mark.parametrize(("kb", "verdicts"), [(65_535, ["warning"]), (65_536, [])])
def test_a_computer_without_memory_is_told(kb: int, verdicts: list[str], tmp_path: Path) -> None:
    file = tmp_path / "meminfo"
    file.write_text(f"MemTotal:       8000000 kB\nMemAvailable:   {kb} kB\nBuffers: 1 kB\n")
    assert [finding.verdict for finding in _memory(file)] == verdicts
    assert list(_memory(tmp_path / "none")) == []
