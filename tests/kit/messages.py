"""SIP messages as tests write them: requests, the answers to them, and what follows in the dialog they make.

Built from text, never by the product's own writers, so that a mistake there cannot hide here. Line ends,
Content-Length and unique branches are put in; everything else is as the test says.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import count
from typing import Final

from edge_proxy.addr import Address

CUSTOMER: Final = Address("198.51.100.10", 5060)
CARRIER: Final = Address("203.0.113.10", 5090)
OURS_FOR_CUSTOMERS: Final = Address("192.0.2.1", 5060)
OURS_FOR_CARRIERS: Final = Address("192.0.2.2", 5070)

OWNED: Final = "+12025550100"
FAR: Final = "+13105550199"
FOREIGN: Final = "+14155550123"

_serial: Final = count(1)


def unique(stem: str) -> str:
    """A word that no other message of this run has."""
    return f"{stem}{next(_serial)}"


def assemble(start_line: str, headers: Iterable[str], body: str | bytes = b"") -> bytes:
    """Start line, header lines and body as they travel, with a true Content-Length unless there is one."""
    content = body.encode() if isinstance(body, str) else body
    lines = [start_line, *headers]
    if not any(line.lower().startswith(("content-length:", "l:")) for line in lines):
        lines.append(f"Content-Length: {len(content)}")
    return "\r\n".join((*lines, "", "")).encode() + content


def head_lines(data: bytes) -> list[str]:
    """The lines of a message's head, start line first; folded ones joined."""
    head = data.partition(b"\r\n\r\n")[0].decode("utf-8", "replace")
    return head.replace("\r\n ", " ").replace("\r\n\t", " ").split("\r\n")


def values(data: bytes, name: str) -> list[str]:
    """The values of all header lines of this (long) name, in order."""
    start = f"{name.lower()}:"
    return [line.partition(":")[2].strip() for line in head_lines(data)[1:] if line.lower().startswith(start)]


def value(data: bytes, name: str) -> str:
    """The only value of this header; fails the test when there is none or another."""
    found = values(data, name)
    assert len(found) == 1, f"{name}: {found}"
    return found[0]


def start_line(data: bytes) -> str:
    return data.partition(b"\r\n")[0].decode("utf-8", "replace")


def request(
    method: str,
    uri: str,
    *extra: str,
    source: Address = CUSTOMER,
    via: str | None = None,
    branch: str | None = None,
    from_: str = f'"Alice" <sip:{OWNED}@acme.example>;tag=alice',
    to: str | None = None,
    call_id: str | None = None,
    cseq: int = 1,
    max_forwards: int | None = 70,
    routes: Sequence[str] = (),
    body: str | bytes = b"",
) -> bytes:
    """One request as a user agent at `source` sends it over UDP; `via` replaces the whole Via value."""
    top = via or f"SIP/2.0/UDP {source};branch=z9hG4bK-{branch or unique('b')};rport"
    lines = [f"Via: {top}"]
    lines += [f"Route: {route}" for route in routes]
    if max_forwards is not None:
        lines.append(f"Max-Forwards: {max_forwards}")
    lines += [
        f"From: {from_}",
        f"To: {to or f'<{uri}>'}",
        f"Call-ID: {call_id or unique('call-')}",
        f"CSeq: {cseq} {method}",
        f"Contact: <sip:{source}>",
        *extra,
    ]
    return assemble(f"{method} {uri} SIP/2.0", lines, body)


def outgoing_uri(number: str = FAR) -> str:
    """What a customer dials: a number, at the proxy."""
    return f"sip:{number}@{OURS_FOR_CUSTOMERS}"


def invite(*extra: str, number: str = FAR, **fields: str) -> bytes:
    """A good call of the customer acme; `fields` are text fields of `request`."""
    chosen: dict[str, str] = {"uri": outgoing_uri(number), **fields}
    uri = chosen.pop("uri")
    return request("INVITE", uri, *extra, **chosen)  # type: ignore[arg-type]


def invite_from_carrier(number: str = OWNED, *, source: Address = CARRIER, caller: str = FOREIGN) -> bytes:
    """A call from the carrier to a number of acme's."""
    return request(
        "INVITE",
        f"sip:{number}@{OURS_FOR_CARRIERS}",
        source=source,
        from_=f"<sip:{caller}@carrier.example>;tag=far",
    )


def answer(
    received: bytes, status: int, *extra: str, tag: str = "bob", contact: Address | None = CARRIER, body: str = ""
) -> bytes:
    """The response of a user agent to a request that it received (§8.2.6)."""
    to = value(received, "To")
    if status > 100 and ";tag=" not in to:
        to += f";tag={tag}"
    lines = [f"Via: {via}" for via in values(received, "Via")]
    if status < 300:
        lines += [f"Record-Route: {route}" for route in values(received, "Record-Route")]
    lines += [
        f"From: {value(received, 'From')}",
        f"To: {to}",
        f"Call-ID: {value(received, 'Call-ID')}",
        f"CSeq: {value(received, 'CSeq')}",
    ]
    if contact is not None and 100 < status < 300:
        lines.append(f"Contact: <sip:{contact}>")
    return assemble(f"SIP/2.0 {status} Answer", [*lines, *extra], body)


def _again(sent: bytes, method: str, to: str | None, extra: Sequence[str]) -> bytes:
    """What belongs to a request that was sent: same Request-URI, top Via, Route, From, Call-ID, CSeq number."""
    uri = start_line(sent).split(" ")[1]
    number = value(sent, "CSeq").split(" ")[0]
    lines = [f"Via: {values(sent, 'Via')[0]}"]
    lines += [f"Route: {route}" for route in values(sent, "Route")]
    lines += [
        "Max-Forwards: 70",
        f"From: {value(sent, 'From')}",
        f"To: {to or value(sent, 'To')}",
        f"Call-ID: {value(sent, 'Call-ID')}",
        f"CSeq: {number} {method}",
        *extra,
    ]
    return assemble(f"{method} {uri} SIP/2.0", lines)


def ack_of(sent: bytes, refusal: bytes) -> bytes:
    """The ACK with which a transaction ends a 3xx-6xx to the INVITE that was `sent` (§17.1.1.3)."""
    return _again(sent, "ACK", value(refusal, "To"), ())


def cancel_of(sent: bytes, *extra: str) -> bytes:
    """CANCEL for the INVITE that was `sent` (§9.1)."""
    return _again(sent, "CANCEL", None, extra)


class Dialog:
    """Both ends of a dialog, from the request as the callee got it and the 2xx as the caller got it (§12.1)."""

    def __init__(
        self, invited: bytes, accepted: bytes, *, caller: Address = CUSTOMER, callee: Address = CARRIER
    ) -> None:
        self.call_id = value(accepted, "Call-ID")
        self.callees_call_id = value(invited, "Call-ID")
        self.caller, self.callee = caller, callee
        self.local, self.remote = value(accepted, "From"), value(accepted, "To")
        self.routes_of_caller = list(reversed(_listed(values(accepted, "Record-Route"))))
        self.routes_of_callee = _listed(values(invited, "Record-Route"))
        self.invite_cseq = int(value(accepted, "CSeq").split(" ")[0])
        self._cseq = self.invite_cseq

    def ack(self, *, branch: str | None = None) -> bytes:
        """The caller's ACK to the 2xx."""
        return self.from_caller("ACK", cseq=self.invite_cseq, branch=branch)

    def from_caller(
        self,
        method: str,
        *extra: str,
        cseq: int = 0,
        branch: str | None = None,
        routes: Sequence[str] | None = None,
        call_id: str | None = None,
        uri: str | None = None,
        source: Address | None = None,
    ) -> bytes:
        """A request of the caller inside the dialog; the named fields replace what the dialog says."""
        self._cseq += 1
        return request(
            method,
            uri or f"sip:{self.callee}",
            *extra,
            source=source or self.caller,
            from_=self.local,
            to=self.remote,
            call_id=call_id or self.call_id,
            cseq=cseq or self._cseq,
            branch=branch,
            routes=self.routes_of_caller if routes is None else routes,
        )

    def from_callee(self, method: str, *extra: str, cseq: int = 0, routes: Sequence[str] | None = None) -> bytes:
        """A request of the callee inside the dialog."""
        self._cseq += 1
        return request(
            method,
            f"sip:{self.caller}",
            *extra,
            source=self.callee,
            from_=self.remote,
            to=self.local,
            call_id=self.callees_call_id,
            cseq=cseq or self._cseq,
            routes=self.routes_of_callee if routes is None else routes,
        )


def _listed(lines: list[str]) -> list[str]:
    """One value per entry. Test routes hold no commas of their own."""
    return [piece.strip() for line in lines for piece in line.split(",")]
