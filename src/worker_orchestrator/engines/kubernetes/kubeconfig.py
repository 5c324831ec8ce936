"""Finds out which cluster to talk to, and how: from kubeconfig files as kubectl reads them, or from inside of a pod.

`kubernetes_asyncio` would do this too. It was left out: its package is that of all models, it takes half a second and 74 MB
once these are imported, and what is needed of it is in this file and in `credentials.py`.
Source: https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/
"""

from __future__ import annotations

import base64
import os
import ssl
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from worker_orchestrator.engines.kubernetes.credentials import Credentials, FromFile, FromProgram, Unchanging, basic
from worker_orchestrator.errors import InvalidSetting
from worker_orchestrator.telemetry.foreign_text import plain

__all__ = ["SERVICE_ACCOUNT", "Access", "find_access"]

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_DEFAULT_NAMESPACE: Final = "default"
_UNSUPPORTED: Final = ("auth-provider", "as", "as-uid", "as-groups")


@dataclass(frozen=True, slots=True)
class Access:
    """How to talk to one cluster. `tls`: None for plain HTTP. `tls_name`: the name in its certificate; empty: its host's."""

    server: str
    namespace: str
    credentials: Credentials
    tls: ssl.SSLContext | None
    tls_name: str = ""
    proxy: str = ""


def find_access(kubeconfig: str = "", context: str = "", namespace: str = "") -> Access:
    """The cluster that these settings name; where they are empty, as kubectl does: KUBECONFIG, `~/.kube/config`, this pod.

    Raises InvalidSetting.
    """
    files = _files(kubeconfig)
    if not files and not context and (SERVICE_ACCOUNT / "token").exists() and "KUBERNETES_SERVICE_HOST" in os.environ:
        return _from_inside(namespace, SERVICE_ACCOUNT)
    if not files:
        raise InvalidSetting(
            "There is no kubeconfig: set kubeconfig (or KUBECONFIG) to the file, or run the service in a pod with a service "
            "account."
        )
    return _from_files(files, context, namespace)


def _files(kubeconfig: str) -> list[Path]:
    if kubeconfig:
        return [Path(kubeconfig).expanduser()]
    if named := os.environ.get("KUBECONFIG", ""):
        files = [Path(each) for each in named.split(os.pathsep) if each]
        return [file for file in files if file.exists()] or files[:1]
    home = Path("~/.kube/config").expanduser()
    return [home] if home.exists() else []


def _from_inside(namespace: str, folder: Path) -> Access:
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    try:
        tls = _tls({"certificate-authority": str(folder / "ca.crt")}, {})
        own = (folder / "namespace").read_text().strip()
    except OSError as error:
        raise InvalidSetting(f"The service account of this pod cannot be read ({plain(error)}).") from error
    named = f"[{host}]" if ":" in host else host
    return Access(f"https://{named}:{port}", namespace or own, FromFile(folder / "token"), tls)


def _from_files(files: Iterable[Path], name: str, namespace: str) -> Access:
    documents = [(file, _read(file)) for file in files]
    name = name or next((str(d["current-context"]) for _, d in documents if d.get("current-context")), "")
    named = ", ".join(str(file) for file, _ in documents)
    if not name:
        raise InvalidSetting(f"{named} has no current context. Set kube_context to one of its contexts.")
    _, context = _entry(documents, "context", name, named)
    at_cluster, cluster = _entry(documents, "cluster", str(context.get("cluster", "")), named)
    at_user, user = (
        _entry(documents, "user", str(context.get("user", "")), named) if context.get("user") else (at_cluster, {})
    )
    server = str(cluster.get("server", "")).rstrip("/")
    if not server.startswith(("https://", "http://")):
        raise InvalidSetting(f"The cluster of the context {name} in {named} has no server that begins with https://.")
    try:
        tls = _tls(_at(cluster, at_cluster), _at(user, at_user)) if server.startswith("https:") else None
    except (OSError, ValueError) as error:
        raise InvalidSetting(
            f"The certificates of the context {name} in {named} cannot be used ({plain(error)})."
        ) from error
    return Access(
        server,
        namespace or str(context.get("namespace") or _DEFAULT_NAMESPACE),
        _credentials(_at(user, at_user), at_user, named),
        tls,
        str(cluster.get("tls-server-name") or ""),
        str(cluster.get("proxy-url") or ""),
    )


def _read(file: Path) -> Mapping[str, Any]:
    try:
        import yaml  # noqa: PLC0415 # an extra, which only this engine needs
    except ImportError:
        raise InvalidSetting(
            "A kubeconfig is YAML, and the package for that is not installed: pip install 'worker-orchestrator[kubernetes]'."
        ) from None
    try:
        document = yaml.safe_load(file.read_text("utf-8"))
    except yaml.YAMLError as error:  # whose text quotes the line, which may hold a token
        mark = getattr(error, "problem_mark", None)
        where = f": there is a mistake in line {mark.line + 1}" if mark is not None else ""
        raise InvalidSetting(f"The kubeconfig {file} cannot be read, since it is no YAML{where}.") from None
    except (OSError, ValueError) as error:
        raise InvalidSetting(f"The kubeconfig {file} cannot be read ({plain(error)}).") from error
    if not isinstance(document, dict):
        raise InvalidSetting(f"{file} is no kubeconfig.")
    return document


def _entry(
    documents: Iterable[tuple[Path, Mapping[str, Any]]], kind: str, name: str, named: str
) -> tuple[Path, Mapping[str, Any]]:
    """The first entry of this kind and name, and the folder that its relative paths begin at."""
    for file, document in documents:
        for each in document.get(f"{kind}s") or ():
            if isinstance(each, dict) and each.get("name") == name and isinstance(each.get(kind), dict):
                return file.parent, each[kind]
    raise InvalidSetting(f"{named} has no {kind} {plain(name, 80)}.")


def _at(entry: Mapping[str, Any], folder: Path) -> Mapping[str, Any]:
    """The entry with paths that do not depend on where this process was started."""
    paths = ("certificate-authority", "client-certificate", "client-key", "tokenFile")
    return {key: str(folder / str(value)) if key in paths and value else value for key, value in entry.items()}


def _credentials(user: Mapping[str, Any], folder: Path, named: str) -> Credentials:
    if unsupported := [key for key in _UNSUPPORTED if user.get(key)]:
        raise InvalidSetting(
            f"The user in {named} has {unsupported[0]}, which is not supported. Use a token, a client certificate or exec."
        )
    if user.get("tokenFile"):
        return FromFile(Path(user["tokenFile"]))
    if user.get("token"):
        return Unchanging(f"Bearer {user['token']}")
    if user.get("username"):
        return basic(str(user["username"]), str(user.get("password") or ""))
    if isinstance(program := user.get("exec"), dict) and program.get("command"):
        command = str(program["command"])
        if "/" in command and not Path(command).is_absolute():
            command = str(folder / command)
        env = {str(each["name"]): str(each["value"]) for each in program.get("env") or ()}
        words = [command, *map(str, program.get("args") or ())]
        return FromProgram(words, env, str(program.get("apiVersion", "")))
    return Unchanging()


def _tls(cluster: Mapping[str, Any], user: Mapping[str, Any]) -> ssl.SSLContext:
    authority = _data(cluster, "certificate-authority-data")
    context = ssl.create_default_context(
        cafile=None if authority else cluster.get("certificate-authority"),
        cadata=authority.decode("ascii") if authority else None,
    )
    context.verify_flags &= (
        ~ssl.VERIFY_X509_STRICT
    )  # authorities of clusters lack extensions that Python 3.13 insists on
    if cluster.get("insecure-skip-tls-verify"):
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    certificate, key = _data(user, "client-certificate-data"), _data(user, "client-key-data")
    with tempfile.TemporaryDirectory() as private:  # OpenSSL reads a key from files only; nobody else reads this folder
        files = []
        for name, data in (("client-certificate", certificate), ("client-key", key)):
            file = Path(private) / name
            if data:
                file.write_bytes(data)
            files.append(file if data else user.get(name))
        if files[0]:
            context.load_cert_chain(files[0], files[1])
    return context


def _data(entry: Mapping[str, Any], key: str) -> bytes:
    return base64.b64decode(str(entry.get(key) or ""), validate=True)
