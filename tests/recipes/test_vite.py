"""docs/recipes/vite.md as its reader follows it, and then its page in a real Chromium: an edit arrives, it comes back."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import aiohttp.abc
import pytest
from tests.browser.conftest import chromium
from tests.integration.docker_command import a_name, docker
from tests.previews.screen import a_screen
from tests.recipes.at_hand import a_node_image, a_port, needs
from tests.recipes.page import Reader, a_reader
from tests.recipes.test_pages import RECIPES

_RENAME = 'require("fs").renameSync("/app/new", "/app/message.js")'


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    with a_reader(tmp_path) as reader:
        yield reader


def test_vite_with_hot_reload(reader: Reader) -> None:
    """Through the door as well as through the Express service of the other page."""
    needs("chromium", "chromium")
    built = f"{a_name('vite')}:latest"
    with a_node_image() as node:
        reader.replacing = {"node:22-slim": node, "my/vite:latest": built}
        try:
            reader.follow(RECIPES / "vite.md")
            an_open_page_follows(reader)
            reader.replacing = {"3000": (express := a_port()), "express-demo": "vite-demo"}
            reader.write_files_of(RECIPES / "express.md")
            reader.run("npm install --silent express@5")
            reader.run("node server.mjs")
            asyncio.run(an_edit_arrives(reader, f"http://vite-demo.localhost:{express}"))
        finally:
            reader.close()
            docker("rmi", "-f", built, check=False)


def write(reader: Reader, message: str) -> None:
    """Give the file another content in one step, so that Vite cannot see half of it, however busy the computer is."""
    (reader.folder / "new").write_text(f'export const message = "{message}";\n')
    reader.run("orchestrator cp new vite-demo:/app/new")
    reader.run(f"orchestrator exec vite-demo -- node -e '{_RENAME}'")


def an_open_page_follows(reader: Reader) -> None:
    """What the reader has edited is there. A further edit keeps the page; a restart of its container loads it anew."""
    with chromium() as browser, a_screen(browser) as screen:
        screen.open(f"http://vite-demo.localhost:{reader.ports.api}/", "edited")
        screen.is_colored("rgb(0, 120, 0)")
        screen.type()
        write(reader, "edited in front of it")
        screen.shows("edited in front of it")
        assert screen.has_kept_it()
        docker("restart", reader.run("orchestrator assign vite-demo -o name"))
        screen.is_new("edited in front of it")


async def an_edit_arrives(reader: Reader, page: str) -> None:
    """What Vite tells an open page when a file in the worker changes."""
    login = {"Authorization": aiohttp.encode_basic_auth("vite-demo", "a-password")}
    connector = aiohttp.TCPConnector(resolver=Loopback())
    async with aiohttp.ClientSession(connector=connector, headers=login) as session:
        for path in ("/", "/main.js", "/message.js"):
            async with session.get(f"{page}{path}") as reply:
                assert reply.status == 200
        async with session.get(f"{page}/@vite/client") as reply:
            found = re.search(r'wsToken = "([^"]+)"', await reply.text())
        assert found is not None
        opened = await session.ws_connect(f"{page}/?token={found[1]}", protocols=["vite-hmr"])
        assert (await opened.receive_json(timeout=10))["type"] == "connected"
        await asyncio.to_thread(write, reader, "edited through Express")
        assert (await opened.receive_json(timeout=10))["type"] == "update"
        await opened.close()


class Loopback(aiohttp.abc.AbstractResolver):
    """As browsers do, it finds on this computer whatever ends in .localhost."""

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[aiohttp.abc.ResolveResult]:
        return [{"hostname": host, "host": "127.0.0.1", "port": port, "family": socket.AF_INET, "proto": 0, "flags": 0}]

    async def close(self) -> None: ...
