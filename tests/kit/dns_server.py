"""A small real DNS server on loopback: a zone that the test changes, over UDP, and a switch to make it die.

Built on dnspython's message format; it answers what the zone says, NXDOMAIN for names it does not know, and nothing
at all while it is silent. It runs on the test's own event loop.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Self

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

from edge_proxy.addr import Address


class DnsServer(asyncio.DatagramProtocol):
    """`async with DnsServer({...}) as server`. A zone maps (name, record type) to a TTL and record texts."""

    def __init__(self, zone: dict[tuple[str, str], tuple[int, list[str]]] | None = None) -> None:
        self.zone = dict(zone or {})
        self.is_silent = False
        self.silent_about: set[str] = set()
        """Record types that it never answers."""
        self.fails = False
        """Answer SERVFAIL."""
        self.asked: Counter[tuple[str, str]] = Counter()
        self.most_at_once = 0
        self.hold: asyncio.Event | None = None
        """Answers wait for it."""
        self._held = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._transport: asyncio.DatagramTransport | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        self._transport = transport
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        if self._transport is not None:
            self._transport.close()

    @property
    def address(self) -> Address:
        assert self._transport is not None
        name = self._transport.get_extra_info("sockname")
        return Address(name[0], name[1])

    def put(self, name: str, kind: str, *texts: str, ttl: int = 60) -> None:
        """Replace the records of this name and type."""
        self.zone[name, kind] = (ttl, list(texts))

    def drop(self, name: str, kind: str) -> None:
        del self.zone[name, kind]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        task = asyncio.get_running_loop().create_task(self._answer(data, addr))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        question = query.question[0]
        name, kind = question.name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(question.rdtype)
        self.asked[name, kind] += 1
        if self.is_silent or kind in self.silent_about:
            return
        if self.hold is not None:
            self._held += 1
            self.most_at_once = max(self.most_at_once, self._held)
            await self.hold.wait()
            self._held -= 1
        if self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(self._response(query, name, kind).to_wire(), addr)

    def _response(self, query: dns.message.Message, name: str, kind: str) -> dns.message.Message:
        response = dns.message.make_response(query)
        response.flags |= dns.flags.AA
        if self.fails:
            response.set_rcode(dns.rcode.SERVFAIL)
            return response
        for _ in range(8):
            records = self.zone.get((name, kind))
            if records is not None:
                response.answer.append(dns.rrset.from_text(f"{name}.", records[0], "IN", kind, *records[1]))
                return response
            alias = self.zone.get((name, "CNAME"))
            if alias is None:
                break
            response.answer.append(dns.rrset.from_text(f"{name}.", alias[0], "IN", "CNAME", *alias[1]))
            name = alias[1][0].rstrip(".")
        if not any(known == name for known, _ in self.zone):
            response.set_rcode(dns.rcode.NXDOMAIN)
        return response
