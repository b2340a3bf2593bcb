"""The tree of settings, one frozen model per section: what may be written, the defaults, and the bounds.

Each check looks at one section only; what must hold between sections (overlaps, ids used twice) is in conflicts.py.
Texts raised here say what is wrong, then what would be right; wording.py adds the same for what pydantic finds.
The commented default is config/edge-proxy.yaml. No file is opened and no name is resolved here.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final, Literal

from phonenumbers import SUPPORTED_REGIONS
from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr
from pydantic import field_validator as check_field
from pydantic_core.core_schema import ValidationInfo

from edge_proxy.addr import E164, Address, Transport
from edge_proxy.config.document import Document, Entry, Sequence, parse_key_path, quote
from edge_proxy.config.endpoints import (
    is_wildcard,
    numeric_prefix,
    parse_advertised,
    parse_listen_address,
    parse_nameserver,
    parse_target,
)
from edge_proxy.config.identity import IdentitySettings
from edge_proxy.config.ip_origin import EquipmentSettings, IpOriginSettings
from edge_proxy.config.limits import LimitsSettings, PolicyLimitsSettings, ScannersSettings
from edge_proxy.config.lists import ListSettings
from edge_proxy.config.origins import (
    Asn,
    AuthenticationSettings,
    CredentialSettings,
    MatchSettings,
    MinimumProof,
    TlsIdentityText,
)
from edge_proxy.config.refusals import RefusalSettings
from edge_proxy.config.rollout import RuleModes, Shares
from edge_proxy.config.section import FilePath, NumberRange, Prefix, Section, Token
from edge_proxy.numbers.ownership import parse_range
from edge_proxy.pipeline.session_timer import SMALLEST_INTERVAL_S
from edge_proxy.policy.access import Proof
from edge_proxy.sip.limits import Limits
from edge_proxy.traffic.address_ranges import parse_prefix

RETENTION_DAYS_MIN: Final = 365
TELEMETRY_LISTEN: Final = "127.0.0.1:9464"

_INVENTORY_URL: Final = re.compile(r"(postgresql(\+psycopg)?://[^/\s]*/[^/\s?]+(\?\S*)?|sqlite:///\S+)")

_SERVER_NAME: Final = re.compile(
    r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?)*"
)

# ISO 3166 codes that people write from habit, and the code that numbering plans know.
_REGION_HABITS: Final = {"UK": "GB", "EL": "GR", "USA": "US", "EN": "GB"}


def _checked_target(text: str) -> str:
    parse_target(text)
    return text


def _target_of_text(value: object) -> object:
    """A bare URI is a target with nothing else said of it."""
    if isinstance(value, dict | TargetSettings):
        return value
    if not isinstance(value, str):
        raise ValueError(  # noqa: TRY004 - pydantic wants ValueError
            f'{quote(str(value))} is no target; write a URI in quotes, such as "sip:192.0.2.20:5060", '
            'or {uri: "sip:192.0.2.20:5060", weight: 2}'
        )
    parse_target(value)
    return TargetSettings(uri=value)


def _checked_nameserver(text: str) -> str:
    parse_nameserver(text)
    return text


def _checked_listen(text: str) -> str:
    parse_listen_address(text)
    return text


def _checked_advertise(text: str) -> str:
    parse_advertised(text, default_port=0)
    return text


def _checked_server_name(text: str) -> str:
    if not _SERVER_NAME.fullmatch(text.lower()):
        raise ValueError(
            f"{quote(text)} is no host name that a client can ask for; write one such as sip.example.net, in ASCII"
        )
    return text.lower()


def _names_once(certificates: list[NamedCertificateSettings]) -> list[NamedCertificateSettings]:
    names = [one.name for one in certificates]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{quote(name)} has two certificates; write one for each name")
    return certificates


def _checked_region(text: str) -> str:
    if text in SUPPORTED_REGIONS:
        return text
    upper = text.upper()
    code = _REGION_HABITS.get(upper, upper)
    advice = f'write "{code}"' if code in SUPPORTED_REGIONS else 'write two capital letters, such as "US" or "GB"'
    raise ValueError(f"{quote(text)} is no ISO 3166 region with a numbering plan; {advice}")


def _checked_inventory(text: str) -> str:
    if not _INVENTORY_URL.fullmatch(text):  # what was written may hold a password, so it is not repeated
        raise ValueError(
            "it is no URL of an inventory; write postgresql+psycopg://USER@HOST/DATABASE or sqlite:///FILE, "
            "or leave it out to use numbers.sqlite in data_dir"
        )
    return text


def _offered_transport(value: object) -> object:
    if isinstance(value, str) and value.lower() == Transport.TLS:
        raise ValueError("tls has an address and certificates of its own: write udp or tcp, and a `tls:` section")
    return value


def _each_once(transports: list[Transport]) -> list[Transport]:
    if len(set(transports)) < len(transports):
        raise ValueError("a transport is listed twice; write each one once")
    return transports


def _long_enough(days: object) -> object:
    if isinstance(days, int) and not isinstance(days, bool) and days < RETENTION_DAYS_MIN:
        raise ValueError(
            f"{days} days is less than the duty to keep usage and customer records: one calendar year at least, "
            f"counted from the end of the agreement; write {RETENTION_DAYS_MIN} or more"
        )
    return days


TargetUri = Annotated[str, AfterValidator(_checked_target)]
Nameserver = Annotated[str, AfterValidator(_checked_nameserver)]
ListenAddress = Annotated[str, AfterValidator(_checked_listen)]
OfferedTransport = Annotated[Transport, Field(strict=False), BeforeValidator(_offered_transport)]


class NamedCertificateSettings(Section):
    """What clients see that ask for one name."""

    name: Annotated[str, AfterValidator(_checked_server_name)] = Field(examples=["sip.example.net"])
    certificate: FilePath = Field(examples=["/etc/edge-proxy/tls/example.pem"])
    key: FilePath = Field(examples=["/etc/edge-proxy/tls/example.key"])


class TlsSettings(Section):
    """TLS of one listener: where it listens, who it is, whom it believes."""

    bind: ListenAddress = Field(examples=['"192.0.2.10:5061"'])
    certificate: FilePath = Field(examples=["/etc/edge-proxy/tls/edge.pem"])
    key: FilePath = Field(examples=["/etc/edge-proxy/tls/edge.key"])
    ca: FilePath | None = None
    client_certificate: Literal["none", "optional", "required"] = "none"
    certificates_by_name: Annotated[list[NamedCertificateSettings], AfterValidator(_names_once)] = Field(default=[])

    @check_field("client_certificate")
    @classmethod
    def _needs_a_ca(cls, value: str, info: ValidationInfo) -> str:
        if value != "none" and info.data.get("ca") is None:
            raise ValueError(f"{value} needs `ca`, the authorities that client certificates are checked against")
        return value

    @property
    def address(self) -> Address:
        return parse_listen_address(self.bind)


class StreamsSettings(Section):
    """What one listener grants its TCP and its TLS connections."""

    max_connections: int = Field(default=4096, ge=1, le=1_000_000)
    max_connections_per_source: int = Field(default=256, ge=1, le=1_000_000)
    idle_s: float = Field(default=900, ge=1, le=86_400)
    message_s: float = Field(default=5, ge=0.1, le=60)


class ListenerSettings(Section):
    """One socket address and what peers are told of it."""

    bind: ListenAddress = Field(examples=['"192.0.2.10:5060"'])
    transports: Annotated[list[OfferedTransport], AfterValidator(_each_once)] = Field(
        default=[Transport.UDP], min_length=1, examples=["[udp]"]
    )
    advertise: Annotated[str, AfterValidator(_checked_advertise)] | None = Field(
        default=None, validate_default=True, examples=['"192.0.2.10"']
    )
    tls: TlsSettings | None = None
    streams: StreamsSettings = StreamsSettings()

    @check_field("advertise")
    @classmethod
    def _needed_for_a_wildcard(cls, value: str | None, info: ValidationInfo) -> str | None:
        bind = info.data.get("bind")
        if value is None and bind is not None and is_wildcard(parse_listen_address(bind).host):
            raise ValueError(
                f"{bind} listens on every address, so peers cannot be told where to answer; "
                'write the address they reach, such as "192.0.2.10"'
            )
        return value

    @property
    def address(self) -> Address:
        """Where to bind; port 0 asks the system for a free one."""
        return parse_listen_address(self.bind)

    @property
    def advertised(self) -> Address:
        """What goes into Via and Record-Route: `advertise`, or else the bound address. The host may be a name."""
        if self.advertise is None:
            return self.address
        return parse_advertised(self.advertise, default_port=self.address.port)


class ListenersSettings(Section):
    customers: ListenerSettings = Field(examples=['{bind: "192.0.2.10:5060", transports: [udp]}'])
    carriers: ListenerSettings = Field(examples=['{bind: "192.0.2.10:5070", transports: [udp]}'])


class TargetSettings(Section):
    """One place that calls go to. `priority` None: its place in the list, 1 for the first."""

    uri: TargetUri = Field(examples=['"sip:192.0.2.20:5060"'])
    priority: int | None = Field(default=None, ge=1, le=65_535)
    weight: int = Field(default=1, ge=0, le=65_535)
    drain: bool = False


Target = Annotated[TargetSettings, BeforeValidator(_target_of_text)]


class ProbeSettings(Section):
    """How targets are asked with OPTIONS whether they are there."""

    interval_s: float = Field(default=30, ge=0, le=3600)
    timeout_s: float = Field(default=4, gt=0, le=60)
    up_after: int = Field(default=2, ge=1, le=100)
    down_after: int = Field(default=3, ge=1, le=100)


class OverloadSettings(Section):
    """When the proxy itself has too much to do. 0: never."""

    delay_ms: int = Field(default=50, ge=0, le=10_000)


class CustomerSettings(IdentitySettings):
    id: Token = Field(examples=["acme"])
    sources: list[Prefix] = Field(default=[], examples=['["192.0.2.0/28"]'])
    match: MatchSettings | None = None
    credentials: list[CredentialSettings] = Field(default=[], examples=["[{username: a, password_file: a.txt}]"])
    tls_identities: list[TlsIdentityText] = Field(default=[], examples=['["dns:sbc.acme.example"]'])
    minimum_proof: MinimumProof = Proof.NONE
    asns: list[Asn] = Field(default=[], examples=["[64500]"])
    targets: list[Target] = Field(default=[], examples=['["sip:192.0.2.1:5060"]'])
    probe: ProbeSettings = ProbeSettings(interval_s=0)
    overload_control: bool = False
    country: Annotated[str, AfterValidator(_checked_region)] = Field(examples=["US"])
    numbers: list[NumberRange] = Field(default=[], examples=['["+12025550100-+12025550199"]'])
    limits: LimitsSettings = LimitsSettings()
    mode: Literal["enforce", "monitor"] = "enforce"
    unknown_ip_origin: Literal["allow", "reject"] | None = None
    trust_access_network: bool = False
    equipment: EquipmentSettings = EquipmentSettings()

    @property
    def prefixes(self) -> list[tuple[int, int, int]]:
        """`sources` as (first, last, IP version), both ends inclusive."""
        return [parse_prefix(text) for text in self.sources]

    @property
    def ranges(self) -> list[tuple[E164, E164]]:
        """`numbers` as (first, last), both ends inclusive."""
        return [parse_range(text) for text in self.numbers]


def _numeric_targets(data: dict[str, object]) -> list[str]:
    targets = data.get("targets")
    if not isinstance(targets, list):
        return []
    return list(dict.fromkeys(prefix for target in targets if (prefix := numeric_prefix(target.uri))))


class TrunkSettings(Section):
    id: Token = Field(examples=["carrier-a"])
    targets: list[Target] = Field(min_length=1, examples=['["sip:203.0.113.10:5060"]'])
    sources: list[Prefix] = Field(default_factory=_numeric_targets, examples=['["203.0.113.8/29"]'])
    committed_rate_bps: int | None = Field(default=None, ge=1, le=10**15)
    hide_topology: bool = False
    mode: Literal["enforce", "monitor"] = "enforce"
    trusted_identity: bool = True
    probe: ProbeSettings = ProbeSettings()
    overload_control: bool = False

    @property
    def prefixes(self) -> list[tuple[int, int, int]]:
        """`sources` as (first, last, IP version), both ends inclusive."""
        return [parse_prefix(text) for text in self.sources]


class NumbersSettings(Section):
    """Numbers that are kept in a database beside those written here."""

    inventory: Annotated[str, AfterValidator(_checked_inventory)] | None = Field(
        default=None, examples=['"postgresql+psycopg://edge@db.example.net/edge"']
    )


class AsnSettings(Section):
    table: FilePath = Field(examples=["config/asn-sample.tsv"])


class PolicySettings(Section):
    """What the operator may choose. Emergency calls have no key: they are never refused, limited or shed."""

    mode: Literal["enforce", "monitor"] = "enforce"
    unknown_ip_origin: Literal["allow", "reject"] = "allow"
    limits: PolicyLimitsSettings = PolicyLimitsSettings()
    refusals: dict[str, RefusalSettings] = Field(default={}, examples=["{from_not_owned: {status: 603}}"])
    scanners: ScannersSettings = ScannersSettings()
    rules: RuleModes = Field(default={}, examples=["{number_denied: monitor}"])
    assertions: FilePath | None = Field(default=None, examples=["config/assertions.yaml"])
    enforce_share: Shares = Field(default={}, examples=["{number_denied: 10}"])
    ip_origin: IpOriginSettings = IpOriginSettings()


class EvidenceSettings(Section):
    retention_days: Annotated[int, BeforeValidator(_long_enough)] = Field(
        default=RETENTION_DAYS_MIN, ge=RETENTION_DAYS_MIN, le=36_500
    )
    when_full: Literal["pass", "refuse"] = "pass"
    buffer_dir: FilePath | None = None


class TelemetrySettings(Section):
    listen: ListenAddress = Field(default=TELEMETRY_LISTEN, examples=[f'"{TELEMETRY_LISTEN}"'])
    max_asn_labels: int = Field(default=100, ge=1, le=1000)
    call_log: Literal["all", "refused", "none"] = "all"

    @property
    def address(self) -> Address:
        return parse_listen_address(self.listen)


class AdminSettings(Section):
    listen: ListenAddress = Field(examples=['"127.0.0.1:8080"'])

    @property
    def address(self) -> Address:
        return parse_listen_address(self.listen)


class SipSettings(Section):
    """The timers of RFC 3261 §17 and appendix A, and how large a message may be."""

    t1_ms: int = Field(default=500, ge=10, le=10_000)
    t2_ms: int = Field(default=4000, ge=100, le=60_000, validate_default=True)
    t4_ms: int = Field(default=5000, ge=100, le=60_000)
    timer_c_s: int = Field(default=185, gt=180, le=3600)
    max_message_bytes: int = Field(default=65_535, ge=2048, le=1_048_576)
    max_headers: int = Field(default=256, ge=32, le=4096)
    max_header_bytes: int = Field(default=8192, ge=512, le=65_535)
    max_vias: int = Field(default=70, ge=2, le=255)
    max_body_bytes: int = Field(default=65_535, ge=2048, le=1_048_576)
    max_breadth: int = Field(default=60, ge=0, le=10_000)
    session_expires_s: int = Field(default=1800, ge=0, le=86_400)
    max_call_s: int = Field(default=14_400, ge=60, le=604_800)
    nameservers: list[Nameserver] = Field(default=[], max_length=8, examples=['["192.0.2.53"]'])
    overload: OverloadSettings = OverloadSettings()

    @check_field("t2_ms")
    @classmethod
    def _at_least_t1(cls, value: int, info: ValidationInfo) -> int:
        t1_ms = info.data.get("t1_ms", value)
        if value < t1_ms:
            raise ValueError(f"{value} is below t1_ms, {t1_ms}: retransmissions slow down from T1 to T2; write more")
        return value

    @property
    def nameserver_addresses(self) -> list[Address]:
        """`nameservers` with their ports; none means those of the system."""
        return [parse_nameserver(text) for text in self.nameservers]

    @check_field("session_expires_s")
    @classmethod
    def _long_enough_to_refresh(cls, value: int) -> int:
        if 0 < value < SMALLEST_INTERVAL_S:
            raise ValueError(
                f"{value} s is less than any session timer may be; write {SMALLEST_INTERVAL_S} or more, "
                "or 0 to ask for none"
            )
        return value

    @property
    def limits(self) -> Limits:
        """The bounds on one message, as the parser takes them."""
        return Limits(
            self.max_message_bytes, self.max_headers, self.max_header_bytes, self.max_vias, self.max_body_bytes
        )


class Settings(Section):
    """The whole file. Relative paths are relative to the directory that the proxy is started in."""

    node: Token = Field(examples=["edge-1"])
    data_dir: FilePath = Field(default=Path("data"), examples=["data"])
    workers: int = Field(default=1, ge=1, le=64)
    listeners: ListenersSettings = Field(
        examples=['{customers: {bind: "192.0.2.10:5060"}, carriers: {bind: "192.0.2.10:5070"}}']
    )
    customers: list[CustomerSettings] = Field(examples=['[{id: acme, sources: ["192.0.2.20"], country: US}]'])
    trunks: list[TrunkSettings] = Field(
        min_length=1, examples=['[{id: carrier-a, targets: ["sip:203.0.113.10:5060"]}]']
    )
    numbers: NumbersSettings = NumbersSettings()
    authentication: AuthenticationSettings = AuthenticationSettings()
    lists: list[ListSettings] = Field(default=[], max_length=64)
    asn: AsnSettings | None = Field(default=None, examples=["{table: config/asn-sample.tsv}"])
    policy: PolicySettings = PolicySettings()
    evidence: EvidenceSettings = EvidenceSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    admin: AdminSettings | None = Field(default=None, examples=['{listen: "127.0.0.1:8080"}'])
    sip: SipSettings = SipSettings()

    _document: Document | None = PrivateAttr(default=None)

    def where(self, key_path: str) -> tuple[str, int]:
        """(file, line) of a key such as "listeners.customers.bind"; of its nearest written parent when defaulted."""
        if self._document is None:
            return "", 0
        return self._document.path, self._document.line_of(parse_key_path(key_path))

    def customers_written(self) -> list[Entry]:
        """What the file says of customers, taken out of it: errors about them have no line of their own any more."""
        written = None if self._document is None else self._document.root.entries.pop("customers", None)
        return written.node.items if written is not None and isinstance(written.node, Sequence) else []

    def __eq__(self, other: object) -> bool:
        """Equal settings, wherever they were written: a reload that only moved lines changes nothing."""
        return isinstance(other, Settings) and self.__dict__ == other.__dict__

    __hash__ = None  # type: ignore[assignment]  # it holds lists
