"""The corpus on the wire: SIPp sends one INVITE after the other, and whoever is called is busy.

486 from the far end means that a call was let through; anything else that it was refused.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

from edge_proxy.policy.verdict import Verdict
from tests.corpus.call import CorpusCall

_SPECIAL: Final = re.compile(r"[\[\]\\\x01]")
_COPIED: Final = ("via", "from", "f", "call-id", "cseq")


def write_scenario(path: Path, calls: Sequence[tuple[int, CorpusCall, Verdict]]) -> None:
    """One SIPp call that sends all of them; each has its number in front of its Call-ID."""
    steps = [_step(number, call, verdict.status or 486) for number, call, verdict in calls]
    path.write_text(
        '<?xml version="1.0" encoding="UTF-8"?>\n<scenario name="corpus">\n' + "".join(steps) + "</scenario>\n",
        encoding="utf-8",
    )


def _step(number: int, call: CorpusCall, status: int) -> str:
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
        f"Call-ID: {number}///[call_id]", "CSeq: 1 INVITE", f"Contact: <sip:{contact}[local_ip]:[local_port]>", headers,
        f"Content-Type: {_literal(call.body_type)}", "Content-Length: [len]",
    ]  # fmt: skip
    ack = [
        f"ACK {uri} SIP/2.0", f"{via}[branch-3]", "Max-Forwards: 70", from_, f"To: <{uri}>[peer_tag_param]",
        f"Call-ID: {number}///[call_id]", "CSeq: 1 ACK", "Content-Length: 0",
    ]  # fmt: skip
    head = "\n".join(line for line in invite if line)
    return (
        f'<send retrans="500"><![CDATA[\n{head}\n\n{body}]]></send>\n'
        f'<recv response="100" optional="true"/>\n<recv response="{status}"/>\n'
        f"<send><![CDATA[\n" + "\n".join(ack) + "\n\n]]></send>\n"
    )


def _literal(text: str) -> str:
    """What SIPp would read as a keyword or an escape, as hexadecimal."""
    return _SPECIAL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


class BusyPeer:
    """A user agent that answers every INVITE with 486."""

    def __init__(self, local: tuple[str, int]) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(local)
        self._socket.settimeout(0.1)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

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
