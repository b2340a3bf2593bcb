"""Turn what was decided about one attempt, and how it ended, into one JSON object each (RFC 8259), once.

The journal adds `seq` and `prev` in front of these bytes and never encodes them again. Nothing here reads a clock,
touches a disk or judges a value: text from a peer is kept as it came, within two stated bounds.

Bounds, so that one record always fits the ring whatever a peer sends:
- A text of more than 512 characters keeps its first 488 and ends in `…(+N)`, N being the characters left out. The
  result is never longer than 512.
- `asserted` and `claimed` keep their first 8 entries and `signals` its first 32; the last one kept is then replaced
  by `…(+N)`, N being the entries left out.
A lone surrogate, which JSON cannot carry, becomes U+FFFD.
"""

from __future__ import annotations

import re

import msgspec

from edge_proxy.pipeline.record_text import MAX_TEXT_CHARS, bound_text, left_out

MAX_ASSERTED = 8
MAX_SIGNALS = 32
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What reading a line raises that is no record: no JSON, no UTF-8, or as deeply nested as only a forger makes it."""
MAX_RECORD_BYTES = 256 * 1024
"""No record encodes to more: 22 texts and 48 entries of 512 characters of 6 bytes (`\\u0000`) are under 220 KiB."""

_SURROGATE = re.compile("[\ud800-\udfff]")


class AttemptRecord(
    msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True, tag_field="kind", tag="attempt"
):
    """One request that asked for a call or carried a message, and the verdict on it, before anything was sent."""

    id: str
    """16 hexadecimal digits; the end record and the signed Record-Route carry the same."""
    at: str
    """RFC 3339, UTC, with microseconds."""
    node: str
    worker: int
    side: str
    transport: str
    source: str
    """`ip:port`, an IPv6 address in brackets."""
    asn: int
    """Of the source address; 0 when the table knows none."""
    customer: str | None = None
    trunk: str | None = None
    method: str
    call_id: str
    cseq: int
    from_uri: str
    from_number: str | None = None
    """E.164 with `+`, as read under the customer's numbering plan."""
    asserted: list[str] = []
    """The URIs of P-Asserted-Identity (RFC 3325 §9.1) as received."""
    claimed: list[str] = []
    """What else it claims to be: the header, and the URI or number, of each claim in any other header."""
    request_uri: str
    called_number: str | None = None
    user_agent: str = ""
    outcome: str
    status: int
    """The SIP status the attempt was answered with; 0 when it was forwarded or dropped."""
    reason: str
    rule: str
    ip_origin: str
    """`ip`, `pstn` or `unknown`; `signals` says why, `proof` how strong the proof of who sent it is."""
    signals: list[str] = []
    proof: str
    identity: str | None = None
    """The user name or the TLS identity that proved who sent it; none when only its address speaks for it."""
    mode: str
    would_block: bool = False
    """Monitor mode let through what enforce mode refuses."""
    snapshot: str
    """The version of policy, numbers and ASN table that decided."""
    emergency: bool = False


class EndRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True, tag_field="kind", tag="end"):
    """How a forwarded attempt ended. `id` is its attempt's."""

    id: str
    at: str
    node: str
    worker: int
    call_id: str
    customer: str | None = None
    direction: str
    cause: str
    """One of the closed set the pipeline declares."""
    ended_by: str
    status: int
    setup_s: float | None = None
    """From the INVITE to its final response; none when there was no final response."""
    duration_s: float | None = None
    """From the answer to the end; none when the call was not answered."""
    pdd_s: float | None = None
    """Post-dial delay, from the INVITE to the first 18x, or to the answer when none came; none when neither did."""
    q850: int | None = None
    """The Q.850 cause in the Reason header (RFC 3326) of the BYE, CANCEL or final response; none when it gave none."""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(AttemptRecord | EndRecord).decode


def _smallest(record_type: type[AttemptRecord] | type[EndRecord]) -> int:
    """How many bytes the emptiest record of the type takes."""
    fields = msgspec.structs.fields(record_type)
    empty = {f.name: "" if f.type is str else 0 for f in fields if f.required}
    return len(_encode(msgspec.convert(empty, record_type)))


# A record no longer than this holds no text over the bound: that text alone would have made it longer. It spares
# most records the walk through their fields.
_ATTEMPT_NEEDS_NO_LOOK_BYTES = _smallest(AttemptRecord) + MAX_TEXT_CHARS
_END_NEEDS_NO_LOOK_BYTES = _smallest(EndRecord) + MAX_TEXT_CHARS


def encode(record: AttemptRecord | EndRecord) -> bytes:
    """Return the record as one JSON object on one line, within the bounds above. Never raises on any text."""
    try:
        encoded = _encode(record)
    except UnicodeEncodeError:
        return _encode(_bounded(record))
    if isinstance(record, AttemptRecord):
        lists_fit = max(len(record.asserted), len(record.claimed)) <= MAX_ASSERTED
        lists_fit = lists_fit and len(record.signals) <= MAX_SIGNALS
        if lists_fit and (len(encoded) <= _ATTEMPT_NEEDS_NO_LOOK_BYTES or _texts_fit(record)):
            return encoded
    elif len(encoded) <= _END_NEEDS_NO_LOOK_BYTES or _texts_fit(record):
        return encoded
    return _encode(_bounded(record))


def decode(line: bytes) -> AttemptRecord | EndRecord:
    """Read a record back, from `encode`'s bytes or from a journal line. Raises one of `UNREADABLE`."""
    record: AttemptRecord | EndRecord = _decode(line)
    return record


def _texts_fit(record: AttemptRecord | EndRecord) -> bool:
    for value in msgspec.structs.astuple(record):
        if isinstance(value, str):
            if len(value) > MAX_TEXT_CHARS:
                return False
        elif isinstance(value, list):
            for entry in value:
                if len(entry) > MAX_TEXT_CHARS:
                    return False
    return True


def _bounded(record: AttemptRecord | EndRecord) -> AttemptRecord | EndRecord:
    changes: dict[str, object] = {}
    for name in record.__struct_fields__:
        value = getattr(record, name)
        if isinstance(value, str):
            changes[name] = _bounded_text(value)
        elif isinstance(value, list):
            changes[name] = _bounded_list(value, MAX_SIGNALS if name == "signals" else MAX_ASSERTED)
    return msgspec.structs.replace(record, **changes)


def _bounded_list(entries: list[str], limit: int) -> list[str]:
    if len(entries) > limit:
        entries = [*entries[: limit - 1], left_out(len(entries) - limit + 1)]
    return [_bounded_text(entry) for entry in entries]


def _bounded_text(text: str) -> str:
    return _SURROGATE.sub("\ufffd", bound_text(text))
