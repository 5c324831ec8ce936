"""Which cluster is talked to, and with what, from kubeconfig files and from inside of a pod."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from worker_orchestrator.engines.kubernetes import kubeconfig
from worker_orchestrator.engines.kubernetes.credentials import Credentials, FromFile, FromProgram, Unchanging
from worker_orchestrator.engines.kubernetes.kubeconfig import find_access
from worker_orchestrator.errors import EngineUnavailable, InvalidSetting


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(kubeconfig, "SERVICE_ACCOUNT", tmp_path / "account")


def a_file(folder: Path, user: dict[str, Any] | None = None, **cluster: Any) -> str:
    document = {
        "current-context": "here",
        "contexts": [
            {"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "mine"}},
            {"name": "there", "context": {"cluster": "gone", "user": "u"}},
        ],
        "clusters": [{"name": "c", "cluster": {"server": "http://api:8001/", **cluster}}],
        "users": [{"name": "u", "user": user or {}}],
    }
    file = folder / "config"
    file.write_text(json.dumps(document))
    return str(file)


def header(credentials: Credentials, *, anew: bool = False) -> str:
    return asyncio.run(credentials.authorization(anew=anew))


def test_the_current_context_says_all_and_settings_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = a_file(tmp_path, {"token": "t"}, **{"tls-server-name": "name"})
    found = find_access(file)
    assert (found.server, found.namespace, found.tls, found.tls_name) == ("http://api:8001", "mine", None, "name")
    assert header(found.credentials) == "Bearer t"
    assert find_access(file, namespace="other").namespace == "other"
    monkeypatch.setenv("KUBECONFIG", os.pathsep.join([str(tmp_path / "missing"), file]))
    assert find_access().server == "http://api:8001"
    with pytest.raises(InvalidSetting, match="no cluster gone"):
        find_access(context="there")
    with pytest.raises(InvalidSetting, match="no context nowhere"):
        find_access(context="nowhere")


def test_from_inside_of_a_pod_its_service_account_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    account = tmp_path / "account"
    account.mkdir()
    (account / "token").write_text("of-pod\n")
    (account / "namespace").write_text("workers")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    with pytest.raises(InvalidSetting, match="service account"):
        find_access()  # without an authority nothing is trusted
    monkeypatch.setattr(kubeconfig, "_tls", lambda *_: None)
    found = find_access()
    assert (found.server, found.namespace) == ("https://[fd00::1]:443", "workers")
    assert header(found.credentials) == "Bearer of-pod"


@pytest.mark.parametrize(
    ("user", "kind", "says"),
    [
        ({}, Unchanging, ""),
        ({"username": "a", "password": "b"}, Unchanging, "Basic YTpi"),
        ({"tokenFile": "token"}, FromFile, "Bearer in-file"),
        ({"token": "x", "tokenFile": "token"}, FromFile, "Bearer in-file"),
    ],
)
def test_each_kind_of_user_is_known(tmp_path: Path, user: dict[str, Any], kind: type[Any], says: str) -> None:
    (tmp_path / "token").write_text("in-file")
    credentials = find_access(a_file(tmp_path, user)).credentials
    assert isinstance(credentials, kind)
    assert header(credentials) == says


@pytest.mark.parametrize("key", ["auth-provider", "as"])
def test_what_is_not_supported_is_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(InvalidSetting, match=f"has {key}, which is not supported"):
        find_access(a_file(tmp_path, {key: {"name": "x"}}))


def test_a_broken_file_is_not_quoted(tmp_path: Path) -> None:
    """Its line may hold a token."""
    (tmp_path / "broken").write_text("users:\n- user:\n    token: hunter2: x\n")
    with pytest.raises(InvalidSetting, match="mistake in line 3") as refused:
        find_access(str(tmp_path / "broken"))
    assert "hunter2" not in refused.value.message
    assert refused.value.__suppress_context__, "no traceback quotes it either"


def test_files_that_are_not_there_or_no_kubeconfig_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="There is no kubeconfig"):
        find_access()
    with pytest.raises(InvalidSetting, match="cannot be read"):
        find_access(str(tmp_path / "missing"))
    (tmp_path / "list").write_text("[]")
    with pytest.raises(InvalidSetting, match="is no kubeconfig"):
        find_access(str(tmp_path / "list"))
    with pytest.raises(InvalidSetting, match="certificates"):
        find_access(
            a_file(tmp_path, None, server="https://api", **dict[str, Any]({"certificate-authority": "missing.crt"}))
        )


PROGRAM = """
import json, os
asks = json.loads(os.environ["KUBERNETES_EXEC_INFO"])
with open("count", "a+") as count:
    token = f"t{count.tell()}-{os.environ['X']}"
    count.write("x")
print(json.dumps({"apiVersion": asks["apiVersion"], "kind": "ExecCredential", "status": {"token": token}}))
"""


def test_a_program_is_asked_once_and_again_when_its_token_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    exec_ = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": sys.executable,
        "args": ["-c", PROGRAM],
        "env": [{"name": "X", "value": "y"}],
    }
    credentials = find_access(a_file(tmp_path, {"exec": exec_})).credentials

    async def ask() -> list[str]:
        return [await credentials.authorization(anew=anew) for anew in (False, False, True)]

    assert asyncio.run(ask()) == ["Bearer t0-y", "Bearer t0-y", "Bearer t1-y"]


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("raise SystemExit('log in first')", "ended with 1: log in first"),
        ("print('{}')", "without a token"),
        ("print('no')", "no JSON"),
    ],
)
def test_a_program_that_gives_no_token_is_an_engine_that_is_away(program: str, said: str) -> None:
    asked = FromProgram([sys.executable, "-c", program], {}, "client.authentication.k8s.io/v1")
    with pytest.raises(EngineUnavailable, match=said):
        header(asked)


def test_a_program_of_another_protocol_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="v1alpha1"):
        FromProgram(["aws"], {}, "client.authentication.k8s.io/v1alpha1")
