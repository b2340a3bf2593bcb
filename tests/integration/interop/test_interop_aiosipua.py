"""User agents written with aiosipua, a library that shares nothing with us, call each other through the proxy.

aiosipua 0.7.1 has no proxies in mind, so three repairs of it are ours: an answer to an INVITE carries its Record-Route
(RFC 3261 §12.1.1); a caller takes its route set and remote target from the answer (§12.1.2), without which no proxy
would see the BYE; and its UDP transport wants a class of asyncio's that Python 3.11 does not use, so there is another.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final, Self

import pytest
from aiosipua import (
    DialogState,
    IncomingCall,
    OutgoingCall,
    SdpMessage,
    SipMessage,
    SipRequest,
    SipResponse,
    SipUAC,
    SipUAS,
    build_sdp,
    serialize_sdp,
    stringify_uri,
)
from aiosipua.transport import SipTransport

from tests.kit.ports import free_port
from tests.kit.proxy_process import PROXY_HOST, ProxyProcess, Site

pytestmark = pytest.mark.timeout(60)

CUSTOMER: Final = "127.0.0.81"
CARRIER: Final = "127.0.0.82"
CUSTOMER_NUMBER: Final = "+12025550123"
CARRIER_NUMBER: Final = "+14155550142"
PATIENCE_S: Final = 10.0
RTP_PORT: Final = 40_000


class Udp(SipTransport, asyncio.DatagramProtocol):
    """One UDP socket; what answers an INVITE leaves with the Record-Route that came with it."""

    _sender: asyncio.DatagramTransport

    def __init__(self, local_addr: tuple[str, int]) -> None:
        super().__init__(local_addr)
        self._record_routes: dict[str, list[str]] = {}

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._sender, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=self.local_addr)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        message = SipMessage.parse(data)
        if isinstance(message, SipRequest) and message.method == "INVITE":
            self._record_routes[message.call_id or ""] = message.headers.get("record-route")
        self._dispatch(data, addr)

    def send(self, message: SipRequest | SipResponse, addr: tuple[str, int]) -> None:
        cseq = message.cseq
        if isinstance(message, SipResponse) and cseq is not None and cseq.method == "INVITE":
            message.headers.remove("Record-Route")
            for value in self._record_routes.get(message.call_id or "", []):
                message.headers.append("Record-Route", value)
        self._sender.sendto(bytes(message), addr)

    async def stop(self) -> None:
        self._sender.close()


class Caller(SipUAC):
    """Takes the route set and the remote target of a dialog from its first 2xx."""

    def __init__(self, transport: SipTransport) -> None:
        super().__init__(transport)
        self.responses: list[tuple[int, str]] = []
        self.got_response = asyncio.Event()

    def handle_response(self, response: SipResponse, addr: tuple[str, int]) -> None:
        cseq = response.cseq
        assert cseq is not None
        self.responses.append((response.status_code, cseq.method))
        self.got_response.set()
        call = self.get_call(response.call_id or "")
        is_begun = cseq.method == "INVITE" and 200 <= response.status_code < 300
        if call is not None and is_begun and call.dialog.state is DialogState.EARLY:
            call.dialog.route_set = list(reversed(response.headers.get("record-route")))
            call.dialog.remote_target = stringify_uri(response.contact[0].uri)
        super().handle_response(response, addr)


class Agent:
    """One user agent on UDP: rings, answers, and notes what happens to its calls."""

    def __init__(self, host: str, number: str, proxy_port: int) -> None:
        self.place = (host, free_port())
        self.uri = f"sip:{number}@{host}:{self.place[1]}"
        self.proxy = (PROXY_HOST, proxy_port)
        transport = Udp(local_addr=self.place)
        self.caller = Caller(transport)
        self.answerer = SipUAS(transport, uac=self.caller, user_agent="aiosipua agent")
        self.answers = True
        self.incoming: list[IncomingCall] = []
        self.seen: asyncio.Queue[str] = asyncio.Queue()
        self.answerer.on_invite = self._invited
        self.answerer.on_reinvite = self._invited_again
        self.answerer.on_bye = lambda _call, _request: self.seen.put_nowait("BYE")
        self.answerer.on_cancel = self._cancelled

    async def __aenter__(self) -> Self:
        await self.answerer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.answerer.stop()

    def _invited(self, call: IncomingCall) -> None:
        self.incoming.append(call)
        call.ringing()
        if self.answers:
            call.accept(self.sdp("sendrecv"))
        self.seen.put_nowait("INVITE")

    def _invited_again(self, call: IncomingCall) -> None:
        call.accept(self.sdp("recvonly"))
        self.seen.put_nowait("re-INVITE")

    def _cancelled(self, *_: object) -> None:
        self.seen.put_nowait("CANCEL")

    def sdp(self, direction: str) -> SdpMessage:
        sdp = build_sdp(local_ip=self.place[0], rtp_port=RTP_PORT, payload_type=0, codec_name="PCMU")
        attributes = sdp.media[0].attributes
        attributes.pop("sendrecv", None)
        attributes[direction] = []
        return sdp

    def call(self, number: str) -> OutgoingCall:
        return self.caller.send_invite(
            self.uri, f"sip:{number}@{PROXY_HOST}:{self.proxy[1]}", self.proxy, self.sdp("sendrecv")
        )

    async def sees(self, what: str) -> None:
        assert await asyncio.wait_for(self.seen.get(), PATIENCE_S) == what

    async def gets(self, status: int, method: str) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while (status, method) not in self.caller.responses:
                self.caller.got_response.clear()
                await self.caller.got_response.wait()


async def placed_held_and_ended(caller: Agent, callee: Agent, number: str) -> None:
    """A call with a re-INVITE from the caller and a BYE from it, then one that the callee hangs up."""
    call = caller.call(number)
    await call.wait_answered(PATIENCE_S)
    await callee.sees("INVITE")
    assert call.sdp_answer is not None
    assert call.sdp_answer.rtp_address == (callee.place[0], RTP_PORT)
    offer = callee.incoming[-1].sdp_offer
    assert offer is not None
    assert serialize_sdp(offer) == serialize_sdp(call.sdp_offer or SdpMessage())
    caller.caller.send_reinvite(call.dialog, caller.sdp("sendonly"), caller.proxy)
    await callee.sees("re-INVITE")
    call.hangup(caller.caller)
    await callee.sees("BYE")
    await caller.gets(200, "BYE")

    call = caller.call(number)
    await call.wait_answered(PATIENCE_S)
    await callee.sees("INVITE")
    callee.incoming[-1].hangup()
    await caller.sees("BYE")


async def cancelled(caller: Agent, callee: Agent, number: str) -> None:
    callee.answers = False
    ringing = asyncio.Event()
    call = caller.call(number)
    call.on_ringing = lambda _call: ringing.set()
    await asyncio.wait_for(ringing.wait(), PATIENCE_S)
    await callee.sees("INVITE")
    call.cancel(caller.caller)
    await callee.sees("CANCEL")
    await caller.gets(200, "CANCEL")
    await caller.gets(487, "INVITE")


@pytest.mark.parametrize("from_customer", [True, False], ids=["to the carrier", "from the carrier"])
def test_agents_call_hold_hang_up_and_cancel_through_the_proxy(from_customer: bool, tmp_path: Path) -> None:
    """RFC 3261 §9, §12, §13, §15 as another author reads them; SDP arrives as it was sent."""
    site = Site()
    customer = Agent(CUSTOMER, CUSTOMER_NUMBER, site.customers_port)
    carrier = Agent(CARRIER, CARRIER_NUMBER, site.carriers_port)
    config = site.config(tmp_path)
    config["customers"] = [
        {
            "id": "acme",
            "sources": [f"{CUSTOMER}/32"],
            "targets": [f"sip:{CUSTOMER}:{customer.place[1]}"],
            "country": "US",
            "numbers": ["+12025550100-+12025550199"],
        }
    ]
    config["trunks"] = [{"id": "carrier", "targets": [f"sip:{CARRIER}:{carrier.place[1]}"]}]
    caller, callee, number = (
        (customer, carrier, CARRIER_NUMBER) if from_customer else (carrier, customer, CUSTOMER_NUMBER)
    )

    async def play() -> None:
        async with customer, carrier:
            await placed_held_and_ended(caller, callee, number)
            await cancelled(caller, callee, number)

    with ProxyProcess(tmp_path, site, config) as proxy:
        asyncio.run(play())
        ended = proxy.wait_for(lambda samples: samples.total("calls_active") == 0, "the end of the calls")
        assert ended.by("calls_ended_total", "cause") == {"bye": 2, "cancelled": 1}
        proxy.assert_balanced()
