"""What Squid is told for a list of names."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker_orchestrator.engines.fenced import Fence
from worker_orchestrator.service.egress.configuration import configuration, hosts, own_addresses

FENCE = Fence("172.20.0.1", "172.20.0.0/16")


def rules(*names: str) -> list[str]:
    text = configuration(FENCE, names, "/hosts", ["203.0.113.7"])
    return [line for line in text.splitlines() if line.startswith(("acl name", "acl ports", "acl apex", "http_access"))]


def test_a_name_is_asked_for_before_where_it_leads() -> None:
    """Else the question to the DNS would carry data out."""
    assert rules("a.example.com")[-5:] == [
        "acl name0 dstdomain -n a.example.com",
        "acl ports0 port 80 443",
        "http_access deny name0 ports0 never",
        "http_access allow name0 ports0",
        "http_access deny all",
    ]


def test_below_a_name_is_not_the_name() -> None:
    assert "http_access allow name0 ports0 !apex0" in rules("*.example.com:8443")
    assert "acl ports0 port 8443" in rules("*.example.com:8443")


def test_an_address_is_the_operators_word() -> None:
    assert "http_access deny name0 ports0 never" not in rules("a.example.com:8080=10.0.0.5")


def test_only_workers_of_the_pool_are_answered_and_own_addresses_are_never_reached() -> None:
    text = configuration(FENCE, ["a.example.com"], "/hosts", ["203.0.113.7"])
    assert "acl workers src 172.20.0.0/16\n" in text
    assert "http_access deny !workers\n" in text
    assert "http_port 172.20.0.1:3129\n" in text
    never = next(line for line in text.splitlines() if line.startswith("acl never"))
    assert {"169.254.0.0/16", "127.0.0.0/8", "203.0.113.7"} <= {*never.split()}


def test_the_operators_addresses_stand_in_place_of_those_of_the_computers_file(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("127.0.0.1 localhost # own\n\n10.9.9.9 A.example.com b.example.com\n")
    told = hosts(["a.example.com:8080=10.0.0.5", "c.example.com"], tmp_path / "hosts")
    assert told == "10.0.0.5 a.example.com\n127.0.0.1 localhost\n10.9.9.9 b.example.com\n"


def test_own_addresses_are_those_that_no_range_has(tmp_path: Path) -> None:
    (tmp_path / "fib_trie").write_text(
        "  |-- 203.0.113.7\n     /32 host LOCAL\n"
        "  |-- 10.0.0.2\n     /32 host LOCAL\n  |-- 203.0.113.0\n     /24 link UNICAST\n"
    )
    (tmp_path / "if_inet6").write_text(
        "20010db8000000000000000000000001 02 40 00 80 eth0\n" + "0" * 31 + "1 01 80 10 80 lo\n"
    )
    assert own_addresses(tmp_path) == ("2001:db8::1", "203.0.113.7")
    assert own_addresses(tmp_path / "nothing") == ()


@pytest.mark.parametrize("name", ["a.example.com", "*.example.com"])
def test_no_entry_allows_all_ports(name: str) -> None:
    assert not [line for line in rules(name) if line.startswith("http_access allow") and "ports0" not in line]
