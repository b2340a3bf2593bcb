"""Identities that nobody could mean, over real sockets: each has a verdict, or is more than is read."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from edge_proxy.evidence.record import MAX_RECORD_BYTES
from tests.integration.test_bad_input import deliver
from tests.kit.ports import free_port
from tests.kit.proxy_process import ACME_HOST, PROXY_HOST, ProxyProcess
from tests.kit.sip_socket import SipSocket, invite

OWN = "+12025550123"


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyProcess]:
    with ProxyProcess(tmp_path_factory.mktemp("hostile")) as running:
        yield running


@pytest.fixture
def acme(proxy: ProxyProcess) -> Iterator[SipSocket]:
    with SipSocket((ACME_HOST, free_port()), (PROXY_HOST, proxy.site.customers_port)) as one:
        yield one


def with_lines(acme: SipSocket, lines: list[bytes], uri: bytes = b"", **changes: str | None) -> bytes:
    data = invite(acme.local, **changes)
    if uri:
        data = b"INVITE " + uri + data[data.index(b" SIP/2.0") :]
    head, end, rest = data.partition(b"Content-Length")
    return head + b"".join(line + b"\r\n" for line in lines) + end + rest


def in_lines(value: bytes, count: int, per_line: int) -> list[bytes]:
    return [b"P-Asserted-Identity: " + b",".join([value] * per_line) for _ in range(count // per_line)]


OWN_URI = f"<sip:{OWN}@x>".encode()
QUOTES = b'"' + b'\\"' * 3500 + b'" '
HOSTILE: dict[str, tuple[int, list[bytes], bytes, dict[str, str | None]]] = {
    "10,000 values": (403, in_lines(b"sip:a", 10_000, 1250), b"", {}),
    "as many as fit, of an own number": (403, in_lines(OWN_URI, 3000, 375), b"", {}),
    "200 lines": (403, in_lines(OWN_URI, 200, 1), b"", {}),
    "more lines than are read": (513, in_lines(OWN_URI, 600, 1), b"", {}),
    "quotes within quotes": (403, [b"P-Asserted-Identity: " + QUOTES + b"<sip:+12025550200@x>"], b"", {}),
    "quotes around an own number": (100, [b'P-Asserted-Identity: "' + b'\\"' * 100 + b'" ' + OWN_URI], b"", {}),
    "more quotes than are read": (403, [b"P-Asserted-Identity: " + QUOTES + OWN_URI], b"", {}),
    "a quote that does not end": (403, [b'P-Asserted-Identity: "' + b'\\"' * 3500 + OWN_URI], b"", {}),
    "quotes and commas": (403, [b"P-Asserted-Identity: " + b'"",' * 2000 + OWN_URI], b"", {}),
    "brackets without end": (403, [b"P-Asserted-Identity: " + b"<" * 7000 + OWN_URI], b"", {}),
    "bytes of no text": (403, [b"P-Asserted-Identity: <sip:+1202555\xb2\xb3\x80\xff@x>"], b"", {}),
    "digits of another script": (403, [b"P-Asserted-Identity: <tel:+\xd9\xa1\xd9\xa2\xd9\xa0>"], b"", {}),
    "a tel URI of 8 kB": (403, [b"P-Asserted-Identity: <tel:+1" + b"2" * 8000 + b">"], b"", {}),
    "parameters of 8 kB": (100, [b"P-Asserted-Identity: <tel:" + OWN.encode() + b";a" * 4000 + b">"], b"", {}),
    "escapes of 8 kB": (403, [b"P-Asserted-Identity: <sip:" + b"%2B" * 2600 + b"@x>"], b"", {}),
    "a From of 8 kB": (403, [], b"", {"From": f"<tel:+1{'2' * 8000}>;tag=a"}),
    "a From of bytes": (403, [], b"", {"From": "<sip:+1202555\u00b2\u00b3@x>;tag=a"}),
    "a called number of 8 kB": (100, [], b"tel:+1" + b"2" * 8000, {}),
    "a called number of bytes": (100, [], b"sip:+1415555\xb2\xb3@edge.example", {}),
    "a longer line than is read": (513, [b"P-Asserted-Identity: <tel:+1" + b"2" * 20_000 + b">"], b"", {}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_identity_that_nobody_could_mean_has_a_verdict_or_is_too_much(
    proxy: ProxyProcess, acme: SipSocket, name: str
) -> None:
    """A verdict, whose record is bounded; 513 (RFC 3261 §21.5.7) tells of more than is read, 100 of what goes on."""
    status, lines, uri, changes = HOSTILE[name]
    data = with_lines(acme, lines, uri, **changes)
    answer, added = deliver(proxy, acme, data)
    assert answer is not None
    assert int(answer[8:11]) == status
    verdicts = added.by("verdicts_total", "outcome")
    if status == 513:
        assert added.by("messages_by_cause_total", "cause") == {"malformed": 1}
        assert not verdicts
        return
    assert sum(verdicts.values()) == 1
    assert ("refused" in verdicts) is (status == 403)
    line = proxy.attempt(data.split(b"Call-ID: ")[1].split(b"\r\n")[0].decode())
    assert len(line.get("asserted", [])) <= 16
    assert len(json.dumps(line)) <= MAX_RECORD_BYTES
