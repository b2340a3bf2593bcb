"""Every call of the corpus gets the verdict a person gave it: judged as `explain` judges, and live through SIPp."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from edge_proxy.addr import Address, Side, Transport
from edge_proxy.compile import compile_snapshot
from edge_proxy.config import Settings
from edge_proxy.pipeline.judgement import Judgement, judge
from edge_proxy.pipeline.snapshot import Snapshot
from edge_proxy.policy.parties import Source
from edge_proxy.policy.verdict import Outcome
from edge_proxy.sip.parser import parse_message
from edge_proxy.sip.uri import parse_uri
from tests.corpus.call import CorpusCall
from tests.corpus.calls import corpus
from tests.corpus.live import BusyPeer, write_scenario
from tests.corpus.network import PROXY_HOST, network
from tests.kit.ports import free_port
from tests.kit.proxy_process import ProxyProcess, Site
from tests.kit.sipp import Sipp

CALLS = corpus()


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """What the network of the corpus decides from."""
    return compile_snapshot(Settings.model_validate(network(tmp_path_factory.mktemp("corpus"), 5060, 5070, 5090, 9464)))


def as_datagram(call: CorpusCall) -> bytes:
    """The INVITE as it is sent."""
    head = [
        f"INVITE {call.request_uri} SIP/2.0",
        f"Via: SIP/2.0/UDP {call.host}:5080;branch=z9hG4bKcorpus",
        "Max-Forwards: 70",
        f"{call.from_name}: {call.from_};tag=caller",
        f"To: <{call.request_uri}>",
        "Call-ID: corpus@pbx.example",
        "CSeq: 1 INVITE",
        f"Contact: <sip:{call.contact}{'@' * bool(call.contact)}{call.host}:5080>",
        *call.headers,
        f"Content-Type: {call.body_type}",
        f"Content-Length: {len(call.body.encode())}",
    ]
    return ("\r\n".join(head) + "\r\n\r\n" + call.body).encode()


def judged(snapshot: Snapshot, call: CorpusCall) -> Judgement:
    """The verdict on it by the very function that judges live calls."""
    message = parse_message(as_datagram(call), snapshot.limits)
    side = Side.CARRIERS if call.is_from_carrier else Side.CUSTOMERS
    source = Source(snapshot.origin_of(call.host, side), Address(call.host, 5080), Transport.UDP)
    return judge(snapshot, message, parse_uri(message.uri), source)


def test_corpus_is_large_and_balanced() -> None:
    """Four hundred calls and more, and enough of both kinds that an engine which passes or refuses all fails."""
    good = sum(call.is_good for call in CALLS)
    assert len(CALLS) >= 400
    assert good >= 150
    assert len(CALLS) - good >= 150


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.name)
def test_call_gets_the_verdict_it_is_labelled_with(snapshot: Snapshot, call: CorpusCall) -> None:
    """No good call is blocked, no spoof passes, and each for the right reason."""
    verdict = judged(snapshot, call).verdict
    assert (verdict.reason, verdict.outcome is Outcome.ALLOWED) == (call.reason, call.is_good), verdict.text
    if call.ip_origin:
        assert verdict.ip_origin == call.ip_origin


@pytest.mark.sipp
@pytest.mark.timeout(300)
def test_corpus_is_decided_live_as_it_is_explained(tmp_path: Path) -> None:
    """The whole corpus through SIPp: each call is answered as labelled, and its evidence says what `explain` says."""
    site = Site()
    busy_port = free_port()
    config = network(tmp_path, site.customers_port, site.carriers_port, busy_port, site.metrics_port)
    explained = compile_snapshot(Settings.model_validate(config))
    numbered = list(enumerate(CALLS))
    with BusyPeer((PROXY_HOST, busy_port)), ProxyProcess(tmp_path, site, config) as proxy:
        sources = sorted({(call.host, call.is_from_carrier) for call in CALLS})
        for place, (host, is_from_carrier) in enumerate(sources):
            mine = [
                (number, call, judged(explained, call).verdict)
                for number, call in numbered
                if (call.host, call.is_from_carrier) == (host, is_from_carrier)
            ]
            for batch in itertools.count():
                part = mine[batch * 40 : batch * 40 + 40]
                if not part:
                    break
                scenario = tmp_path / f"corpus-{place}-{batch}.xml"
                write_scenario(scenario, part)
                remote = (PROXY_HOST, site.carriers_port if is_from_carrier else site.customers_port)
                with Sipp(tmp_path, scenario, local=(host, free_port()), remote=remote) as sipp:
                    result = sipp.wait()
                    assert (result.successful, result.failed) == (1, 0), sipp.errors()
        proxy.flushed()
        attempts = {
            int(line["call_id"].partition("///")[0]): line for line in proxy.evidence() if line["kind"] == "attempt"
        }
        proxy.assert_balanced()
    assert len(attempts) == len(CALLS)
    for number, call in numbered:
        line, verdict = attempts[number], judged(explained, call).verdict
        said = (line["reason"], line["rule"], line["outcome"], line["ip_origin"])
        assert said == (verdict.reason, verdict.rule, verdict.outcome, verdict.ip_origin), call.name
        assert line["reason"] == call.reason, call.name
