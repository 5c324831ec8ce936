"""Connects the user's terminal with one in a worker: every key goes there, every byte comes back, and the size follows.

The main thread writes the worker's output. A second thread sends what is typed, and the size when it changes. A signal tells
it so through a pipe: a signal handler must not use the connection itself, since it may interrupt a thread that is using it.
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

from worker_orchestrator.cli.exit_codes import FAILED, CommandFailed
from worker_orchestrator.cli.signal_handling import exit_on_signals, new_threads_without_signals
from worker_orchestrator.client.call_steps import Reply
from worker_orchestrator.client.keepalive import socket_options
from worker_orchestrator.client.reply_decoding import error_of
from worker_orchestrator.errors import CallFailed, NotSupported, OrchestratorError, ServiceUnreachable

__all__ = ["attach", "terminal_url"]

_OPEN_TIMEOUT_S: Final = 15.0
_SIGNAL_CHECK_S: Final = 0.5
"""After at most this time the main thread handles a signal that the kernel delivered to the connection's thread."""
_CHUNK_BYTES: Final = 64 * 1024
_NO_UPGRADE: Final = 426
_RESET: Final = b"\x1b[?1049l\x1b[?1000l\x1b[?1002l\x1b[?1006l\x1b[?2004l\x1b[?25h\x1b[0m"
"""Switch off what a full-screen program may have switched on: its screen, the mouse, pasting, no cursor, colours."""


def terminal_url(url: str, machine_id: str, command: Sequence[str], *, user: str = "", workdir: str = "") -> str:
    """The URL of the terminal in which this command runs, at the size of the user's terminal."""
    size = shutil.get_terminal_size()
    query = [("command", word) for word in command]
    query += [("columns", str(size.columns)), ("rows", str(size.lines))]
    query += [(key, value) for key, value in (("user", user), ("workdir", workdir)) if value]
    scheme, _, rest = url.partition("://")
    return f"{'wss' if scheme == 'https' else 'ws'}://{rest}/v1/machines/{machine_id}/terminal?{urlencode(query)}"


def attach(url: str, headers: Mapping[str, str]) -> int:
    """Run the command to its end, and return its exit code. The user's terminal is restored in every case.

    Raises OrchestratorError, CommandFailed.
    """
    connection = _open(url, headers)
    with connection, _raw(), _resizes() as resize_pipe:
        sender = threading.Thread(target=_send, args=(connection, resize_pipe), name="keys", daemon=True)
        with new_threads_without_signals():
            sender.start()
        code = _receive(connection)
    if code is None:
        raise CommandFailed("The connection to the service ended before the command did.", FAILED)
    return code


def _open(url: str, headers: Mapping[str, str]) -> ClientConnection:
    """A connection to the service itself: the token goes neither to a proxy of the environment nor to another server."""
    try:
        return connect(
            url,
            sock=_tcp_connection(url),  # with which websockets refuses to follow a redirect
            proxy=None,
            additional_headers=headers,
            compression=None,
            max_size=None,
            open_timeout=_OPEN_TIMEOUT_S,
        )
    except InvalidStatus as error:
        raise _refusal(error, url) from None
    except (InvalidHandshake, InvalidURI, TimeoutError, OSError, ValueError) as error:
        if isinstance(error.__context__, InvalidStatus):  # a redirect
            raise _refusal(error.__context__, url) from None
        raise ServiceUnreachable(str(error)) from error


def _tcp_connection(url: str) -> socket.socket:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "wss" else 80)
    connected = socket.create_connection((parts.hostname or "", port), timeout=_OPEN_TIMEOUT_S)
    for option in socket_options():
        connected.setsockopt(*option)
    connected.settimeout(None)
    return connected


def _refusal(error: InvalidStatus, url: str) -> OrchestratorError:
    """The error with which the service refused to open the terminal."""
    response, address = error.response, url.partition("/v1/")[0]
    if response.status_code == _NO_UPGRADE:
        return CallFailed(
            f"A terminal needs a WebSocket, and a proxy at {address} does not pass it on to the service. Let it pass on the "
            "fields Upgrade and Connection (nginx: proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; "
            'proxy_set_header Connection "upgrade"). Without -t no WebSocket is needed.'
        )
    headers = {name.lower(): value for name, value in response.headers.raw_items()}
    reply = Reply(status=response.status_code, headers=headers, body=bytes(response.body or b""))
    return error_of(reply, address, with_token=True) or ServiceUnreachable(str(error))


def _receive(connection: ClientConnection) -> int | None:
    """Write the output until it ends. Returns the exit code, or None if the connection broke first."""
    code = None
    try:
        while True:
            try:
                message = connection.recv(timeout=_SIGNAL_CHECK_S)
            except TimeoutError:
                continue
            if isinstance(message, bytes):
                _write(message)
            else:
                code = json.loads(message).get("exit_code", code)
    except ConnectionClosed:
        pass
    except OSError as error:
        raise CommandFailed(f"The terminal cannot be written any more: {error.strerror}.", FAILED) from None
    if code is None:
        with contextlib.suppress(OSError):
            _write(_RESET)
    return code


def _write(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(sys.stdout.fileno(), view) :]


def _send(connection: ClientConnection, resize_pipe: int) -> None:
    """Send what is typed until the connection or the terminal is gone."""
    keys = sys.stdin.fileno()
    with contextlib.suppress(ConnectionClosed, OSError, ValueError):  # the main thread reports what happened to it
        while True:
            ready, _, _ = select.select([keys, resize_pipe], [], [])
            if resize_pipe in ready:
                if not os.read(resize_pipe, _CHUNK_BYTES):
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
    """In this block the terminal passes on every key unchanged. It is restored afterwards, also if a signal ends it."""
    try:
        import termios  # noqa: PLC0415 # not on Windows
        import tty  # noqa: PLC0415
    except ImportError:
        raise NotSupported("Terminals need a Unix system on this side. Leave -t out, or use WSL.") from None
    keys = sys.stdin.fileno()
    before = termios.tcgetattr(keys)
    with exit_on_signals():
        try:
            tty.setraw(keys, termios.TCSADRAIN)  # what was typed ahead goes to the worker too
            yield
        finally:
            with contextlib.suppress(termios.error):  # the terminal itself is gone
                termios.tcsetattr(keys, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _resizes() -> Iterator[int]:
    """A pipe with a byte for each change of the terminal's size."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)

    def notify(_number: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(BlockingIOError):  # a byte is waiting already
            os.write(writing, b"r")

    before = signal.signal(signal.SIGWINCH, notify)
    try:
        yield reading
    finally:
        signal.signal(signal.SIGWINCH, before)
        os.close(writing)  # which ends the other thread; it reads from the other end, which stays open
