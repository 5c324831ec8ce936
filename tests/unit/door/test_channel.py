"""Messages and connections between the service and the door."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path

from worker_orchestrator.door.channel import WAITING_BYTES, WAITING_CONNECTIONS, Channel, Heard


class End:
    """One end of a channel, and what it heard."""

    def __init__(self, own: socket.socket) -> None:
        self.messages = list[bytes]()
        self.connections = list[tuple[socket.socket, bytes]]()
        self.ended = asyncio.Event()
        self.channel = Channel(own, Heard(self.messages.append, self.take, self.ended.set))

    def take(self, connection: socket.socket, read: bytes) -> None:
        self.connections.append((connection, read))

    async def until(self, holds: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not holds():  # noqa: ASYNC110 # whatever it is
                await asyncio.sleep(0.001)


def lived(story: Callable[[End, End], Awaitable[None]]) -> None:
    async def live() -> None:
        one, other = (End(own) for own in socket.socketpair())
        try:
            await story(one, other)
        finally:
            for end in (one, other):
                end.channel.close()
                for connection, _ in end.connections:
                    connection.close()

    asyncio.run(live())


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").is_dir() else 0


def test_messages_arrive_in_order_and_whole_both_ways() -> None:
    async def story(one: End, other: End) -> None:
        sent = [os.urandom(size) for size in (0, 1, 5, 300_000, 1_000_000, 3)]
        for message in sent:
            one.channel.tell(message)
        other.channel.tell(b"back")
        await other.until(lambda: len(other.messages) == len(sent))
        assert other.messages == sent
        await one.until(lambda: one.messages == [b"back"])

    lived(story)


def test_a_connection_arrives_with_what_was_read_of_it_among_messages() -> None:
    async def story(one: End, other: End) -> None:
        pairs = [socket.socketpair() for _ in range(200)]
        for number, (given, kept) in enumerate(pairs):
            one.channel.tell(b"before")
            assert one.channel.hand_over(given.fileno(), b"%d" % number * (number * 20))
            given.close()
            kept.sendall(b"own %d" % number)
        await other.until(lambda: len(other.connections) == len(pairs))
        for number, (connection, read) in enumerate(other.connections):
            assert read == b"%d" % number * (number * 20)
            assert connection.recv(100) == b"own %d" % number
        for _, kept in pairs:
            kept.close()

    lived(story)


def test_what_was_not_sent_yet_is_closed_with_the_channel() -> None:
    async def story(one: End, other: End) -> None:
        before = descriptors()
        given, kept = socket.socketpair()
        for _ in range(50):
            assert one.channel.hand_over(given.fileno(), b"x" * 100_000)
        given.close()
        one.channel.close()
        assert not one.channel.hand_over(kept.fileno(), b"")
        one.channel.tell(b"nothing")
        await other.ended.wait()
        for connection, _ in other.connections:
            connection.close()
        other.connections.clear()
        kept.close()
        assert descriptors() <= before

    lived(story)


def test_a_door_that_does_not_read_is_given_nothing_more() -> None:
    async def story(one: End, other: End) -> None:
        own = socket.socketpair()
        deaf = Channel(own[0], Heard(lambda _: None, lambda *_: None, lambda: None))
        given, kept = socket.socketpair()
        taken = 0
        while deaf.hand_over(given.fileno(), b"x" * 1_000_000):
            taken += 1
            assert taken < 100
        assert taken >= WAITING_BYTES // 1_000_000
        deaf.close()
        for each in (given, kept, own[1]):
            each.close()

    lived(story)


def test_a_door_that_does_not_read_keeps_few_descriptors_of_the_service() -> None:
    async def story(one: End, other: End) -> None:
        own = socket.socketpair()
        deaf = Channel(own[0], Heard(lambda _: None, lambda *_: None, lambda: None))
        given, kept = socket.socketpair()
        before = descriptors()
        while deaf.hand_over(given.fileno(), b"GET / HTTP/1.1"):
            assert descriptors() <= before + WAITING_CONNECTIONS
        taken = 0
        while not taken:  # once it reads, it is given more
            await asyncio.sleep(0)
            socket.recv_fds(own[1], 1000, 1)
            taken = deaf.hand_over(given.fileno(), b"GET / HTTP/1.1")
        deaf.close()
        for each in (given, kept, own[1]):
            each.close()

    lived(story)


def test_the_end_of_one_side_is_heard_by_the_other() -> None:
    async def story(one: End, other: End) -> None:
        one.channel.close()
        await other.ended.wait()
        assert not one.ended.is_set()

    lived(story)


def test_a_connection_that_is_lost_for_want_of_descriptors_does_not_lend_its_request_to_the_next_one() -> None:
    def frame(read: bytes) -> bytes:
        return struct.pack("!BI", 2, len(read)) + read

    async def story(one: End, other: End) -> None:
        sender, lost, kept = one.channel._socket, socket.socketpair(), socket.socketpair()
        first, (soft, hard) = frame(b"a" * 1000), resource.getrlimit(resource.RLIMIT_NOFILE)
        socket.send_fds(sender, [first[:500]], [lost[0].fileno()])
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            await other.until(lambda: other.channel._held)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        sender.send(first[500:])  # the kernel gives this and what follows in one piece
        socket.send_fds(sender, [frame(b"b")], [kept[0].fileno()])
        await other.until(lambda: other.connections)
        ((connection, read),) = other.connections
        kept[1].sendall(b"own")
        assert (read, connection.recv(10)) == (b"b", b"own")
        for each in (*lost, *kept):
            each.close()

    lived(story)


def test_a_connection_that_was_lost_is_none_to_be_closed_at_the_end() -> None:
    async def story(one: End, other: End) -> None:
        pair, (soft, hard) = socket.socketpair(), resource.getrlimit(resource.RLIMIT_NOFILE)
        socket.send_fds(one.channel._socket, [b"\x02"], [pair[0].fileno()])
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            await other.until(lambda: other.channel._held)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        other.channel.close()
        for each in pair:
            each.close()

    lived(story)
