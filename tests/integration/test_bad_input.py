"""What should not be there, over a real socket: answered 400 where that is possible, else dropped; always counted."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tests.kit.metrics import Samples
from tests.kit.ports import free_port
from tests.kit.proxy_process import ACME_HOST, PROXY_HOST, UNKNOWN_HOST, ProxyProcess
from tests.kit.sip_socket import SipSocket, invite

RANDOM_DATAGRAMS = 3000
GARBAGE_DATAGRAMS = 20_000
BURST = 100
MAX_GROWTH_BYTES = 12 << 20


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyProcess]:
    with ProxyProcess(tmp_path_factory.mktemp("proxy")) as running:
        yield running


@pytest.fixture
def peer(proxy: ProxyProcess) -> Iterator[SipSocket]:
    """A port of its own for each test: a refusal that nobody acknowledged is sent again for half a minute."""
    with SipSocket((ACME_HOST, free_port()), (PROXY_HOST, proxy.site.customers_port)) as socket:
        yield socket


def deliver(proxy: ProxyProcess, peer: SipSocket, data: bytes) -> tuple[bytes | None, Samples]:
    """Send one datagram; the first answer and what it added to the counters. The proxy must serve on."""
    before = proxy.scrape()
    peer.send(data)
    # A datagram's delay is counted last in its turn: when it is there, so is the answer.
    proxy.wait_for(
        lambda samples: (
            samples.total("delay_seconds_count")
            == samples.total("messages_received_total")
            > before.total("messages_received_total")
        ),
        "receipt",
    )
    after = proxy.scrape()  # that page may have been begun before the turn: its first lines are older than its last
    answers = peer.until_answered()
    assert answers is not None
    proxy.assert_balanced()
    return answers[0] if answers else None, after.since(before)


def assert_dropped(answer: bytes | None, added: Samples, cause: str) -> None:
    assert answer is None
    assert added.by("messages_by_cause_total", "cause") == {cause: 1}
    assert added.total("messages_total", disposition="dropped") == 1


def assert_answered(answer: bytes | None, added: Samples, status: int = 400) -> None:
    assert answer is not None
    assert answer.startswith(b"SIP/2.0 %d " % status)
    assert b"\r\nWarning: 399 edge-test " in answer
    assert added.by("messages_by_cause_total", "cause") == {"malformed": 1}
    assert added.total("messages_total", disposition="answered") == 1
    assert added.total("verdicts_total") == 0


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"GET / HTTP/1.1\r\nHost: edge.example\r\n\r\n", "not_sip"),
        (bytes.fromhex("16030100c8010000c40303") + bytes(range(190)), "not_sip"),
        (b"hello, is anybody there?\r\n\r\n", "not_sip"),
        (b"INVITE sip:+14155550142@edge.example", "not_sip"),
        (b"INVITE sip:+14155550142@edge.example SIP/3.0\r\n\r\n", "unanswerable"),
        (b"\x00" * 1000 + b"x", "not_sip"),
        (b"\xff" * 65_507, "not_sip"),
        (b"x", "too_short"),
        (b"INVITE sip:+14155550142@edge.example SIP/2.0\r\n\r\n", "unanswerable"),
    ],
    ids=["http", "tls", "text", "half_a_start_line", "other_version", "zeros", "64_kib", "one_byte", "no_headers"],
)
def test_datagram_that_is_no_request_is_dropped_with_a_cause(
    proxy: ProxyProcess, peer: SipSocket, data: bytes, cause: str
) -> None:
    """Nothing is sent back to what does not speak SIP."""
    answer, added = deliver(proxy, peer, data)
    assert_dropped(answer, added, cause)


@pytest.mark.parametrize("header", ["From", "To", "Call-ID", "CSeq"])
def test_request_without_a_required_header_is_answered_400(proxy: ProxyProcess, peer: SipSocket, header: str) -> None:
    """Via is there, so the sender can be told (RFC 3261 §8.1.1, §8.2.6.2)."""
    answer, added = deliver(proxy, peer, invite(peer.local, **{header: None}))
    assert_answered(answer, added)


def test_request_without_via_is_dropped(proxy: ProxyProcess, peer: SipSocket) -> None:
    """Without a Via there is no place to answer to."""
    answer, added = deliver(proxy, peer, invite(peer.local, Via=None))
    assert_dropped(answer, added, "unanswerable")


@pytest.mark.parametrize("value", ["99999999999999999999", "70000", "1", "-1", "0x10", "ten", "", "1, 2"])
def test_absurd_content_length_is_answered_400(proxy: ProxyProcess, peer: SipSocket, value: str) -> None:
    """A body that cannot be there is no reason to wait for it, and no number at all is no length (RFC 3261 §18.3)."""
    answer, added = deliver(proxy, peer, invite(peer.local, Content_Length=value))
    assert_answered(answer, added)


@pytest.mark.parametrize("name", ["From", "CSeq", "Via", "Max-Forwards"])
def test_header_that_the_proxy_reads_never_passes_unreadable(proxy: ProxyProcess, peer: SipSocket, name: str) -> None:
    """What a decision or the way depends on is answered or dropped when it is broken, never forwarded."""
    answer, added = deliver(proxy, peer, invite(peer.local, **{name: "<<<\x01>"}))
    assert added.total("messages_total", disposition="forwarded") == 0
    assert answer is None or answer.startswith(b"SIP/2.0 4")


def test_request_of_another_sip_version_is_answered_505(proxy: ProxyProcess, peer: SipSocket) -> None:
    """The version is told to be wrong (RFC 3261 §21.5.6), not the request."""
    answer, added = deliver(proxy, peer, invite(peer.local).replace(b" SIP/2.0\r\n", b" SIP/3.0\r\n", 1))
    assert_answered(answer, added, 505)


@pytest.mark.parametrize("line", [b"INVITE sip:+1 4155550142@edge.example SIP/2.0", b"INVITE  sip:x SIP/2.0"])
def test_request_line_that_cannot_be_read_is_answered_400(proxy: ProxyProcess, peer: SipSocket, line: bytes) -> None:
    """A space too many hides where the request wants to go, not who sent it (RFC 3261 §7.1)."""
    answer, added = deliver(
        proxy, peer, line + invite(peer.local)[len(b"INVITE sip:+14155550142@edge.example SIP/2.0") :]
    )
    assert_answered(answer, added)


def test_request_cut_in_half_is_answered_400(proxy: ProxyProcess, peer: SipSocket) -> None:
    """With its body cut off, the Content-Length tells (RFC 3261 §18.3)."""
    whole = invite(peer.local, Content_Length="200") + b"v" * 200
    answer, added = deliver(proxy, peer, whole[:-150])
    assert_answered(answer, added)


def test_request_cut_anywhere_is_answered_400_or_dropped_and_never_judged(proxy: ProxyProcess, peer: SipSocket) -> None:
    """Half a message shows half an identity: no verdict is made from it."""
    whole = invite(peer.local, Content_Length="20") + b"v" * 20
    before = proxy.scrape()
    for length in range(1, len(whole)):
        peer.send(whole[:length])
    assert peer.is_answered()
    added = proxy.assert_balanced().since(before)
    assert added.total("messages_received_total") == len(whole)  # and the OPTIONS in place of the whole
    assert added.total("verdicts_total") == added.total("messages_total", disposition="forwarded") == 0
    causes = set(added.by("messages_by_cause_total", "cause"))
    assert causes <= {"malformed", "unanswerable", "not_sip", "too_short", "options"}


def test_sixty_four_kib_of_one_header_is_answered_and_not_forwarded(proxy: ProxyProcess, peer: SipSocket) -> None:
    """A header past the bound on headers is told to its sender."""
    data = invite(peer.local, Subject="x")
    data = data.replace(b"Subject: x", b"Subject: " + b"x" * (65_500 - len(data)))
    answer, added = deliver(proxy, peer, data)
    assert_answered(answer, added, 513)


def test_largest_datagram_with_a_body_does_no_harm(proxy: ProxyProcess, peer: SipSocket) -> None:
    """64 KiB is within the bounds: the sender hears of it, and the proxy goes on."""
    data = invite(peer.local, Content_Length="65000")
    data += b"v" * 65_000
    peer.send(data[:65_507])
    assert peer.receive() is not None
    assert peer.is_answered()
    proxy.assert_balanced()


def test_random_bytes_are_dropped_and_counted(proxy: ProxyProcess, peer: SipSocket) -> None:
    """Thousands of datagrams of noise, some shaped like SIP: each has one end and one cause."""
    generator = random.Random(2611)
    before = proxy.scrape()
    start = b"INVITE sip:x SIP/2.0\r\n"
    for number in range(RANDOM_DATAGRAMS):
        noise = generator.randbytes(generator.randrange(1, 1500))
        peer.send(start + noise if number % 3 == 0 else noise)
        if number % BURST == 0:
            assert peer.is_answered()
    assert peer.is_answered()
    added = proxy.assert_balanced().since(before)
    sent = RANDOM_DATAGRAMS + RANDOM_DATAGRAMS // BURST + 1
    assert added.total("messages_received_total", side="customers") == sent
    assert added.total("messages_total", disposition="forwarded") == 0


def garbage(generator: random.Random, local: tuple[str, int]) -> bytes:
    """Noise, a message that lost something, or one with some bytes changed."""
    kind = generator.randrange(4)
    if kind == 0:
        return generator.randbytes(generator.randrange(1, 800))
    message = bytearray(invite(local, Content_Length="5"))
    if kind == 1:
        return bytes(message[: generator.randrange(1, len(message))])
    if kind == 2:
        header = generator.choice(["Via", "From", "To", "Call-ID", "CSeq"])
        return invite(local, **{header: None})
    for _ in range(generator.randrange(1, 20)):
        message[generator.randrange(len(message))] = generator.randrange(256)
    return bytes(message)


def test_memory_stays_bounded_under_garbage(proxy: ProxyProcess, peer: SipSocket) -> None:
    """Nobody can make the process grow by sending what is no call."""
    generator = random.Random(3261)
    with SipSocket((UNKNOWN_HOST, free_port()), peer.proxy) as stranger:

        def pour(count: int) -> None:
            for number in range(count):
                stranger.send(garbage(generator, stranger.local))
                if number % BURST == BURST - 1:
                    assert peer.is_answered()

        pour(GARBAGE_DATAGRAMS // 10)
        before, settled_bytes = proxy.scrape(), proxy.rss_bytes()
        pour(GARBAGE_DATAGRAMS)
        added = proxy.assert_balanced().since(before)
        assert proxy.rss_bytes() - settled_bytes < MAX_GROWTH_BYTES
    assert added.total("messages_received_total", side="customers") == GARBAGE_DATAGRAMS + GARBAGE_DATAGRAMS // BURST
    assert added.total("messages_total", disposition="forwarded") == 0
    assert proxy.is_running
