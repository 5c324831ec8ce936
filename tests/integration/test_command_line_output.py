"""What a command prints arrives, or the command says that it did not; and a terminal is left as it was found."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from tests.integration.conftest import Start
from tests.integration.running import Running, a_service, environment
from tests.integration.terminals import on_a_terminal

MODULE: Final = (sys.executable, "-m", "worker_orchestrator")
FULL: Final = "orchestrator: Standard output cannot be written: No space left on device.\n"
CLOSED: Final = "orchestrator: Standard output cannot be written: it is closed.\n"
READER_GONE: Final = 128 + signal.SIGPIPE

ON_ITS_OWN: Final = (
    ("--help",), ("--version",), ("list", "--help"), ("completion", "bash"), ("config", "--image", "a"),
    ("config", "--image", "a", "-o", "json"),
)  # fmt: skip
ASKING: Final = (
    ("assign", "p"), ("assign", "p", "-o", "json"), ("keep", "p"), ("list",), ("list", "-o", "json"), ("list", "-o", "name"),
    ("list", "--watch"), ("show", "p"), ("show", "p", "-o", "json"), ("why", "p"), ("events",), ("events", "-f"),
    ("events", "-o", "json"), ("health",), ("health", "-o", "json"), ("scale",), ("pause",), ("resume",), ("logs", "p"),
    ("exec", "p", "--", "echo", "hello"), ("cp", "p:/srv/health", "-"), ("doctor", "--image", "a"), ("release", "p"),
    ("destroy", "--yes", "p"),
)  # fmt: skip


def said_with(how: str, *words: str, env: dict[str, str], cwd: Path) -> tuple[int, str]:
    """Exit code and standard error of a command whose files are redirected as a shell does it."""
    script = f'exec "$@" {how}'
    done = subprocess.run(
        ["sh", "-c", script, "sh", *MODULE, *words], cwd=cwd, env=env, stderr=subprocess.PIPE, timeout=60, check=False
    )
    return done.returncode, done.stderr.decode()


def said_to_nobody(*words: str, env: dict[str, str], cwd: Path) -> tuple[int, str]:
    """As above, into a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [*MODULE, *words], cwd=cwd, env=env, stdout=writing, stderr=subprocess.PIPE, timeout=60, check=False
        )
    finally:
        os.close(writing)
    return done.returncode, done.stderr.decode()


@pytest.mark.parametrize("words", ON_ITS_OWN, ids=" ".join)
def test_output_that_is_lost_is_said_in_one_line(tmp_path: Path, words: tuple[str, ...]) -> None:
    env = environment({"ORCHESTRATOR_STATE_DIR": str(tmp_path)})
    assert said_with(">/dev/full", *words, env=env, cwd=tmp_path) == (1, FULL)
    assert said_with(">&-", *words, env=env, cwd=tmp_path) == (1, CLOSED)
    assert said_to_nobody(*words, env=env, cwd=tmp_path) == (READER_GONE, "")
    assert said_with("<&- >/dev/null 2>&-", *words, env=env, cwd=tmp_path) == (0, "")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, example_image: str) -> Iterator[Running]:
    with a_service(tmp_path_factory.mktemp("output"), "--min-idle", "1", "--max-machines", "4") as service:
        service.await_idle(1)
        yield service


@pytest.mark.parametrize("words", ASKING, ids=" ".join)
def test_what_a_service_answered_and_could_not_be_printed_is_said_in_one_line(
    running: Running, words: tuple[str, ...]
) -> None:
    env = environment({"ORCHESTRATOR_URL": f"http://localhost:{running.ports.api}"})
    for how, expected in ((">/dev/full", (1, FULL)), (">&-", (1, CLOSED))):
        running.assign("p")
        assert said_with(how, *words, env=env, cwd=running.folder) == expected
    running.assign("p")
    assert said_to_nobody(*words, env=env, cwd=running.folder) == (READER_GONE, "")


@pytest.mark.parametrize(
    ("encoding", "shown"), [("ascii", b"\\xe9 \\u20ac"), ("latin-1", b"\xe9 \\u20ac"), ("utf-8", "é €".encode())]
)
def test_a_character_that_the_terminal_at_hand_does_not_know_is_shown_by_its_number(
    running: Running, encoding: str, shown: bytes
) -> None:
    """And the rest arrives, with the exit code of the command."""
    running.assign("p")
    env = environment({"ORCHESTRATOR_URL": f"http://127.0.0.1:{running.ports.api}", "PYTHONIOENCODING": encoding})
    words = ("exec", "p", "--", "sh", "-c", r"printf '\303\251 \342\202\254'; exit 7")
    done = subprocess.run([*MODULE, *words], cwd=running.folder, env=env, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (7, shown, b"")


@pytest.mark.parametrize("how", ["2>/dev/full", "2>&-", "<&- >&- 2>&-"])
def test_an_error_that_cannot_be_told_leaves_the_exit_code_as_it_is(tmp_path: Path, how: str) -> None:
    env = environment({"ORCHESTRATOR_URL": "http://localhost:1"})
    assert said_with(how, "list", env=env, cwd=tmp_path) == (4, "")
    assert said_with(how, "no-such-command", env=env, cwd=tmp_path) == (2, "")


def test_a_closed_output_never_ends_up_in_a_file_that_is_opened_later(tmp_path: Path) -> None:
    """The next file gets the number of a closed one: a copy of the database must hold nothing that was printed."""
    state = tmp_path / "state"
    env = environment({"ORCHESTRATOR_STATE_DIR": str(state)})
    script = (
        "from worker_orchestrator.store.store import Store; import pathlib, sys; "
        "Store(pathlib.Path(sys.argv[1])).close()"
    )
    state.mkdir()
    subprocess.run([MODULE[0], "-c", script, str(state / "orchestrator.db")], env=env, check=True)
    code, said = said_with("<&- >&-", "backup", str(tmp_path / "copy.db"), env=env, cwd=tmp_path)
    assert (code, said) == (1, CLOSED)
    assert (tmp_path / "copy.db").read_bytes().startswith(b"SQLite format 3\0")


def test_where_the_output_of_exec_is_lost_its_exit_code_does_not_say_that_all_went_well(running: Running) -> None:
    running.assign("p")
    env = environment({"ORCHESTRATOR_URL": f"http://localhost:{running.ports.api}"})
    code, said = said_with(">/dev/full", "exec", "p", "--", "echo", "a", env=env, cwd=running.folder)
    assert (code, said) == (1, FULL)


# terminals


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGHUP, 128 + signal.SIGHUP), (signal.SIGINT, 130)],
)
def test_a_watched_list_leaves_the_terminal_as_it_found_it(running: Running, number: int, code: int) -> None:
    """It has a screen of its own, without a cursor, until a signal ends it."""
    env = environment({"ORCHESTRATOR_URL": f"http://localhost:{running.ports.api}"})
    with on_a_terminal([*MODULE, "list", "--watch"], cwd=running.folder, env=env) as screen:
        before = screen.settings()
        screen.await_text("MACHINE")
        assert "\x1b[?1049h" in screen.seen
        screen.forget()
        screen.process.send_signal(number)
        assert screen.wait() == code
        assert "\x1b[?1049l" in screen.seen, "the usual screen is back"
        assert "\x1b[?25h" in screen.seen, "the cursor is back"
        assert "Traceback" not in screen.seen
        assert screen.settings()[3] & termios.ECHO == before[3] & termios.ECHO


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_command_that_waits_leaves_the_terminal_as_it_found_it(start: Start, number: int) -> None:
    """Its spinner hides the cursor."""
    service = start("--min-idle", "0", "--max-machines", "1")
    service.assign("first")
    env = environment({"ORCHESTRATOR_URL": f"http://localhost:{service.ports.api}"})
    with on_a_terminal([*MODULE, "assign", "second", "--wait", "60"], cwd=service.folder, env=env) as screen:
        screen.await_text("\x1b[?25l")
        screen.forget()
        screen.process.send_signal(number)
        assert screen.wait() == (130 if number == signal.SIGINT else 128 + number)
        assert "\x1b[?25h" in screen.seen
        assert "Traceback" not in screen.seen


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_terminal_in_a_worker_leaves_the_one_at_hand_as_it_found_it(running: Running, number: int) -> None:
    running.assign("p")
    env = environment({"ORCHESTRATOR_URL": f"http://localhost:{running.ports.api}"})
    words = [*MODULE, "exec", "-it", "p", "--", "sh", "-c", "echo r''eady; exec sleep 1000"]
    with on_a_terminal(words, cwd=running.folder, env=env) as screen:
        before = screen.settings()
        screen.await_text("ready")
        assert screen.settings() != before
        screen.process.send_signal(number)
        assert screen.wait() == 128 + number
        assert screen.settings() == before
