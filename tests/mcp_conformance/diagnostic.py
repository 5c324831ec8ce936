"""What the conformance suite wants of a server, made with the official SDK: its tools, prompts and resources.

No product has them. With them behind our own door the suite judges what is ours: transport, guard, headers, errors.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from typing import Any, Final

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp.shared.exceptions import MCPError

__all__ = ["diagnostic"]

Context = ServerRequestContext[Any]
Content = types.TextContent | types.ImageContent | types.AudioContent | types.ResourceLink | types.EmbeddedResource
Request = types.CreateMessageRequest | types.ListRootsRequest | types.ElicitRequest

_PNG: Final = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="  # one pixel
)
_WAV: Final = base64.b64encode(
    b"RIFF$\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0@\x1f\0\0\x80>\0\0\2\0\x10\0data\0\0\0\0"
).decode()
_TEXT: Final = "This is the content of the static text resource."
_KEY: Final = b"of this server"
_CAPABILITIES: Final = "io.modelcontextprotocol/clientCapabilities"


def _text(text: str) -> types.TextContent:
    return types.TextContent(text=text)


def _resource(uri: str, text: str, mime_type: str = "text/plain") -> types.EmbeddedResource:
    return types.EmbeddedResource(resource=types.TextResourceContents(uri=uri, text=text, mime_type=mime_type))


_PLAIN: Final[dict[str, list[Content]]] = {
    "test_simple_text": [_text("This is a simple text response for testing.")],
    "test_image_content": [types.ImageContent(data=_PNG, mime_type="image/png")],
    "test_audio_content": [types.AudioContent(data=_WAV, mime_type="audio/wav")],
    "test_embedded_resource": [_resource("test://embedded-resource", "This is an embedded resource content.")],
    "test_multiple_content_types": [
        _text("Multiple content types test:"),
        types.ImageContent(data=_PNG, mime_type="image/png"),
        _resource("test://mixed-content-resource", '{"test":"data","value":123}', "application/json"),
    ],
}
"""What these tools give."""


# what asks the user or the model of the client


def _elicit(message: str, name: str, kind: str = "string") -> types.ElicitRequest:
    schema = {"type": "object", "properties": {name: {"type": kind}}, "required": [name]}
    return types.ElicitRequest(params=types.ElicitRequestFormParams(message=message, requested_schema=schema))


def _sample(text: str) -> types.CreateMessageRequest:
    message = types.SamplingMessage(role="user", content=_text(text))
    return types.CreateMessageRequest(params=types.CreateMessageRequestParams(messages=[message], max_tokens=100))


_ASKED: Final[dict[str, dict[str, Request]]] = {
    "test_input_required_result_elicitation": {"user_name": _elicit("What is your name?", "name")},
    "test_streaming_elicitation": {"user_name": _elicit("What is your name?", "name")},
    "test_input_required_result_sampling": {"capital_question": _sample("What is the capital of France?")},
    "test_input_required_result_list_roots": {"client_roots": types.ListRootsRequest()},
    "test_input_required_result_request_state": {"confirm": _elicit("Please confirm", "ok", "boolean")},
    "test_input_required_result_tampered_state": {"confirm": _elicit("Please confirm", "ok", "boolean")},
    "test_input_required_result_multiple_inputs": {
        "user_name": _elicit("What is your name?", "name"),
        "greeting": _sample("Generate a greeting"),
        "client_roots": types.ListRootsRequest(),
    },
    "test_input_required_result_multi_round": {"step1": _elicit("Step 1: What is your name?", "name")},
    "test_input_required_result_capabilities": {
        "user_name": _elicit("What is your name?", "name"),
        "greeting": _sample("Generate a greeting"),
    },
}
"""What these tools ask at first."""
_STEP_2: Final[dict[str, Request]] = {"step2": _elicit("Step 2: What is your favorite color?", "color")}
_NEEDS: Final = {"elicitation/create": "elicitation", "sampling/createMessage": "sampling", "roots/list": "roots"}


def _signed(text: str) -> str:
    return f"{text}.{hmac.new(_KEY, text.encode(), hashlib.sha256).hexdigest()}"


def _verified(state: str) -> str:
    text = state.rpartition(".")[0]
    if not hmac.compare_digest(_signed(text), state):
        raise MCPError(types.INVALID_PARAMS, "The requestState is not the one that was sent.")
    return text


def _declared(context: Context) -> Any:
    return (context.meta or {}).get(_CAPABILITIES) or {}


def _supported(context: Context, requests: dict[str, Request]) -> dict[str, Request]:
    declared = _declared(context)
    return {name: asked for name, asked in requests.items() if _NEEDS[asked.method] in declared}


def _asking(context: Context, asked: types.CallToolRequestParams) -> types.CallToolResult | types.InputRequiredResult:
    wanted, given = _ASKED[asked.name], asked.input_responses or {}
    step = _verified(asked.request_state) if asked.request_state else ""
    if asked.name.endswith("_capabilities"):
        return types.InputRequiredResult(input_requests=_supported(context, wanted))
    if step == "2":
        wanted = _STEP_2
    if wanted.keys() - given.keys():
        has_state = not asked.name.endswith(("_elicitation", "_sampling", "_list_roots"))
        return types.InputRequiredResult(
            input_requests=wanted, request_state=_signed(step or "1") if has_state else None
        )
    if asked.name.endswith("_multi_round") and step == "1":
        return types.InputRequiredResult(input_requests=_STEP_2, request_state=_signed("2"))
    return types.CallToolResult(content=[_text(f"state-ok, with {', '.join(given)}")])


# tools


async def _call(
    context: Context, asked: types.CallToolRequestParams
) -> types.CallToolResult | types.InputRequiredResult:
    if asked.name in _PLAIN:
        return types.CallToolResult(content=_PLAIN[asked.name])
    if asked.name in _ASKED:
        return _asking(context, asked)
    match asked.name:
        case "test_error_handling":
            told = _text("This tool intentionally returns an error for testing")
            return types.CallToolResult(content=[told], is_error=True)
        case "test_tool_with_progress":
            for progress in (0, 50, 100):
                await context.session.report_progress(progress, 100)
                await asyncio.sleep(0.05)
        case "test_missing_capability":
            if "sampling" not in _declared(context):
                data: dict[str, Any] = {"requiredCapabilities": {"sampling": {}}}
                raise MCPError(types.MISSING_REQUIRED_CLIENT_CAPABILITY, "It needs sampling.", data)
        case name if name not in _DONE:
            raise MCPError(types.INVALID_PARAMS, f"There is no tool {name!r}.")
    return types.CallToolResult(content=[_text("Done.")])


_EMPTY: Final[dict[str, Any]] = {"type": "object", "properties": {}}
_SCHEMAS: Final[dict[str, dict[str, Any]]] = {
    "test_custom_headers": {
        "type": "object",
        "properties": {"region": {"type": "string", "x-mcp-header": "Region"}},
        "required": ["region"],
    },
    "json_schema_2020_12_tool": {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {"address": {"$anchor": "address", "type": "object", "properties": {"street": {"type": "string"}}}},
        "properties": {"name": {"type": "string"}, "address": {"$ref": "#/$defs/address"}},
        "allOf": [{"anyOf": [{"required": ["name"]}, {"required": ["address"]}]}],
        "if": {"required": ["name"]},
        "then": {"required": ["name"]},
        "else": {"required": ["address"]},
        "additionalProperties": False,
    },
}
"""Of the tools that take something."""
_DONE: Final = ("test_tool_with_progress", "test_missing_capability", "test_logging_tool", *_SCHEMAS)
_NAMED: Final = (*_PLAIN, *_ASKED, "test_error_handling", *_DONE)


async def _tools(_context: Context, _asked: Any) -> types.ListToolsResult:
    return types.ListToolsResult(
        tools=[
            types.Tool(name=name, description=f"As the suite wants {name}.", input_schema=_SCHEMAS.get(name, _EMPTY))
            for name in _NAMED
        ]
    )


# resources


async def _resources(_context: Context, _asked: Any) -> types.ListResourcesResult:
    kinds = {"text": "text/plain", "binary": "image/png"}
    return types.ListResourcesResult(
        resources=[
            types.Resource(uri=f"test://static-{name}", name=name, description=f"A {name} resource.", mime_type=kind)
            for name, kind in kinds.items()
        ]
    )


async def _templates(_context: Context, _asked: Any) -> types.ListResourceTemplatesResult:
    template = types.ResourceTemplate(
        name="data", uri_template="test://template/{id}/data", mime_type="application/json"
    )
    return types.ListResourceTemplatesResult(resource_templates=[template])


async def _read(_context: Context, asked: types.ReadResourceRequestParams) -> types.ReadResourceResult:
    uri = str(asked.uri)
    found: types.TextResourceContents | types.BlobResourceContents
    if uri == "test://static-text":
        found = types.TextResourceContents(uri=uri, mime_type="text/plain", text=_TEXT)
    elif uri == "test://static-binary":
        found = types.BlobResourceContents(uri=uri, mime_type="image/png", blob=_PNG)
    elif uri.startswith("test://template/") and uri.endswith("/data"):
        text = f'{{"id":"{uri.split("/")[3]}","templateTest":true}}'
        found = types.TextResourceContents(uri=uri, mime_type="application/json", text=text)
    else:
        raise MCPError(types.INVALID_PARAMS, "There is no such resource.", {"uri": uri})
    return types.ReadResourceResult(contents=[found])


# prompts


def _said(*parts: Content) -> types.GetPromptResult:
    return types.GetPromptResult(messages=[types.PromptMessage(role="user", content=part) for part in parts])


async def _prompts(_context: Context, _asked: Any) -> types.ListPromptsResult:
    named: dict[str, tuple[str, ...]] = {
        "test_simple_prompt": (),
        "test_prompt_with_arguments": ("arg1", "arg2"),
        "test_prompt_with_embedded_resource": ("resourceUri",),
        "test_prompt_with_image": (),
        "test_input_required_result_prompt": (),
    }
    return types.ListPromptsResult(
        prompts=[
            types.Prompt(
                name=name,
                description=f"As the suite wants {name}.",
                arguments=[types.PromptArgument(name=one, description="Any text.", required=True) for one in arguments],
            )
            for name, arguments in named.items()
        ]
    )


async def _prompt(
    _context: Context, asked: types.GetPromptRequestParams
) -> types.GetPromptResult | types.InputRequiredResult:
    given = asked.arguments or {}
    match asked.name:
        case "test_simple_prompt":
            return _said(_text("This is a simple prompt for testing."))
        case "test_prompt_with_arguments":
            return _said(_text(f"Prompt with arguments: arg1='{given['arg1']}', arg2='{given['arg2']}'"))
        case "test_prompt_with_embedded_resource":
            embedded = _resource(given["resourceUri"], "Embedded resource content for testing.")
            return _said(embedded, _text("Please process the embedded resource above."))
        case "test_prompt_with_image":
            image = types.ImageContent(data=_PNG, mime_type="image/png")
            return _said(image, _text("Please analyze the image above."))
        case "test_input_required_result_prompt" if "user_context" not in (asked.input_responses or {}):
            wanted: dict[str, Request] = {"user_context": _elicit("What context should the prompt use?", "context")}
            return types.InputRequiredResult(input_requests=wanted)
        case "test_input_required_result_prompt":
            return _said(_text("With the context that was given."))
    raise MCPError(types.INVALID_PARAMS, f"There is no prompt {asked.name!r}.")


async def _complete(_context: Context, _asked: types.CompleteRequestParams) -> types.CompleteResult:
    return types.CompleteResult(completion=types.Completion(values=["paris", "park", "party"], total=3, has_more=False))


def diagnostic() -> Server[Any]:
    return Server(
        "diagnostic",
        version="1",
        get_tool_input_schema=lambda name: _SCHEMAS.get(name, _EMPTY),
        on_list_tools=_tools,
        on_call_tool=_call,
        on_list_resources=_resources,
        on_list_resource_templates=_templates,
        on_read_resource=_read,
        on_list_prompts=_prompts,
        on_get_prompt=_prompt,
        on_completion=_complete,
    )
