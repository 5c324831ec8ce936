"""The docs page's files as values: what a browser is sent, how often, and what it may do with it."""

from __future__ import annotations

import gzip
import json
import re
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import Final

import pytest
import yaml

from worker_orchestrator import __version__, http
from worker_orchestrator.http.pages.assets import AssetReply
from worker_orchestrator.http.pages.docs import page
from worker_orchestrator.http.pages.openapi import description

HTTP: Final = Path(str(resources.files(http)))
PATHS: Final = ("/docs", "/docs/page.js", "/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css")


def get(path: str, **headers: str) -> AssetReply:
    asset = description() if path == "/openapi.json" else page(path)
    assert asset is not None
    return asset.reply({name.replace("_", "-").encode(): value.encode() for name, value in headers.items()})


def test_openapi_json_is_what_openapi_yaml_says() -> None:
    """`make openapi` makes it."""
    made = json.loads((HTTP / "openapi.json").read_text(encoding="utf-8"))
    assert made == yaml.safe_load((HTTP / "openapi.yaml").read_text(encoding="utf-8")), "run `make openapi`"


def test_nothing_in_openapi_yaml_is_said_twice() -> None:
    """PyYAML takes the last of two that have one key without a word; stricter readers refuse the file."""
    root = yaml.compose((HTTP / "openapi.yaml").read_text(encoding="utf-8"))
    nodes, twice = [root], []
    while nodes:
        node = nodes.pop()
        if isinstance(node, yaml.MappingNode):
            keys = [key.value for key, _ in node.value]
            twice += [f"{key} in line {node.start_mark.line + 1}" for key in set(keys) if keys.count(key) > 1]
            nodes += [value for _, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            nodes += node.value
    assert twice == []


def test_the_description_that_is_served_is_of_this_version_and_this_address() -> None:
    served = json.loads(get("/openapi.json").body)
    made = json.loads((HTTP / "openapi.json").read_text(encoding="utf-8"))
    assert served.pop("servers") == [{"url": "./"}], "from where it comes, under any path"
    assert served["info"].pop("version") == __version__
    made.pop("servers"), made["info"].pop("version")
    assert served == made


def test_swagger_ui_is_what_its_readme_names() -> None:
    """To the last byte: nobody has changed it here."""
    sums = re.findall(
        r"\| `([0-9a-f]{64})` \| `(\S+)` \|", (HTTP / "pages" / "docs_files" / "README.md").read_text(encoding="utf-8")
    )
    assert {name: sha256(get(f"/docs/{name}").body).hexdigest() for _, name in sums} == {n: found for found, n in sums}
    assert len(sums) == 2


@pytest.mark.parametrize("path", [*PATHS, "/openapi.json"])
def test_a_file_is_packed_for_whoever_takes_gzip_and_for_nobody_else(path: str) -> None:
    plain = get(path)
    assert dict(plain.headers)[b"content-length"] == str(len(plain.body)).encode()
    assert b"content-encoding" not in dict(plain.headers)
    for accepted in ("gzip", "br, GZIP", "gzip;q=0.5", "*", "deflate, gzip ; q=1.0"):
        packed = get(path, accept_encoding=accepted)
        assert gzip.decompress(packed.body) == plain.body
        assert dict(packed.headers)[b"content-encoding"] == b"gzip"
        assert dict(packed.headers)[b"content-length"] == str(len(packed.body)).encode()
    for accepted in ("", "br", "gzip;q=0", "gzip; q=0.000", "*, gzip;q=0", "*;q=0", "x-gzipped"):
        assert get(path, accept_encoding=accepted) == plain


@pytest.mark.parametrize("path", [*PATHS, "/openapi.json"])
def test_who_has_a_file_is_sent_no_second_one(path: str) -> None:
    """The packed one is another one: a cache between may hold both."""
    tags = []
    for accepted in ("", "gzip"):
        tag = dict(get(path, accept_encoding=accepted).headers)[b"etag"].decode()
        for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
            again = get(path, accept_encoding=accepted, if_none_match=known)
            assert (again.status, again.body) == (304, b"")
            assert b"content-length" not in dict(again.headers)
        assert get(path, accept_encoding=accepted, if_none_match='"other"').status == 200
        tags.append(tag)
    assert tags[0] != tags[1]


@pytest.mark.parametrize("path", PATHS)
def test_the_page_may_load_and_ask_nothing_but_this_service(path: str) -> None:
    """No inline script or style, no `eval`, no frame around it."""
    policy = dict(get(path).headers)[b"content-security-policy"].decode()
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert dict(get(path).headers)[b"cache-control"] == b"no-cache"


def test_one_slash_at_the_end_changes_nothing_and_there_is_nothing_else() -> None:
    whole, below = page("/docs"), page("/docs/")
    assert whole is not None
    assert below is not None
    assert below.body.replace(b'="../', b'="') == whole.body
    for path in ("/docs//", "/docs/index.html", "/docs/README.md", "/docs/../assets.py", "/", "", "/docs/page.js/x"):
        assert page(path) is None
