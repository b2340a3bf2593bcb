"""Records are encoded once, whatever a peer put into them, and never grow past what the ring takes."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from edge_proxy.addr import Side, Transport
from edge_proxy.evidence.record import (
    MAX_ASSERTED,
    MAX_RECORD_BYTES,
    MAX_SIGNALS,
    AttemptRecord,
    EndRecord,
    decode,
    encode,
)
from edge_proxy.pipeline.record_text import MAX_TEXT_CHARS

ATTEMPT = AttemptRecord(
    id="00112233445566ff",
    at="2026-01-02T03:04:05.000006Z",
    node="edge-1",
    worker=0,
    side=Side.CUSTOMERS,
    transport=Transport.UDP,
    source="192.0.2.1:5060",
    asn=64500,
    customer="acme",
    trunk=None,
    method="INVITE",
    call_id="a84b4c76e66710@192.0.2.1",
    cseq=1,
    from_uri="sip:+12025550100@192.0.2.1",
    from_number="+12025550100",
    asserted=["sip:+12025550100@192.0.2.1"],
    request_uri="sip:+12025550199@198.51.100.1",
    called_number="+12025550199",
    user_agent="example/1.0",
    outcome="forward",
    status=0,
    reason="owned",
    rule="number_ownership",
    ip_origin="ip",
    signals=["registered_prefix"],
    proof="weak",
    mode="enforce",
    would_block=False,
    snapshot="7",
    emergency=False,
)
END = EndRecord(
    id="00112233445566ff",
    at="2026-01-02T03:05:05.000006Z",
    node="edge-1",
    worker=0,
    call_id="a84b4c76e66710@192.0.2.1",
    customer="acme",
    direction="outbound",
    cause="bye",
    ended_by="caller",
    status=200,
    setup_s=1.5,
    duration_s=58.25,
)
# Everything a str can hold: lone surrogates, NUL, line separators, far beyond the bound.
HOSTILE = st.text(st.characters(), max_size=40).flatmap(
    lambda text: st.sampled_from([text, text * 60, text + "\ud800", "\x00" * 600, "\n\r\u2028" + text])
)


def text_fields(record: AttemptRecord | EndRecord) -> list[str]:
    return [name for name in record.__struct_fields__ if isinstance(getattr(record, name), str)]


def test_attempt_record_reads_back_as_it_was() -> None:
    """Encoding loses nothing of a record whose texts are within the bounds."""
    assert decode(encode(ATTEMPT)) == ATTEMPT


def test_end_record_reads_back_as_it_was() -> None:
    """The tag tells the two kinds apart."""
    assert decode(encode(END)) == END
    assert encode(END).startswith(b'{"kind":"end","id":"00112233445566ff",')


def test_journal_fields_in_front_do_not_disturb_decoding() -> None:
    """A journal line, with seq and prev spliced in, decodes to the same record."""
    assert decode(b'{"seq":7,"prev":"00",' + encode(ATTEMPT)[1:]) == ATTEMPT


def test_defaults_are_left_out() -> None:
    """What is absent or plainly false takes no bytes in the journal."""
    encoded = encode(msgspec.structs.replace(ATTEMPT, customer=None, signals=[]))
    assert not any(name in encoded for name in (b'customer":', b"signals", b"would_block", b"emergency"))


def test_text_at_the_bound_is_kept_and_beyond_it_is_cut_with_its_length() -> None:
    """512 characters stay; of 513 the first 488 stay and the mark says that 25 were left out."""
    whole = msgspec.structs.replace(ATTEMPT, user_agent="a" * 512)
    assert decode(encode(whole)) == whole
    cut = decode(encode(msgspec.structs.replace(ATTEMPT, user_agent="a" * 513)))
    assert isinstance(cut, AttemptRecord)
    assert cut.user_agent == "a" * 488 + "…(+25)"


def test_a_long_text_is_cut_in_an_otherwise_empty_record() -> None:
    """The short cut for short records never lets a text over the bound through."""
    empty = AttemptRecord(
        id="", at="", node="", worker=0, side="", transport="", source="", asn=0, method="", call_id="", cseq=0,
        from_uri="", request_uri="a" * 513, outcome="", status=0, reason="", rule="", ip_origin="", proof="",
        mode="", snapshot="",
    )  # fmt: skip
    cut = decode(encode(empty))
    assert isinstance(cut, AttemptRecord)
    assert len(cut.request_uri) <= MAX_TEXT_CHARS
    end = EndRecord(id="", at="", node="", worker=0, call_id="a" * 513, direction="", cause="", ended_by="", status=0)
    cut_end = decode(encode(end))
    assert cut_end.call_id.endswith("…(+25)")


def test_long_lists_are_cut_with_their_length() -> None:
    """A request with a hundred P-Asserted-Identity values cannot fill the ring."""
    record = decode(encode(msgspec.structs.replace(ATTEMPT, asserted=["x"] * 100, signals=["y"] * 33)))
    assert isinstance(record, AttemptRecord)
    assert record.asserted == ["x"] * (MAX_ASSERTED - 1) + ["…(+93)"]
    assert record.signals == ["y"] * (MAX_SIGNALS - 1) + ["…(+2)"]


def test_the_largest_record_fits() -> None:
    """Every text and entry at its longest in its costliest characters is still below MAX_RECORD_BYTES."""
    costly = dict.fromkeys(text_fields(ATTEMPT), "\x00" * 10_000)
    largest = msgspec.structs.replace(
        ATTEMPT, **costly, trunk="\x00" * 513, asserted=["\x00" * 513] * 99, signals=["\x00" * 513] * 99
    )
    assert len(encode(largest)) < MAX_RECORD_BYTES


@given(st.lists(HOSTILE, min_size=24, max_size=24), st.lists(HOSTILE, max_size=40))
def test_hostile_text_never_raises_nor_breaks_the_line(texts: list[str], entries: list[str]) -> None:
    """Any str encodes to one line of valid UTF-8 JSON with every text within its bound."""
    changes = dict(zip(text_fields(ATTEMPT), texts, strict=False))
    encoded = encode(msgspec.structs.replace(ATTEMPT, **changes, asserted=entries, signals=entries))
    assert b"\n" not in encoded
    record = decode(encoded)
    assert isinstance(record, AttemptRecord)
    assert all(len(getattr(record, name)) <= MAX_TEXT_CHARS for name in text_fields(record))
    assert all(len(entry) <= MAX_TEXT_CHARS for entry in record.asserted + record.signals)


@given(HOSTILE)
def test_hostile_text_in_an_end_record_never_raises(text: str) -> None:
    """The Call-ID of an end record is as much a peer's text as the attempt's."""
    assert len(decode(encode(msgspec.structs.replace(END, call_id=text, cause=text))).call_id) <= MAX_TEXT_CHARS
