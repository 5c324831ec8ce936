"""What callers may send: project ids, bodies and headers of any kind get an answer, and only good ones more than that."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any
from urllib.parse import quote_from_bytes, unquote

from hypothesis import example, given
from hypothesis import strategies as st

from worker_orchestrator.control.orchestrator import Orchestrator
from worker_orchestrator.core.project import is_reserved, project_id
from worker_orchestrator.errors import InvalidProject
from worker_orchestrator.http.access.guard import Guard
from worker_orchestrator.http.document import Document, Request
from worker_orchestrator.http.reply import Reply
from worker_orchestrator.wire.document import decode_object

ANY_TEXT = st.text(st.characters(exclude_categories=[]), max_size=200)
ID_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~:@+=,-")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12) | st.just("containerId"), inner),
    max_leaves=6,
)
LOCAL_HOST = re.compile(
    r"(localhost|host\.docker\.internal|127\.\d{1,3}\.\d{1,3}\.\d{1,3}|\[[0:]*:0*1(%[^\]]*)?\])\.?(:\d*)?([/?#].*)?",
    re.IGNORECASE | re.DOTALL,
)
HOSTS = st.one_of(
    st.binary(max_size=40).map(lambda raw: re.sub(rb"[\0-\x1f\x7f]", b"", raw)),  # the server takes none of these
    st.sampled_from(
        [b"localhost", b"127.0.0.1", b"[::1]", b"evil.example", b"0.0.0.0", b"[::]", b"2130706433", b"0x7f.1"]
    ),
    st.builds(
        lambda *parts: b"".join(parts),
        st.sampled_from([b"", b"a@", b"localhost@", b"localhost.", b"//", b"http://", b"[", b"\\"]),
        st.sampled_from([b"localhost", b"127.0.0.1", b"evil.example", b"[::1]", b"::1", "localhos\u0163".encode()]),
        st.sampled_from(
            [b"", b":80", b":99999", b":x", b"@evil.example", b".evil.example", b"/", b"#", b"?", b"\\", b"]"]
        ),
    ),
).filter(
    lambda host: b"[" not in host or re.fullmatch(rb"\[[^\[\]]*\](:.*)?", host) is not None
)  # no browser sends others, and Pythons differ


class Taken(Exception):  # no error: where a request ends up
    """A machine would be looked for now: for this name."""


class Recorder:
    """In the orchestrator's place: every call says with which name it was reached."""

    def __getattr__(self, call: str) -> Any:
        async def record(*given: Any) -> None:
            raise Taken(call, *given[:1])

        return record


def ask(method: str, path: str, body: bytes = b"", assign_refusal: Reply | None = None) -> Reply | tuple[Any, ...]:
    """The reply without a machine, or the call that would be made."""

    async def read() -> bytes:
        return body

    async def never() -> None:
        await asyncio.Event().wait()

    orchestrator: Any = Recorder()
    assert not isinstance(orchestrator, Orchestrator)
    document = Document(orchestrator, "localhost")
    try:
        return asyncio.run(document.answer(Request(method, path, assign_refusal, read, never)))
    except Taken as taken:
        return taken.args


@given(ANY_TEXT)
@example("a\n")
@example("\u0661")
@example("x" * 129)
@example(".well-known/x")
def test_a_project_id_is_exactly_what_is_described(text: str) -> None:
    good = 1 <= len(text) <= 128 and set(text) <= ID_CHARACTERS and text[0] != "." and not is_reserved(text)
    try:
        assert project_id(text) == text
        assert good
    except InvalidProject as refused:
        said = refused.message
        assert not good
        assert said.isprintable()
        assert len(said) < 600 or is_reserved(text)


@given(
    path=ANY_TEXT.map(lambda text: "/" + text)
    | st.binary(max_size=40).map(lambda raw: "/" + unquote(quote_from_bytes(raw)))
)
@example("/")
@example("//")
@example("/health/")
@example("/machines/list/")
@example("/a//")
@example("/../a")
@example("/./a")
@example("/a\0")
@example("/HEALTH")
@example("/health;a=b")
@example("/" + "a" * 100_000)
def test_any_path_takes_a_machine_for_a_good_project_id_or_is_answered(path: str) -> None:
    """As the server decodes it: one trailing slash changes nothing, dots and doubled slashes mean nothing."""
    found = ask("GET", path)
    name = path[1:].removesuffix("/")
    if isinstance(found, tuple):
        call, *given_name = found
        expected = {"health": ["health"], "machines/list": ["machines"]}.get(name, ["assign", name])
        assert [call, *given_name] == expected
        assert name in {"health", "machines/list"} or project_id(name) == name
    else:
        assert found.status in {200, 400, 404, 405}
        assert (found.status == 200) == (path == "/")
        found.encoded()


@given(
    method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW", ""]),
    path=ANY_TEXT,
)
def test_every_method_on_every_path_is_answered(method: str, path: str) -> None:
    """With a status of its own, or with the one call that this method makes."""
    if method == "HEAD":
        return  # it looks at the fleet, not at the orchestrator
    found = ask(method, "/" + path)
    if isinstance(found, tuple):
        assert (method, found[0]) in {("GET", "assign"), ("DELETE", "release"), ("GET", "health"), ("GET", "machines")}
    else:
        assert found.status in {200, 204, 400, 404, 405}
        assert (found.status == 405) == ("allow" in dict_of(found) and found.status != 204)


def dict_of(reply: Reply) -> dict[str, bytes]:
    return {name.decode(): value for name, value in reply.headers}


@given(JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=60))
@example(b"[" * 100_000)
@example(b'{"a":' * 100_000)
@example(b'{"containerId":"\\ud800"}')
@example(b'{"containerId":' + b"9" * 5000 + b"}")
@example(b'{"containerId":"a","containerId":1}')
@example(b"\xef\xbb\xbf{}")
def test_a_body_of_any_shape_names_a_machine_or_is_refused(body: bytes) -> None:
    found = ask("POST", "/destroy", body)
    if isinstance(found, tuple):
        call, name = found
        assert call == "destroy"
        assert isinstance(name, str)
        assert name.encode()
    else:
        assert found.status == 400
        assert json.loads(found.encoded())["error"] == "containerId is required"


@given(st.binary(max_size=100))
def test_any_bytes_are_a_json_object_or_nothing(body: bytes) -> None:
    assert decode_object(body) is None or isinstance(decode_object(body), dict)


@given(host=HOSTS)
@example(b"localhost\t.evil.example")
@example(b"[::1%25]")
@example(b"[::ffff:127.0.0.1]")
@example("l\u00f6calhost".encode())
@example(b"localhost" * 10_000)
def test_only_a_host_of_this_machine_may_be_called(host: bytes) -> None:
    refusal = Guard().refusal({b"host": host})
    if refusal is None:
        assert LOCAL_HOST.fullmatch(host.decode("latin-1").strip()), host
    else:
        assert refusal.status == 403
        refusal.encoded()


@given(
    origin=st.one_of(
        HOSTS, HOSTS.map(lambda host: b"http://" + host), HOSTS.map(lambda host: b"https://" + host), st.just(b"null")
    )
)
def test_only_an_origin_of_this_machine_may_call(origin: bytes) -> None:
    refusal = Guard().refusal({b"host": b"localhost", b"origin": origin, b"sec-fetch-site": b"same-origin"})
    if refusal is None:
        scheme, _, host = origin.decode("latin-1").partition("://")
        assert scheme.lower() in {"http", "https"}
        assert LOCAL_HOST.fullmatch(host.strip()), origin
    else:
        assert refusal.status == 403
        refusal.encoded()


@given(
    st.dictionaries(
        st.sampled_from(
            [b"sec-purpose", b"purpose", b"x-moz", b"sec-fetch-site", b"origin", b"host", b"referer", b"user-agent"]
        ),
        st.binary(),
    )
)
def test_headers_of_any_bytes_are_judged(headers: dict[bytes, bytes]) -> None:
    guard = Guard(["pool.example"], ["https://app.example"])
    if guard.refusal(headers) is None:
        assert all(isinstance(value, bytes) for _, value in guard.cors(headers))
    refusal = guard.assign_refusal(headers)
    assert refusal is None or refusal.status in {403, 503}
