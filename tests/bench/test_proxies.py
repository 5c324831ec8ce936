"""The proxy that the door is measured beside is made of the example that users get: who changes one may break the other."""

from __future__ import annotations

import subprocess
from pathlib import Path

from bench.proxies import caddyfile


def test_caddy_takes_what_the_bench_makes_of_the_example(tmp_path: Path) -> None:
    file = tmp_path / "Caddyfile"
    file.write_text(caddyfile(plain=1024, asking=1025, worker=1026, service=1027), encoding="utf-8")
    adapted = subprocess.run(
        ["caddy", "adapt", "--config", str(file), "--adapter", "caddyfile"], capture_output=True, text=True, check=False
    )
    assert adapted.returncode == 0, adapted.stderr
    assert '"*.localhost"' in adapted.stdout
    assert "9092" not in adapted.stdout, "no service of somebody else is asked"
