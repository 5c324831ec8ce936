"""A terminal in a worker, on the terminal at hand: every key goes there, every byte comes back, and the size follows.

The main thread writes what comes. A second one sends what is typed, and the size when it changed, of which a signal tells it
through a pipe: a signal handler must not use the connection itself, since it may interrupt whoever is using it.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from types import FrameType
from typing import Final
from urllib.parse import urlencode, urlsplit

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.sync.client import ClientConnection, connect

from worker_orchestrator.cli.failed import FAILED, Failed
from worker_orchestrator.cli.unwinding import deaf_threads, unwinding
from worker_orchestrator.client.address import socket_options
from worker_orchestrator.client.problems import error_in
from worker_orchestrator.client.steps import Reply
from worker_orchestrator.errors import CallFailed, NotSupported, OrchestratorError, ServiceUnreachable

__all__ = ["attach", "url_of_terminal"]

_OPEN_TIMEOUT_S: Final = 15.0
_LOOKS_UP_S: Final = 0.5
"""So often the main thread obeys a signal that the kernel gave to the thread of the connection."""
_CHUNK_BYTES: Final = 64 * 1024
_NO_UPGRADE: Final = 426
_RESET: Final = b"\x1b[?1049l\x1b[?1000l\x1b[?1002l\x1b[?1006l\x1b[?2004l\x1b[?25h\x1b[0m"
"""Leave what a full-screen program may have switched on: its screen, the mouse, pasting, no cursor, colours."""


def url_of_terminal(url: str, machine_id: str, command: Sequence[str], *, user: str = "", workdir: str = "") -> str:
    """Where the terminal of this command is, at the size of the terminal at hand."""
    size = shutil.get_terminal_size()
    query = [("command", word) for word in command]
    query += [("columns", str(size.columns)), ("rows", str(size.lines))]
    query += [(key, value) for key, value in (("user", user), ("workdir", workdir)) if value]
    scheme, _, rest = url.partition("://")
    return f"{'wss' if scheme == 'https' else 'ws'}://{rest}/v1/machines/{machine_id}/terminal?{urlencode(query)}"


def attach(url: str, headers: Mapping[str, str]) -> int:
    """Run it to its end, and return its exit code. The terminal is left as it was found, whatever happens.

    Raises OrchestratorError, Failed.
    """
    connection = _open(url, headers)
    with connection, _raw(), _resizes() as resized:
        sender = threading.Thread(target=_send, args=(connection, resized), name="keys", daemon=True)
        with deaf_threads():
            sender.start()
        code = _receive(connection)
    if code is None:
        raise Failed("The connection to the service ended before the command did.", FAILED)
    return code


def _open(url: str, headers: Mapping[str, str]) -> ClientConnection:
    """A connection to the service itself: the token goes to nobody else, whom the environment or a reply may name."""
    try:
        return connect(
            url,
            sock=_reach(url),  # with which websockets refuses to follow a redirect
            proxy=None,
            additional_headers=headers,
            compression=None,
            max_size=None,
            open_timeout=_OPEN_TIMEOUT_S,
        )
    except InvalidStatus as error:
        raise _problem(error, url) from None
    except (InvalidHandshake, InvalidURI, TimeoutError, OSError, ValueError) as error:
        if isinstance(error.__context__, InvalidStatus):  # a redirect
            raise _problem(error.__context__, url) from None
        raise ServiceUnreachable(str(error)) from error


def _reach(url: str) -> socket.socket:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "wss" else 80)
    reached = socket.create_connection((parts.hostname or "", port), timeout=_OPEN_TIMEOUT_S)
    for option in socket_options():
        reached.setsockopt(*option)
    reached.settimeout(None)
    return reached


def _problem(error: InvalidStatus, url: str) -> OrchestratorError:
    """What the service said instead of opening the terminal."""
    response, where = error.response, url.partition("/v1/")[0]
    if response.status_code == _NO_UPGRADE:
        return CallFailed(
            f"The WebSocket that a terminal needs does not get through to the service: a proxy at {where} must pass on the "
            "fields Upgrade and Connection (nginx: proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; "
            'proxy_set_header Connection "upgrade"). Without -t the command runs as it is.'
        )
    named = {name.lower(): value for name, value in response.headers.raw_items()}
    reply = Reply(status=response.status_code, headers=named, body=bytes(response.body or b""))
    return error_in(reply, where, with_token=True) or ServiceUnreachable(str(error))


def _receive(connection: ClientConnection) -> int | None:
    """Write what comes until it ends. The exit code, or None where the connection broke first."""
    code = None
    try:
        while True:
            try:
                message = connection.recv(timeout=_LOOKS_UP_S)
            except TimeoutError:
                continue
            if isinstance(message, bytes):
                _write(message)
            else:
                code = json.loads(message).get("exit_code", code)
    except ConnectionClosed:
        pass
    except OSError as error:
        raise Failed(f"The terminal at hand cannot be written any more: {error.strerror}.", FAILED) from None
    if code is None:
        with contextlib.suppress(OSError):
            _write(_RESET)
    return code


def _write(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(sys.stdout.fileno(), view) :]


def _send(connection: ClientConnection, resized: int) -> None:
    """Send what is typed until the connection or the terminal is gone."""
    keys = sys.stdin.fileno()
    with contextlib.suppress(ConnectionClosed, OSError, ValueError):  # the other thread says what became of it
        while True:
            ready, _, _ = select.select([keys, resized], [], [])
            if resized in ready:
                if not os.read(resized, _CHUNK_BYTES):
                    return
                size = os.get_terminal_size(keys)
                connection.send(json.dumps({"columns": size.columns, "rows": size.lines}))
            if keys in ready:
                typed = os.read(keys, _CHUNK_BYTES)
                if not typed:
                    break
                connection.send(typed)
    connection.close()


@contextlib.contextmanager
def _raw() -> Iterator[None]:
    """The terminal hands on every key as it is, and is itself again afterwards; also where a signal ends this process."""
    try:
        import termios  # noqa: PLC0415 # not on Windows
        import tty  # noqa: PLC0415
    except ImportError:
        raise NotSupported("Terminals need a Unix system on this side: leave -t out, or take WSL.") from None
    keys = sys.stdin.fileno()
    found = termios.tcgetattr(keys)
    with unwinding():
        try:
            tty.setraw(keys, termios.TCSADRAIN)  # what was typed ahead is for the worker as well
            yield
        finally:
            with contextlib.suppress(termios.error):  # the terminal itself is gone
                termios.tcsetattr(keys, termios.TCSADRAIN, found)


@contextlib.contextmanager
def _resizes() -> Iterator[int]:
    """A pipe with a byte for each change of the terminal's size."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)

    def tell(_number: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(BlockingIOError):  # enough was told already
            os.write(writing, b"r")

    before = signal.signal(signal.SIGWINCH, tell)
    try:
        yield reading
    finally:
        signal.signal(signal.SIGWINCH, before)
        os.close(writing)  # which ends the other thread; its end stays open for it to see
