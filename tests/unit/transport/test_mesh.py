"""What lands with one worker and is another's arrives there as it came; nobody waits, and what is lost is counted."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from edge_proxy.addr import Address, Listener, Side, Transport
from edge_proxy.pipeline.steering import Steering, owner_of
from edge_proxy.transport.mesh import Mesh, open_pair
from edge_proxy.transport.port import Deliver, Received

LISTENERS = [
    Listener(0, Side.CUSTOMERS, Transport.UDP, Address("192.0.2.1", 5060)),
    Listener(1, Side.CARRIERS, Transport.UDP, Address("192.0.2.2", 5060)),
]
SOURCE = Address("198.51.100.7", 5080)


def message(owner: int, size: int = 200, stem: str = "call") -> bytes:
    """A message of a call that this worker of two owns."""
    call_id = next(word for n in range(100) if owner_of(word := f"{stem}-{n}".encode(), 2) == owner)
    head = b"INVITE sip:a@b SIP/2.0\r\nCall-ID: " + call_id + b"\r\n\r\n"
    return head + b"x" * (size - len(head))


class Pair:
    """Two workers' ends, and what each of them was given to work on, by slot."""

    def __init__(self) -> None:
        self.pairs = [open_pair() for _ in range(2)]
        outboxes = [outbox for _, outbox in self.pairs]
        steering = Steering(2, lambda call_id: call_id)
        self.meshes = [Mesh(n, self.pairs[n][0], outboxes, steering) for n in range(2)]
        self.got: list[list[tuple[int, Received]]] = [[], []]

    def start(self, *workers: int) -> None:
        loop = asyncio.get_running_loop()
        for worker in workers or (0, 1):
            self.meshes[worker].start(loop, [self._taker(worker, slot) for slot in range(2)])

    def _taker(self, worker: int, slot: int) -> Deliver:
        return lambda batch: self.got[worker].extend((slot, one) for one in batch)

    def land(self, worker: int, slot: int, *messages: bytes, source: Address = SOURCE) -> None:
        deliver = self.meshes[worker].sifted(LISTENERS[slot], self._taker(worker, slot))
        deliver([(data, source) for data in messages])

    async def settle(self, worker: int, count: int) -> None:
        for _ in range(500):
            if len(self.got[worker]) >= count:
                return
            await asyncio.sleep(0.01)


@pytest.fixture
def two() -> Iterator[Pair]:
    pair = Pair()
    yield pair
    for both in pair.pairs:
        for one in both:
            one.close()


@pytest.mark.asyncio
async def test_message_reaches_its_owner_with_source_and_listener(two: Pair) -> None:
    two.start()
    mine, other = message(0), message(1)
    source = Address("2001:db8::7", 65535)
    two.land(0, 1, other, mine, other, source=source)
    assert two.got[0] == [(1, (mine, source))]
    await two.settle(1, 2)
    assert two.got[1] == [(1, (other, source))] * 2
    assert (two.meshes[0].handed_over, two.meshes[1].taken_over, two.meshes[0].lost) == (2, 2, 0)
    for mesh in two.meshes:
        mesh.stop()


@pytest.mark.asyncio
async def test_what_names_no_call_stays_where_it_landed(two: Pair) -> None:
    two.start()
    two.land(1, 0, b"\r\n\r\n", b"garbage")
    assert [received[0] for _, received in two.got[1]] == [b"\r\n\r\n", b"garbage"]
    assert two.meshes[1].handed_over == 0


@pytest.mark.asyncio
async def test_largest_datagram_is_handed_over_whole(two: Pair) -> None:
    two.start()
    data = message(1, size=65_507)
    two.land(0, 0, data)
    await two.settle(1, 1)
    assert two.got[1] == [(0, (data, SOURCE))]


@pytest.mark.asyncio
async def test_worker_that_does_not_read_holds_nobody_up_and_gets_all_later(two: Pair) -> None:
    """As while it is being replaced: what its socket does not take waits, in order."""
    two.start(0)
    data = [message(1, size=60_000, stem=f"call{n}") for n in range(300)]
    two.land(0, 0, *data)
    await asyncio.sleep(0.05)
    assert two.meshes[0].handed_over < 300
    two.start(1)
    await two.settle(1, 300)
    assert [received[0] for _, received in two.got[1]] == data
    assert (two.meshes[0].handed_over, two.meshes[0].lost) == (300, 0)


@pytest.mark.asyncio
async def test_queue_is_bounded_and_what_does_not_fit_is_counted(two: Pair) -> None:
    outboxes = [outbox for _, outbox in two.pairs]
    two.meshes[0] = Mesh(0, two.pairs[0][0], outboxes, Steering(2, lambda one: one), most_queued=20)
    two.start(0)
    two.land(0, 0, *[message(1, size=60_000)] * 1000)
    lost, sent = two.meshes[0].lost, two.meshes[0].handed_over
    assert lost == 1000 - 20 - sent > 0
    two.start(1)
    await two.settle(1, sent + 20)
    await asyncio.sleep(0.05)
    assert len(two.got[1]) == sent + 20


@pytest.mark.asyncio
async def test_large_messages_fill_the_queue_sooner(two: Pair) -> None:
    """A thousand of the largest are not kept for a worker that does not read; once it has, there is room again."""
    two.start(0)
    large = [message(1, size=60_000)] * 1000
    two.land(0, 0, *large)
    mesh = two.meshes[0]
    waiting = 1000 - mesh.lost - mesh.handed_over
    assert waiting * 60_000 < 33 << 20
    two.start(1)
    await two.settle(1, 1000 - mesh.lost)
    lost = mesh.lost
    assert lost > 0
    two.land(0, 0, *large[:200])
    await two.settle(1, 1200 - lost)
    assert (len(two.got[1]), mesh.lost) == (1200 - lost, lost)


@pytest.mark.asyncio
async def test_what_waits_in_the_inbox_is_there_for_the_next_life(two: Pair) -> None:
    two.start(0)
    data = message(1)
    two.land(0, 0, data)
    two.meshes[1] = Mesh(1, two.pairs[1][0], [outbox for _, outbox in two.pairs], Steering(2, lambda one: one))
    two.start(1)
    await two.settle(1, 1)
    assert two.got[1] == [(0, (data, SOURCE))]
