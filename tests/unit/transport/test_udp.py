"""A UDP port gives and takes whole batches, loses nothing silently, and does so with `_batch` as without it."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_proxy.addr import Address
from edge_proxy.transport import datagrams
from edge_proxy.transport.datagrams import HAS_BATCH, Datagram
from edge_proxy.transport.port import Received
from edge_proxy.transport.udp import UdpPort, open_udp_socket
from tests.kit.failing_memory import HAS_FAILING_MEMORY, fail_each_allocation
from tests.kit.ports import has_ipv6

ROOT = Path(__file__).parents[3]

needs_batch = pytest.mark.needs(HAS_BATCH, "_batch is not built here (no compiler): make engine")

WAYS = [pytest.param(False, id="plain"), pytest.param(True, id="batched", marks=needs_batch)]

NO_HOSTS = [
    *("", "localhost", "<broadcast>", "127.1", "2130706433", "0x7f.1", " 127.0.0.1", "[::1]", "fe80::1%lo"),
    *("a:b.example", "a..b", "127.0.0.1\0", "\0", "\uff11\uff12\uff17.0.0.1", "\udc80", "1" * 300),
]
"""What Python's sendto() would look up, take for an address all the same, or raise something of its own for."""

HOSTS = ["127.0.0.1", pytest.param("::1", marks=pytest.mark.needs(has_ipv6(), "no IPv6 here"))]


@pytest.fixture(params=WAYS)
def is_batched(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(params=HOSTS)
def host(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def port(host: str, is_batched: bool) -> Iterator[UdpPort]:
    port = UdpPort(Address(host, 0), is_batched=is_batched)
    yield port
    port.close()


@pytest.fixture
def far(host: str) -> Iterator[socket.socket]:
    """Somebody at the other end."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as far:
        far.bind((host, 0))
        far.settimeout(5.0)
        yield far


def address_of(far: socket.socket) -> Address:
    return Address(*far.getsockname()[:2])


def test_what_waits_comes_in_order_with_its_source(port: UdpPort, far: socket.socket) -> None:
    sent = [b"%d" % n for n in range(10)]
    for data in sent:
        far.sendto(data, port.bound)
    received = port.drain(64)
    assert [data for data, _ in received] == sent
    assert {source for _, source in received} == {address_of(far)}
    assert all(isinstance(source, Address) for _, source in received)
    assert port.drain(64) == []


def test_a_turn_takes_no_more_than_asked(port: UdpPort, far: socket.socket) -> None:
    for n in range(70):
        far.sendto(b"%d" % n, port.bound)
    counts = [len(port.drain(64)), len(port.drain(5)), len(port.drain(64)), len(port.drain(64))]
    assert counts == [64, 5, 1, 0]


def test_every_size_arrives_whole(port: UdpPort, far: socket.socket) -> None:
    largest = 65_507 if ":" not in port.bound.host else 65_527
    far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    for size in (0, 1, 1500, largest):
        far.sendto(b"x" * size, port.bound)
    assert [len(data) for data, _ in port.drain(64)] == [0, 1, 1500, largest]


def test_a_batch_leaves_in_order(port: UdpPort, far: socket.socket, host: str) -> None:
    with socket.socket(far.family, socket.SOCK_DGRAM) as other:
        other.bind((host, 0))
        other.settimeout(5.0)
        targets = [far, other]
        port.send_all([(b"%d" % n, address_of(targets[n % 2])) for n in range(150)])
        for which, target in enumerate(targets):
            assert [target.recv(100) for _ in range(75)] == [b"%d" % n for n in range(which, 150, 2)]
    assert port.send_errors == port.send_overflows == 0


@pytest.mark.parametrize(
    "bad",
    [
        (b"x" * 70_000, None),
        (b"x", Address("203.0.113.1.1", 5060)),
        (b"x", Address("2001:db8::1::2", 5060)),
        (b"x", Address("127.0.0.1", 70_000)),
        (b"x", Address("127.0.0.1", -1)),
        (b"x", Address("127.0.0.1", 1 << 70)),
        *[(b"x", Address(host, 5060)) for host in NO_HOSTS],
    ],
    ids=["oversize", "five octets", "two gaps", "port too large", "port negative", "port huge", *map(ascii, NO_HOSTS)],
)
def test_what_cannot_be_sent_is_counted_and_the_rest_goes(
    port: UdpPort, far: socket.socket, bad: tuple[bytes, Address | None]
) -> None:
    data, address = bad
    broken = (data, address or address_of(far))
    port.send_all([(b"1", address_of(far)), broken, (b"2", address_of(far)), broken])
    assert [far.recv(100), far.recv(100)] == [b"1", b"2"]
    assert port.send_errors == 2
    assert port.send_overflows == 0


def test_the_other_family_cannot_be_sent_to(port: UdpPort, far: socket.socket, host: str) -> None:
    port.send_all([(b"x", Address("::1" if ":" not in host else "127.0.0.1", 5060)), (b"y", address_of(far))])
    assert far.recv(100) == b"y"
    assert port.send_errors == 1


def test_a_closed_port_sends_nothing_as_somebody_else(port: UdpPort, far: socket.socket) -> None:
    """The number of its descriptor is given to whoever opens something next."""
    descriptor = port._socket.fileno()
    with socket.socket(far.family, socket.SOCK_DGRAM) as opened:
        port.close()
        os.dup2(opened.fileno(), descriptor)
    with socket.socket(fileno=descriptor) as next_one:
        port.send_all([(b"x", address_of(far)), (b"y", address_of(far))])
        assert port.drain(2) == []
        next_one.sendto(b"its own", far.getsockname())
        assert far.recv(100) == b"its own"
    assert port.send_errors == 4


class FullSocket:
    """A kernel that takes `room` messages, then none until it is told more."""

    drops = 0

    def __init__(self, room: int, broken: int = -1) -> None:
        self.room, self.broken = room, broken
        self.sent: list[bytes] = []

    def receive(self, most: int, /) -> list[Datagram]:
        return []

    def send(self, messages: list[Datagram], start: int, /) -> tuple[int, int]:
        taken = 0
        for data, _ in messages[start:]:
            if data == b"%d" % self.broken:
                self.broken = -1
                return taken, errno.EPERM
            if not self.room:
                return taken, errno.EAGAIN
            self.room -= 1
            taken += 1
            self.sent.append(data)
        return taken, 0


def test_what_the_kernel_does_not_take_waits_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = FullSocket(3, broken=6)
    monkeypatch.setattr("edge_proxy.transport.udp.datagrams_of", lambda *_args, **_kwargs: kernel)

    async def run() -> None:
        port = UdpPort(Address("127.0.0.1", 0))
        await port.start(asyncio.get_running_loop(), lambda _batch: None)
        to = Address("127.0.0.1", 9)
        port.send_all([(b"%d" % n, to) for n in range(5)])
        assert kernel.sent == [b"0", b"1", b"2"]
        port.send_all([(b"5", to), (b"6", to), (b"7", to)])  # must not overtake
        kernel.room = 100
        for _ in range(100):
            await asyncio.sleep(0.001)
            if len(kernel.sent) == 7:
                break
        assert kernel.sent == [b"0", b"1", b"2", b"3", b"4", b"5", b"7"]
        assert port.send_errors == 1
        port.send_all([(b"8", to)])
        assert kernel.sent[-1] == b"8"
        kernel.room = 0
        port.send_all([(b"x", to)] * 5000)
        port.send_all([(b"y", to)] * 2)
        assert port.send_overflows == 5000 - 4096 + 2
        kernel.room = 10
        port.stop()
        assert len(kernel.sent) == 18
        port.close()

    asyncio.run(run())


def test_an_icmp_error_is_counted_and_ends_nothing(is_batched: bool) -> None:
    """Refused is what a connected socket hears of an earlier send; what waits behind it is still read."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
        unused.bind(("127.0.0.1", 0))
        gone = unused.getsockname()
    port = UdpPort(Address("127.0.0.1", 0), is_batched=is_batched)
    own = socket.socket(fileno=os.dup(port._socket.fileno()))
    with own:
        own.connect(gone)
        own.send(b"into the void")
        assert port.drain(64) == []
    assert port.send_errors == 1
    port.close()


def test_kernel_drops_are_counted(is_batched: bool) -> None:
    bound = open_udp_socket(Address("127.0.0.1", 0))
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    port = UdpPort(bound, is_batched=is_batched)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as far:
        for round_ in (1, 2):
            for _ in range(50):
                far.sendto(b"x" * 1000, port.bound)
            kept = 0
            while batch := port.drain(64):
                kept += len(batch)
            far.sendto(b"the next one tells", port.bound)
            assert len(port.drain(64)) == 1
            assert port.kernel_drops == round_ * (50 - kept) > 0
    port.close()


def test_many_sources_and_targets_are_remembered_up_to_a_bound(is_batched: bool) -> None:
    """More addresses than either direction remembers: all still right."""
    port = UdpPort(Address("127.0.0.1", 0), is_batched=is_batched)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as far:
        far.bind(("127.0.0.1", 0))
        far.settimeout(5.0)
        to = address_of(far)
        for n in range(5000):
            port.send_all([(b"x", Address(f"127.0.{n >> 8}.{(n & 255) or 1}", 9))])
        port.send_all([(b"seen", to)])
        assert far.recv(10) == b"seen"
    for n in range(4200):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as source:
            source.bind((f"127.1.{n >> 8}.{(n & 255) or 1}", 0))
            source.sendto(b"%d" % n, port.bound)
            [(data, seen)] = port.drain(64)
            assert (data, seen) == (b"%d" % n, address_of(source))
    port.close()


def test_a_turn_is_one_delivery(is_batched: bool) -> None:
    async def run() -> None:
        port = UdpPort(Address("127.0.0.1", 0), is_batched=is_batched)
        turns: list[list[Received]] = []
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as far:
            for n in range(5):
                far.sendto(b"%d" % n, port.bound)
            await port.start(asyncio.get_running_loop(), turns.append)
            for _ in range(1000):
                await asyncio.sleep(0.001)
                if turns:
                    break
        assert [data for data, _ in turns[0]] == [b"0", b"1", b"2", b"3", b"4"]
        port.stop()
        port.close()

    asyncio.run(run())


class Text(str):
    __slots__ = ()


class Pair(tuple[str, int]):
    __slots__ = ()


@needs_batch
class TestBatch:
    """The C module by itself: wrong arguments raise, and nothing leaks."""

    def batch(self, bound: socket.socket) -> datagrams.Datagrams:
        from edge_proxy.transport._batch import Batch

        return Batch(bound.fileno(), bound.family, Address)

    @pytest.fixture
    def bound(self) -> Iterator[socket.socket]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
            bound.bind(("127.0.0.1", 0))
            bound.setblocking(False)
            yield bound

    @pytest.mark.parametrize(
        "messages",
        [
            [b"x"],
            [(b"x",)],
            [("x", ("127.0.0.1", 9))],
            [(b"x", "127.0.0.1")],
            [(b"x", (9, "127.0.0.1"))],
            [(b"x", ("127.0.0.1", "9"))],
            [(b"x", (["127.0.0.1"], 9))],
            [(b"x", (Text("127.0.0.1"), 9))],
            [(b"x", (Address("127.0.0.1", 9), 9))],
            [(b"x", Pair(("127.0.0.1", 9)))],
            (),
            None,
        ],
    )
    def test_wrong_types_raise(self, bound: socket.socket, messages: object) -> None:
        with pytest.raises(TypeError):
            self.batch(bound).send(messages, 0)  # type: ignore[arg-type]

    def test_what_is_sent_runs_no_code_of_its_own(self, bound: socket.socket) -> None:
        """A port that is no int is refused before it can take away the messages that go out with it."""
        messages: list[object] = []

        class Port:
            def __index__(self) -> int:
                messages.clear()
                return 9

        messages += [(b"%d" % number, bound.getsockname()) for number in range(9)]
        messages.append((b"x", Address("127.0.0.1", Port())))  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            self.batch(bound).send(messages, 0)  # type: ignore[arg-type]
        assert len(messages) == 10

    @pytest.mark.needs(HAS_FAILING_MEMORY, "this Python has no _testcapi")
    def test_without_memory_nothing_leaks(self, bound: socket.socket) -> None:
        name = Address(*bound.getsockname())
        other = Address("127.0.0.1", 9)

        def receive() -> list[Received]:
            batch = self.batch(bound)
            bound.sendto(b"x" * 1000, name)
            bound.sendto(b"", name)
            return batch.receive(2)

        assert fail_each_allocation(lambda: self.batch(bound).send([(b"x", other), (b"y", name)], 0), (2, 0)) > 5
        while self.batch(bound).receive(64):
            pass
        both = [(b"x" * 1000, name), (b"", name)]
        for _ in range(3):
            while self.batch(bound).receive(64):
                pass
            assert receive() == both
        assert fail_each_allocation(lambda: len(receive()), 2) > 8

    def test_bounds_of_arguments(self, bound: socket.socket) -> None:
        batch = self.batch(bound)
        assert batch.send([], 0) == (0, 0)
        assert batch.send([(b"x", Address("127.0.0.1", 9))], 5) == (0, 0)
        assert batch.receive(0) == batch.receive(-1) == batch.receive(10**6) == []
        with pytest.raises(TypeError):
            batch.__init__(bound.fileno(), bound.family, Address)  # type: ignore[misc]

    def test_unmade_raises(self) -> None:
        from edge_proxy.transport._batch import Batch

        empty = Batch.__new__(Batch)
        with pytest.raises(ValueError, match="never initialised"):
            empty.receive(1)
        with pytest.raises(ValueError, match="never initialised"):
            empty.send([], 0)

    def test_closed_descriptor_is_an_error_not_a_crash(self, bound: socket.socket) -> None:
        batch = self.batch(bound)
        bound.close()
        with pytest.raises(OSError, match="Bad file"):
            batch.receive(1)
        assert batch.send([(b"x", Address("127.0.0.1", 9))], 0) == (0, errno.EBADF)

    def test_no_reference_leaks(self, bound: socket.socket) -> None:
        batch = self.batch(bound)
        name = Address(*bound.getsockname())
        message = (b"x" * 100, name)
        for _ in range(10):
            batch.send([message] * 20, 0)
            batch.receive(64)
        before = sys.getrefcount(message[0]), sys.getrefcount(name), sys.getrefcount(Address)
        for _ in range(100):
            batch.send([message] * 20, 0)
            batch.receive(64)
        assert (sys.getrefcount(message[0]), sys.getrefcount(name), sys.getrefcount(Address)) == before


def test_without_a_compiler_the_build_goes_on(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--build-lib", tmp_path / "lib", "--build-temp", tmp_path],
        cwd=ROOT,
        env={**os.environ, "CC": "/bin/false"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "_batch" in result.stdout + result.stderr
    assert not list((tmp_path / "lib").rglob("*.so"))
