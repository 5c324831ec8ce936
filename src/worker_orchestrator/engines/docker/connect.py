"""Finds the Docker engine the way Docker's own tools find it, and opens clients there.

If an engine was named, that engine is used or the reason is given, never another one; the usual places are tried only if
none was named. aiodocker's own search is not used: it knows neither DOCKER_CONFIG nor rootless, Colima or Podman sockets,
takes only "1" for DOCKER_TLS_VERIFY, and keeps at most 100 connections open, which streams use up.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import ipaddress
import os
import re
import socket
import ssl
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiodocker
import aiohttp
from aiodocker.ssh import SSHConnector

from worker_orchestrator.engines.docker.connector import Client, HangingUpTCP, HangingUpUnix
from worker_orchestrator.engines.docker.credentials import (
    config_dir,
    home_folder,
    read_config,
    read_json_object,
)
from worker_orchestrator.engines.docker.own_container import socket_advice
from worker_orchestrator.errors import EngineUnavailable, InvalidSetting
from worker_orchestrator.telemetry.foreign_text import plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Endpoint", "Tls", "candidates", "connect", "open_client"]

CONNECT_LIMIT_S = PING_LIMIT_S = 2.0
SSH_PING_LIMIT_S = 10.0  # several round trips and a process on the other side

CALL_LIMIT_S = 30.0
"""For one call of any kind: a frozen engine, or a proxy that says nothing, accepts connections and keeps them open."""

USUAL_SOCKETS = (
    ("/var/run/docker.sock", "the standard socket"),
    ("/run/docker.sock", "the standard socket"),
    ("$XDG_RUNTIME_DIR/docker.sock", "rootless Docker"),
    ("~/.docker/run/docker.sock", "Docker Desktop"),
    ("~/.docker/desktop/docker.sock", "Docker Desktop"),
    ("$COLIMA_HOME/default/docker.sock", "Colima"),
    ("~/.colima/default/docker.sock", "Colima"),
    ("~/.config/colima/default/docker.sock", "Colima"),
    ("~/.rd/docker.sock", "Rancher Desktop"),
    ("~/.orbstack/run/docker.sock", "OrbStack"),
    ("$XDG_RUNTIME_DIR/podman/podman.sock", "rootless Podman"),
    ("/run/podman/podman.sock", "Podman"),
)
USUAL_PIPES = ("npipe:////./pipe/docker_engine", "npipe:////./pipe/dockerDesktopLinuxEngine")
_HOST = r"(?P<host>\[[0-9A-Fa-f:.]+\]|[\w.-]+)(:(?P<port>[0-9]{1,5}))?"
_URL_FORMS = {
    "unix": r"unix:///.+",
    "npipe": r"npipe:////[^/]+/pipe/.+",
    "ssh": rf"ssh://([^:@/]+@)?{_HOST}/?",
    **dict.fromkeys(("tcp", "http", "https"), rf"\w+://{_HOST}(/[^?#]*)?"),
}
_PASSWORD = re.compile(r"(?<=://).*@|^(?!.*://).*@", re.DOTALL)
_CAUSES: tuple[tuple[type[Exception], str], ...] = (
    (FileNotFoundError, "no such socket"),
    (PermissionError, "permission denied; add yourself to the docker group (`sudo usermod -aG docker $USER`)"),
    (ConnectionRefusedError, "connection refused, nothing listens there"),
    (socket.gaierror, "there is no host of that name"),
    (TimeoutError, "timed out"),
)


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files for a TLS connection. Without `ca` the system's authorities decide, without `verify` nothing is checked."""

    ca: Path | None
    cert: Path | None
    key: Path | None
    verify: bool = True


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A place where an engine may listen: its url (never with a password), what named it, and its TLS files, if any."""

    url: str
    source: str
    tls: Tls | None = None

    @property
    def scheme(self) -> str:
        """One of unix, npipe, tcp, http, https, ssh."""
        return self.url.partition("://")[0]

    @property
    def host(self) -> str:
        """The host name or address (IPv6 without brackets) of a TCP or SSH endpoint, "localhost" for the others."""
        return "localhost" if self.scheme in ("unix", "npipe") else urlsplit(self.url).hostname or "localhost"

    @property
    def is_local(self) -> bool:
        """Whether the engine is on this machine: a unix socket, a named pipe or TCP on a loopback address."""
        return self.scheme != "ssh" and re.fullmatch(r"localhost|127\.[\d.]+|::1", self.host) is not None


def candidates(docker_host: str | None, environ: Mapping[str, str], home: Path, platform: str) -> list[Endpoint]:
    """Where to look for the engine, best first; exactly one place when somebody named it.

    `docker_host` is the explicit choice, `platform` a `sys.platform`. Reads files, opens no connection. The rules are
    those of https://docs.docker.com/reference/cli/docker and https://docs.docker.com/engine/security/protect-access.
    Raises InvalidSetting for a url that cannot be used and for a broken docker context or config.json.
    """
    directory = config_dir(environ, home)
    tls = _tls_of_environment(environ, directory)
    for named, source in ((docker_host, "--docker-host"), (environ.get("DOCKER_HOST"), "DOCKER_HOST")):
        if url := (named or "").strip():
            return [_endpoint(url, source, tls, platform)]
    context, named_by = environ.get("DOCKER_CONTEXT"), "DOCKER_CONTEXT"
    if not context:
        named_by = f"currentContext in {directory / 'config.json'}"
        context = str(read_config(directory).get("currentContext") or "default")
    if context != "default":
        return [_endpoint_of_context(context, named_by, directory, platform)]
    pipes = (Endpoint(url, "the standard pipe") for url in USUAL_PIPES)
    usual = pipes if platform == "win32" else _present_sockets(environ, home)
    return [*usual, _endpoint("tcp://localhost", "the standard port", tls, platform)]


def _endpoint(url: str, source: str, tls: Tls | None, platform: str) -> Endpoint:
    if re.fullmatch(r"[\w.-]+:[0-9]+", url):
        url = f"tcp://{url}"  # so the docker CLI reads a bare host:port
    scheme = url.partition("://")[0]
    local = USUAL_PIPES[0] if platform == "win32" else "unix:///path/to/docker.sock"
    elsewhere = "unix" if platform == "win32" else "npipe"
    form = re.fullmatch(_URL_FORMS.get(scheme, "(?!)"), url)
    parts = form.groupdict() if form else {}
    is_good = form and scheme != elsewhere and 0 < int(parts.get("port") or 80) < 65536
    if not form or not is_good or not _is_host(parts.get("host") or ""):
        raise InvalidSetting(
            f"{source} is {_PASSWORD.sub('***@', url)!r}, which is not an address of a Docker engine. Allowed: "
            f"{local}, tcp://host:2375, http://host:port, https://host:2376 and ssh://user@host, without a password.",
        )
    if scheme in ("unix", "npipe", "ssh"):
        return Endpoint(url, source)
    if scheme == "tcp" and not parts["port"]:
        url = f"{url[: form.end('host')]}:{2376 if tls else 2375}{url[form.end('host') :]}"
    return Endpoint(url.rstrip("/"), source, tls)


def _is_host(host: str) -> bool:
    """Whether what stands in brackets is an IPv6 address. Other names are left to the resolver."""
    try:
        return not host.startswith("[") or bool(ipaddress.IPv6Address(host[1:-1]))
    except ValueError:
        return False


def _endpoint_of_context(name: str, named_by: str, directory: Path, platform: str) -> Endpoint:
    folder = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()
    path = directory / "contexts" / "meta" / folder / "meta.json"
    context = f"docker context {name!r}"
    try:
        described = read_json_object(path)["Endpoints"]["docker"]
        host, verify = described["Host"], not described.get("SkipTLSVerify")
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        why = "there is no such context" if isinstance(error, FileNotFoundError) else f"{path} names no engine"
        raise InvalidSetting(f"The {context} ({named_by}) cannot be used: {why}; see `docker context ls`.") from error
    ca, cert, key = _tls_files(directory / "contexts" / "tls" / folder / "docker")
    tls = Tls(ca, cert, key, verify) if ca or cert or not verify else None
    return _endpoint(str(host), context, tls, platform)


def _tls_of_environment(environ: Mapping[str, str], directory: Path) -> Tls | None:
    """Any text in DOCKER_TLS_VERIFY means yes, even "0", as in the docker CLI; DOCKER_TLS alone is TLS unverified."""
    verify = bool(environ.get("DOCKER_TLS_VERIFY"))
    if not verify and not environ.get("DOCKER_TLS"):
        return None
    directory = Path(environ.get("DOCKER_CERT_PATH") or directory)
    _, cert, key = _tls_files(directory)
    return Tls(directory / "ca.pem" if verify else None, cert, key, verify)


def _tls_files(directory: Path) -> tuple[Path | None, Path | None, Path | None]:
    """The CA, and certificate and key together: if one of the two is missing, loading them reports it."""
    ca, cert, key = (directory / name for name in ("ca.pem", "cert.pem", "key.pem"))
    pair = (cert, key) if os.path.lexists(cert) or os.path.lexists(key) else (None, None)
    return (ca if os.path.lexists(ca) else None, *pair)


def _present_sockets(environ: Mapping[str, str], home: Path) -> Iterator[Endpoint]:
    """One endpoint per socket, however many paths lead there; one that may not be looked at counts as present."""
    seen = set()
    for pattern, source in USUAL_SOCKETS:
        first, _, rest = pattern.partition("/")
        start = home if first == "~" else environ.get(first[1:]) if first else "/"
        if not start:
            continue
        path = Path(start, rest)
        try:
            present = path.is_socket()
        except PermissionError:
            present = True
        if present and (real := os.path.realpath(path)) not in seen:
            seen.add(real)
            yield Endpoint(f"unix://{path}", source)


async def connect(
    docker_host: str | None = None, *, environ: Mapping[str, str] = os.environ, home: Path | None = None
) -> tuple[Endpoint, Client]:
    """The first candidate that answers a ping within 2 s (10 s over SSH), and an open client, which the caller closes.

    Raises InvalidSetting as `candidates` does, and EngineUnavailable when none answers: its message has a line for
    each place tried with the cause, and one for what to do next.
    """
    tried, tried_urls = list[str](), list[str]()
    for endpoint in candidates(docker_host, environ, home or home_folder(), sys.platform):
        try:
            return endpoint, await _open_if_answering(endpoint)
        except EngineUnavailable as error:
            tried.append(f"  - {endpoint.url} ({endpoint.source}): {error.message}")
            tried_urls.append(endpoint.url)
    advice = (
        socket_advice(tried_urls[0])
        or "Start Docker, or name another engine with --docker-host, DOCKER_HOST or `docker context use`."
    )
    raise EngineUnavailable("\n".join(["No Docker engine answers. Tried:", *tried, advice]))


async def _open_if_answering(endpoint: Endpoint) -> Client:
    client = open_client(endpoint)
    try:
        async with asyncio.timeout(SSH_PING_LIMIT_S if endpoint.scheme == "ssh" else PING_LIMIT_S):
            await _ping(client)
    except BaseException as error:
        await client.close()
        if isinstance(error, OSError | aiohttp.ClientError | aiodocker.DockerError):
            raise EngineUnavailable(_cause(error)) from error
        raise
    return client


async def _ping(client: Client) -> None:
    async with client.session.get(f"{client.docker_host}/_ping") as response:
        start = (await response.content.read(200)).decode(errors="replace").strip()
        client.engine_name = "Podman" if "Libpod-API-Version" in response.headers else "Docker"
        if response.status == 200 and ("Api-Version" in response.headers or start == "OK"):
            return
    if "HTTPS server" in start:
        raise EngineUnavailable("it wants TLS; set DOCKER_TLS_VERIFY=1 and DOCKER_CERT_PATH")
    raise EngineUnavailable(f"what answers there is not a Docker engine (HTTP {response.status})")


def _cause(error: Exception) -> str:
    if isinstance(error, aiodocker.DockerError):
        return plain(error.message)
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"its TLS certificate is not trusted ({plain(error.certificate_error)})"
    if isinstance(error, aiohttp.ClientConnectorError):
        error = error.os_error
    return next((text for kind, text in _CAUSES if isinstance(error, kind)), plain(error) or type(error).__name__)


def open_client(endpoint: Endpoint, limit_s: float | None = CALL_LIMIT_S) -> Client:
    """A new client for `endpoint`, not yet connected; call it in a running event loop and close the client.

    It opens any number of connections at once (over SSH at most 100, and sshd's MaxSessions), gives up connecting
    after 2 s, and a whole call after `limit_s` (None: never, for what lasts longer than one reply). Raises
    EngineUnavailable for a bad TLS file or when SSH cannot be set up.
    """
    rest = endpoint.url.partition("://")[2]
    url = "http://localhost"  # a placeholder for connectors that know the way by themselves
    connector: aiohttp.BaseConnector
    if endpoint.scheme == "unix":
        connector = HangingUpUnix(rest, limit=0, force_close=True)
    elif endpoint.scheme == "npipe":
        connector = aiohttp.NamedPipeConnector(rest.replace("/", "\\"), limit=0)
    elif endpoint.scheme == "ssh":
        connector = _ssh_connector(endpoint.url)
    else:
        url = f"{'https' if endpoint.tls or endpoint.scheme == 'https' else 'http'}://{rest}"
        connector = HangingUpTCP(limit=0, force_close=True, ssl=_ssl_context(endpoint.tls) if endpoint.tls else True)
    return Client(url, connector, timeout=aiohttp.ClientTimeout(total=limit_s, sock_connect=CONNECT_LIMIT_S))


def _ssh_connector(url: str) -> aiohttp.BaseConnector:
    if importlib.util.find_spec("asyncssh") is None:
        raise EngineUnavailable("the Python package asyncssh is missing: `pip install 'aiodocker[ssh]'`")
    try:
        return SSHConnector(url)
    except aiodocker.DockerError as error:
        raise EngineUnavailable(error.message) from error


def _ssl_context(tls: Tls) -> ssl.SSLContext:
    context = ssl.create_default_context()
    # Since 3.13 Python asks more of certificates than Docker's tools do, and more than many a Docker CA gives.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.check_hostname = tls.verify
    context.verify_mode = ssl.CERT_REQUIRED if tls.verify else ssl.CERT_NONE
    for load, files in ((context.load_verify_locations, (tls.ca,)), (context.load_cert_chain, (tls.cert, tls.key, ""))):
        try:
            if files[0]:
                load(*files)  # the empty password keeps OpenSSL from asking for one on the terminal
        except OSError as error:
            reason = "not valid PEM, or locked with a password" if isinstance(error, ssl.SSLError) else error.strerror
            named = " or ".join(str(path) for path in files if path)
            raise EngineUnavailable(f"bad TLS file {named}: {reason}") from error
    return context
