"""Settings to the cast: which peers there are, where they sit, which calls they place and what is to come of them.

Everything is taken from the configuration that the proxy itself reads. A configuration that cannot be played on this
machine alone is refused with the key that stands in the way: a demo must never send a call to a real carrier.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Final

from edge_proxy.addr import Address
from edge_proxy.cli.demo.plan import Identity, Numbers, PeerPlan, Scenario
from edge_proxy.config import ConfigErrors, CustomerSettings, ListenerSettings, Settings, settings_error
from edge_proxy.config.endpoints import is_wildcard, parse_target
from edge_proxy.numbers.ownership import parse_range
from edge_proxy.policy.verdict import STATUS_OF, Outcome, Reason
from edge_proxy.routing.targets import numeric_address

CUSTOMERS_IN_THE_CAST: Final = 3
_EMERGENCY: Final = "911"
_WIRED: Final = "P-Access-Network-Info: IEEE-802.3ab;network-provided"
_SWITCHED: Final = "P-Access-Network-Info: GSTN"

# Numbers reserved for fiction; the first of these that no customer owns plays the rest of the world.
_OUTSIDE: Final = (
    "+12125550100-+12125550199",
    "+16465550100-+16465550199",
    "+441632960000-+441632960999",
    "+61491570006-+61491570110",
)


def assemble_cast(settings: Settings) -> list[PeerPlan]:
    """The peers, the carrier first. Raises `ConfigErrors` when this configuration cannot be played."""
    stage = _Stage(settings)
    if len(settings.customers) < CUSTOMERS_IN_THE_CAST:
        raise stage.error(
            "customers",
            f"the demo plays {CUSTOMERS_IN_THE_CAST} customers and finds {len(settings.customers)}; write more, "
            "or use config/edge-proxy.yaml",
        )
    customers_at = stage.listener("customers", settings.listeners.customers)
    carriers_at = stage.listener("carriers", settings.listeners.carriers)
    stage.check_targets()
    good, spoofer, gateway = settings.customers[:CUSTOMERS_IN_THE_CAST]
    own = [stage.numbers(ordinal) for ordinal in range(CUSTOMERS_IN_THE_CAST)]
    outside = stage.outside()
    casts = [
        (good, _good_calls(settings, good, own[0], outside)),
        (spoofer, _spoofed_calls(settings, (spoofer, good), (own[1], own[0]), outside)),
        (gateway, _gateway_calls(settings, gateway, own[2], outside)),
    ]
    peers = [_carrier(stage, carriers_at, (good, spoofer), (own[0], own[1]), outside)]
    for ordinal, (customer, scenarios) in enumerate(casts):
        host, port = stage.seat(ordinal)
        peers.append(
            PeerPlan(
                name=customer.id,
                side="customers",
                host=host,
                port=port,
                proxy=customers_at,
                user_agent=f"{customer.id}-pbx/1.0",
                scenarios=scenarios,
            )
        )
    scan = Scenario(
        name="unknown source",
        every_s=0.9,
        to=outside,
        caller=own[0],
        outcome=Outcome.REFUSED,
        reason=Reason.UNKNOWN_SOURCE,
    )
    peers.append(
        PeerPlan(
            name="scanner",
            side="customers",
            host=stage.stranger(),
            port=0,
            proxy=customers_at,
            user_agent="friendly-scanner",
            scenarios=[scan],
            junk_every_s=2.5,
        )
    )
    return peers


def _good_calls(settings: Settings, customer: CustomerSettings, own: Numbers, outside: Numbers) -> list[Scenario]:
    same = Identity()
    withheld = ["Privacy: id", _WIRED]
    scenarios = [
        Scenario(name="own number", every_s=0.4, to=outside, caller=own, asserted=[same], lines=[_WIRED]),
        Scenario(
            name="withheld, asserts own",
            every_s=1.5,
            to=outside,
            caller=None,
            asserted=[Identity("sip", own), Identity("tel", own)],
            lines=withheld,
        ),
        Scenario(name="own number, gives up", every_s=2.0, to=outside, caller=own, gives_up=True),
    ]
    for scenario in scenarios:
        _may_be_unknown(settings, customer, scenario)
    return scenarios


def _spoofed_calls(
    settings: Settings, cast: tuple[CustomerSettings, CustomerSettings], numbers: tuple[Numbers, Numbers], out: Numbers
) -> list[Scenario]:
    customer, victim = cast
    own, stolen = numbers
    good = Scenario(name="own number", every_s=0.9, to=out, caller=own)
    _may_be_unknown(settings, customer, good)
    spoofs = [
        (f"From is {victim.id}'s", stolen, [], Reason.FROM_NOT_OWNED),
        ("From is nobody's", out, [], Reason.FROM_NOT_OWNED),
        (f"asserts {victim.id}'s (sip)", own, [Identity("sip", stolen)], Reason.PAI_NOT_OWNED),
        ("asserts nobody's (tel)", own, [Identity("sip", own), Identity("tel", out)], Reason.PAI_NOT_OWNED),
    ]
    emergency = Scenario(
        name=f"{_EMERGENCY} with a foreign From",
        every_s=12.0,
        to=_EMERGENCY,
        caller=stolen,
        reason=Reason.EMERGENCY,
    )
    return [
        good,
        *(
            Scenario(
                name=name,
                every_s=1.6,
                to=out,
                caller=caller,
                asserted=asserted,
                outcome=_outcome(customer, reason),
                reason=reason,
            )
            for name, caller, asserted, reason in spoofs
        ),
        emergency,
    ]


def _gateway_calls(settings: Settings, customer: CustomerSettings, own: Numbers, outside: Numbers) -> list[Scenario]:
    pstn = _outcome(customer, Reason.PSTN_ORIGIN), Reason.PSTN_ORIGIN
    wired = Scenario(name="own number, IP access", every_s=1.2, to=outside, caller=own, lines=[_WIRED])
    _may_be_unknown(settings, customer, wired)
    return [
        wired,
        Scenario(
            name="says GSTN access",
            every_s=1.6,
            to=outside,
            caller=own,
            lines=[_SWITCHED],
            outcome=pstn[0],
            reason=pstn[1],
        ),
        Scenario(
            name="carries an ISUP part",
            every_s=1.8,
            to=outside,
            caller=own,
            body="isup",
            outcome=pstn[0],
            reason=pstn[1],
        ),
    ]


def _carrier(
    stage: _Stage,
    proxy: tuple[str, int],
    cast: tuple[CustomerSettings, CustomerSettings],
    numbers: tuple[Numbers, Numbers],
    outside: Numbers,
) -> PeerPlan:
    callee, other = cast
    called, foreign = numbers
    forwarder = f"Diversion: <sip:+{outside[0]}@carrier.example>;reason=unconditional"
    host, port = stage.carrier_seat()
    forged = Reason.OWN_NUMBER_FROM_CARRIER
    scenarios = [
        Scenario(name=f"to {callee.id}", every_s=0.9, to=called, caller=outside, reason=Reason.CARRIER_CALL),
        Scenario(
            name=f"to {callee.id}, forwarded back",
            every_s=2.5,
            to=called,
            caller=foreign,
            lines=[forwarder],
            reason=Reason.FORWARDED_CALL,
        ),
        Scenario(
            name=f"to {callee.id}, From is {other.id}'s",
            every_s=1.8,
            to=called,
            caller=foreign,
            outcome=_outcome(callee, forged),
            reason=forged,
        ),
        Scenario(
            name="to nobody's number",
            every_s=2.5,
            to=outside,
            caller=outside,
            outcome=Outcome.REFUSED,
            reason=Reason.CALLED_NOT_OWNED,
        ),
    ]
    return PeerPlan(
        name=stage.settings.trunks[0].id,
        side="carriers",
        host=host,
        port=port,
        proxy=proxy,
        user_agent="carrier-sbc/1.0",
        scenarios=scenarios,
    )


def _outcome(responsible: CustomerSettings, reason: Reason) -> Outcome:
    """What a reason leads to; a customer in monitor mode is let through."""
    if reason not in STATUS_OF:
        return Outcome.ALLOWED
    return Outcome.MONITORED if responsible.mode == "monitor" else Outcome.REFUSED


def _may_be_unknown(settings: Settings, customer: CustomerSettings, scenario: Scenario) -> None:
    """A good call without a sign of its origin that may be believed is refused where the policy wants one."""
    is_known = _WIRED in scenario.lines and (customer.trust_access_network or settings.asn is not None)
    if (customer.unknown_ip_origin or settings.policy.unknown_ip_origin) == "reject" and not is_known:
        scenario.reason = Reason.UNKNOWN_IP_ORIGIN
        scenario.outcome = _outcome(customer, scenario.reason)


class _Stage:
    """Where peers can sit, read from the settings; what cannot be played is an error at its key."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def error(self, key: str, text: str) -> ConfigErrors:
        return ConfigErrors([settings_error(self.settings, key, text)])

    def listener(self, side: str, listener: ListenerSettings) -> tuple[str, int]:
        """Where the proxy is reached."""
        key = f"listeners.{side}.bind"
        address = listener.advertised if is_wildcard(listener.address.host) else listener.address
        if not listener.address.port:
            raise self.error(key, "port 0 lets the system choose, and the demo's peers could not know; write a port")
        self._check_loopback(key, address.host)
        return address.host, address.port

    def check_targets(self) -> None:
        """Every target, since a call that fails is tried at the next one."""
        for section, groups in (
            ("trunks", [trunk.targets for trunk in self.settings.trunks]),
            ("customers", [customer.targets for customer in self.settings.customers]),
        ):
            for ordinal, targets in enumerate(groups):
                for index, target in enumerate(targets):
                    self._check_loopback(f"{section}[{ordinal}].targets[{index}]", parse_target(target.uri).host)

    def numbers(self, ordinal: int) -> Numbers:
        """The numbers that a customer calls as."""
        customer = self.settings.customers[ordinal]
        if not customer.ranges:
            text = f'{customer.id} has no number to call as in the demo; write one such as "+12025550100"'
            raise self.error(f"customers[{ordinal}].numbers", text)
        first, last = customer.ranges[0]
        return int(first), int(last)

    def outside(self) -> Numbers:
        """Numbers of nobody here."""
        owned = [owned for customer in self.settings.customers for owned in customer.ranges]
        for text in _OUTSIDE:
            first, last = parse_range(text)
            if all(last < begin or end < first for begin, end in owned):
                return int(first), int(last)
        raise self.error("customers", f"every number the demo knows belongs to a customer; leave {_OUTSIDE[0]} free")

    def seat(self, ordinal: int) -> tuple[str, int]:
        """The one address a customer's peer calls from and is called at."""
        customer = self.settings.customers[ordinal]
        for target in customer.targets:
            address = numeric_address(parse_target(target.uri))
            if address is not None and _is_in(address.host, customer.prefixes):
                return address
        key = f"customers[{ordinal}]"
        if ordinal == 0 or customer.targets:
            text = (
                f"the demo calls {customer.id} where it calls from; "
                f'write a target such as "sip:{_first(customer)}:5080", which is one of its sources'
            )
            raise self.error(f"{key}.targets", text)
        host = _first(customer)
        self._check_loopback(f"{key}.sources", host)
        return host, 0

    def carrier_seat(self) -> Address:
        """The first target of the first trunk."""
        trunk = self.settings.trunks[0]
        address = numeric_address(parse_target(trunk.targets[0].uri))
        if address is None or not _is_in(address.host, trunk.prefixes):
            text = f"the demo's carrier calls from its first target, {trunk.targets[0].uri}; let a source cover it"
            raise self.error("trunks[0].sources", text)
        return address

    def stranger(self) -> str:
        """A loopback address that is no customer's."""
        prefixes = [prefix for customer in self.settings.customers for prefix in customer.prefixes]
        for last in range(9, 255):
            host = f"127.0.0.{last}"
            if not _is_in(host, prefixes):
                return host
        raise self.error(
            "customers", "every address 127.0.0.9 to 127.0.0.254 is a customer's; leave one for a stranger"
        )

    def _check_loopback(self, key: str, host: str) -> None:
        try:
            is_loopback = ip_address(host).is_loopback
        except ValueError:
            is_loopback = False
        if not is_loopback:
            text = f"{host} is no loopback address, and the demo stays on this machine; use config/edge-proxy.yaml"
            raise self.error(key, text)


def _first(customer: CustomerSettings) -> str:
    first, _, version = customer.prefixes[0]
    return str(ip_address(first.to_bytes(4 if version == 4 else 16, "big")))


def _is_in(host: str, prefixes: list[tuple[int, int, int]]) -> bool:
    address = ip_address(host)
    return any(version == address.version and first <= int(address) <= last for first, last, version in prefixes)
