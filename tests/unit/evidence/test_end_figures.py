"""The end record carries post-dial delay and Q.850 cause, and old lines without them are still read."""

from __future__ import annotations

from edge_proxy.evidence.record import EndRecord, decode, encode

_END = EndRecord(
    id="0" * 16,
    at="2026-01-01T00:00:00.000000Z",
    node="edge-1",
    worker=0,
    call_id="c",
    direction="customers",
    cause="bye",
    ended_by="caller",
    status=200,
    pdd_s=1.25,
    q850=16,
)


def test_figures_survive_the_journal() -> None:
    """What is written is what is read."""
    assert decode(encode(_END)) == _END
    assert b'"pdd_s":1.25' in encode(_END)
    assert b'"q850":16' in encode(_END)


def test_cause_zero_is_not_left_out() -> None:
    """0 is a cause; only what was never said is absent."""
    line = encode(EndRecord(**{name: getattr(_END, name) for name in _END.__struct_fields__} | {"q850": 0}))
    assert b'"q850":0' in line


def test_record_of_an_earlier_version_is_read() -> None:
    """A journal is kept for a year: lines without the new fields stay readable."""
    old = encode(_END).replace(b',"pdd_s":1.25,"q850":16', b"")
    record = decode(old)
    assert isinstance(record, EndRecord)
    assert (record.pdd_s, record.q850) == (None, None)
