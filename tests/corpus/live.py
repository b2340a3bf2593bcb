"""The corpus on the wire: SIPp sends one INVITE after the other, and whoever is called is busy.

486 from the far end means that a call was let through; anything else that it was refused. What needs a certificate
goes by a TLS connection of our own, since Debian's SIPp has none.
"""

from __future__ import annotations

import re
import socket
import ssl
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

from tests.corpus.call import CorpusCall

_SPECIAL: Final = re.compile(r"[\[\]\\\x01]")
_COPIED: Final = ("via", "from", "f", "call-id", "cseq")

Sent = tuple[int, CorpusCall, int]
"""A call with its number, and the status of its final response."""


def write_scenario(path: Path, calls: Sequence[Sent]) -> None:
    """One SIPp call that sends all of them; each has its number in front of its Call-ID."""
    steps = [_steps(number, call, status) for number, call, status in calls]
    path.write_text(
        '<?xml version="1.0" encoding="UTF-8"?>\n<scenario name="corpus">\n' + "".join(steps) + "</scenario>\n",
        encoding="utf-8",
    )


def _steps(number: int, call: CorpusCall, status: int) -> str:
    """The INVITE and its final response; before it, where the call has a password, one that is challenged."""
    username, word = call.login
    if not username:
        return _step(number, call, status, 1, "")
    answer = f"[authentication username={username} password={word}]"
    return _step(number, call, 407, 1, "") + _step(number, call, status, 2, answer)


def _step(number: int, call: CorpusCall, status: int, cseq: int, answer: str) -> str:
    via = "Via: SIP/2.0/[transport] [local_ip]:[local_port];rport;branch="
    from_ = f"{call.from_name}: {_literal(call.from_)};tag=c{number}"
    uri = _literal(call.request_uri)
    contact = f"{call.contact}@" if call.contact else ""
    headers = "\n".join(
        _literal(header).replace("\r\n ", "\n\\x20").replace("\r\n\t", "\n\\x09") for header in call.headers
    )
    body = _literal(call.body).replace("\r\n", "\n")
    invite = [
        f"INVITE {uri} SIP/2.0", f"{via}[branch]", "Max-Forwards: 70", from_, f"To: <{uri}>",
        f"Call-ID: {number}///[call_id]", f"CSeq: {cseq} INVITE", f"Contact: <sip:{contact}[local_ip]:[local_port]>",
        headers, answer, f"Content-Type: {_literal(call.body_type)}", "Content-Length: [len]",
    ]  # fmt: skip
    ack = [
        f"ACK {uri} SIP/2.0", f"{via}[branch-3]", "Max-Forwards: 70", from_, f"To: <{uri}>[peer_tag_param]",
        f"Call-ID: {number}///[call_id]", f"CSeq: {cseq} ACK", "Content-Length: 0",
    ]  # fmt: skip
    head = "\n".join(line for line in invite if line)
    auth = ' auth="true"' if status == 407 else ""
    return (
        f'<send retrans="500"><![CDATA[\n{head}\n\n{body}]]></send>\n'
        f'<recv response="100" optional="true"/>\n<recv response="{status}"{auth}/>\n'
        f"<send><![CDATA[\n" + "\n".join(ack) + "\n\n]]></send>\n"
    )


def _literal(text: str) -> str:
    """What SIPp would read as a keyword or an escape, as hexadecimal."""
    return _SPECIAL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


def call_by_tls(host: str, to: tuple[str, int], context: ssl.SSLContext, invites: Sequence[bytes]) -> list[int]:
    """The final status of each INVITE, sent one after the other on one connection from this address."""
    statuses: list[int] = []
    plain = socket.create_connection(to, timeout=10.0, source_address=(host, 0))
    with context.wrap_socket(plain, server_hostname=to[0]) as connection, connection.makefile("rb") as answers:
        for invite in invites:
            connection.sendall(invite)
            status, tag = 100, b""
            while status < 200:
                status, tag = _read_response(answers)
            statuses.append(status)
            connection.sendall(_ack(invite, tag))
    return statuses


def _read_response(answers: object) -> tuple[int, bytes]:
    """Its status and To; no response to these calls has a body."""
    lines: list[bytes] = []
    while not lines or lines[-1]:
        lines.append(answers.readline().rstrip(b"\r\n"))  # type: ignore[attr-defined]
    to = next((line for line in lines if line.lower().startswith(b"to:")), b"")
    return int(lines[0].split()[1]), to


def _ack(invite: bytes, to: bytes) -> bytes:
    lines = invite.partition(b"\r\n\r\n")[0].split(b"\r\n")
    kept = [line for line in lines[1:] if line.split(b":")[0].lower() in {b"via", b"from", b"call-id", b"max-forwards"}]
    head = [lines[0].replace(b"INVITE", b"ACK", 1), *kept, to, b"CSeq: 1 ACK", b"Content-Length: 0"]
    return b"\r\n".join(head) + b"\r\n\r\n"


class BusyPeer:
    """A user agent that answers every INVITE with 486, and keeps the last of each Call-ID by the number in front."""

    def __init__(self, local: tuple[str, int]) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(local)
        self._socket.settimeout(0.1)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self.received: dict[int, bytes] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while not self._is_over.is_set():
            try:
                data, source = self._socket.recvfrom(65_535)
            except TimeoutError:
                continue
            if data.startswith(b"INVITE "):
                number = re.search(rb"^call-id[ \t]*:[ \t]*(\d+)///", data, re.IGNORECASE | re.MULTILINE)
                if number is not None:
                    self.received[int(number[1])] = data
                self._socket.sendto(_busy(data), source)


def _busy(invite: bytes) -> bytes:
    lines = invite.partition(b"\r\n\r\n")[0].decode().split("\r\n")
    kept = []
    for line in lines[1:]:
        name = line.partition(":")[0].strip().lower()
        if name in _COPIED:
            kept.append(line)
        elif name == "to":
            kept.append(f"{line};tag=busy")
    return "\r\n".join(["SIP/2.0 486 Busy Here", *kept, "Content-Length: 0", "", ""]).encode()
