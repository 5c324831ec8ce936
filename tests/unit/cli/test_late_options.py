"""Values on the command line: where a secret comes from, that none is ever shown, and what is said of a set-up."""

from __future__ import annotations

import base64
import io
import json
import os
import pty
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from tests.unit.client.scripted import Act, ScriptedServer, answer, problem, scripted
from tests.unit.client.test_calls import MACHINE
from tests.unit.client.test_late_values import CONFIGURED, FAILED, set_up_failed

from worker_orchestrator.cli import main
from worker_orchestrator.cli.assign import _tell_configured
from worker_orchestrator.cli.exit_codes import SETUP_FAILED
from worker_orchestrator.cli.late_options import _secret_files, _variables
from worker_orchestrator.cli.list import _row, _with_more
from worker_orchestrator.cli.show import _configured
from worker_orchestrator.cli.text_formats import setup_in_words
from worker_orchestrator.client.call_steps import Reply
from worker_orchestrator.client.reply_decoding import decode_reply
from worker_orchestrator.wire.v1 import Machine, Setup

SECRET = "hunter2-hunter2"


def run(
    *words: str,
    reply: Act | None = None,
    then: Sequence[Act] = (),
    env: dict[str, str] | None = None,
    stdin: bytes = b"",
) -> tuple[Result, Any]:
    """What `assign` does against a service with this reply, and what it sent; None if it sent nothing."""
    none = dict.fromkeys(("ORCHESTRATOR_URL", "ORCHESTRATOR_TOKEN", "ORCHESTRATOR_TOKEN_FILE"))
    server: ScriptedServer
    with scripted(answer(200, CONFIGURED) if reply is None else reply, *then) as server:
        done = CliRunner().invoke(
            main, ["--url", server.url, "assign", "p", *words], env={**none, **(env or {})}, input=stdin
        )
    return done, server.heard[0].json if server.heard else None


def usage(*words: str, env: dict[str, str] | None = None, stdin: bytes = b"") -> str:
    done, sent = run(*words, env=env, stdin=stdin)
    assert (done.exit_code, sent, done.stdout) == (2, None, "")
    assert SECRET not in done.stderr
    return done.stderr.removeprefix("orchestrator: ").strip()


# where values come from


def test_values_come_from_options_variables_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from a file\n")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a").write_text("1")
    done, sent = run(
        "--env", "A=1=2", "--env", "B=", "--secret", "KEY", "--secret-file", f"FILE={tmp_path / 'key'}",
        "--secret-file", "INPUT=-", "--files", str(tmp_path / "folder"), "--replace",
        env={"KEY": SECRET}, stdin=b"from standard input\n",
    )  # fmt: skip
    assert (done.exit_code, done.stdout, done.stderr) == (0, "http://localhost:20001\n", "")
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(sent.pop("files")))) as archive:
        assert archive.getnames() == ["a"]
    assert sent == {
        "env": {"A": "1=2", "B": ""},
        "secrets": {"KEY": SECRET, "FILE": "from a file\n", "INPUT": "from standard input\n"},
        "replace": True,
    }


def test_without_values_none_are_sent() -> None:
    assert run()[1] == {}


def test_a_secret_is_asked_for_on_a_terminal_and_not_shown() -> None:
    with scripted(answer(200, CONFIGURED)) as server:
        child, terminal = pty.fork()
        if child == 0:
            os.environ.pop("KEY", None)
            words = ["--url", server.url, "assign", "p", "--secret", "KEY"]
            os.execv(sys.executable, [sys.executable, "-m", "worker_orchestrator", *words])  # this interpreter
        shown = b""
        while b"Secret KEY" not in shown:
            shown += os.read(terminal, 1000)
        os.write(terminal, f"{SECRET}\n".encode())
        try:
            while part := os.read(terminal, 1000):
                shown += part
        except OSError:  # so Linux says that the other side is closed
            pass
        os.close(terminal)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, shown
    assert server.heard[0].json == {"secrets": {"KEY": SECRET}}
    assert SECRET.encode() not in shown


# what is refused, without a value


def test_what_is_refused_never_shows_a_value(tmp_path: Path) -> None:
    assert "takes a name and no value" in usage("--secret", f"KEY={SECRET}")
    assert 'one has no "=", and is not shown' in usage("--env", SECRET)
    assert 'one has no name before its "="' in usage("--env", f"={SECRET}")
    assert 'Each --secret-file must be NAME=FILE: one has no "="' in usage("--secret-file", SECRET)
    assert usage("--secret", "NOT_THERE") == (
        "There is no secret 'NOT_THERE': no variable of this name is in the environment, and standard input is not a "
        "terminal, so nobody can be asked. Set it, or use --secret-file NOT_THERE=FILE."
    )
    assert "only one" in usage("--secret-file", "A=-", "--secret-file", "B=-").lower()
    assert usage("--secret", "K", "--secret-file", "K=-", env={"K": SECRET}) == "The secret 'K' is given twice."
    assert usage("--replace") == "--replace needs values: add --env, --secret, --secret-file or --files."
    assert "is not UTF-8 text. Send it as a file" in usage("--secret-file", "K=-", stdin=SECRET.encode() + b"\xff")
    for content in (SECRET.encode() + b"\0", SECRET.encode() * 5000):
        assert (
            usage("--secret-file", "K=-", stdin=content) == "The secret 'K' has more than 65536 bytes, or contains NUL."
        )
    assert "does not exist" in usage("--files", str(tmp_path / "none"))


def test_a_secret_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    done, sent = run("--secret-file", f"K={tmp_path / 'none'}")
    assert (done.exit_code, sent) == (1, None)
    assert done.stderr == (
        f"orchestrator: The secret 'K' cannot be read from {tmp_path / 'none'}: No such file or directory.\n"
    )


# what is said


def test_a_set_up_that_failed_has_an_exit_code_of_its_own_and_the_last_lines_of_the_hook() -> None:
    lines = {"exit_code": 3, "ms": 15, "output": "one\n\x1b[31mtwo\n"}
    done, _ = run("--env", "A=1", reply=set_up_failed(setup=lines))
    assert (done.exit_code, done.stdout) == (SETUP_FAILED, "")
    assert done.stderr == "  one\n  \N{REPLACEMENT CHARACTER}[31mtwo\norchestrator: The hook ended with 3.\n"


def test_a_script_that_reads_json_gets_a_set_up_that_failed_as_json() -> None:
    done, _ = run("--env", "A=1", "-o", "json", reply=set_up_failed())
    assert done.exit_code == SETUP_FAILED
    assert json.loads(done.stdout) == {
        "project": "p",
        "code": "setup_failed",
        "detail": "The hook ended with 3.",
        "machine": "m-1",
        "setup": {"exit_code": 3, "ms": 15, "output": "no ***\n"},
    }
    assert done.stderr == "  no ***\norchestrator: The hook ended with 3.\n"
    named, _ = run("--env", "A=1", "-o", "name", reply=set_up_failed())
    assert (named.exit_code, named.stdout) == (SETUP_FAILED, "")


@pytest.mark.parametrize(
    ("then", "told"),
    [
        (
            answer(200, FAILED),
            "p has m-1, which is not configured. Assign again with values, or give it back: `orchestrator release p`.\n",
        ),
        (answer(200, MACHINE), ""),
        (problem(404, "project_has_no_machine"), ""),
    ],
    ids=["not set up", "from before", "none"],
)
def test_a_machine_that_a_failed_set_up_left_is_told_of(then: Act, told: str) -> None:
    done, _ = run("--env", "A=1", reply=problem(502, "engine_rejected", "it is full"), then=[then])
    assert (done.exit_code != 0, done.stdout) == (True, "")
    assert done.stderr == f"{told}orchestrator: it is full\n"


def test_a_machine_that_is_not_configured_is_told_of_on_standard_error() -> None:
    done, _ = run(reply=answer(200, {**MACHINE, "configured": False}))
    assert (done.exit_code, done.stdout) == (0, "http://localhost:20001\n")
    assert done.stderr == "m-1 is not configured. `orchestrator why p` says why.\n"
    assert run(reply=answer(200, MACHINE))[0].stderr == ""
    assert run(reply=answer(200, CONFIGURED))[0].stderr == ""


def machine(**more: Any) -> Machine:
    import json  # noqa: PLC0415 # only here

    return decode_reply(Reply(status=200, headers={}, body=json.dumps({**MACHINE, **more}).encode()), Machine, "url")


def test_on_a_terminal_it_is_said_how_the_set_up_went(capsys: pytest.CaptureFixture[str]) -> None:
    made = machine(configured=True, setup={"exit_code": 0, "ms": 120, "output": ""})
    _tell_configured(made, is_interactive=True)
    assert capsys.readouterr().err == "m-1 is configured: 120 ms, hook ended with exit code 0.\n"
    _tell_configured(machine(configured=True), is_interactive=True)
    assert capsys.readouterr().err == ""
    assert setup_in_words(Setup(exit_code=None, ms=5)) == "5.0 ms"


def test_show_and_list_say_it_where_a_pool_takes_values() -> None:
    none, no, yes = machine(), machine(configured=False), machine(configured=True, setup={"exit_code": None, "ms": 38})
    assert [_configured(one) for one in (none, no, yes)] == ["", "no", "yes (38 ms)"]
    assert _with_more(("MACHINE", "CHANGED"), [none]) == ("MACHINE", "CHANGED")
    headers = _with_more(("MACHINE", "CHANGED"), [none, no, yes])
    assert headers == ("MACHINE", "CHANGED", "CONFIGURED")
    assert [_row(one, headers)[-1] for one in (none, no, yes)] == ["-", "no", "yes"]
    assert _with_more((), [yes]) == ()


# completion


def test_names_of_variables_and_files_are_completed(monkeypatch: pytest.MonkeyPatch) -> None:
    context = click.Context(main)
    parameter = click.Option(["--secret"])
    monkeypatch.setenv("UNUSUAL_KEY", SECRET)
    assert _variables(context, parameter, "UNUSUAL") == ["UNUSUAL_KEY"]
    assert _secret_files(context, parameter, "KEY") == []
    (found,) = _secret_files(context, parameter, "KEY=/etc/h")
    assert (found.value, found.type) == ("/etc/h", "file")
