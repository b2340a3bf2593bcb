"""Every call of the corpus gets the verdict a person gave it: judged as `explain` judges, and live through SIPp."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from edge_proxy.addr import Address, Side, Transport
from edge_proxy.compile import compile_snapshot
from edge_proxy.config import Settings
from edge_proxy.pipeline.admission import Challenge, admit_saved
from edge_proxy.pipeline.judgement import judge
from edge_proxy.pipeline.snapshot import Snapshot
from edge_proxy.policy.parties import Source
from edge_proxy.policy.verdict import Outcome, Verdict
from edge_proxy.sip.parser import parse_message
from edge_proxy.sip.uri import parse_uri
from tests.corpus import network, proofs
from tests.corpus.call import CHALLENGED, CorpusCall
from tests.corpus.calls import corpus
from tests.corpus.live import BusyPeer, call_by_tls, write_scenario
from tests.kit.certificates import Authority
from tests.kit.digest import authorization
from tests.kit.messages import values
from tests.kit.ports import free_port
from tests.kit.proxy_process import PROXY_HOST, ProxyProcess, Site
from tests.kit.sipp import Sipp

CALLS: Final = corpus()
PROOFS: Final = proofs.proofs()


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """What the network of the corpus decides from."""
    directory = tmp_path_factory.mktemp("corpus")
    return compile_snapshot(Settings.model_validate(network.network(directory, 5060, 5070, 5090, 9464)))


@pytest.fixture(scope="module")
def proving(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """The same of the second network."""
    authority = Authority(tmp_path_factory.mktemp("pki"))
    directory = tmp_path_factory.mktemp("proofs")
    tls = tls_listener(authority, 5061)
    return compile_snapshot(Settings.model_validate(proofs.network(directory, 5060, 5070, 5090, 9464, tls)))


def tls_listener(authority: Authority, port: int) -> dict[str, Any]:
    edge = authority.issue("edge", PROXY_HOST)
    return {
        "bind": f"{PROXY_HOST}:{port}",
        "certificate": str(edge.certificate_path),
        "key": str(edge.key_path),
        "ca": str(authority.path),
        "client_certificate": "required",
    }


def as_datagram(call: CorpusCall, call_id: str = "corpus@pbx.example") -> bytes:
    """The INVITE as it is sent; with its password, as it is sent after the challenge."""
    username, word = call.login
    challenge = {"realm": proofs.REALM, "nonce": "of-another-day", "algorithm": "MD5"}
    head = [
        f"INVITE {call.request_uri} SIP/2.0",
        f"Via: SIP/2.0/{call.transport.upper()} {call.host}:5080;branch=z9hG4bK{call_id.partition('@')[0]}",
        "Max-Forwards: 70",
        f"{call.from_name}: {call.from_};tag=caller",
        f"To: <{call.request_uri}>",
        f"Call-ID: {call_id}",
        "CSeq: 1 INVITE",
        f"Contact: <sip:{call.contact}{'@' * bool(call.contact)}{call.host}:5080>",
        *call.headers,
        *([authorization(challenge, username=username, word=word)] if username else []),
        f"Content-Type: {call.body_type}",
        f"Content-Length: {len(call.body.encode())}",
    ]
    return ("\r\n".join(head) + "\r\n\r\n" + call.body).encode()


def judged(snapshot: Snapshot, call: CorpusCall) -> Verdict | None:
    """The verdict on it by the very functions that judge live calls; None where it is challenged."""
    message = parse_message(as_datagram(call), snapshot.limits)
    side = Side.CARRIERS if call.is_from_carrier else Side.CUSTOMERS
    origin = snapshot.origin_of(call.host, side)
    if call.certificate:
        origin = snapshot.identify(origin, (call.certificate,))
    found = admit_saved(snapshot, message, origin, call.transport)
    if isinstance(found, Challenge):
        return None
    source = Source(found, Address(call.host, 5080), call.transport)
    return judge(snapshot, message, parse_uri(message.uri), source).verdict


def assert_labelled(snapshot: Snapshot, call: CorpusCall) -> None:
    verdict = judged(snapshot, call)
    if verdict is None:
        assert (call.reason, call.is_good) == (CHALLENGED, False)
        return
    assert (verdict.reason, verdict.outcome is Outcome.ALLOWED) == (call.reason, call.is_good), verdict.text
    if call.ip_origin:
        assert verdict.ip_origin == call.ip_origin


def test_corpus_is_large_and_balanced() -> None:
    """Four hundred calls and more, and enough of both kinds that an engine which passes or refuses all fails."""
    good = sum(call.is_good for call in CALLS)
    assert len(CALLS) >= 400
    assert good >= 150
    assert len(CALLS) - good >= 150
    assert sum(call.is_good for call in PROOFS) >= 40
    assert sum(not call.is_good for call in PROOFS) >= 40


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.name)
def test_call_gets_the_verdict_it_is_labelled_with(snapshot: Snapshot, call: CorpusCall) -> None:
    """No good call is blocked, no spoof passes, and each for the right reason."""
    assert_labelled(snapshot, call)


@pytest.mark.parametrize("call", PROOFS, ids=lambda call: call.name)
def test_call_of_the_second_network_gets_the_verdict_it_is_labelled_with(proving: Snapshot, call: CorpusCall) -> None:
    """By password, certificate, mark and transport."""
    assert_labelled(proving, call)


@pytest.mark.sipp
@pytest.mark.timeout(300)
def test_corpus_is_decided_live_as_it_is_explained(tmp_path: Path) -> None:
    """The whole corpus through SIPp: each call is answered as labelled, and its evidence says what `explain` says."""
    site = Site()
    busy_port = free_port()
    config = network.network(tmp_path, site.customers_port, site.carriers_port, busy_port, site.metrics_port)
    explained = compile_snapshot(Settings.model_validate(config))
    with BusyPeer((PROXY_HOST, busy_port)), ProxyProcess(tmp_path, site, config) as proxy:
        send_by_sipp(tmp_path, site, explained, list(enumerate(CALLS)))
        assert_recorded(proxy, explained, CALLS)


@pytest.mark.sipp
@pytest.mark.timeout(300)
def test_second_network_is_decided_live_as_it_is_explained(tmp_path: Path) -> None:
    """The same by UDP, TCP and TLS, with passwords and certificates; and what leaves of an identity is as labelled."""
    site = Site()
    busy_port, tls_port = free_port(), free_port()
    authority = Authority(tmp_path / "pki")
    ports = site.customers_port, site.carriers_port, busy_port, site.metrics_port
    config = proofs.network(tmp_path, *ports, tls_listener(authority, tls_port))
    explained = compile_snapshot(Settings.model_validate(config))
    numbered = list(enumerate(PROOFS))
    with BusyPeer((PROXY_HOST, busy_port)) as called, ProxyProcess(tmp_path, site, config) as proxy:
        send_by_sipp(tmp_path, site, explained, [one for one in numbered if one[1].transport is not Transport.TLS])
        by_tls = [one for one in numbered if one[1].transport is Transport.TLS]
        for host in sorted({call.host for _, call in by_tls}):
            mine = [(number, call) for number, call in by_tls if call.host == host]
            context = authority.client_context(authority.issue(host, host))
            invites = [as_datagram(call, f"{number}///{host}") for number, call in mine]
            statuses = call_by_tls(host, (PROXY_HOST, tls_port), context, invites)
            assert statuses == [expected_status(explained, call) for _, call in mine]
        assert_recorded(proxy, explained, PROOFS)
    for number, call in numbered:
        assert (number in called.received) is call.is_good, call.name
        for name, left in call.leaves:
            assert tuple(values(called.received[number], name)) == left, call.name


def expected_status(explained: Snapshot, call: CorpusCall) -> int:
    """That of the final response: 486 is from whoever was called."""
    verdict = judged(explained, call)
    return 407 if verdict is None else verdict.status or 486


def send_by_sipp(directory: Path, site: Site, explained: Snapshot, numbered: Sequence[tuple[int, CorpusCall]]) -> None:
    """Each of them, forty in a SIPp; it fails where the final response is another than that of the verdict."""
    sources = sorted({(call.host, call.is_from_carrier, call.transport) for _, call in numbered})
    for place, source in enumerate(sources):
        host, is_from_carrier, transport = source
        mine = [
            (number, call, expected_status(explained, call))
            for number, call in numbered
            if (call.host, call.is_from_carrier, call.transport) == source
        ]
        for batch in itertools.count():
            part = mine[batch * 40 : batch * 40 + 40]
            if not part:
                break
            scenario = directory / f"corpus-{place}-{batch}.xml"
            write_scenario(scenario, part)
            remote = (PROXY_HOST, site.carriers_port if is_from_carrier else site.customers_port)
            local, is_stream = (host, free_port()), transport is Transport.TCP
            with Sipp(directory, scenario, local=local, remote=remote, is_stream=is_stream) as sipp:
                result = sipp.wait()
                assert (result.successful, result.failed) == (1, 0), sipp.errors()


def assert_recorded(proxy: ProxyProcess, explained: Snapshot, calls: Sequence[CorpusCall]) -> None:
    """The evidence of each is what its label and `explain` say; what was challenged has none."""
    proxy.flushed()
    attempts: Mapping[int, Mapping[str, Any]] = {
        int(line["call_id"].partition("///")[0]): line for line in proxy.evidence() if line["kind"] == "attempt"
    }
    proxy.assert_balanced()
    assert set(attempts) == {number for number, call in enumerate(calls) if call.reason != CHALLENGED}
    for number, call in enumerate(calls):
        verdict = judged(explained, call)
        if verdict is None:
            continue
        line = attempts[number]
        said = (line["reason"], line["rule"], line["outcome"], line["ip_origin"], line["proof"])
        assert said == (verdict.reason, verdict.rule, verdict.outcome, verdict.ip_origin, verdict.proof), call.name
        assert line["reason"] == call.reason, call.name
