"""The API from openapi.yaml: every call with its parameters, body, replies and examples, on a page for each kind of path.

One page of them all would be half a megabyte.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import worker_orchestrator
from website.reference.markdown import code, fenced, table
from website.reference.schemas import kind_of, schemas

__all__ = ["api"]

_INTRODUCTION = """\
# All calls of the API

Made from the OpenAPI description of this version, which the service has at `/openapi.json`. At `/docs` it lets you try them.
[The API](../docs/api.md) is a shorter introduction.

"""
_PARTS: Final = {
    "api-projects": ("Calls: projects", "/v1/projects/"),
    "api-machines": ("Calls: machines", "/v1/machines"),
    "api-service": ("Calls: pools, events, keys, service", "/v1/"),
    "api-document": ("Calls without a version", "/"),
}
"""By the name of its page its title, and how the paths of its calls begin; a path is on the first page that fits."""
_METHODS: Final = ("get", "put", "post", "patch", "delete")
Described = Mapping[str, Any]


@cache
def _document() -> Described:
    text = (Path(worker_orchestrator.__file__).parent / "http" / "openapi.json").read_text(encoding="utf-8")
    document: Described = json.loads(text)
    return document


def _resolved(part: Described) -> Described:
    """What a reference stands for."""
    if "$ref" not in part:
        return part
    found: Any = _document()
    for step in part["$ref"].removeprefix("#/").split("/"):
        found = found[step]
    return _resolved(found)


def _parameters(every: list[Described]) -> str:
    found = [_resolved(one) for one in every]
    rows = [(code(one["name"]), one["in"], kind_of(one["schema"]), one.get("description", "")) for one in found]
    return table(("parameter", "in", "type", "meaning"), rows)


def _examples(content: Described) -> Iterator[str]:
    """Of each media type, one below the other."""
    for described in content.values():
        if "example" in described:
            yield _shown(described["example"])
        for name, one in described.get("examples", {}).items():
            yield f"{one.get('summary', name)}:\n\n{_shown(_resolved(one)['value'])}"


def _shown(example: Any) -> str:
    if isinstance(example, str):
        return fenced(example, "text")
    return fenced(json.dumps(example, indent=2, ensure_ascii=False), "json")


def _kinds(content: Described) -> str:
    """The media types, each with its schema."""
    return ", ".join(
        " ".join([code(media), *([kind_of(described["schema"])] if "schema" in described else [])])
        for media, described in content.items()
    )


def _body(body: Described) -> str:
    content = _resolved(body)["content"]
    return f"**Body:** {_kinds(content)}\n\n{''.join(_examples(content))}"


def _replies(replies: Described) -> str:
    found = {status: _resolved(reply) for status, reply in sorted(replies.items())}
    rows = [(status, reply["description"], _kinds(reply.get("content", {}))) for status, reply in found.items()]
    good = [
        example for status, reply in found.items() if status < "3" for example in _examples(reply.get("content", {}))
    ]
    return table(("status", "meaning", "content"), rows) + "".join(dict.fromkeys(good))


def _call(path: str, method: str, call: Described, common: list[Described]) -> str:
    text = f"## `{method.upper()} {path}`\n\n{call['summary']}.\n\n{call.get('description', '')}\n\n"
    text += _parameters([*common, *call.get("parameters", [])])
    if "requestBody" in call:
        text += _body(call["requestBody"])
    return text + _replies(call["responses"])


def _page_of(path: str) -> str:
    return next(page for page, (_, start) in _PARTS.items() if path.startswith(start))


def _calls(page: str) -> Iterator[tuple[str, str, Described, list[Described]]]:
    """Path, method, call, and the parameters that it has in common with the others of its path."""
    for path, every in _document()["paths"].items():
        for method in _METHODS:
            if method in every and _page_of(path) == page:
                yield path, method, every[method], every.get("parameters", [])


def _overview() -> str:
    parts = [_INTRODUCTION, _document()["info"]["description"], "\n\n"]
    for page, (title, _) in _PARTS.items():
        rows = [(code(f"{method.upper()} {path}"), call["summary"]) for path, method, call, _ in _calls(page)]
        parts.append(f"## [{title}]({page}.md)\n\n{table(('call', 'does'), rows)}")
    return "".join(parts)


def _page(page: str) -> str:
    return f"# {_PARTS[page][0]}\n\n" + "".join(_call(*found) for found in _calls(page))


def api() -> dict[str, str]:
    """Name of the page: Markdown."""
    schemes = schemas(_document()["components"]["schemas"])
    return {"api": _overview(), **{page: _page(page) for page in _PARTS}, "api-schemas": schemes}
