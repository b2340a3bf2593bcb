"""A path that loses datagrams in both directions: one UDP socket between an endpoint and the proxy.

Each side only ever sees the relay's address, so whatever an endpoint gives out as its own must be the relay's.
"""

from __future__ import annotations

import contextlib
import random
import select
import socket
import threading
from typing import Final, Self

_POLL_S: Final = 0.1
_BUFFER_BYTES: Final = 4 << 20


class LossyRelay:
    """Relays between `endpoint` and `proxy`, losing `loss` of what comes, decided by a seeded generator."""

    def __init__(
        self, bind: tuple[str, int], endpoint: tuple[str, int], proxy: tuple[str, int], loss: float, seed: int
    ) -> None:
        self.lost = {"to_proxy": 0, "to_endpoint": 0}
        self.passed = {"to_proxy": 0, "to_endpoint": 0}
        self._endpoint, self._proxy = endpoint, proxy
        self._loss = loss
        self._random = random.Random(seed)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        self._socket.bind(bind)
        self._socket.setblocking(False)
        self._is_stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lossy-relay")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_stopping.set()
        self._thread.join()
        self._socket.close()

    def _run(self) -> None:
        while not self._is_stopping.is_set():
            if select.select([self._socket], [], [], _POLL_S)[0]:
                self._drain()

    def _drain(self) -> None:
        while True:
            try:
                data, source = self._socket.recvfrom(65_535)
            except BlockingIOError:
                return
            except ConnectionRefusedError:
                continue  # an endpoint that is gone; what waits behind this is still good
            is_from_proxy = source == self._proxy
            direction = "to_endpoint" if is_from_proxy else "to_proxy"
            if self._random.random() < self._loss:
                self.lost[direction] += 1
                continue
            self.passed[direction] += 1
            with contextlib.suppress(ConnectionRefusedError):  # told of an earlier datagram; UDP promises nothing
                self._socket.sendto(data, self._endpoint if is_from_proxy else self._proxy)
