"""Describes the computer that a run was made on."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import apsw
import psutil

from bench.subjects import ROOT

__all__ = ["describe"]


def describe() -> dict[str, str]:
    """Its properties as texts, by name."""
    cores = psutil.cpu_count(logical=True)
    return {
        "commit": _output("git", "-C", str(ROOT), "describe", "--always", "--dirty"),
        "processor": f"{cores} × {_processor()}",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {sys.version.split()[0]}, uvloop {version('uvloop')}",
        "sqlite": apsw.sqlite_lib_version(),
        "docker": _output("docker", "version", "--format", "{{.Server.Version}} (API {{.Server.APIVersion}})"),
        "storage": _output("docker", "info", "--format", "{{.Driver}}"),
        "node": _output("node", "--version"),
        "load before": " ".join(f"{value:.2f}" for value in os.getloadavg()),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return "not there"
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]
