"""How commands fail: one sentence on standard error that says what to do, and an exit code that a script can tell apart."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from click.testing import CliRunner, Result

from worker_orchestrator.cli import main
from worker_orchestrator.cli.exit_codes import exit_code_of
from worker_orchestrator.errors import (
    CommitFailed,
    EngineUnavailable,
    GenerationMismatch,
    InvalidProject,
    MachineFailed,
    NoMachineAvailable,
    OrchestratorError,
    PathNotFound,
    PoolNotFound,
    ProjectHasNoMachine,
    ServiceUnreachable,
    TooManyRequests,
    Unauthorized,
)


def run(*words: str, env: dict[str, str] | None = None) -> Result:
    none = dict.fromkeys(("ORCHESTRATOR_URL", "ORCHESTRATOR_TOKEN", "ORCHESTRATOR_TOKEN_FILE"))
    return CliRunner().invoke(main, words, env={**none, **(env or {})}, prog_name="orchestrator")


@pytest.fixture
def nobody() -> Iterator[str]:
    """The URL of a port where nobody listens: it is bound, so that nobody else begins to."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


ASKING = [
    ("list",), ("show", "a"), ("why", "a"), ("assign", "a"), ("release", "a"), ("restart", "a"), ("destroy", "a"),
    ("logs", "a"), ("events",), ("health",), ("scale", "--limit", "3"), ("pause",), ("resume",), ("exec", "a", "ls"),
    ("cp", "a:/b", "c"),
]  # fmt: skip


@pytest.mark.parametrize("words", ASKING, ids=" ".join)
def test_without_a_service_a_command_says_how_to_start_one(nobody: str, words: tuple[str, ...]) -> None:
    """Exit code 4, one line, whether the URL stands before the command, behind it or in the environment."""
    said = (
        f"orchestrator: No service answers at {nobody}. Start one with `orchestrator serve --image IMAGE`, or name another "
        "one with --url.\n"
    )
    for done in (
        run("--url", nobody, *words),
        run(words[0], "--url", nobody, *words[1:]),
        run(*words, env={"ORCHESTRATOR_URL": nobody}),
    ):
        assert (done.exit_code, done.stdout, done.stderr) == (4, "", said)


def test_a_url_that_is_none_is_named() -> None:
    done = run("list", "--url", "localhost:9092")
    assert done.exit_code == 2
    assert "'localhost:9092', which is not a valid address. Use http://HOST:PORT" in done.stderr


def test_a_token_file_that_is_missing_is_named() -> None:
    done = run("list", "--token-file", "/none/token")
    assert (done.exit_code, done.stderr) == (
        2,
        "orchestrator: The token file /none/token cannot be read: No such file or directory.\n",
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("asign", "a"), "There is no command 'asign'. Did you mean assign?"),
        (("frobnicate",), "There is no command 'frobnicate'. `orchestrator --help` lists the commands."),
        (("cp", "a", "b"), "Exactly one of SOURCE and TARGET must be in a worker: PROJECT_OR_ID:/path."),
        (("cp", "a:/b", "c:/d"), "Exactly one of SOURCE and TARGET must be in a worker: PROJECT_OR_ID:/path."),
        (("cp", "a:b", "d"), "a:b has no absolute path in a worker. Write PROJECT_OR_ID:/path."),
        (("exec", "a"), "There is no command to run. Add it after the machine, or use -it for a shell."),
        (
            ("exec", "-it", "-e", "A=b", "a"),
            "--env cannot be used with -t. Begin the command with `env NAME=value` instead.",
        ),
        (
            ("exec", "-e", "secret", "a", "ls"),
            'Each --env must be NAME=value: one has no "=", and is not shown, since it ',
        ),
        (("scale", "--limit", "many"), "'many' is neither a whole number nor `default`."),
        (("assign", "a", "--metadata", "b"), "each must be NAME=value."),
        (("list", "--state", "lazy"), "'lazy' is not one of"),
    ],
)
def test_wrong_usage_is_told_with_what_is_right(words: tuple[str, ...], said: str) -> None:
    """Exit code 2, before anything is asked."""
    done = run(*words)
    assert done.exit_code == 2
    assert said in done.stderr


def test_a_terminal_that_is_none_is_refused() -> None:
    done = run("exec", "-it", "a")
    assert done.exit_code == 1
    assert "-t needs a terminal for input and output" in done.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ProjectHasNoMachine(), 3),
        (PoolNotFound(), 3),
        (PathNotFound(), 3),
        (NoMachineAvailable(), 4),
        (EngineUnavailable(), 4),
        (ServiceUnreachable(), 4),
        (TooManyRequests(), 4),
        (InvalidProject(), 2),
        (GenerationMismatch(), 1),
        (MachineFailed(), 1),
        (Unauthorized(), 1),
        (CommitFailed(), 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_exit_code_tells_what_kind_of_failure_it_was(error: OrchestratorError, code: int) -> None:
    assert exit_code_of(error) == code


def test_without_a_command_it_says_what_there_is_and_where_to_begin() -> None:
    done = run()
    assert done.exit_code == 0
    for word in ("assign", "serve", "First steps:", "orchestrator assign my-project"):
        assert word in done.stdout
