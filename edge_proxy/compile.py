"""Settings to snapshot: read the files they name and build the tables that decide, off the call path.

Nothing here changes a snapshot that is in use: what is wrong raises `ConfigErrors`, each with file and line, and the
one that serves goes on serving.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from edge_proxy.addr import Asn, Side, Transport, Wall
from edge_proxy.compile_asn import load_asn_table
from edge_proxy.compile_lists import load_lists
from edge_proxy.config import (
    ConfigErrors,
    CredentialSettings,
    CustomerSettings,
    ListenerSettings,
    PolicySettings,
    ProbeSettings,
    Settings,
    TrunkSettings,
    settings_error,
    version_parts,
)
from edge_proxy.config.refusals import compile_refusals
from edge_proxy.errors import ConfigError
from edge_proxy.inventory.compiled import BuildRequest, InlineRange, index_apart, index_version
from edge_proxy.inventory.rights import InventoryError
from edge_proxy.numbers.e164 import dial_plan
from edge_proxy.numbers.emergency import emergency_plan, joined_plan
from edge_proxy.numbers.ownership import OwnedRange, OwnershipIndex
from edge_proxy.numbers.validity import national_lengths, ranges_in_use
from edge_proxy.pipeline.snapshot import Snapshot
from edge_proxy.policy.access import Access
from edge_proxy.policy.call_limits import ScannerLimits
from edge_proxy.policy.digest import Algorithm, Credential, Realm, ha1_of
from edge_proxy.policy.fingerprints import Fingerprint, Fingerprints, read_fingerprints
from edge_proxy.policy.parties import Customer, Mode, Trunk
from edge_proxy.policy.rollout import ABOUT_RANGES, DEFAULT_MODES, Rollout, RuleMode
from edge_proxy.policy.rules import Rulebook
from edge_proxy.policy.verdict import Reason
from edge_proxy.policy.weights import DEFAULT_WEIGHTS, IpOriginPolicy, IpOriginTerms
from edge_proxy.policy.wildcard import Wildcard
from edge_proxy.resting import in_order, one_by_one, rest
from edge_proxy.routing.destinations import TRUNKS, Destinations
from edge_proxy.routing.targets import Probe, Target, name_query, numeric_address, transport_of
from edge_proxy.sip.uri import parse_uri
from edge_proxy.traffic.address_ranges import RangeMap, group_overlaps, parse_prefix

_HASH_CHARS: Final = 12
_TOLD_BY_SOURCE: Final = ("mode", "trusted_identity", "hide_topology")
"""What of a trunk holds for the calls that come from its addresses."""
_PACKAGED_FINGERPRINTS: Final = Path(__file__).parent / "policy" / "fingerprints.tsv"


def compile_snapshot(settings: Settings, now: Wall | None = None, serving: Snapshot | None = None) -> Snapshot:
    """Build what a worker decides from, with the numbers as they are owned at `now`; by default, at this moment.

    What is mapped of `serving` and has not changed is taken over from it. Raises `ConfigErrors` with all that is wrong.
    """
    now = Wall(time.time()) if now is None else now
    errors: list[ConfigError] = []
    digest = hashlib.sha256()
    for part in version_parts(settings):
        digest.update(part)
    customer_targets = tuple(
        _targets(settings, Side.CUSTOMERS, f"customers[{ordinal}]", customer, "", errors)
        for ordinal, customer in _numbered(settings)
    )
    trunk_targets = tuple(
        _targets(settings, Side.CARRIERS, f"trunks[{ordinal}]", trunk, trunk.id, errors)
        for ordinal, trunk in enumerate(settings.trunks)
    )
    asn_table = load_asn_table(settings, digest.update, errors, None if serving is None else serving.asn_table)
    owned = _load_ownership(settings, now, digest.update, errors, serving)
    lists = load_lists(settings, now, digest.update, errors)
    realm = _realm(settings, digest.update, errors)
    if owned is not None:
        _check_main_numbers(settings, owned.ownership, errors)
    _check_trunks(settings, errors)
    ip_origin = _load_ip_origin(settings, digest.update, errors)
    refusals, problems = compile_refusals(settings.policy.refusals)
    errors.extend(settings_error(settings, f"policy.refusals.{key}", text) for key, text in problems)
    if errors or asn_table is None or owned is None:
        raise ConfigErrors(errors)
    national_lengths()  # read now, not with the first call
    if any(settings.policy.rules.get(reason, "off") != "off" for reason in ABOUT_RANGES):
        ranges_in_use()
    alike: dict[Any, Any] = {}
    customers = tuple(
        Customer(
            ordinal=ordinal,
            id=customer.id,
            plan=dial_plan(customer.country),
            emergency=emergency_plan(customer.country),
            mode=Mode(customer.mode),
            limits=_once(customer.limits.compiled, alike),
            access=_once(_access(customer), alike),
            identity=_once(customer.identity, alike),
            ip_origin=_once(_ip_origin_terms(customer), alike),
        )
        for ordinal, customer in _numbered(settings)
    )
    rulebook = Rulebook(
        customers=customers,
        ownership=owned.ownership,
        plans=tuple({customer.plan.region: customer.plan for customer in customers}.values()),
        fallback_emergency=joined_plan(
            {customer.emergency.region: customer.emergency for customer in customers}.values()
        ),
        refusals=refusals,
        explains_608=any(refusal.explains_608 for refusal in refusals.values()),
        tag_headers=frozenset(refusal.header.lower().encode() for refusal in refusals.values() if refusal.header),
        mode=Mode(settings.policy.mode),
        per_asn=settings.policy.limits.per_asn.compiled_asn,
        refuses_unknown_ip_origin=settings.policy.unknown_ip_origin == "reject",
        lists=lists.lists,
        rollout=_rollout(settings.policy),
        ip_origin=ip_origin,
    )
    shared = _shared_sources(settings)
    destinations = _destinations(customer_targets, trunk_targets)
    return Snapshot(
        version=digest.hexdigest()[:_HASH_CHARS],
        rulebook=rulebook,
        trunks=tuple(
            Trunk(
                ordinal,
                trunk.id,
                trunk.committed_rate_bps or 0,
                trunk.hide_topology,
                Mode(trunk.mode),
                trunk.trusted_identity,
            )
            for ordinal, trunk in enumerate(settings.trunks)
        ),
        customer_targets=customer_targets,
        trunk_targets=trunk_targets,
        destinations=destinations,
        customer_sources=_source_map(
            [] if customer.match else customer.prefixes for _, customer in _numbered(settings)
        ),
        shared_sources=shared[0],
        shared_groups=shared[1],
        trunk_sources=_source_map(trunk.prefixes for trunk in settings.trunks),
        asn_table=asn_table,
        target_asns=frozenset([asn_table.asn_of(host) for host in one_by_one(destinations.hosts)]),
        limits=settings.sip.limits,
        refuses_without_evidence=settings.evidence.when_full == "refuse",
        next_change_at=min((at for at in (owned.next_change_at, lists.next_change_at) if at is not None), default=None),
        warnings=lists.warnings,
        realm=realm,
        tls_identities={
            identity: ordinal for ordinal, customer in _numbered(settings) for identity in customer.tls_identities
        },
        scanners=_scanners(settings.policy),
    )


def _scanners(policy: PolicySettings) -> ScannerLimits | None:
    """None while the whole node only watches."""
    scanners = policy.scanners
    if not scanners.requests or policy.mode == "monitor":
        return None
    never = _source_map([[parse_prefix(text) for text in scanners.never]])
    return ScannerLimits(scanners.requests, scanners.window_s, scanners.ignore_s, never)


def _rollout(policy: PolicySettings) -> Rollout:
    modes = {Reason(reason): RuleMode(mode) for reason, mode in policy.rules.items()}
    shares = {Reason(reason): share for reason, share in policy.enforce_share.items()}
    return Rollout({**DEFAULT_MODES, **modes}, shares)


def inventory_url(settings: Settings) -> str:
    """Where the inventory of numbers is, whether it exists or not."""
    return settings.numbers.inventory or f"sqlite:///{settings.data_dir / 'numbers.sqlite'}"


def transports_of(listener: ListenerSettings) -> list[Transport]:
    """What a listener offers, TLS included."""
    return [*listener.transports, *([Transport.TLS] if listener.tls is not None else [])]


def _numbered(settings: Settings) -> Iterator[tuple[int, CustomerSettings]]:
    """The customers with their ordinals, and a rest before each."""
    return enumerate(one_by_one(settings.customers))


_T = TypeVar("_T")


def _once(value: _T, alike: dict[_T, _T]) -> _T:
    """The first of equal values: what is said of many customers alike is one object, and at hand for each of them."""
    return alike.setdefault(value, value)


def _access(customer: CustomerSettings) -> Access:
    return Access(
        has_credentials=bool(customer.credentials),
        minimum_proof=customer.minimum_proof,
        match=None if customer.match is None else customer.match.compiled,
        asns=frozenset(Asn(number) for number in customer.asns),
    )


def _realm(settings: Settings, update_digest: Callable[[bytes], object], errors: list[ConfigError]) -> Realm | None:
    """How customers with credentials are challenged, with HA1 of each user for each algorithm that is offered."""
    authentication = settings.authentication
    name = authentication.realm or settings.node
    users: dict[bytes, Credential] = {}
    for ordinal, customer in _numbered(settings):
        for place, credential in enumerate(customer.credentials):
            try:
                password = None if credential.password_file is None else _read_password(credential.password_file)
                ha1 = {
                    algorithm: _ha1(algorithm, credential, name, password) for algorithm in authentication.algorithms
                }
                if credential.ha1_md5 is not None and Algorithm.MD5 not in ha1:
                    raise ConfigError("ha1_md5 is of no use: MD5 is not in authentication.algorithms; write it there")
            except ConfigError as error:
                key = f"customers[{ordinal}].credentials[{place}]"
                errors.append(settings_error(settings, key, str(error)))
                continue
            for value in ha1.values():
                update_digest(value)
            users[credential.username.encode()] = Credential(ordinal, ha1)
    return Realm(name, tuple(authentication.algorithms), authentication.nonce_s, users) if users else None


def _ha1(algorithm: Algorithm, credential: CredentialSettings, realm: str, password: str | None) -> bytes:
    if password is not None:
        return ha1_of(algorithm, credential.username, realm, password)
    written = credential.ha1_md5 if algorithm is Algorithm.MD5 else credential.ha1_sha256
    if written is None:
        key = "ha1_md5" if algorithm is Algorithm.MD5 else "ha1_sha256"
        raise ConfigError(f"{algorithm} is offered and cannot be checked for this user; write {key} or password_file")
    return written.encode()


def _read_password(path: Path) -> str:
    try:
        password = path.read_text(encoding="utf-8").partition("\n")[0].rstrip("\r")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "it is not UTF-8"
        raise ConfigError(f"cannot read {path}: {why}; name a file whose first line is the password") from error
    if not password:
        raise ConfigError(f"the first line of {path} is empty; write the password there")
    return password


def _shared_sources(settings: Settings) -> tuple[RangeMap | None, list[tuple[int, ...]]]:
    """Who may send from an address that customers share, where their requests tell them apart."""
    entries = [
        (*prefix, ordinal)
        for ordinal, customer in _numbered(settings)
        if customer.match is not None
        for prefix in customer.prefixes
    ]
    pieces, groups = group_overlaps(entries)
    return (RangeMap.build(pieces, rest) if pieces else None), groups


def _source_map(groups: Iterable[list[tuple[int, int, int]]]) -> RangeMap:
    entries = ((*prefix, ordinal) for ordinal, group in enumerate(groups) for prefix in group)
    return RangeMap.build(entries, rest)


def _targets(
    settings: Settings,
    side: Side,
    key: str,
    owner: CustomerSettings | TrunkSettings,
    trunk: str,
    errors: list[ConfigError],
) -> tuple[Target, ...]:
    """The targets of one customer or trunk: each with its address, or with what DNS is to be asked."""
    offered = transports_of(settings.listeners.customers if side is Side.CUSTOMERS else settings.listeners.carriers)
    compiled: list[Target] = []
    for index, target in enumerate(owner.targets):
        uri = parse_uri(target.uri.encode())
        transport = transport_of(uri)
        query = name_query(uri, side)
        is_fixed = uri.param(b"transport") is not None
        if transport not in offered and (is_fixed or query is None or query.port is not None):
            text = f"no listener of the {side} side has {transport}; add it there, or choose {' or '.join(offered)}"
            errors.append(settings_error(settings, f"{key}.targets[{index}]", text))
            continue
        compiled.append(
            Target(
                target.uri,
                numeric_address(uri),
                transport,
                is_fixed,
                query,
                target.priority or index + 1,
                target.weight,
                target.drain,
                _probe(owner.probe),
                trunk,
                hides_topology=isinstance(owner, TrunkSettings) and owner.hide_topology,
                trusts_identity=owner.trusted_identity,
                controls_overload=owner.overload_control,
            )
        )
    return tuple(compiled)


def _destinations(
    customer_targets: tuple[tuple[Target, ...], ...], trunk_targets: tuple[tuple[Target, ...], ...]
) -> Destinations:
    """The trunks' first: where a customer's target has the same address, it is probed as the trunk says."""
    destinations = Destinations()
    for group in trunk_targets:
        for target in group:
            destinations.add(Side.CARRIERS, TRUNKS, target)
    for ordinal, group in enumerate(one_by_one(customer_targets)):
        for target in group:
            destinations.add(Side.CUSTOMERS, ordinal, target)
    return destinations


def _check_main_numbers(settings: Settings, ownership: OwnershipIndex, errors: list[ConfigError]) -> None:
    for ordinal, customer in _numbered(settings):
        number = customer.identity.main_number
        if number is not None and ownership.owner_of(number) not in {ordinal, ordinal + len(settings.customers)}:
            text = f"{customer.main_number} is no number of {customer.id}; write one that is"
            errors.append(settings_error(settings, f"customers[{ordinal}].main_number", text))


def _check_trunks(settings: Settings, errors: list[ConfigError]) -> None:
    """Two trunks may send from one address only if it makes no difference which of them a call is said to be from."""
    found: dict[tuple[int, int, int], TrunkSettings] = {}
    for place, trunk in enumerate(settings.trunks):
        for prefix in trunk.prefixes:
            other = found.setdefault(prefix, trunk)
            differ = [key for key in _TOLD_BY_SOURCE if getattr(trunk, key) != getattr(other, key)]
            if differ:
                text = (
                    f"{trunk.id} sends from the same addresses as {other.id}, and {differ[0]} differs; write the same "
                    "for both, or `sources` that tell them apart"
                )
                errors.append(settings_error(settings, f"trunks[{place}].id", text))
                break


def _probe(probe: ProbeSettings) -> Probe | None:
    if not probe.interval_s:
        return None
    return Probe(probe.interval_s, probe.timeout_s, probe.up_after, probe.down_after)


def _ip_origin_terms(customer: CustomerSettings) -> IpOriginTerms:
    unknown = customer.unknown_ip_origin
    return IpOriginTerms(
        refuses_unknown=None if unknown is None else unknown == "reject",
        trusts_access_network=customer.trust_access_network,
        approved_equipment=tuple(map(Wildcard, customer.equipment.approved)),
    )


def _load_ip_origin(
    settings: Settings, update_digest: Callable[[bytes], object], errors: list[ConfigError]
) -> IpOriginPolicy:
    """The weights of signals, and the fingerprints of equipment: the operator's before the packaged ones."""
    chosen = settings.policy.ip_origin
    lines: list[Fingerprint] = []
    for path in (chosen.fingerprints, _PACKAGED_FINGERPRINTS):
        if path is None:
            continue
        try:
            data = path.read_bytes()
            update_digest(data)
            found, wrong = read_fingerprints(data.decode("utf-8").splitlines(), str(path))
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            text = f"cannot read {path}: {why}; name a file of fingerprints (.tsv) that this process may read"
            errors.append(settings_error(settings, "policy.ip_origin.fingerprints", text))
            continue
        lines += found
        errors += wrong
    weights = {**DEFAULT_WEIGHTS, **chosen.weights}
    return IpOriginPolicy(chosen.pstn_at, chosen.ip_at, weights, Fingerprints(lines))


class _Owned(NamedTuple):
    ownership: OwnershipIndex
    next_change_at: Wall | None


def _load_ownership(
    settings: Settings,
    now: Wall,
    update_digest: Callable[[bytes], object],
    errors: list[ConfigError],
    serving: Snapshot | None,
) -> _Owned | None:
    """Who owns which number: what is written in the configuration and what is in the inventory, together."""
    if settings.numbers.inventory is None and not (settings.data_dir / "numbers.sqlite").exists():
        return _Owned(
            OwnershipIndex.build_sorted(
                in_order(
                    (
                        OwnedRange(first, last, ordinal)
                        for ordinal, customer in _numbered(settings)
                        for first, last in customer.ranges
                    ),
                    tuple,
                )
            ),
            None,
        )
    key = "data_dir" if settings.numbers.inventory is None else "numbers.inventory"
    request = BuildRequest(
        url=inventory_url(settings),
        directory=str(settings.data_dir),
        customers=[customer.id for _, customer in _numbered(settings)],
        inline=[
            InlineRange(first, last, ordinal, f"customers[{ordinal}].numbers[{place}]")
            for ordinal, customer in _numbered(settings)
            for place, (first, last) in enumerate(customer.ranges)
        ],
        now=now,
    )
    try:
        result, index = index_apart(request, None if serving is None else serving.rulebook.ownership)
    except InventoryError as error:
        errors.append(settings_error(settings, key, str(error)))
        return None
    if index is None:
        errors.extend(settings_error(settings, problem.key, problem.text) for problem in result.problems)
        return None
    update_digest(index_version(Path(result.path)).encode())
    return _Owned(index, None if result.next_change_at is None else Wall(result.next_change_at))
