"""What the driver asks of a bound socket, whatever it carries."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from edge_proxy.addr import Address

Received = tuple[bytes, Address]
Deliver = Callable[[list[Received]], None]
"""Takes the messages that arrived in one turn, each with where it came from."""

Unreachable = Callable[[Address, list[bytes]], None]
"""Takes the messages for an address that no connection could be had to."""


Identify = Callable[[Address, tuple[str, ...]], None]
"""Takes who the peer at an address has proved to be on the connection with it; () when that connection has ended."""


def ignore_identity(_address: Address, _identities: tuple[str, ...]) -> None:
    """Nobody has asked to be told."""


def ignore_unreachable(_address: Address, _messages: list[bytes]) -> None:
    """Nobody has asked to be told."""


class Watch(Protocol):
    """What is asked of the event loop to hear of a socket: readable, writable. uvloop returns other things than asyncio
    from it, which the compiled files must not rely on."""

    def add_reader(self, fd: int, callback: Callable[[], object], /) -> object: ...
    def remove_reader(self, fd: int, /) -> object: ...
    def add_writer(self, fd: int, callback: Callable[[], object], /) -> object: ...
    def remove_writer(self, fd: int, /) -> object: ...


class Elsewhere(Protocol):
    """Connections with the same listener's peers that another worker holds (see lending.py)."""

    def send(self, data: bytes, address: Address) -> bool:
        """Have this sent over the connection with `address`; False when none is known."""

    def alias(self, peer: Address, address: Address) -> None:
        """Let what is sent to `address` go over the connection with `peer`, if there is one."""

    def joined(self, peer: Address) -> None:
        """A connection with `peer` is up here."""

    def left(self, peer: Address) -> None:
        """It has ended."""


class Port(Protocol):
    """A socket that takes part in turns: it delivers what arrived and sends what it is given, and never blocks."""

    receive_buffer_bytes: int
    send_buffer_bytes: int
    send_errors: int
    send_overflows: int
    on_unreachable: Unreachable

    @property
    def bound(self) -> Address: ...

    async def start(self, loop: asyncio.AbstractEventLoop, deliver: Deliver) -> None:
        """Begin to read."""

    def send_all(self, messages: Sequence[tuple[bytes, Address]]) -> None:
        """Send these in order, now or as soon as the socket takes them."""

    def alias(self, peer: Address, address: Address) -> None:
        """Let what is sent to `address` go over the connection with `peer`, where there are connections."""

    def stop(self) -> None:
        """Read no more; send what is queued as far as the system takes it."""

    def close(self) -> None:
        """Give the address back."""
