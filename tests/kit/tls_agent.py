"""SIP over TLS from asyncio, since Debian's SIPp has none: a caller on one connection, a callee that takes them all."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import ssl
from dataclasses import dataclass, field
from typing import Final, Self

from tests.kit.certificates import serial_of
from tests.kit.ports import free_port

PATIENCE_S: Final = 10.0
_numbers: Final = itertools.count(1)


def values(message: str, name: str) -> list[str]:
    return re.findall(rf"^{name}: *(.*?)\r$", message, re.MULTILINE | re.IGNORECASE)


async def read_message(reader: asyncio.StreamReader) -> str:
    """The next message of a stream, framed by Content-Length; raises IncompleteReadError at its end."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    return head + (await reader.readexactly(int(values(head, "Content-Length")[0]))).decode()


async def close(writer: asyncio.StreamWriter) -> None:
    """Close a connection, whatever state the other end has left it in."""
    writer.close()
    with contextlib.suppress(OSError, TimeoutError):
        await asyncio.wait_for(writer.wait_closed(), 1.0)
    with contextlib.suppress(AttributeError):  # what Python 3.11.2 makes of aborting a TLS transport that is gone
        writer.transport.abort()


def compose(*lines: str) -> bytes:
    return "\r\n".join([*lines, "Content-Length: 0", "", ""]).encode()


@dataclass(frozen=True)
class Dialog:
    """What a BYE needs."""

    call_id: str
    target: str
    routes: tuple[str, ...]
    caller: str
    callee: str


@dataclass
class TlsCaller:
    """Calls over one connection."""

    host: str
    number: str
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    _waiting: dict[tuple[str, str], asyncio.Future[str]] = field(default_factory=dict)
    _task: asyncio.Task[None] | None = None

    @classmethod
    async def connect(cls, host: str, number: str, to: tuple[str, int], context: ssl.SSLContext) -> Self:
        """Raises OSError or ssl.SSLError when the connection cannot be had."""
        async with asyncio.timeout(PATIENCE_S):
            reader, writer = await asyncio.open_connection(*to, ssl=context, local_addr=(host, 0))
        caller = cls(host, number, reader, writer)
        caller._task = asyncio.create_task(caller._read())
        return caller

    @property
    def server_serial(self) -> int:
        """Which certificate the other end showed on this connection."""
        tls = self.writer.get_extra_info("ssl_object")
        assert isinstance(tls, ssl.SSLObject)
        der = tls.getpeercert(binary_form=True)
        assert der is not None
        return serial_of(der)

    @property
    def is_up(self) -> bool:
        return self._task is not None and not self._task.done()

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await close(self.writer)

    async def _read(self) -> None:
        while True:
            try:
                message = await read_message(self.reader)
            except (asyncio.IncompleteReadError, OSError):
                return
            if message.startswith("SIP/2.0 1"):
                continue
            key = values(message, "Call-ID")[0], values(message, "CSeq")[0]
            if key in self._waiting and not self._waiting[key].done():
                self._waiting[key].set_result(message)

    async def _ask(self, call_id: str, cseq: str, request: bytes) -> str:
        """Send a request and wait for its final response; ConnectionError when the connection ends before."""
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting[call_id, cseq] = answer
        self.writer.write(request)
        assert self._task is not None
        try:
            ends: set[asyncio.Future[str] | asyncio.Task[None]] = {answer, self._task}
            await asyncio.wait(ends, timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                raise (ConnectionError if self._task.done() else TimeoutError)(f"no answer to {cseq} of {call_id}")
            return answer.result()
        finally:
            del self._waiting[call_id, cseq]

    def _via(self) -> str:
        host, port = self.writer.get_extra_info("sockname")[:2]
        return f"Via: SIP/2.0/TLS {host}:{port};branch=z9hG4bK-tls-{next(_numbers)};rport"

    async def options(self, uri: str) -> str:
        """The status line of the answer to an OPTIONS."""
        call_id = f"options-{next(_numbers)}@{self.host}"
        lines = [f"OPTIONS {uri} SIP/2.0", self._via(), "Max-Forwards: 70", f"From: <sip:{self.host}>;tag=1"]
        lines += [f"To: <{uri}>", f"Call-ID: {call_id}", "CSeq: 1 OPTIONS"]
        return (await self._ask(call_id, "1 OPTIONS", compose(*lines))).partition("\r\n")[0]

    async def call(self, uri: str) -> Dialog:
        """INVITE, its 200 and the ACK; AssertionError with the answer when it is another."""
        number = next(_numbers)
        call_id, caller = f"call-{number}@{self.host}", f"<sip:{self.number}@{self.host}>;tag=f{number}"
        contact = f"Contact: <sip:{self.host}:{self.writer.get_extra_info('sockname')[1]};transport=tls>"
        lines = [f"INVITE {uri} SIP/2.0", self._via(), "Max-Forwards: 70", f"From: {caller}", f"To: <{uri}>"]
        lines += [f"Call-ID: {call_id}", "CSeq: 1 INVITE", contact]
        answer = await self._ask(call_id, "1 INVITE", compose(*lines))
        assert answer.startswith("SIP/2.0 200 "), answer
        target = values(answer, "Contact")[0].partition("<")[2].partition(">")[0]
        routes = tuple(reversed(values(answer, "Record-Route")))
        dialog = Dialog(call_id, target, routes, caller, values(answer, "To")[0])
        self.writer.write(compose(*self._inside(dialog, "ACK", 1)))
        return dialog

    async def hang_up(self, dialog: Dialog) -> None:
        """BYE and its 200; AssertionError with the answer when it is another."""
        answer = await self._ask(dialog.call_id, "2 BYE", compose(*self._inside(dialog, "BYE", 2)))
        assert answer.startswith("SIP/2.0 200 "), answer

    def _inside(self, dialog: Dialog, method: str, cseq: int) -> list[str]:
        lines = [f"{method} {dialog.target} SIP/2.0", self._via(), *(f"Route: {route}" for route in dialog.routes)]
        lines += ["Max-Forwards: 70", f"From: {dialog.caller}", f"To: {dialog.callee}", f"Call-ID: {dialog.call_id}"]
        return [*lines, f"CSeq: {cseq} {method}"]


class TlsCallee:
    """A TLS server that answers INVITE with 180 and 200, and anything else but ACK with 200."""

    def __init__(self, host: str, context: ssl.SSLContext) -> None:
        self.place = (host, free_port())
        self.answered = 0
        self.hung_up = 0
        self._context = context
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, *self.place, ssl=self._context)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            while True:
                self._answer(await read_message(reader), writer)
        except (asyncio.IncompleteReadError, asyncio.CancelledError, OSError):
            await close(writer)
        finally:
            self._serving.discard(task)

    def _answer(self, request: str, writer: asyncio.StreamWriter) -> None:
        method = request.partition(" ")[0]
        if method == "ACK":
            return
        kept = [f"Via: {via}" for via in values(request, "Via")]
        kept += [f"Record-Route: {route}" for route in values(request, "Record-Route")]
        kept += [f"{name}: {values(request, name)[0]}" for name in ("From", "Call-ID", "CSeq")]
        to = values(request, "To")[0]
        kept.append(f"To: {to}" if ";tag=" in to else f"To: {to};tag=callee")
        if method == "INVITE":
            self.answered += 1
            kept.append(f"Contact: <sip:{self.place[0]}:{self.place[1]};transport=tls>")
            writer.write(compose("SIP/2.0 180 Ringing", *kept))
        elif method == "BYE":
            self.hung_up += 1
        writer.write(compose("SIP/2.0 200 OK", *kept))
