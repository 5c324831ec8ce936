"""The protocol, by the official SDK: the tools of one session as an MCP server."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, Final

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp.server.stdio import stdio_server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.exceptions import MCPError
from starlette.types import Receive, Scope, Send

from worker_orchestrator.mcp.arguments import schema_of
from worker_orchestrator.mcp.tools import Tool, Tools

__all__ = ["serve_http", "serve_stdio", "server_of"]

CODE: Final = "worker-orchestrator/code"
_PINNED: Final = (
    "A Linux machine (a container) of your own, ready at the first call. Files stay between calls, until it has not "
    "been used for a while; a note says so if you have another one. What listens in it is reached by machine_url."
)
_UNPINNED: Final = (
    f"{_PINNED} Each project has one machine: name a project to use another machine than the default one."
)


_NAMED: Final = (
    "Linux machines (containers) of your own, one for each project: name a project in each call, and its machine is ready "
    "at the first one. Files stay between calls, until a machine has not been used for a while; a note says so if you have "
    "another one. What listens in it is reached by machine_url."
)


def server_of(tools: Tools) -> Server[Any]:
    """An MCP server that offers these tools, and nothing else."""

    async def list_tools(
        _context: ServerRequestContext[Any], _asked: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[_described(tool, tools) for tool in tools.offered.values()])

    async def call_tool(
        _context: ServerRequestContext[Any], asked: types.CallToolRequestParams
    ) -> types.CallToolResult:
        tool = tools.offered.get(asked.name)
        if tool is None:
            message = f"There is no tool {asked.name!r} here. There are {', '.join(tools.offered)}."
            raise MCPError(types.INVALID_PARAMS, message)
        outcome = await tools.call(tool, asked.arguments or {})
        if not outcome.code:
            return types.CallToolResult(content=[types.TextContent(text=outcome.text)])
        told = types.TextContent(text=f"{outcome.code}: {outcome.text}")
        return types.CallToolResult(content=[told], is_error=True, _meta={CODE: outcome.code})

    return Server(
        "worker-orchestrator",
        title="Worker Orchestrator",
        version=version("worker-orchestrator"),
        instructions=_PINNED if tools.is_pinned else _NAMED if tools.needs_project else _UNPINNED,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


async def serve_stdio(tools: Tools) -> None:
    """Serve one client over standard input and output, until it closes them."""
    server = server_of(tools)
    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())


async def serve_http(tools: Tools, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one request over streamable HTTP. Nothing is kept: the next one may be answered by another server."""
    manager = StreamableHTTPSessionManager(server_of(tools), stateless=True)
    async with manager.run():
        await manager.handle_request(scope, receive, send)


def _described(tool: Tool, tools: Tools) -> types.Tool:
    is_local = tool.name != "run_command"
    return types.Tool(
        name=tool.name,
        title=tool.title,
        description=tool.told,
        input_schema=schema_of(tool.takes, has_project=not tools.is_pinned, needs_project=tools.needs_project),
        annotations=types.ToolAnnotations(
            title=tool.title,
            read_only_hint=not tool.changes,
            destructive_hint=tool.changes,
            open_world_hint=not is_local,
        ),
    )
