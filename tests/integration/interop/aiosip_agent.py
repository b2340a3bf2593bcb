"""A caller written with aiosip 0.2.0, run by an interpreter old enough to import it (3.6 to 3.9); no test imports it.

    python aiosip_agent.py FROM_URI TO_URI PROXY_HOST PROXY_PORT caller|callee

It calls, acknowledges, and hangs up or waits to be hung up, as the last word says; each step is a line on stdout.
aiosip has no route set and answers over one Via only, so both are done here: Route from Record-Route (RFC 3261
§12.1.2), and an answer has every Via that the request had.
"""

# mypy: ignore-errors

import asyncio
import sys

import aiosip
from aiosip.contact import Contact
from aiosip.protocol import UDP
from multidict import CIMultiDict

PATIENCE_S = 10
SDP = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\n"


class ManyVias(UDP):
    """UDP that can answer a request which came through proxies."""

    def send_message(self, msg):
        if isinstance(msg.headers["Via"], list):
            self.transport.sendto(str(msg).encode())
        else:
            super().send_message(msg)


def inside(answer, method, cseq):
    """Headers of a request in the dialog that `answer` made."""
    headers = CIMultiDict()
    headers["From"] = answer.headers["From"]
    headers["To"] = answer.headers["To"]
    headers["CSeq"] = "%d %s" % (cseq, method)  # noqa: UP031 - as old as the interpreter
    record_route = answer.headers.get("Record-Route", [])
    routes = record_route if isinstance(record_route, list) else [record_route]
    headers["Route"] = list(reversed(routes))
    return headers


async def call(loop, from_uri, to_uri, proxy, who_hangs_up):
    app = aiosip.Application(loop=loop)
    local = Contact.from_header(from_uri)["uri"]
    dialog = await app.start_dialog(
        from_uri, to_uri, protocol=ManyVias, local_addr=(local["host"], local["port"]), remote_addr=proxy
    )
    hung_up = asyncio.Future(loop=loop)
    dialog.register_callback("BYE", lambda _dialog, request: hung_up.set_result(request))
    headers = CIMultiDict({"Content-Type": "application/sdp"})
    answer = await asyncio.wait_for(dialog.invite(headers=headers, sdp=SDP), PATIENCE_S)
    print("INVITE", answer.status_code, flush=True)
    target = Contact.from_header(answer.headers["Contact"])
    dialog.send_message("ACK", to_details=target, headers=inside(answer, "ACK", 1))
    print("ACK", flush=True)
    if who_hangs_up == "caller":
        dialog.cseqs["BYE"] = 1
        bye = dialog.send_message("BYE", to_details=target, headers=inside(answer, "BYE", 2))
        print("BYE", (await asyncio.wait_for(bye, PATIENCE_S)).status_code, flush=True)
    else:
        await asyncio.wait_for(hung_up, PATIENCE_S)
        await asyncio.sleep(0.2)  # the answer leaves after the callback
        print("hung up", flush=True)


def main():
    from_uri, to_uri, host, port, who_hangs_up = sys.argv[1:]
    loop = asyncio.get_event_loop()
    loop.run_until_complete(call(loop, from_uri, to_uri, (host, int(port)), who_hangs_up))


if __name__ == "__main__":
    main()
