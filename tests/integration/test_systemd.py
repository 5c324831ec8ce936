"""Started by a socket, as systemd does it, and with what systemd is told; and the units that `init --systemd` writes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from tests.integration.running import environment, orchestrator
from tests.integration.waiting import PortBlock, eventually
from tests.recipes.at_hand import needs

SERVE = (sys.executable, "-m", "worker_orchestrator", "serve", "--engine", "memory", "--min-idle", "1")


def test_a_first_call_starts_it_and_it_takes_over_that_socket(tmp_path: Path) -> None:
    """The call that started it is answered, and systemd hears that it is ready and how it ends."""
    needs("systemd-socket-activate", "systemd")
    ports = PortBlock.claim()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(str(tmp_path / "notify"))
        told.settimeout(30)
        words = [
            "systemd-socket-activate",
            "--listen",
            f"127.0.0.1:{ports.api}",
            f"--setenv=NOTIFY_SOCKET={tmp_path}/notify",
        ]
        words += [*SERVE, "--port", str(ports.api), "--state-dir", str(tmp_path / "state")]
        with (tmp_path / "log").open("wb") as log:
            process = subprocess.Popen(words, env=environment(), stdout=log, stderr=log)
        try:
            eventually(lambda: "Listening on" in (tmp_path / "log").read_text(), "systemd listens")
            with urllib.request.urlopen(f"http://127.0.0.1:{ports.api}/my-project", timeout=30) as reply:
                assert reply.status == 200
            assert told.recv(100) == b"READY=1"
            with socket.create_connection(("127.0.0.1", ports.api)) as slow:  # its body never comes
                slow.sendall(
                    f"POST /destroy HTTP/1.1\r\nhost: localhost:{ports.api}\r\ncontent-length: 9\r\n\r\n".encode()
                )
                time.sleep(0.2)
                process.terminate()
                told.settimeout(2)
                assert told.recv(100) == b"STOPPING=1"
                assert process.poll() is None, "it is told when that begins"
            assert process.wait(20) == 0
        finally:
            process.kill()
            process.wait()
            ports.guard.close()
    assert "The pool is at" in (tmp_path / "log").read_text()


def test_what_it_starts_inherits_nothing_of_it() -> None:
    """A child that took them for its own would answer for the service, or say that it is ready."""
    script = """if True:
        import os, socket, subprocess, sys
        from worker_orchestrator.service.systemd import take_notifier, take_sockets
        from worker_orchestrator.settings.settings import Settings
        listener = socket.create_server(("127.0.0.1", 0))
        os.dup2(listener.fileno(), 3)
        given = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "x", "NOTIFY_SOCKET": "/nowhere"}
        os.environ.update(given)
        (taken,) = take_sockets(Settings(port=listener.getsockname()[1]))
        take_notifier()("READY=1")
        assert taken.fileno() == 3 and not given.keys() & os.environ.keys()
        child = "import os; os.fstat(3)"
        sys.exit(subprocess.run([sys.executable, "-c", child], close_fds=False, stderr=subprocess.DEVNULL).returncode)
    """
    assert subprocess.run([sys.executable, "-c", script], timeout=30, check=False).returncode == 1


@pytest.mark.parametrize(
    ("listens", "says"), [("0.0.0.0", "which other computers can reach"), ("127.0.0.1", "on port")]
)
def test_a_socket_that_the_settings_do_not_name_is_refused(tmp_path: Path, listens: str, says: str) -> None:
    """Else the address of another unit would decide whether a token is needed."""
    with socket.create_server((listens, 0)) as listener:
        port = listener.getsockname()[1] + (listens == "127.0.0.1")
        script = (
            f"import os, sys; os.dup2({listener.fileno()}, 3);"
            "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1');"
            "os.execv(sys.argv[1], sys.argv[1:])"
        )
        words = [sys.executable, "-c", script, *SERVE, "--port", str(port), "--state-dir", str(tmp_path)]
        fds = [listener.fileno()]
        done = subprocess.run(
            words, env=environment(), pass_fds=fds, capture_output=True, text=True, timeout=30, check=False
        )
    assert done.returncode == 2
    assert says in done.stderr


def test_the_units_are_valid_and_leave_the_service_little(tmp_path: Path) -> None:
    needs("systemd-analyze", "systemd")
    done = orchestrator("init", "--yes", "--systemd", cwd=tmp_path)
    assert "Wrote" in done.stdout
    unit = tmp_path / "worker-orchestrator.service"
    checked = subprocess.run(
        ["systemd-analyze", "verify", unit, unit.with_suffix(".socket")], capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")
    words = ["systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=30", str(unit)]
    assert subprocess.run(words, capture_output=True, check=False, env={**os.environ, "LC_ALL": "C"}).returncode == 0
