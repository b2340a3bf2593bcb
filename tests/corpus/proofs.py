"""The second network of the corpus: customers known by password, certificate or mark, and what leaves at the border.

One customer for each way of being known or of being trusted, all in one country; the rules about numbers have their
calls in the first network.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import md5
from pathlib import Path
from typing import Any, Final

from edge_proxy.addr import Transport
from tests.corpus.call import CHALLENGED, CorpusCall
from tests.corpus.network import CARRIER_HOST, OUTSIDE, PROXY_HOST
from tests.kit.passports import identity
from tests.kit.proxy_process import ROOT

REALM: Final = "edge.example"
NOWHERE: Final = "127.0.8.1"
"""Nobody's address."""
SHARED, BY_TCP, BY_DIGEST, TRUSTED, STRIPS, REPLACES = (f"127.0.2.{n}" for n in range(1, 7))
OURS: Final = "ip:127.0.8.2"
OTHERS: Final = "ip:127.0.8.3"
ROAMER: Final = ("roamer", "correct-horse")
DIGEST: Final = ("strict", "battery-staple")

NUMBERS: Final = {
    "roamer": "+12025550300",
    "north": "+12025550310",
    "south": "+12025550320",
    "plain": "+12025550330",
    "by-tcp": "+12025550340",
    "by-digest": "+12025550350",
    "by-tls": "+12025550360",
    "trusted": "+12025550370",
    "strips": "+12025550380",
    "replaces": "+12025550390",
}
_MAIN: Final = "+12025550391"
_FORGED: Final = "+12025550200"
_PAI, _PPI, _RPID = "P-Asserted-Identity", "P-Preferred-Identity", "Remote-Party-ID"
_NORTH: Final = "1;tgrp=tg-north;trunk-context=hosted.example"


def network(
    directory: Path, customers_port: int, carriers_port: int, answering_port: int, metrics_port: int, tls: Any = None
) -> Any:
    """The configuration; whoever is called answers at `answering_port`. `tls`: the listener for certificates."""
    terms: dict[str, dict[str, Any]] = {
        "roamer": {"credentials": [_credential(*ROAMER)]},
        "north": {
            "sources": [f"{SHARED}/32"],
            "match": {"trunk_group": "TG-North", "trunk_context": "hosted.example"},
        },
        "south": {"sources": [f"{SHARED}/32"], "match": {"header": {"name": "X-Tenant", "value": "south"}}},
        "plain": {"sources": [f"{SHARED}/32"]},
        "by-tcp": {"sources": [f"{BY_TCP}/32"], "minimum_proof": "address-tcp"},
        "by-digest": {
            "sources": [f"{BY_DIGEST}/32"], "minimum_proof": "digest", "credentials": [_credential(*DIGEST)],
        },
        "by-tls": {"tls_identities": [OURS], "minimum_proof": "tls-mutual"},
        "trusted": {"sources": [f"{TRUSTED}/32"], "trusted_identity": True},
        "strips": {"sources": [f"{STRIPS}/32"], "asserted_identity": "strip"},
        "replaces": {"sources": [f"{REPLACES}/32"], "asserted_identity": "replace", "main_number": _MAIN},
    }  # fmt: skip
    customers: dict[str, Any] = {"bind": f"{PROXY_HOST}:{customers_port}", "transports": ["udp", "tcp"]}
    if tls is not None:
        customers["tls"] = tls
    return {
        "node": "corpus",
        "data_dir": str(directory / "data"),
        "listeners": {"customers": customers, "carriers": {"bind": f"{PROXY_HOST}:{carriers_port}"}},
        "authentication": {"realm": REALM, "algorithms": ["MD5"]},  # SIPp 3.6 knows no other
        "customers": [
            {
                "id": name,
                "targets": [f"sip:{CARRIER_HOST}:{answering_port}"],
                "country": "US",
                "numbers": [NUMBERS[name], *([_MAIN] if name == "replaces" else [])],
                **own,
            }
            for name, own in terms.items()
        ],
        "trunks": [
            {
                "id": "carrier-a",
                "sources": [f"{CARRIER_HOST}/32"],
                "targets": [f"sip:{CARRIER_HOST}:{answering_port}"],
                "probe": {"interval_s": 0},
            }
        ],
        "lists": [
            *(
                {"id": f"{kind}-{party}", "kind": kind, "numbers": numbers, "applies_to": party, "source": "the plan"}
                for party in ("caller", "called")
                for kind, numbers in (("deny", ["+1233*"]), ("allow", ["+12335550199"]))
            ),
        ],
        "policy": {
            "rules": {"unallocated_caller": "enforce", "unallocated_called": "enforce"},
            "scanners": {"requests": 0},
        },
        "asn": {"table": str(ROOT / "config" / "asn-sample.tsv")},
        "telemetry": {"listen": f"{PROXY_HOST}:{metrics_port}"},
        "sip": {"overload": {"delay_ms": 0}},
    }


def _credential(username: str, word: str) -> dict[str, str]:
    ha1 = md5(f"{username}:{REALM}:{word}".encode(), usedforsecurity=False).hexdigest()
    return {"username": username, "ha1_md5": ha1}


def proofs() -> list[CorpusCall]:
    """Every call of this network."""
    calls = [*_digest(), *_marks(), *_by_transport(), *_certificates(), *_ranges(), *_out_of_here(), *_into_here()]
    assert len({call.name for call in calls}) == len(calls)
    return calls


def _call(name: str, host: str, caller: str, reason: str, *headers: str) -> CorpusCall:
    is_good = reason in {"identity_owned", "emergency", "carrier_call"}
    return CorpusCall(name, host, f"<sip:{caller}@pbx.example>", reason, is_good, headers)


def _digest() -> Iterator[CorpusCall]:
    """A password proves who sends, from wherever, and lends nobody a number that is not its own."""
    own, other = NUMBERS["roamer"], f"{_PAI}: <tel:{_FORGED}>"
    for place in (NOWHERE, "127.0.8.4"):
        yield _call(f"roamer-{place}", place, own, "identity_owned")._replace(login=ROAMER)
    for name, caller, reason, login, headers in (
        ("asserted", own, "identity_owned", ROAMER, (f"{_PAI}: <tel:{own}>",)),
        ("withheld", "anonymous", "identity_owned", ROAMER, (f"{_PAI}: <tel:{own}>",)),
        ("withheld-alone", "anonymous", "identity_missing", ROAMER, ()),
        ("forged", _FORGED, "from_not_owned", ROAMER, ()),
        ("of-another-customer", NUMBERS["plain"], "from_not_owned", ROAMER, ()),
        ("forged-pai", own, "pai_not_owned", ROAMER, (other,)),
        ("gstn", own, "pstn_origin", ROAMER, ("P-Access-Network-Info: GSTN",)),
        ("wrong-password", own, "authentication_failed", ("roamer", "wrong"), ()),
        ("empty-password", own, "authentication_failed", ("roamer", ""), ()),
        ("nobody", own, "authentication_failed", ("nobody", "correct-horse"), ()),
        ("no-password", own, CHALLENGED, ("", ""), ()),
        ("no-password-asserted", own, CHALLENGED, ("", ""), (f"{_PAI}: <tel:{own}>",)),
        ("forged-no-password", _FORGED, CHALLENGED, ("", ""), ()),
    ):
        yield _call(f"roamer-{name}", NOWHERE, caller, reason, *headers)._replace(login=login)
    yield _call("digest-only", BY_DIGEST, NUMBERS["by-digest"], "identity_owned")._replace(login=DIGEST)
    shown = _call("digest-only-ip", BY_DIGEST, NUMBERS["by-digest"], "identity_owned", "P-Access-Network-Info: ADSL")
    yield shown._replace(login=DIGEST, ip_origin="ip")
    yield _call("digest-only-address", BY_DIGEST, NUMBERS["by-digest"], CHALLENGED)
    wrong = _call("digest-only-other-user", BY_DIGEST, NUMBERS["by-digest"], "authentication_failed")
    yield wrong._replace(login=ROAMER)
    for host in (NOWHERE, BY_DIGEST, BY_TCP, SHARED):
        for number in ("911", "112"):
            call = _call(f"emergency-{host}-{number}", host, _FORGED, "emergency")
            yield call._replace(request_uri=f"sip:{number}@edge.example")


def _marks() -> Iterator[CorpusCall]:
    """Three customers behind one address: the trunk group, the header, and neither."""
    north, south, plain = NUMBERS["north"], NUMBERS["south"], NUMBERS["plain"]
    tenant = "X-Tenant: south"
    for name, caller, contact, headers, reason in (
        ("north", north, _NORTH, (), "identity_owned"),
        ("north-upper-case", north, "1;TGRP=TG-NORTH;trunk-context=Hosted.Example", (), "identity_owned"),
        ("north-as-south", south, _NORTH, (), "from_not_owned"),
        ("north-as-plain", plain, _NORTH, (), "from_not_owned"),
        ("north-other-group", north, "1;tgrp=tg-north2;trunk-context=hosted.example", (), "from_not_owned"),
        ("north-other-context", north, "1;tgrp=tg-north;trunk-context=elsewhere.example", (), "from_not_owned"),
        ("north-no-context", north, "1;tgrp=tg-north", (), "from_not_owned"),
        ("south", south, "", (tenant,), "identity_owned"),
        ("south-odd-name", south, "", ("x-TENANT :  south",), "identity_owned"),
        ("south-as-north", north, "", (tenant,), "from_not_owned"),
        ("south-other-value", south, "", ("X-Tenant: South",), "from_not_owned"),
        ("south-twice", south, "", (tenant, tenant), "from_not_owned"),
        ("plain", plain, "", (), "identity_owned"),
        ("plain-other-group", plain, "1;tgrp=mine;trunk-context=plain.example", (), "identity_owned"),
        ("plain-as-north", north, "", (), "from_not_owned"),
        ("plain-as-south", south, "", (), "from_not_owned"),
        ("two-marks", north, _NORTH, (tenant,), CHALLENGED),
    ):
        yield _call(f"mark-{name}", SHARED, caller, reason, *headers)._replace(contact=contact)
    elsewhere = _call("mark-from-elsewhere", NOWHERE, south, CHALLENGED, tenant)
    yield elsewhere


def _by_transport() -> Iterator[CorpusCall]:
    """An address that may be forged is too little for a customer that is to be known better."""
    own = NUMBERS["by-tcp"]
    yield _call("tcp", BY_TCP, own, "identity_owned")._replace(transport=Transport.TCP)
    yield _call("tcp-forged", BY_TCP, _FORGED, "from_not_owned")._replace(transport=Transport.TCP)
    yield _call("tcp-by-udp", BY_TCP, own, "proof_too_weak")
    yield _call("tcp-by-udp-forged", BY_TCP, _FORGED, "proof_too_weak")


def _certificates() -> Iterator[CorpusCall]:
    """A certificate proves who sends; another one, or none, does not."""
    own = NUMBERS["by-tls"]
    for name, caller, certificate, reason, headers in (
        ("own", own, OURS, "identity_owned", ()),
        ("own-asserted", own, OURS, "identity_owned", (f"{_PAI}: <tel:{own}>",)),
        ("forged", _FORGED, OURS, "from_not_owned", ()),
        ("forged-pai", own, OURS, "pai_not_owned", (f"{_PAI}: <tel:{_FORGED}>",)),
        ("gstn", own, OURS, "pstn_origin", ("P-Access-Network-Info: GSTN",)),
        ("other", own, OTHERS, CHALLENGED, ()),
        ("other-roamer", NUMBERS["roamer"], OTHERS, CHALLENGED, ()),
    ):
        call = _call(f"tls-{name}", certificate.removeprefix("ip:"), caller, reason, *headers)
        yield call._replace(transport=Transport.TLS, certificate=certificate)
    help_ = _call("tls-other-emergency", OTHERS.removeprefix("ip:"), _FORGED, "emergency")
    yield help_._replace(transport=Transport.TLS, certificate=OTHERS, request_uri="sip:911@edge.example")
    for transport in (Transport.UDP, Transport.TCP):
        call = _call(f"tls-by-{transport}", OURS.removeprefix("ip:"), own, CHALLENGED)
        yield call._replace(transport=transport)


def _ranges() -> Iterator[CorpusCall]:
    """Numbers that nobody can have: by a list, from which another takes one out, and by the numbering plans."""
    own = NUMBERS["plain"]
    for number, reason in (
        ("+12335550100", "number_denied"),
        ("2335550100", "number_denied"),
        ("+12335550199", "unallocated_called"),
        ("+446079460000", "unallocated_called"),
        ("011446079460000", "unallocated_called"),
        ("+442079460000", "identity_owned"),
        ("988", "identity_owned"),
    ):
        yield _call(f"called-{number}", SHARED, own, reason)._replace(request_uri=f"sip:{number}@edge.example")
    for number, reason in (
        ("+12335550100", "number_denied"),
        ("+12335550199", "unallocated_caller"),
        ("+446079460000", "unallocated_caller"),
        ("+442079460000", "carrier_call"),
        ("911", "emergency"),
    ):
        yield _into(f"caller-{number}", "plain", number, reason)


def _into(name: str, callee: str, caller: str, reason: str, *headers: str) -> CorpusCall:
    call = _call(f"in-{name}", CARRIER_HOST, caller, reason, *headers)
    return call._replace(request_uri=f"sip:{NUMBERS[callee]}@edge.example", is_from_carrier=True)


def _out_of_here() -> Iterator[CorpusCall]:
    """What customers' calls say of identity when they reach the carrier (RFC 3325 §5, RFC 5876 §4.5)."""
    plain, trusted, strips, replaces = (NUMBERS[name] for name in ("plain", "trusted", "strips", "replaces"))
    verified = ";verstat=TN-Validation-Passed"
    for name, host, caller, headers, asserted in (
        ("plain", SHARED, plain, (f"{_PAI}: <sip:{plain}@a>",), (f"<sip:{plain}@a>",)),
        ("nothing", SHARED, plain, (), ()),
        ("hint", SHARED, plain, (f"{_PPI}: <sip:{plain}@a>",), ()),
        (
            "hint-withheld", SHARED, "anonymous", (f"{_PPI}: <sip:{plain}@a>",),
            (f"<sip:{plain}@{PROXY_HOST};user=phone>",),
        ),
        ("verstat", SHARED, plain, (f"{_PAI}: <sip:{plain}@a{verified}>",), (f"<sip:{plain}@a>",)),
        ("verstat-tel", SHARED, plain, (f"{_PAI}: <tel:{plain}{verified}>",), (f"<tel:{plain}>",)),
        (
            "second-of-a-scheme", SHARED, plain, (f"{_PAI}: <sip:{plain}@a>, <sips:{plain}@b>, <tel:{plain}>",),
            (f"<sip:{plain}@a>, <tel:{plain}>",),
        ),
        ("private", SHARED, plain, (f"{_PAI}: <tel:{plain}>", "Privacy: id"), (f"<tel:{plain}>",)),
        ("trusted", TRUSTED, trusted, (f"{_PAI}: <tel:{trusted}{verified}>",), (f"<tel:{trusted}{verified}>",)),
        ("trusted-hint", TRUSTED, trusted, (f"{_PPI}: <tel:{trusted}>",), ()),
        ("strips", STRIPS, strips, (f"{_PAI}: <tel:{strips}>",), ()),
        ("replaces", REPLACES, replaces, (f"{_PAI}: <tel:{replaces}>",), (f"<sip:{_MAIN}@{PROXY_HOST};user=phone>",)),
        ("replaces-nothing", REPLACES, replaces, (), (f"<sip:{_MAIN}@{PROXY_HOST};user=phone>",)),
    ):  # fmt: skip
        call = _call(f"border-{name}", host, caller, "identity_owned", *headers)
        yield call._replace(leaves=((_PAI, asserted), (_PPI, ())))
    for name, host, caller, left in (("verstat", SHARED, plain, ""), ("trusted-verstat", TRUSTED, trusted, verified)):
        shown = f"<sip:{caller}@a{verified}>;party=calling"
        call = _call(f"border-from-{name}", host, caller, "identity_owned", f"{_RPID}: {shown}")
        from_ = f"<sip:{caller}{verified}@pbx.example;user=phone>"
        yield call._replace(from_=from_, leaves=((_RPID, (shown.replace(verified, left),)),))
    for level in "AB":
        token = identity({"ppt": "shaken"}, {"attest": level, "orig": {"tn": trusted[1:]}})
        yield _call(f"border-trusted-attest-{level}", TRUSTED, trusted, "identity_owned", token)
    foreign = f"<tel:{_FORGED}{verified}>"
    yield _call("border-trusted-forged", TRUSTED, trusted, "pai_not_owned", f"{_PAI}: {foreign}")
    help_ = _call("border-emergency", SHARED, _FORGED, "emergency", f"{_PAI}: {foreign}", f"{_PPI}: <tel:{plain}>")
    leaves = ((_PAI, (foreign,)), (_PPI, (f"<tel:{plain}>",)))
    yield help_._replace(request_uri="urn:service:sos", leaves=leaves)


def _into_here() -> Iterator[CorpusCall]:
    """What the carrier's calls say of identity when they reach a customer (RFC 3325 §7)."""
    asserted = f"<sip:{OUTSIDE}@carrier.example;verstat=TN-Validation-Passed>"
    for name, callee, headers, left in (
        ("plain", "plain", (), (asserted,)),
        ("none", "plain", ("Privacy: none",), (asserted,)),
        ("private", "plain", ("Privacy: id",), ()),
        ("private-odd", "plain", ("Privacy: Header; ID",), ()),
        ("private-trusted", "trusted", ("Privacy: id",), (asserted,)),
    ):
        call = _into(f"border-{name}", callee, OUTSIDE, "carrier_call", f"{_PAI}: {asserted}", *headers)
        yield call._replace(leaves=((_PAI, left),))
