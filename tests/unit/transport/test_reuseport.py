"""The kernel's filter and the hash in Python name one owner, on real sockets."""

from __future__ import annotations

import random
import select
import socket
from collections import Counter
from collections.abc import Iterator

import pytest

from edge_proxy.addr import Address
from edge_proxy.pipeline.steering import call_id_in, owner_of
from edge_proxy.transport.reuseport import SEARCHED_BYTES, open_group, steer, steering_program
from tests.kit.peers import missing

WORKERS = 5
ALPHABET = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.!%*_+`'~()<>:\\\"/[]?{}@"
FORMS = (b"Call-ID: ", b"Call-ID:", b"CALL-ID: ", b"call-id: ", b"cAlL-iD:")


@pytest.fixture
def group() -> Iterator[list[socket.socket]]:
    opened = open_group(Address("127.0.0.1", 0), WORKERS)
    if not steer(opened):
        missing("this kernel does not let a filter choose among sockets of one address")
    yield opened
    for one in opened:
        one.close()


@pytest.fixture
def sender() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        yield one


def landed(group: list[socket.socket], sender: socket.socket, data: bytes) -> int:
    """Which socket of the group the kernel gave it to."""
    sender.sendto(data, group[0].getsockname())
    readable, _, _ = select.select(group, [], [], 2)
    (one,) = readable
    assert one.recv(65_535) == data
    return group.index(one)


def message(header: bytes, before: int = 100, after: int = 200) -> bytes:
    """A message with this header line at about this offset."""
    head = b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK" + b"x" * before + b"\r\n"
    return head + header + b"\r\nCSeq: 1 INVITE\r\nSubject: " + b"y" * after + b"\r\n\r\n"


def random_word(rng: random.Random) -> bytes:
    return bytes(rng.choice(ALPHABET) for _ in range(rng.choice((1, 2, 8, 20, 30, 31, 32, 33, 60))))


def test_kernel_and_python_name_the_same_owner(group: list[socket.socket], sender: socket.socket) -> None:
    """Whatever the Call-ID, its length, the letters of the header's name and where it stands."""
    rng = random.Random(1)
    owners: Counter[int] = Counter()
    for _ in range(5000):
        word = random_word(rng)
        data = message(rng.choice(FORMS) + word, before=rng.randrange(500))
        owner = owner_of(word, WORKERS)
        assert call_id_in(data) == word
        assert landed(group, sender, data) == owner, data
        owners[owner] += 1
    assert min(owners.values()) > 5000 / WORKERS * 0.85


def test_call_ids_that_count_up_are_spread(group: list[socket.socket], sender: socket.socket) -> None:
    """As SIPp and many gateways make them: a number, the process, the address."""
    for workers in (2, 3, 4, 7):
        owners = Counter(owner_of(b"%d-4711@192.0.2.10" % number, workers) for number in range(4000))
        assert min(owners.values()) > 4000 / workers * 0.85
        assert max(owners.values()) < 4000 / workers * 1.15


@pytest.mark.parametrize(
    "header",
    [
        b"i: compact@192.0.2.1",
        b"Subject: nothing here",
        b"X-Call-ID: another@192.0.2.1",
        b"Call-Info: <sip:a@b>;x-ID:y",
        b"Call-ID : spaced@192.0.2.1",
    ],
)
def test_what_the_filter_cannot_read_goes_where_the_addresses_say(
    group: list[socket.socket], sender: socket.socket, header: bytes
) -> None:
    """Not all of it to one worker: different senders are spread, and one sender stays at one place."""
    places = set()
    for _ in range(40):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            first = landed(group, one, message(header))
            assert landed(group, one, message(header, before=20)) == first
            places.add(first)
    assert len(places) > 1


def test_header_too_far_back_and_short_datagrams_do_not_all_go_to_the_first(group: list[socket.socket]) -> None:
    """The filter names no socket there; it would name the first one if it read behind the end."""
    for data in (message(b"Call-ID: far@192.0.2.1", before=SEARCHED_BYTES), b"\r\n\r\n", b"x" * 40, b"x" * 300):
        places = set()
        for _ in range(40):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
                places.add(landed(group, one, data))
        assert len(places) > 1, data


def test_program_is_as_long_as_the_kernel_takes() -> None:
    for workers in (2, 64):
        program = steering_program(workers)
        assert len(program) <= 4096
        assert all(0 <= part <= 255 for one in program for part in (one.if_true, one.if_false))


def test_address_in_use_is_an_error() -> None:
    """Sockets of others, who did not ask to share, are not joined."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        with pytest.raises(OSError, match="in use"):
            open_group(Address(*other.getsockname()), 2)
