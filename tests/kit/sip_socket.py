"""A plain UDP socket that speaks just enough SIP: what SIPp will not send, and one answer at a time."""

from __future__ import annotations

import itertools
import select
import socket
import time
from typing import Final, Self

_serial = itertools.count(1)
_BUFFER_BYTES: Final = 1 << 20


def invite(local: tuple[str, int], **changes: str | None) -> bytes:
    """A correct INVITE from acme to a number outside; a change of None leaves that header out, text replaces it."""
    serial = next(_serial)
    host, port = local
    headers: dict[str, str | None] = {
        "Via": f"SIP/2.0/UDP {host}:{port};rport;branch=z9hG4bK-kit-{port}-{serial}",
        "Max-Forwards": "70",
        "From": f"<sip:+12025550123@acme.example>;tag=kit-{serial}",
        "To": "<sip:+14155550142@edge.example>",
        "Call-ID": f"kit-{port}-{serial}",
        "CSeq": "1 INVITE",
        "Contact": f"<sip:{host}:{port}>",
        "Content-Length": "0",
    }
    for name, value in changes.items():
        headers[name.replace("_", "-")] = value
    lines = [f"{name}: {value}\r\n" for name, value in headers.items() if value is not None]
    return f"INVITE sip:+14155550142@edge.example SIP/2.0\r\n{''.join(lines)}\r\n".encode()


def options(local: tuple[str, int], proxy: tuple[str, int]) -> bytes:
    """An OPTIONS to the proxy itself, which a customer always gets an answer to."""
    return invite(local, CSeq="1 OPTIONS").replace(
        b"INVITE sip:+14155550142@edge.example", f"OPTIONS sip:{proxy[0]}:{proxy[1]}".encode()
    )


class SipSocket:
    """One bound UDP socket and the proxy's address."""

    def __init__(self, local: tuple[str, int], proxy: tuple[str, int]) -> None:
        self.local, self.proxy = local, proxy
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        self._socket.bind(local)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendto(data, self.proxy)

    def receive(self, timeout_s: float = 5.0) -> bytes | None:
        """The next datagram; None when there is none in time."""
        if not select.select([self._socket], [], [], timeout_s)[0]:
            return None
        return self._socket.recv(65_535)

    def until_answered(self, timeout_s: float = 10.0) -> list[bytes] | None:
        """Send an OPTIONS and wait for its 200; what came before it, which answers what was sent before.

        None when no 200 came in time.
        """
        request = options(self.local, self.proxy)
        branch = request.split(b"branch=", 1)[1].split(b"\r\n", 1)[0]
        self.send(request)
        came: list[bytes] = []
        deadline = time.monotonic() + timeout_s
        while (left_s := deadline - time.monotonic()) > 0:
            answer = self.receive(left_s)
            if answer is not None and branch in answer:
                return came if answer.startswith(b"SIP/2.0 200 ") else None
            if answer is not None:
                came.append(answer)
        return None

    def is_answered(self, timeout_s: float = 10.0) -> bool:
        """Whether the proxy answers an OPTIONS: then all that was sent before it has been worked on too."""
        return self.until_answered(timeout_s) is not None
