"""What the service does without."""

from __future__ import annotations

import subprocess
import sys


def printed(*lines: str) -> str:
    return subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True, capture_output=True, text=True).stdout


def test_the_service_does_not_load_rich_and_whoever_needs_it_later_has_it() -> None:
    finds = "from worker_orchestrator.cli.commands import CommandGroup; CommandGroup().get_command(None, 'serve')"
    service = "import sys, worker_orchestrator.cli.serve; print('structlog' in sys.modules, 'rich' in sys.modules)"
    later = "import rich; print(rich.__name__)"
    assert printed(finds, service, later) == "True False\nrich\n"


def test_what_is_loaded_already_stays() -> None:
    hides = "with without('rich'): import structlog"
    imports = "import sys, rich; from worker_orchestrator.cli.without import without"
    assert printed(imports, hides, "print(sys.modules['rich'] is rich)") == "True\n"
