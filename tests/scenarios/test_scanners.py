"""Unknown sources that scan or flood are dropped unread for a time; calls for help, calls that are up and known peers
are not."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.registry import Collector

from edge_proxy.addr import Address, Monotonic, Side
from edge_proxy.pipeline.counters import Cause
from edge_proxy.pipeline.scanners import Scanners
from edge_proxy.pipeline.snapshot import Snapshot
from edge_proxy.routing.dialog_token import DialogSigner
from edge_proxy.routing.forward import OwnUris
from edge_proxy.telemetry.limit_metrics import limit_families
from tests.kit.messages import (
    FOREIGN,
    OURS_FOR_CUSTOMERS,
    Dialog,
    ack_of,
    answer,
    cancel_of,
    invite,
    outgoing_uri,
    request,
)
from tests.kit.playbook import MONITORED, STRANGER, Playbook, make_snapshot

SPOOFED = f"<sip:{FOREIGN}@acme.example>;tag=x"


def scanning(settings: str = "requests: 3, window_s: 60, ignore_s: 600", more: str = "") -> Snapshot:
    return make_snapshot(old="trunks:\n", new=f"policy: {{scanners: {{{settings}}}{more}}}\ntrunks:\n")


def probe(source: Address = STRANGER) -> bytes:
    return request("INVITE", f"sip:100@{OURS_FOR_CUSTOMERS}", source=source)


def scan(play: Playbook, times: int = 3) -> None:
    for _ in range(times):
        play.refuses(probe(), 403, by=play.stranger)


def test_scanner_is_dropped_unread_for_a_time() -> None:
    """The fourth gets no answer, no record and no transaction; ten minutes later it is answered again."""
    play = Playbook(snapshot=scanning())
    scan(play)
    servers = len(play.pipeline.layer.servers)
    play.stranger.sends(probe(), times=5).gets_nothing()
    play.stranger.sends(request("OPTIONS", f"sip:{OURS_FOR_CUSTOMERS}", source=STRANGER)).gets_nothing()
    play.stranger.sends(b"x" * 100).gets_nothing()
    assert play.count(Cause.SCANNER_IGNORED) == 7
    assert len(play.attempts) == 3
    assert len(play.pipeline.layer.servers) == servers
    play.waits(599.9)
    play.stranger.sends(probe()).gets_nothing()
    play.waits(0.2)
    scan(play)
    play.stranger.sends(probe()).gets_nothing()
    assert play.pipeline.scanners.found == 2


def test_slow_source_and_retransmissions_are_no_scan() -> None:
    """Two in a minute are not three, and the same request again is not another one."""
    play = Playbook(snapshot=scanning())
    for _ in range(4):
        sent = probe()
        refusal = play.stranger.sends(sent).gets(403)
        play.stranger.sends(sent, times=5).ignores("403")
        play.stranger.sends(ack_of(sent, refusal)).gets_nothing()
        play.waits(31.0)
    assert len(play.attempts) == 4
    assert len(play.pipeline.scanners) == 0


def test_emergency_call_of_an_ignored_source_passes_and_can_be_cancelled_and_hung_up() -> None:
    """From the INVITE to the BYE, and the CANCEL of another one."""
    play = Playbook(snapshot=scanning())
    scan(play)
    sent = request("INVITE", outgoing_uri("911"), source=STRANGER)
    play.stranger.sends(sent).gets(100)
    invited = play.carrier.gets("INVITE")
    play.carrier.sends(answer(invited, 200))
    dialog = Dialog(invited, play.stranger.gets(200))
    play.stranger.sends(dialog.ack())
    play.carrier.gets("ACK")
    play.stranger.sends(dialog.from_caller("BYE"))
    play.carrier.sends(answer(play.carrier.gets("BYE"), 200))
    play.stranger.gets(200)
    sent = request("INVITE", "urn:service:sos", source=STRANGER)
    play.stranger.sends(sent).gets(100)
    invited = play.carrier.gets("INVITE")
    play.carrier.sends(answer(invited, 180))
    play.stranger.gets(180)
    play.stranger.sends(cancel_of(sent)).gets(200)
    play.carrier.sends(answer(play.carrier.gets("CANCEL"), 200))
    play.carrier.sends(answer(invited, 487))
    play.carrier.gets("ACK")
    play.stranger.sends(ack_of(sent, play.stranger.gets(487))).gets_nothing()
    assert play.count(Cause.SCANNER_IGNORED) == 0
    play.stranger.sends(probe()).gets_nothing()


def test_emergency_calls_are_never_a_scan() -> None:
    """However many, answered by us or not."""
    play = Playbook(snapshot=scanning())
    for _ in range(10):
        play.stranger.sends(request("INVITE", outgoing_uri("112"), source=STRANGER)).gets(100)
        play.carrier.gets("INVITE")
    play.refuses(probe(), 403, by=play.stranger)


@pytest.mark.parametrize("route", [f"<sip:{OURS_FOR_CUSTOMERS};lr;ep=AAAA>", "<sip:x;ep=", "<sip:192.0.2.77;lr>"])
def test_made_up_route_does_not_help(route: str) -> None:
    """Only a token that we signed shows a call of ours."""
    play = Playbook(snapshot=scanning())
    scan(play)
    for method, to in (("INVITE", None), ("BYE", "<sip:x@y>;tag=1")):
        data = request(method, f"sip:100@{OURS_FOR_CUSTOMERS}", source=STRANGER, routes=[route], to=to)
        play.stranger.sends(data).gets_nothing()


def test_known_peers_are_never_ignored() -> None:
    """A customer may be refused as often as it likes, and so may what it sends be malformed."""
    play = Playbook(snapshot=scanning())
    for _ in range(10):
        play.refuses(invite(from_=SPOOFED), 403)
        play.monitored.sends(request("OPTIONS", "tel:+1", source=MONITORED)).ignores()
        play.carrier.ignores()
    play.call()
    assert play.count(Cause.SCANNER_IGNORED) == 0


def test_address_of_a_customer_or_target_is_no_scanner_on_either_side() -> None:
    """What a customer's equipment sends to the wrong listener leads nowhere, and is answered however often."""
    play = Playbook(snapshot=scanning())
    for host in (play.customer.address.host, play.carrier.address.host):
        for side in Side:
            peer = play.peer(Address(host, 5099), side)
            for _ in range(10):
                sent = request("BYE", "sip:x@y", source=peer.address, to="<sip:x@y>;tag=1")
                peer.sends(sent).gets("481")
    assert len(play.pipeline.scanners) == 0


def test_address_that_becomes_a_customers_is_no_longer_ignored() -> None:
    """A reload with its prefix is enough."""
    play = Playbook(snapshot=scanning())
    scan(play)
    new = f'customers:\n  - {{id: new, sources: ["{STRANGER.host}/32"], country: US}}\n'
    play.pipeline.use_snapshot(make_snapshot(old="customers:\n", new=new))
    assert len(play.pipeline.scanners) == 0


def test_reload_lifts_it_from_who_is_never_to_be_ignored() -> None:
    """`never` and SIGHUP; other reloads leave the list as it is; and who is on it is not found again."""
    play = Playbook(snapshot=scanning())
    scan(play)
    play.pipeline.use_snapshot(scanning("requests: 3, ignore_s: 300"))
    play.stranger.sends(probe()).gets_nothing()
    play.pipeline.use_snapshot(scanning(f'requests: 3, never: ["{STRANGER.host}/32"]'))
    assert len(play.pipeline.scanners) == 0
    scan(play, 10)
    play.pipeline.use_snapshot(scanning("requests: 0"))
    scan(play, 10)


def test_node_in_monitor_mode_ignores_nobody() -> None:
    """It says what would have been, and the unknown source's call passes."""
    play = Playbook(snapshot=scanning("requests: 1", ", mode: monitor"))
    for _ in range(3):
        play.stranger.sends(request("BYE", "sip:x@y", source=STRANGER, to="<sip:x@y>;tag=1")).ignores()
    play.stranger.sends(request("INVITE", outgoing_uri(), source=STRANGER)).gets(100)
    play.carrier.gets("INVITE")


def scanners(most: int = 10) -> Scanners:
    return Scanners(OwnUris([]), DialogSigner(bytes(32)), scanning(), most)


def test_tables_are_bounded_and_say_what_they_forgot() -> None:
    """Ever new sources, as a flood with forged addresses is: the oldest go."""
    seen = scanners()
    for n in range(1000):
        for _ in range(3):
            seen.observe(f"10.0.{n // 250}.{n % 250}", Cause.REFUSED, Monotonic(0))
    assert len(seen) == 10
    assert seen.forgotten == 990
    for n in range(1000):
        seen.observe(f"10.1.{n // 250}.{n % 250}", Cause.REFUSED, Monotonic(0))
    assert len(seen._seen) == 10
    assert seen.ignores("10.0.3.249", b"INVITE sip:100@x SIP/2.0\r\n", Monotonic(1))
    assert not seen.ignores("10.0.0.0", b"INVITE sip:100@x SIP/2.0\r\n", Monotonic(1))


def test_long_list_is_looked_through_some_at_a_time() -> None:
    """Who must never be ignored is read at once, and off the list before long; the others stay on it."""
    seen = scanners(2000)
    for n in range(2000):
        for _ in range(3):
            seen.observe(f"10.{n % 2}.{n // 250}.{n % 250}", Cause.REFUSED, Monotonic(0))
    seen.use_snapshot(scanning('requests: 3, never: ["10.1.0.0/16"]'))
    seen.use_targets(frozenset())
    assert 1000 < len(seen) < 2000
    assert not seen.ignores("10.1.7.249", b"INVITE sip:100@x SIP/2.0\r\n", Monotonic(1))
    assert seen.ignores("10.0.7.248", b"INVITE sip:100@x SIP/2.0\r\n", Monotonic(1))
    for _ in range(10):
        seen.forgive()
    assert len(seen) == 1000


def test_ipv6_source_is_its_slash_64() -> None:
    """Whoever has an address there has all of them; an IPv4-mapped one stands alone."""
    seen = scanners()
    for n in range(3):
        seen.observe(f"2001:db8::{n}", Cause.REFUSED, Monotonic(0))
        seen.observe(f"::ffff:192.0.2.{n}", Cause.REFUSED, Monotonic(0))
    assert len(seen) == 1
    assert seen.ignores("2001:db8::ffff", b"INVITE sip:100@x SIP/2.0\r\n", Monotonic(1))
    assert not seen.ignores("2001:db8:0:1::1", b"INVITE sip:100@x SIP/2.0\r\n", Monotonic(1))


def test_source_that_a_customer_logged_in_from_is_no_stranger() -> None:
    """For an hour after it."""
    seen = scanners()
    seen.vouch("192.0.2.7", Monotonic(0))
    for _ in range(10):
        seen.observe("192.0.2.7", Cause.CHALLENGED, Monotonic(3599))
    assert len(seen) == 0
    for _ in range(3):
        seen.observe("192.0.2.7", Cause.CHALLENGED, Monotonic(3600))
    assert len(seen) == 1


class _Limits(Collector):
    def __init__(self, play: Playbook) -> None:
        self._play = play

    def collect(self) -> list[Metric]:
        return list(limit_families(self._play.pipeline))


def test_list_and_its_bound_are_metrics() -> None:
    """How many are ignored, and how often that began."""
    play = Playbook(snapshot=scanning())
    registry = CollectorRegistry()
    registry.register(_Limits(play))
    scan(play)
    assert registry.get_sample_value("edge_proxy_scanners_ignored") == 1
    assert registry.get_sample_value("edge_proxy_scanners_found_total") == 1
    assert registry.get_sample_value("edge_proxy_scanners_forgotten_total") == 0
    assert registry.get_sample_value("edge_proxy_limit_entries") == 0
    assert registry.get_sample_value("edge_proxy_limit_entries_forgotten_total") == 0
    assert play.pipeline.calls.active(Side.CUSTOMERS) == 0


def test_address_that_customers_share_is_no_stranger() -> None:
    """Requests that show none of the customers' marks are refused, and the address is not ignored."""
    shared = "".join(
        f'  - {{id: {name}, sources: ["198.51.100.12/32"], country: US, match: {{trunk_group: {name}}}}}\n'
        for name in ("north", "south")
    )
    new = f"policy: {{scanners: {{requests: 2}}}}\ncustomers:\n{shared}"
    play = Playbook(snapshot=make_snapshot(old="customers:\n", new=new))
    peer = play.peer(Address("198.51.100.12", 5060), Side.CUSTOMERS)
    for _ in range(5):
        play.refuses(probe(peer.address), 403, by=peer)
    assert len(play.pipeline.scanners) == 0
