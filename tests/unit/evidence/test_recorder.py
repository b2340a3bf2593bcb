"""The recorder writes, field by field, the very bytes that encoding the record's object gives."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from edge_proxy.addr import E164, Address, Asn, Side, Transport, Wall
from edge_proxy.evidence.record import AttemptRecord, EndRecord, decode, encode
from edge_proxy.evidence.recorder import Recorder
from edge_proxy.numbers.e164 import dial_plan, format_e164
from edge_proxy.numbers.emergency import emergency_plan
from edge_proxy.pipeline.records import Attempt, EndCause, Ending, Party, Record, show_id
from edge_proxy.policy.access import Proof
from edge_proxy.policy.claims import Claim
from edge_proxy.policy.facts import CallFacts
from edge_proxy.policy.parties import Customer, Mode, Origin, Source, Trunk
from edge_proxy.policy.verdict import IpOrigin, Outcome, Reason, Signal, Verdict
from edge_proxy.sip.uri import parse_uri

NODE = 'edge "1"\u00e9'
WORKER = 3
CUSTOMER = Customer(0, "acme", dial_plan("US"), emergency_plan("US"))
TRUNK = Trunk(0, "carrier-\u2028")
URI = parse_uri(b"sip:+12025550199@198.51.100.1")
# Everything a str can hold: lone surrogates, NUL, line ends, quotes, at the bound and beyond it.
TEXT = st.text(st.characters(), max_size=20).flatmap(
    lambda text: st.sampled_from(
        [text, f'"{text}\\', text + "\ud800", "\x00\n\r\u2028" + text, text * 60, (text or "x") * 512]
    )
)
NUMBERS = st.none() | st.integers(1, 10**15 - 1).map(E164)
TIMES = st.floats(0, 4e9, allow_nan=False).map(Wall)
SECONDS = st.none() | st.floats(0, 1e7) | st.floats(0, 0.001) | st.integers(0, 10**9).map(lambda n: n / 2e6)
IDS = st.integers(0, 2**64 - 1)
CLAIMS = st.builds(
    lambda header, text: Claim(header, text, None, None), st.sampled_from(["P", "Remote-Party-ID"]), TEXT
)
ADDRESSES = st.builds(Address, st.sampled_from(["192.0.2.1", "2001:db8::1", "fe80::1%eth0"]), st.integers(0, 65535))
SIGNALS = st.builds(Signal, TEXT | st.sampled_from(["oli", "media_in_network"]), st.integers(-99, 99), TEXT)


def plain(record: Record) -> bytes:
    """What the record is, as an object, encoded."""
    if isinstance(record, Ending):
        return encode(
            EndRecord(
                id=f"{record.evidence_id:016x}",
                at=stamp(record.at),
                node=NODE,
                worker=WORKER,
                call_id=record.call_id,
                customer=record.customer or None,
                direction=record.caller_side,
                cause=record.cause,
                ended_by=record.ended_by,
                status=record.status,
                setup_s=None if record.setup_s is None else round(record.setup_s, 6),
                duration_s=None if record.duration_s is None else round(record.duration_s, 6),
                pdd_s=None if record.pdd_s is None else round(record.pdd_s, 6),
                q850=record.q850,
            )
        )
    facts, verdict = record.facts, record.verdict
    origin = facts.source.origin
    number, called = facts.from_claim.number, record.called_number
    return encode(
        AttemptRecord(
            id=f"{record.evidence_id:016x}",
            at=stamp(record.at),
            node=NODE,
            worker=WORKER,
            side=origin.side,
            transport=facts.source.transport,
            source=str(facts.source.address),
            asn=origin.asn,
            customer=record.customer or None,
            trunk=None if origin.trunk is None else origin.trunk.id,
            method=facts.method,
            call_id=facts.call_id,
            cseq=facts.cseq,
            from_uri=facts.from_claim.text,
            from_number=None if number is None else format_e164(number),
            asserted=[claim.text for claim in facts.asserted],
            claimed=[f"{claim.header} {claim.text}" for claim in facts.caller_claims[len(facts.asserted) :]],
            request_uri=facts.request_uri_text,
            called_number=None if called is None else format_e164(called),
            user_agent=facts.user_agent,
            outcome=verdict.outcome,
            status=verdict.status,
            reason=verdict.reason,
            rule=verdict.rule,
            ip_origin=verdict.ip_origin,
            signals=[str(signal) for signal in verdict.signals],
            proof=verdict.proof,
            identity=origin.identity or None,
            mode=record.mode,
            would_block=verdict.outcome is Outcome.MONITORED,
            snapshot=record.snapshot,
            emergency=verdict.is_emergency,
        )
    )


def stamp(at: Wall) -> str:
    second = math.floor(at)
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}.{int((at - second) * 1_000_000):06d}Z"


def written(*records: Record) -> list[bytes]:
    lines: list[bytes] = []

    def put(line: bytes) -> bool:
        lines.append(line)
        return True

    Recorder(put, NODE, WORKER).keep(records)
    return lines


@st.composite
def attempts(draw: st.DrawFn) -> Attempt:
    customer = draw(st.sampled_from([CUSTOMER, None]))
    origin = Origin(
        draw(st.sampled_from(Side)),
        customer,
        TRUNK if customer is None and draw(st.booleans()) else None,
        Asn(draw(st.integers(0, 2**32 - 1))),
        identity=draw(st.just("") | TEXT),
    )
    caller = Claim("From", draw(TEXT), None, None)
    caller.number = draw(NUMBERS)
    facts = CallFacts(
        Source(origin, draw(ADDRESSES), draw(st.sampled_from(Transport))),
        draw(st.sampled_from(["INVITE", "MESSAGE"]) | TEXT),
        draw(TEXT),
        draw(st.integers(0, 2**31)),
        URI,
        draw(TEXT),
        caller,
        b"",
    )
    beside = st.just(Claim("P-Asserted-Identity", caller.text, None, None))
    facts.asserted = tuple(draw(st.lists(beside | CLAIMS, max_size=10)))
    facts.preferred = tuple(draw(st.just([]) | st.lists(CLAIMS, max_size=5)))
    facts.remote_party = tuple(draw(st.just([]) | st.lists(CLAIMS, max_size=5)))
    facts.user_agent = draw(st.just("") | TEXT)
    verdict = Verdict(
        draw(st.sampled_from(Outcome)),
        draw(st.sampled_from([0, 403, 503])),
        draw(st.sampled_from(Reason)),
        draw(st.sampled_from(["default", "from_is_owned"]) | TEXT),
        draw(TEXT),
        draw(st.sampled_from(IpOrigin)),
        tuple(draw(st.lists(SIGNALS, max_size=3) | st.just([Signal("oli", 1, "")] * 40))),
        draw(st.sampled_from(Proof)),
        draw(st.booleans()),
    )
    return Attempt(
        draw(IDS), draw(TIMES), facts, verdict, draw(st.sampled_from(["", "acme", "\u00fc" * 600])),
        draw(st.sampled_from(Mode)), draw(NUMBERS), draw(TEXT), (),
    )  # fmt: skip


@st.composite
def endings(draw: st.DrawFn) -> Ending:
    return Ending(
        draw(IDS), draw(TIMES), draw(TEXT), draw(st.sampled_from(["", "acme"])), draw(st.sampled_from(Side)),
        draw(st.sampled_from(EndCause)), draw(st.sampled_from(Party)), draw(st.integers(0, 699)), draw(SECONDS),
        draw(SECONDS), None, draw(SECONDS), draw(st.none() | st.integers(0, 127)),
    )  # fmt: skip


@given(attempts())
def test_attempt_is_written_as_its_object_is_encoded(attempt: Attempt) -> None:
    """Whatever a peer puts into its texts, and whichever fields are there: the same bytes, which read back."""
    lines = written(attempt)
    assert lines == [plain(attempt)]
    assert isinstance(decode(lines[0]), AttemptRecord)


@given(endings())
def test_ending_is_written_as_its_object_is_encoded(ending: Ending) -> None:
    lines = written(ending)
    assert lines == [plain(ending)]
    assert isinstance(decode(lines[0]), EndRecord)


@given(IDS)
def test_id_is_sixteen_hexadecimal_digits(evidence_id: int) -> None:
    assert show_id(evidence_id) == f"{evidence_id:016x}"


def test_time_goes_on_at_every_second_and_back_with_the_clock() -> None:
    stamps: list[str] = []
    for at in (1_700_000_000.25, 1_700_000_000.75, 1_700_000_001.0, 1_700_000_000.5, 0.0):
        ending = Ending(
            1, Wall(at), "a", "", Side.CUSTOMERS, EndCause.BYE, Party.CALLER, 200, None, None, None, None, None
        )  # fmt: skip
        (line,) = written(ending)
        assert line == plain(ending)
        stamps.append(decode(line).at)
    assert stamps[0] == "2023-11-14T22:13:20.250000Z"
