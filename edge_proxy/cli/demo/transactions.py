"""The client transactions of the demo's user agent over UDP: repeat until answered, within 64*T1 (RFC 3261 §17.1).

What is repeated is counted by who sends it; nothing here knows what a call is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple

from edge_proxy.addr import Address
from edge_proxy.sip.message import Message

T1_S: Final = 0.5
T2_S: Final = 4.0
GIVE_UP_S: Final = 64 * T1_S


class Sent(NamedTuple):
    """Bytes and where they went, to be sent there again."""

    data: bytes
    to: Address


class Client:
    """One client transaction: repeats its request until an answer comes, and queues the answers."""

    __slots__ = (
        "_delay_s",
        "_is_invite",
        "_left_s",
        "_send",
        "_send_again",
        "_timer",
        "acknowledgement",
        "answers",
        "request",
    )

    def __init__(
        self,
        request: Sent,
        send: Callable[[Sent], None],
        send_again: Callable[[Sent], None],
        *,
        is_invite: bool,
    ) -> None:
        self._send = send
        self._send_again = send_again
        self._is_invite = is_invite
        self._delay_s = T1_S
        self._left_s = GIVE_UP_S
        self._timer: asyncio.TimerHandle | None = None
        self.request = request
        self.answers: asyncio.Queue[Message] = asyncio.Queue()
        self.acknowledgement: Sent | None = None
        """The ACK of an INVITE's final answer: sent once more for each repetition of that answer."""

    def start(self) -> None:
        self._send(self.request)
        self._arm()

    def receive(self, response: Message) -> None:
        if response.status >= 200 or self._is_invite:
            self.stop()
        if self.acknowledgement is not None:
            if response.status >= 200:
                self._send_again(self.acknowledgement)
            return
        self.answers.put_nowait(response)

    async def final(self, longest_s: float) -> Message | None:
        """The next final answer; None when none comes."""
        try:
            async with asyncio.timeout(longest_s):
                while (response := await self.answers.get()).status < 200:
                    pass
        except TimeoutError:
            return None
        return response

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._delay_s, self._repeat)

    def _repeat(self) -> None:
        self._left_s -= self._delay_s
        if self._left_s <= 0:
            return
        self._delay_s *= 2
        if not self._is_invite:
            self._delay_s = min(self._delay_s, T2_S)
        self._send_again(self.request)
        self._arm()
