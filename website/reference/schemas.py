"""Schemas of the OpenAPI description in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from website.reference.markdown import code, table

__all__ = ["kind_of", "schemas"]

Schema = Mapping[str, Any]
_LIMITS: Final = {
    "minimum": "at least {}",
    "exclusiveMinimum": "more than {}",
    "maximum": "at most {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {}",
    "maxItems": "at most {}",
    "maxProperties": "at most {}",
    "pattern": "matches `{}`",
    "default": "else `{}`",
}


def kind_of(schema: Schema) -> str:
    """What a value of this schema is, in a few words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](api-schemas.md#{_anchor(name)})"
    for words, joint in (("oneOf", " or "), ("anyOf", " or "), ("allOf", " and ")):
        if words in schema:
            return joint.join(map(kind_of, schema[words]))
    if "const" in schema:
        return code(schema["const"])
    if "enum" in schema:
        return ", ".join(map(code, schema["enum"]))
    return _typed(schema)


def _typed(schema: Schema) -> str:
    kinds = schema.get("type", "anything")
    kinds = " or ".join(kinds) if isinstance(kinds, list) else kinds
    if kinds == "array":
        kinds = f"array of {kind_of(schema.get('items', {}))}"
    elif isinstance(schema.get("additionalProperties"), Mapping):
        kinds = f"object of {kind_of(schema['additionalProperties'])}"
    limits = [text.format(schema[word]) for word, text in _LIMITS.items() if word in schema]
    return ", ".join([kinds, *limits])


def _anchor(name: str) -> str:
    return f"schema-{name.lower()}"


def _entry(name: str, schema: Schema) -> str:
    needed = schema.get("required", [])
    rows = [
        (f"{code(field)}{'' if field in needed else ' (optional)'}", kind_of(one), one.get("description", ""))
        for field, one in schema.get("properties", {}).items()
    ]
    told = schema.get("description", "")
    what = "" if rows else f"{kind_of(schema)}\n\n"
    return f"## Schema {name}\n\n{told}\n\n{what}{table(('field', 'type', 'meaning'), rows)}"


def schemas(every: Mapping[str, Schema]) -> str:
    return "# Schemas of the API\n\n" + "".join(_entry(name, schema) for name, schema in every.items())
