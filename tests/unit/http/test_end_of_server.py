"""How the server ends: who connected just before is answered."""

from __future__ import annotations

from tests.unit.http.test_protocol import Served, run, until


def test_who_connected_before_the_end_is_answered() -> None:
    """The request comes when nobody is let in any more. With a socket of systemd the next process would have answered it."""

    async def test(service: Served) -> None:
        reader, writer = await service.open()
        await until(lambda: service.server.server_state.connections)
        service.server.should_exit = True
        await until(lambda: not any(server.is_serving() for server in service.server.servers))
        writer.write(b"GET /late HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        writer.close()

    run(test)
