"""Find out what host names stand for (RFC 3263), beside the call path: names in, whole tables of endpoints out.

One task per name asks NAPTR, SRV, A and AAAA as the name needs it, publishes what changed, and asks again when the
answer expires. An answer is kept when DNS fails: it is stale, and counted as such, but calls go on. That a name does
not exist, or has nothing for us, is an answer too. Nothing here blocks the loop, and no call ever waits for it.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal, TypeVar

import dns.asyncresolver
import dns.exception
import dns.name
import dns.nameserver
import dns.rdatatype
import dns.rdtypes.IN.NAPTR
import dns.rdtypes.IN.SRV
import dns.resolver

from edge_proxy.addr import Address, Side, Transport
from edge_proxy.routing.names import Endpoint, NameQuery, Names
from edge_proxy.routing.targets import default_port

T = TypeVar("T")

_SRV_PREFIX: Final = {Transport.UDP: "_sip._udp", Transport.TCP: "_sip._tcp", Transport.TLS: "_sips._tcp"}
_NAPTR_SERVICE: Final = {b"SIP+D2U": Transport.UDP, b"SIP+D2T": Transport.TCP, b"SIPS+D2T": Transport.TLS}
_MOST_RECORDS: Final = 32
"""How many SRV or NAPTR records of one answer are followed."""


@dataclass(frozen=True, slots=True)
class Reach:
    """What one side's listeners can do: transports, and "A" for IPv4, "AAAA" for IPv6."""

    transports: Sequence[Transport]
    families: Sequence[Literal["A", "AAAA"]]


@dataclass(frozen=True, slots=True)
class ResolverSettings:
    """`nameservers`: none means those of the system. Times in seconds."""

    nameservers: Sequence[Address] = ()
    query_timeout_s: float = 1.5
    """How long one server may take; each query is sent once more."""
    lookup_timeout_s: float = 10.0
    """How long everything that one name needs may take."""
    least_ttl_s: float = 5.0
    most_ttl_s: float = 3600.0
    negative_ttl_s: float = 30.0
    retry_s: float = 5.0
    """The pause after a failure; it doubles up to `most_retry_s`."""
    most_retry_s: float = 60.0
    most_names: int = 4096
    most_lookups: int = 16
    """Names that are looked up at one time: so many of targets, and as many that requests asked for."""
    keep_unused_s: float = 900.0
    """How long a name that requests asked for is kept fresh after the last of them."""


class QueryResult(StrEnum):
    """What came of one DNS query. A closed set: these are metric labels."""

    ANSWERED = "answered"
    EMPTY = "empty"
    """The name does not exist, or has no such record."""
    FAILED = "failed"
    """No server answered in time, or none could."""


class _LookupFailedError(Exception):
    """DNS could not say. Caught in this file."""


@dataclass(slots=True)
class _Entry:
    """One name. `used_at` is None for a target's, which is kept as long as the configuration has it."""

    task: asyncio.Task[None] | None
    used_at: float | None
    endpoints: tuple[Endpoint, ...] | None = None
    is_stale: bool = False


class NameResolver:
    """Keeps a table of names fresh and hands a new one to `publish` whenever something in it changed."""

    def __init__(
        self, settings: ResolverSettings, reach: Mapping[Side, Reach], publish: Callable[[Names], None]
    ) -> None:
        self.queries: dict[QueryResult, int] = dict.fromkeys(QueryResult, 0)
        self.refused_names = 0
        """Names that requests asked for and that found no room."""
        self._settings = settings
        self._reach = reach
        self._publish = publish
        self._entries: dict[NameQuery, _Entry] = {}
        # Apart, so that what peers ask for never keeps a target waiting.
        self._turns = {is_target: asyncio.Semaphore(settings.most_lookups) for is_target in (True, False)}
        self._resolver: dns.asyncresolver.Resolver | None = None
        self._is_publishing = False
        self._is_stopped = False

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def stale(self) -> int:
        """Names whose last look-up failed after their answer had expired, so that an old answer is in use."""
        return sum(entry.is_stale for entry in list(self._entries.values()))

    def query_counts(self) -> Iterable[tuple[str, int]]:
        """DNS queries by their `QueryResult`."""
        return self.queries.items()

    def follow(self, queries: Iterable[NameQuery]) -> None:
        """Keep exactly these fresh for good: the names of the targets. Others stay as long as requests use them."""
        now = asyncio.get_running_loop().time()
        followed = set(queries)
        for query, entry in self._entries.items():
            if query in followed:
                entry.used_at = None
            elif entry.used_at is None:
                entry.used_at = now
        for query in followed - self._entries.keys():
            self._begin(query, None)

    def want(self, queries: Iterable[NameQuery]) -> None:
        """Requests needed these names: find out what is not known, keep fresh what is."""
        now = asyncio.get_running_loop().time()
        for query in queries:
            entry = self._entries.get(query)
            if entry is None:
                if len(self._entries) < self._settings.most_names:
                    self._begin(query, now)
                else:
                    self.refused_names += 1
            elif entry.used_at is not None:
                entry.used_at = now

    async def first_answers(self, timeout_s: float) -> bool:
        """Wait, but no longer than this, until something has been heard of every name that is followed now."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while any(entry.endpoints is None for entry in self._entries.values() if entry.used_at is None):
            left_s = deadline - asyncio.get_running_loop().time()
            if left_s <= 0:
                return False
            await asyncio.sleep(min(left_s, 0.02))
        return True

    def stop(self) -> None:
        """Ask no more; what was published stays in use."""
        self._is_stopped = True
        for entry in self._entries.values():
            if entry.task is not None:
                entry.task.cancel()

    def _begin(self, query: NameQuery, used_at: float | None) -> None:
        if self._is_stopped:
            return
        entry = self._entries[query] = _Entry(None, used_at)
        entry.task = asyncio.get_running_loop().create_task(self._keep_fresh(query, entry))

    async def _keep_fresh(self, query: NameQuery, entry: _Entry) -> None:
        """Look one name up again and again, until nobody needs it any more."""
        settings = self._settings
        loop = asyncio.get_running_loop()
        retry_s = settings.retry_s
        while entry.used_at is None or loop.time() - entry.used_at < settings.keep_unused_s:
            try:
                async with self._turns[entry.used_at is None]:
                    endpoints, ttl_s = await self._look_up(query)
            except Exception as error:  # noqa: BLE001 - one strange answer must not end the care for a name
                if not isinstance(error, _LookupFailedError):
                    self.queries[QueryResult.FAILED] += 1
                entry.is_stale = entry.endpoints is not None
                await asyncio.sleep(retry_s)
                retry_s = min(2 * retry_s, settings.most_retry_s)
                continue
            retry_s = settings.retry_s
            entry.is_stale = False
            if endpoints != entry.endpoints:
                entry.endpoints = endpoints
                self._schedule_publishing()
            await asyncio.sleep(min(max(ttl_s, settings.least_ttl_s), settings.most_ttl_s))
        del self._entries[query]
        self._schedule_publishing()

    def _schedule_publishing(self) -> None:
        """Names that become known together make one new table."""
        if not self._is_publishing:
            self._is_publishing = True
            asyncio.get_running_loop().call_soon(self._publish_now)

    def _publish_now(self) -> None:
        self._is_publishing = False
        if not self._is_stopped:
            self._publish(
                Names({query: entry.endpoints for query, entry in self._entries.items() if entry.endpoints is not None})
            )

    # One look-up, RFC 3263 §4: each step returns endpoints and how long they may be believed.

    async def _look_up(self, query: NameQuery) -> tuple[tuple[Endpoint, ...], float]:
        try:
            async with asyncio.timeout(self._settings.lookup_timeout_s):
                return await self._resolve(query)
        except TimeoutError as error:
            self.queries[QueryResult.FAILED] += 1
            raise _LookupFailedError from error
        except (ValueError, dns.exception.DNSException):  # a host that DNS cannot even be asked about
            return (), self._settings.most_ttl_s

    async def _resolve(self, query: NameQuery) -> tuple[tuple[Endpoint, ...], float]:
        reach = self._reach[query.side]
        name = dns.name.from_text(query.host)
        if query.port is not None:
            transport = query.transport or _plain_transport(reach)
            return await self._addresses(name, query.port, transport, reach)
        if query.transport is not None:
            ttl_s, transport = self._settings.most_ttl_s, query.transport
            found = await self._srv(_srv_name(name, transport), transport, reach)
        else:
            found, ttl_s = await self._by_naptr(name, reach)
            transport = _plain_transport(reach)
            if found is None:
                found = await self._by_srv(name, reach)
        if found is not None:
            return found[0], min(found[1], ttl_s)
        return await self._addresses(name, default_port(transport), transport, reach)

    async def _by_naptr(
        self, name: dns.name.Name, reach: Reach
    ) -> tuple[tuple[tuple[Endpoint, ...], float] | None, float]:
        """The SRV records that the best NAPTR record we can use points to (§4.1); None when there is no such one."""
        answer = await self._ask(name, "NAPTR")
        if answer is None:
            return None, self._settings.most_ttl_s
        records = [record for record in answer if isinstance(record, dns.rdtypes.IN.NAPTR.NAPTR)]
        records.sort(key=lambda record: (record.order, record.preference))
        for record in records[:_MOST_RECORDS]:
            transport = _NAPTR_SERVICE.get(record.service.upper())
            if transport in reach.transports and transport is not None and record.flags.lower() == b"s":
                found = await self._srv(record.replacement, transport, reach)
                if found is not None:
                    return found, float(_ttl(answer))
        return None, float(_ttl(answer))

    async def _by_srv(self, name: dns.name.Name, reach: Reach) -> tuple[tuple[Endpoint, ...], float] | None:
        """Without NAPTR: the first of our transports that the name has SRV records for (§4.1)."""
        for transport in reach.transports:
            found = await self._srv(_srv_name(name, transport), transport, reach)
            if found is not None:
                return found
        return None

    async def _srv(
        self, name: dns.name.Name, transport: Transport, reach: Reach
    ) -> tuple[tuple[Endpoint, ...], float] | None:
        """The endpoints of SRV records (§4.2); None when there are no records. A target of "." offers nothing."""
        answer = await self._ask(name, "SRV")
        if answer is None:
            return None
        records = [record for record in answer if isinstance(record, dns.rdtypes.IN.SRV.SRV)][:_MOST_RECORDS]
        lookups = await _all(
            self._addresses(record.target, record.port, transport, reach, record.priority, record.weight)
            for record in records
            if record.target != dns.name.root
        )
        found = [lookup for lookup in lookups if not isinstance(lookup, _LookupFailedError)]
        if lookups and not found:
            raise _LookupFailedError
        ttl_s = min(itertools.chain([float(_ttl(answer))], (ttl_s for _, ttl_s in found)))
        if len(found) < len(lookups):
            ttl_s = self._settings.retry_s  # better a part than nothing; the rest is asked for again soon
        endpoints = [endpoint for endpoints, _ in found for endpoint in endpoints]
        # Servers turn their records round; in an order of ours, the same answer is the same.
        endpoints.sort(key=lambda endpoint: (endpoint.priority, endpoint.address))
        return tuple(endpoints), ttl_s

    async def _addresses(
        self,
        name: dns.name.Name,
        port: int,
        transport: Transport,
        reach: Reach,
        priority: int = 0,
        weight: int = 0,
    ) -> tuple[tuple[Endpoint, ...], float]:
        """The A and AAAA records of a name, as endpoints."""
        answers = await _all(self._ask(name, family) for family in reach.families)
        heard = [answer for answer in answers if answer is not None and not isinstance(answer, _LookupFailedError)]
        if not heard:
            for answer in answers:
                if isinstance(answer, _LookupFailedError):
                    raise answer
            return (), self._settings.negative_ttl_s
        hosts = sorted(str(record) for answer in heard for record in answer)
        return (
            tuple(Endpoint(Address(host, port), transport, priority, weight) for host in hosts),
            min(float(_ttl(answer)) for answer in heard),
        )

    async def _ask(self, name: dns.name.Name, kind: str) -> dns.resolver.Answer | None:
        """One query; None when there is no such record. Raises `_LookupFailedError` when nobody could say."""
        try:
            if self._resolver is None:
                self._resolver = _make_resolver(self._settings)
            answer = await self._resolver.resolve(name, kind, search=False)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            self.queries[QueryResult.EMPTY] += 1
            return None
        except (dns.exception.DNSException, OSError) as error:
            self.queries[QueryResult.FAILED] += 1
            raise _LookupFailedError from error
        self.queries[QueryResult.ANSWERED] += 1
        return answer


def _make_resolver(settings: ResolverSettings) -> dns.asyncresolver.Resolver:
    resolver = dns.asyncresolver.Resolver(configure=not settings.nameservers)
    if settings.nameservers:
        resolver.nameservers = [
            dns.nameserver.Do53Nameserver(address.host, address.port) for address in settings.nameservers
        ]
    resolver.timeout = settings.query_timeout_s
    resolver.lifetime = 2 * settings.query_timeout_s * max(1, len(resolver.nameservers))
    return resolver


def _plain_transport(reach: Reach) -> Transport:
    """The transport of a name that says nothing about it (§4.1): UDP where there is UDP."""
    return Transport.UDP if Transport.UDP in reach.transports else reach.transports[0]


def _srv_name(name: dns.name.Name, transport: Transport) -> dns.name.Name:
    return dns.name.from_text(_SRV_PREFIX[transport], origin=None).concatenate(name)


def _ttl(answer: dns.resolver.Answer) -> int:
    return 0 if answer.rrset is None else answer.chaining_result.minimum_ttl


async def _all(lookups: Iterable[Coroutine[object, object, T]]) -> list[T | _LookupFailedError]:
    """Run look-ups beside one another; a failed one is its error, in its place."""
    results: list[T | _LookupFailedError] = []
    for result in await asyncio.gather(*lookups, return_exceptions=True):
        if isinstance(result, BaseException) and not isinstance(result, _LookupFailedError):
            raise result
        results.append(result)
    return results
