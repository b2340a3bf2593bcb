"""Names become endpoints (RFC 3263), against a real DNS server on loopback: records, expiry, failure, bounds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Literal

import pytest

from edge_proxy.addr import Address, Side, Transport
from edge_proxy.routing.names import NO_NAMES, Endpoint, NameQuery, Names
from edge_proxy.transport.resolver import NameResolver, QueryResult, Reach, ResolverSettings
from tests.kit.dns_server import DnsServer

UDP, TCP, TLS = Transport.UDP, Transport.TCP, Transport.TLS
ALL = (UDP, TCP, TLS)


class Table:
    """A resolver against `server`, and the names that it published last."""

    def __init__(
        self,
        server: DnsServer,
        transports: Sequence[Transport] = ALL,
        families: Sequence[Literal["A", "AAAA"]] = ("A",),
        *,
        most_names: int = 4096,
        most_lookups: int = 16,
        keep_unused_s: float = 900.0,
        least_ttl_s: float = 0.02,
    ) -> None:
        self.names = NO_NAMES
        self.published = 0
        self._changed = asyncio.Event()
        settings = ResolverSettings(
            nameservers=[server.address],
            query_timeout_s=0.2,
            lookup_timeout_s=0.4,
            least_ttl_s=least_ttl_s,
            negative_ttl_s=0.02,
            retry_s=0.02,
            most_retry_s=0.02,
            most_names=most_names,
            most_lookups=most_lookups,
            keep_unused_s=keep_unused_s,
        )
        self.resolver = NameResolver(settings, {side: Reach(transports, families) for side in Side}, self._take)

    def _take(self, names: Names) -> None:
        self.names = names
        self.published += 1
        self._changed.set()

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Return when a table was published for which this holds."""
        async with asyncio.timeout(20):
            while not is_so():
                self._changed.clear()
                await self._changed.wait()

    async def find(self, query: NameQuery) -> tuple[Endpoint, ...]:
        """What a name stands for, once something has been heard."""
        self.resolver.follow([query])
        await self.until(lambda: self.names.find(query) is not None)
        return self.names.find(query) or ()


def name(host: str, port: int | None = None, transport: Transport | None = None) -> NameQuery:
    return NameQuery(host, port, transport, Side.CARRIERS)


async def until(is_so: Callable[[], bool]) -> None:
    """Let the loop run until this holds."""
    async with asyncio.timeout(20):
        while not is_so():  # noqa: ASYNC110 - it watches counters, which tell nobody
            await asyncio.sleep(0.005)


@pytest.mark.asyncio
async def test_port_in_the_uri_asks_for_addresses_only() -> None:
    """An explicit port rules out NAPTR and SRV (RFC 3263 §4.2); every address is an endpoint."""
    async with DnsServer() as server:
        server.put("sbc.test", "A", "192.0.2.1", "192.0.2.2")
        server.put("_sip._udp.sbc.test", "SRV", "1 1 5099 elsewhere.test.")
        table = Table(server)
        found = await table.find(name("sbc.test", 5080))
        assert found == tuple(Endpoint(Address(f"192.0.2.{n}", 5080), UDP) for n in (1, 2))
        assert set(server.asked) == {("sbc.test", "A")}
        table.resolver.stop()


@pytest.mark.asyncio
async def test_naptr_leads_to_srv_and_to_addresses() -> None:
    """The NAPTR record of lowest order that we have a listener for decides; SRV priority, weight and port are kept."""
    async with DnsServer() as server:
        server.put(
            "carrier.test",
            "NAPTR",
            '30 10 "s" "SIP+D2U" "" _sip._udp.pool.test.',
            '10 10 "s" "SIPS+D2T" "" _sips._tcp.pool.test.',
            '20 20 "s" "SIP+D2T" "" _sip._tcp.second.test.',
            '20 10 "s" "sip+d2t" "" _sip._tcp.pool.test.',
            '5 10 "s" "SIP+D2S" "" _sip._sctp.pool.test.',
        )
        server.put("_sip._tcp.pool.test", "SRV", "10 60 5061 a.pool.test.", "20 40 5062 b.pool.test.")
        server.put("a.pool.test", "A", "192.0.2.1")
        server.put("b.pool.test", "A", "192.0.2.2")
        table = Table(server, transports=(UDP, TCP))
        assert await table.find(name("carrier.test")) == (
            Endpoint(Address("192.0.2.1", 5061), TCP, 10, 60),
            Endpoint(Address("192.0.2.2", 5062), TCP, 20, 40),
        )
        table.resolver.stop()


@pytest.mark.asyncio
async def test_without_naptr_the_first_transport_with_srv_is_taken() -> None:
    """Our transports are tried in the order of the listener (RFC 3263 §4.1)."""
    async with DnsServer() as server:
        server.put("_sip._tcp.carrier.test", "SRV", "1 0 5070 a.carrier.test.")
        server.put("_sips._tcp.carrier.test", "SRV", "1 0 5071 a.carrier.test.")
        server.put("a.carrier.test", "A", "192.0.2.1")
        table = Table(server)
        assert await table.find(name("carrier.test")) == (Endpoint(Address("192.0.2.1", 5070), TCP, 1, 0),)
        table.resolver.stop()


@pytest.mark.parametrize(
    ("transports", "asked", "endpoint"),
    [
        (ALL, None, Endpoint(Address("192.0.2.1", 5060), UDP)),
        ((TCP, TLS), None, Endpoint(Address("192.0.2.1", 5060), TCP)),
        (ALL, TCP, Endpoint(Address("192.0.2.1", 5060), TCP)),
        (ALL, TLS, Endpoint(Address("192.0.2.1", 5061), TLS)),
    ],
)
@pytest.mark.asyncio
async def test_plain_address_records_get_the_default_port(
    transports: Sequence[Transport], asked: Transport | None, endpoint: Endpoint
) -> None:
    """Neither NAPTR nor SRV: the address, with the port that belongs to the transport."""
    async with DnsServer() as server:
        server.put("sbc.test", "A", "192.0.2.1")
        table = Table(server, transports)
        assert await table.find(name("sbc.test", None, asked)) == (endpoint,)
        table.resolver.stop()


@pytest.mark.asyncio
async def test_named_transport_is_not_asked_for() -> None:
    """;transport=tcp rules out NAPTR and the SRV records of other transports."""
    async with DnsServer() as server:
        server.put("sbc.test", "NAPTR", '10 10 "s" "SIP+D2U" "" _sip._udp.sbc.test.')
        server.put("_sip._tcp.sbc.test", "SRV", "1 2 5070 a.sbc.test.")
        server.put("a.sbc.test", "A", "192.0.2.1")
        table = Table(server)
        assert await table.find(name("sbc.test", None, TCP)) == (Endpoint(Address("192.0.2.1", 5070), TCP, 1, 2),)
        assert ("sbc.test", "NAPTR") not in server.asked
        table.resolver.stop()


@pytest.mark.asyncio
async def test_address_families_are_those_of_the_listeners() -> None:
    """An IPv6 address is of no use to a listener on IPv4, and is not asked for."""
    async with DnsServer() as server:
        server.put("sbc.test", "A", "192.0.2.1")
        server.put("sbc.test", "AAAA", "2001:db8::1")
        six = Table(server, families=("AAAA",))
        assert await six.find(name("sbc.test", 5060)) == (Endpoint(Address("2001:db8::1", 5060), UDP),)
        assert ("sbc.test", "A") not in server.asked
        both = Table(server, families=("A", "AAAA"))
        assert len(await both.find(name("sbc.test", 5060))) == 2
        six.resolver.stop()
        both.resolver.stop()


@pytest.mark.asyncio
async def test_srv_target_dot_means_not_here() -> None:
    """A service that is decidedly not available (RFC 2782) is not looked for at the plain address."""
    async with DnsServer() as server:
        server.put("_sip._udp.sbc.test", "SRV", "0 0 0 .")
        server.put("sbc.test", "A", "192.0.2.1")
        table = Table(server, transports=(UDP,))
        assert await table.find(name("sbc.test")) == ()
        table.resolver.stop()


@pytest.mark.asyncio
async def test_alias_is_followed() -> None:
    """A CNAME stands for its target's addresses."""
    async with DnsServer() as server:
        server.put("sbc.test", "CNAME", "real.test.")
        server.put("real.test", "A", "192.0.2.1")
        table = Table(server)
        assert await table.find(name("sbc.test", 5060)) == (Endpoint(Address("192.0.2.1", 5060), UDP),)
        table.resolver.stop()


@pytest.mark.asyncio
async def test_change_is_picked_up_when_the_answer_expires() -> None:
    """After its TTL a name is asked for again, and a new table is published when the answer is another one."""
    async with DnsServer() as server:
        server.put("sbc.test", "A", "192.0.2.1", ttl=0)
        table = Table(server)
        query = name("sbc.test", 5060)
        await table.find(query)
        server.put("sbc.test", "A", "192.0.2.7", ttl=0)
        await table.until(lambda: table.names.find(query) == (Endpoint(Address("192.0.2.7", 5060), UDP),))
        table.resolver.stop()


@pytest.mark.asyncio
async def test_answer_is_believed_until_it_expires() -> None:
    """Within its TTL a name is not asked for again, and an answer that stays the same is not published twice."""
    async with DnsServer() as server:
        server.put("still.test", "A", "192.0.2.1", ttl=3600)
        server.put("moving.test", "A", "192.0.2.1", ttl=0)
        table = Table(server)
        table.resolver.follow([name("still.test", 5060), name("moving.test", 5060)])
        await until(lambda: server.asked["moving.test", "A"] >= 5)
        assert server.asked["still.test", "A"] == 1
        assert table.published <= 2
        table.resolver.stop()


@pytest.mark.parametrize("death", ["is_silent", "fails"])
@pytest.mark.asyncio
async def test_answer_is_kept_while_dns_is_dead(death: str) -> None:
    """A server that is silent or answers SERVFAIL takes nothing away: the answer is stale, counted, and in use."""
    async with DnsServer() as server:
        server.put("sbc.test", "A", "192.0.2.1", ttl=0)
        table = Table(server)
        query = name("sbc.test", 5060)
        found = await table.find(query)
        assert table.resolver.stale == 0
        setattr(server, death, True)
        await until(lambda: table.resolver.stale == 1)
        assert table.names.find(query) == found
        assert table.resolver.queries[QueryResult.FAILED] >= 1
        setattr(server, death, False)
        server.put("sbc.test", "A", "192.0.2.2", ttl=0)
        await table.until(lambda: table.names.find(query) == (Endpoint(Address("192.0.2.2", 5060), UDP),))
        assert table.resolver.stale == 0
        table.resolver.stop()


@pytest.mark.asyncio
async def test_half_dead_dns_does_not_lead_astray() -> None:
    """When SRV cannot be asked for, the plain address is no answer: it may be a web server's."""
    async with DnsServer() as server:
        server.put("sbc.test", "A", "192.0.2.80")
        server.silent_about = {"SRV"}
        table = Table(server, transports=(UDP,))
        table.resolver.follow([name("sbc.test")])
        await until(lambda: table.resolver.queries[QueryResult.FAILED] >= 2)
        assert table.names.find(name("sbc.test")) is None
        table.resolver.stop()


@pytest.mark.asyncio
async def test_name_that_appears_late_is_found() -> None:
    """NXDOMAIN is an answer, empty and short-lived: the name is asked for again."""
    async with DnsServer() as server:
        table = Table(server)
        query = name("late.test", 5060)
        assert await table.find(query) == ()
        assert table.resolver.stale == 0
        server.put("late.test", "A", "192.0.2.1")
        await table.until(lambda: bool(table.names.find(query)))
        table.resolver.stop()


@pytest.mark.asyncio
async def test_name_that_is_taken_out_of_dns_is_gone() -> None:
    """That a name does not exist any more is an answer, and not a failure of DNS (RFC 8767 §4)."""
    async with DnsServer() as server:
        server.put("sbc.test", "A", "192.0.2.1", ttl=0)
        table = Table(server)
        query = name("sbc.test", 5060)
        await table.find(query)
        server.drop("sbc.test", "A")
        await table.until(lambda: table.names.find(query) == ())
        table.resolver.stop()


@pytest.mark.asyncio
async def test_one_dead_srv_target_leaves_the_others() -> None:
    """A part of a pool is better than nothing."""
    async with DnsServer() as server:
        server.put("_sip._udp.pool.test", "SRV", "1 1 5060 a.pool.test.", "1 1 5060 gone.test.")
        server.put("a.pool.test", "A", "192.0.2.1")
        table = Table(server, transports=(UDP,))
        assert await table.find(name("pool.test")) == (Endpoint(Address("192.0.2.1", 5060), UDP, 1, 1),)
        table.resolver.stop()


@pytest.mark.asyncio
async def test_look_ups_at_one_time_are_bounded() -> None:
    """However many names there are, so many questions are under way; and targets do not wait for peers' names."""
    async with DnsServer() as server:
        server.hold = asyncio.Event()
        table = Table(server, most_lookups=3)
        table.resolver.want(name(f"peer{n}.test", 5060) for n in range(30))
        await until(lambda: server.most_at_once == 3)
        server.put("sbc.test", "A", "192.0.2.1")
        table.resolver.follow([name("sbc.test", 5060)])
        await until(lambda: server.asked["sbc.test", "A"] == 1)
        assert server.most_at_once <= 4
        server.hold.set()
        await table.until(lambda: len(table.names) == 31)
        table.resolver.stop()


@pytest.mark.asyncio
async def test_number_of_names_is_bounded() -> None:
    """Peers can name what they like; what finds no room is counted, and targets always find room."""
    async with DnsServer() as server:
        table = Table(server, most_names=5)
        table.resolver.want(name(f"peer{n}.test", 5060) for n in range(8))
        assert (len(table.resolver), table.resolver.refused_names) == (5, 3)
        server.put("sbc.test", "A", "192.0.2.1")
        assert await table.find(name("sbc.test", 5060))
        table.resolver.stop()


@pytest.mark.asyncio
async def test_name_that_nobody_needs_any_more_is_forgotten() -> None:
    """A peer's name goes after a while without requests; a target's name stays until the configuration drops it."""
    async with DnsServer() as server:
        server.put("sbc.test", "A", "192.0.2.1", ttl=0)
        server.put("peer.test", "A", "192.0.2.2", ttl=0)
        table = Table(server, keep_unused_s=0.05)
        table.resolver.want([name("peer.test", 5060)])
        await table.find(name("sbc.test", 5060))
        await table.until(lambda: table.names.find(name("peer.test", 5060)) is None)
        assert table.names.find(name("sbc.test", 5060))
        table.resolver.follow([])
        await table.until(lambda: len(table.names) == 0)
        assert len(table.resolver) == 0
        table.resolver.stop()


@pytest.mark.parametrize("host", ["a" * 64 + ".test", ".".join(["abcdefghi"] * 26), "bad..name"])
@pytest.mark.asyncio
async def test_host_that_dns_cannot_hold_has_no_address(host: str) -> None:
    """Peers write hosts; what is no domain name ends as a name without addresses, not as a bug."""
    async with DnsServer() as server:
        table = Table(server)
        assert await table.find(name(host)) == ()
        assert not server.asked
        table.resolver.stop()


@pytest.mark.asyncio
async def test_first_answers_are_waited_for_within_bounds() -> None:
    """A start waits for the targets' names, and gives up in time when DNS is dead."""
    async with DnsServer() as server:
        server.put("sbc.test", "A", "192.0.2.1")
        table = Table(server)
        table.resolver.follow([name("sbc.test", 5060)])
        assert await table.resolver.first_answers(10)
        server.is_silent = True
        table.resolver.follow([name("sbc.test", 5060), name("other.test", 5060)])
        assert not await table.resolver.first_answers(0.05)
        table.resolver.stop()
