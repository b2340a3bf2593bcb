"""Nonces are ours, young, and good for each count once, with bounded memory (pipeline/nonces.py)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_proxy.addr import Wall
from edge_proxy.pipeline.nonces import Freshness, NonceBook

SECRET = bytes(range(32))
NOW = Wall(1_700_000_000.0)


def test_nonce_is_good_for_each_count_once_while_it_is_young() -> None:
    """Counts go up, with gaps if need be; one again, or a lower one, is a replay."""
    book = NonceBook(SECRET, 0)
    nonce = book.issue(NOW)
    uses = [book.use(nonce, count, NOW, 300) for count in (1, 1, 3, 2, 4)]
    assert uses == [Freshness.FRESH, Freshness.REUSED, Freshness.FRESH, Freshness.REUSED, Freshness.FRESH]
    assert book.use(nonce, 5, Wall(NOW + 301), 300) is Freshness.STALE


def test_every_nonce_is_another() -> None:
    """Two in the same millisecond differ, so that two clients never share one."""
    book = NonceBook(SECRET, 0)
    assert len({book.issue(NOW) for _ in range(1000)}) == 1000


@given(st.data())
def test_altered_nonce_is_none_of_ours(data: st.DataObject) -> None:
    """Any byte changed, or any bytes at all."""
    book = NonceBook(SECRET, 0)
    nonce = book.issue(NOW)
    at = data.draw(st.integers(0, len(nonce) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != nonce[at]))
    altered = nonce[:at] + bytes([other]) + nonce[at + 1 :]
    assert book.use(altered, 1, NOW, 300) is Freshness.STALE
    assert book.use(data.draw(st.binary(max_size=64)), 1, NOW, 300) is Freshness.STALE


def test_nonce_of_another_worker_or_node_is_stale() -> None:
    """Each worker knows only what it has seen used, so it takes only its own."""
    nonce = NonceBook(SECRET, 0).issue(NOW)
    for book in (NonceBook(SECRET, 1), NonceBook(bytes(32), 0)):
        book.issue(NOW)
        assert book.use(nonce, 1, NOW, 300) is Freshness.STALE


def test_nonce_from_before_the_start_or_from_the_future_is_stale() -> None:
    """A book that has just begun does not know what was used; a clock that was set back does not help a nonce."""
    old = NonceBook(SECRET, 0)
    nonce, late = old.issue(NOW), old.issue(Wall(NOW + 60))
    book = NonceBook(SECRET, 0)
    assert book.use(nonce, 1, Wall(NOW + 1), 300) is Freshness.STALE
    assert book.use(late, 1, Wall(NOW + 2), 300) is Freshness.STALE


def test_memory_is_bounded_and_what_is_forgotten_cannot_be_replayed() -> None:
    """When a used nonce must be forgotten, no nonce as old is taken any more, used or not."""
    book = NonceBook(SECRET, 0, capacity=4)
    nonces = [book.issue(Wall(NOW + second)) for second in range(6)]
    unused = book.issue(NOW)
    now = Wall(NOW + 10)
    assert [book.use(nonce, 1, now, 300) for nonce in nonces] == [Freshness.FRESH] * 6
    assert len(book) == 4
    assert [book.use(nonce, 1, now, 300) for nonce in nonces] == [Freshness.STALE] * 2 + [Freshness.REUSED] * 4
    assert book.use(unused, 1, now, 300) is Freshness.STALE
    assert book.use(nonces[5], 2, now, 300) is Freshness.FRESH


def test_what_is_past_its_time_is_forgotten_without_harm() -> None:
    """A full book of old nonces costs no young one its life."""
    book = NonceBook(SECRET, 0, capacity=2)
    for nonce in [book.issue(NOW) for _ in range(2)]:
        book.use(nonce, 1, NOW, 300)
    later = Wall(NOW + 400)
    young, unused = book.issue(later), book.issue(later)
    assert book.use(young, 1, later, 300) is Freshness.FRESH
    assert book.use(unused, 1, later, 300) is Freshness.FRESH
