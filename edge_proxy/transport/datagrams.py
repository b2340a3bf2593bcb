"""Datagrams of one UDP socket: many a system call where `_batch` is built, one a call where it is not.

Both ways behave alike: `receive` returns what waits and never EAGAIN, `send` says how many messages the kernel took and
why it did not take the next one, `drops` counts what the kernel had no room for.
"""

from __future__ import annotations

import errno
import socket
import struct
from typing import Final, Protocol

from edge_proxy.addr import Address

try:
    from edge_proxy.transport._batch import Batch
except ImportError:
    HAS_BATCH = False
else:
    HAS_BATCH = True

Datagram = tuple[bytes, Address]

_MAX_DATAGRAM_BYTES: Final = 65_535
_SO_RXQ_OVFL: Final = getattr(socket, "SO_RXQ_OVFL", 40)
"""Linux; Python names it only in newer versions."""
_DROPS: Final = struct.Struct("=I")
_CONTROL_BYTES: Final = socket.CMSG_SPACE(_DROPS.size)


class Datagrams(Protocol):
    """One socket's two directions. The caller keeps the socket open."""

    @property
    def drops(self) -> int:
        """Datagrams that the kernel had no room for, as far as it has told: it tells with the next one it keeps."""

    def receive(self, most: int, /) -> list[Datagram]:
        """Up to `most` datagrams that wait now. Raises OSError for an error of an earlier send that came back."""

    def send(self, messages: list[Datagram], start: int, /) -> tuple[int, int]:
        """Send `messages[start:]`: how many the kernel took and, unless that is all, the errno for the next one.

        EINVAL for a host that is no numeric address of the socket's family: nothing is looked up.
        """


class PlainDatagrams:
    """One datagram a system call."""

    def __init__(self, bound: socket.socket) -> None:
        self.drops = 0
        self._last_drops = 0
        self._socket = bound
        self._error: OSError | None = None

    def receive(self, most: int, /) -> list[Datagram]:
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        received: list[Datagram] = []
        recvmsg = self._socket.recvmsg
        while len(received) < most:
            try:
                data, control, _, name = recvmsg(_MAX_DATAGRAM_BYTES, _CONTROL_BYTES)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                if not received:
                    raise
                self._error = error  # first what was read, as recvmmsg(2) has it
                break
            for _level, kind, value in control:
                if kind == _SO_RXQ_OVFL and len(value) == _DROPS.size:
                    (count,) = _DROPS.unpack(value)
                    self.drops += (count - self._last_drops) & 0xFFFF_FFFF
                    self._last_drops = count
            received.append((data, Address(name[0], name[1])))
        return received

    def send(self, messages: list[Datagram], start: int, /) -> tuple[int, int]:
        taken = 0
        family = self._socket.family
        for data, address in messages[start:] if start else messages:
            try:
                # sendto() takes names too, and would wait for an answer about them.
                socket.inet_pton(family, address[0])
            except (OSError, ValueError):
                return taken, errno.EINVAL
            try:
                self._socket.sendto(data, address)
            except (BlockingIOError, InterruptedError):
                return taken, errno.EAGAIN
            except OSError as error:
                return taken, error.errno or errno.EINVAL
            except OverflowError:
                return taken, errno.EINVAL
            taken += 1
        return taken, 0


def datagrams_of(bound: socket.socket, *, is_batched: bool = HAS_BATCH) -> Datagrams:
    """The way in and out of a bound non-blocking socket; the kernel is asked to tell its drops."""
    bound.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)
    if is_batched:
        return Batch(bound.fileno(), bound.family, Address)
    return PlainDatagrams(bound)
