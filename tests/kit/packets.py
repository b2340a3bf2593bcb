"""Who sends UDP to whom on the loopback interface, counted from outside the processes that do (needs CAP_NET_RAW)."""

from __future__ import annotations

import select
import socket
import struct
import threading
from collections import Counter
from typing import Final, NamedTuple, Self

from tests.kit.peers import missing

_ETH_P_IP: Final = 0x0800
_ETHERNET_BYTES: Final = 14
_PACKET_HOST: Final = 0
_UDP: Final = 17
_POLL_S: Final = 0.1
_BUFFER_BYTES: Final = 4 << 20


class Flow(NamedTuple):
    """One direction between two sockets."""

    source_port: int
    to: tuple[str, int]


class UdpWatch:
    """Counts the packets that arrive over loopback while its `with` block runs."""

    def __init__(self) -> None:
        self.packets: Counter[Flow] = Counter()
        try:
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_IP))
        except PermissionError:
            missing("packets on loopback cannot be watched: that needs root or CAP_NET_RAW")
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        self._socket.bind(("lo", _ETH_P_IP))
        self._is_stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="udp-watch")

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
                frame, source = self._socket.recvfrom(128)
                if source[2] == _PACKET_HOST:  # on loopback each packet is also seen as it leaves
                    self._count(frame[_ETHERNET_BYTES:])

    def _count(self, packet: bytes) -> None:
        header_bytes = (packet[0] & 0x0F) * 4
        if packet[9] != _UDP or len(packet) < header_bytes + 4:
            return
        source_port, port = struct.unpack_from("!HH", packet, header_bytes)
        self.packets[Flow(source_port, (socket.inet_ntoa(packet[16:20]), port))] += 1
