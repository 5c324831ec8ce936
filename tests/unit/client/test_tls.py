"""What is said where no TLS comes about: its error numbers are not the system's, and 1 is no missing permission."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
from tests.unit.client.conftest import Connect
from tests.unit.client.either import synchronous

from worker_orchestrator.errors import ServiceUnreachable


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the certificate cert.pem, which nobody signed, and its key.pem, for 127.0.0.1 alone."""
    folder = tmp_path_factory.mktemp("certificate")
    made = (
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout key.pem -out cert.pem -days 2 "
        "-subj /CN=service -addext subjectAltName=IP:127.0.0.1"
    )
    subprocess.run(["openssl", *made.split()], cwd=folder, check=True, capture_output=True)
    return folder


@contextmanager
def listening(act: Callable[[socket.socket], None]) -> Iterator[int]:
    """A port on which each connection is given to `act` and then closed."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection = server.accept()[0]
                with connection, suppress(OSError):
                    act(connection)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(5)


@contextmanager
def secured(certificate: Path) -> Iterator[int]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")

    def act(connection: socket.socket) -> None:
        with closing(context.wrap_socket(connection, server_side=True)) as private:
            private.recv(1 << 16)
            private.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n[]")

    with listening(act) as port:
        yield port


def refusal(connect: Connect, url: str) -> str:
    with connect(url, token="0" * 20, timeout_s=10) as client, pytest.raises(ServiceUnreachable) as refused:
        client.pools()
    return str(refused.value)


def test_a_certificate_that_nobody_signed_is_called_so_with_what_to_do(connect: Connect, certificate: Path) -> None:
    with secured(certificate) as port:
        said = refusal(connect, f"https://127.0.0.1:{port}")
    assert "its certificate is not trusted (self" in said
    assert "SSL_CERT_FILE" in said
    assert "permitted" not in said
    assert "Check that it runs" not in said


def test_a_certificate_for_another_name_is_called_so(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one client: aiohttp, below the other, reads SSL_CERT_FILE when it is imported, which was before."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))
    with secured(certificate) as port:
        said = refusal(synchronous, f"https://localhost:{port}")
    assert "its certificate is not trusted" in said
    assert "localhost" in said.partition("(")[2]
    assert "Check the address" in said


def test_a_service_without_tls_is_told_from_one_that_is_away(connect: Connect) -> None:
    def act(connection: socket.socket) -> None:
        connection.recv(1 << 16)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with listening(act) as port:
        said = refusal(connect, f"https://127.0.0.1:{port}")
    assert "it does not speak TLS, which https:// needs" in said
    assert "permitted" not in said


def test_a_connection_that_is_cut_before_tls_is_tried_again_like_any_other(connect: Connect) -> None:
    came: list[int] = []

    def act(connection: socket.socket) -> None:
        came.append(1)
        connection.recv(1 << 16)

    with (
        listening(act) as port,
        connect(f"https://127.0.0.1:{port}", token="0" * 20, retries=2) as client,
        pytest.raises(ServiceUnreachable, match="does not answer: the connection was cut"),
    ):
        client.pools()
    assert len(came) == 3
