"""The corpus: INVITEs with who sends them and the reason that decides, labelled by hand from the rules.

A label is never computed by the product. What multiplies (every spelling of every country) is written out once in
network.py, where each spelling stands in the list of those that are the customer's number or of those that are not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tests.corpus.call import CorpusCall
from tests.corpus.equipment import attested_calls, equipment_calls, line_calls
from tests.corpus.network import CARRIER_HOST, COUNTRIES, HOTLINE, OUTSIDE, STRANGER_HOST, US
from tests.kit.passports import identity
from tests.kit.sipp import SDP

_CALLER: Final = f"<sip:{US.number}@pbx.example>"
_FORGED: Final = "+12025550200"
_ANONYMOUS: Final = '"Anonymous" <sip:anonymous@anonymous.invalid>'


def corpus() -> list[CorpusCall]:
    """Every call of the corpus, each with a name of its own."""
    calls = [
        *_spellings(),
        *_emergency(),
        *_good_forms(),
        *_forged_forms(),
        *_other_claims(),
        *_lists(),
        *_origins(),
        *_strangers(),
        *_from_carriers(),
        *equipment_calls(),
        *line_calls(),
        *attested_calls(),
    ]
    assert len({call.name for call in calls}) == len(calls)
    return calls


def _spellings() -> Iterator[CorpusCall]:
    """Every way of writing an own number passes, every way of writing another one is refused, in From and in PAI."""
    for country in COUNTRIES:
        caller = f"<sip:{country.number}@pbx.example>"
        for number in country.owned:
            name, from_ = f"{country.region}-owned-{number}", f"<sip:{number}@pbx.example>"
            yield CorpusCall(f"{name}-from", country.host, from_, "identity_owned", True)
            asserted = (f"P-Asserted-Identity: <sip:{number}@pbx.example;user=phone>",)
            yield CorpusCall(f"{name}-pai", country.host, caller, "identity_owned", True, asserted)
        for number in country.others:
            name, from_ = f"{country.region}-other-{number}", f"<sip:{number}@pbx.example>"
            yield CorpusCall(f"{name}-from", country.host, from_, "from_not_owned", False)
            asserted = (f"P-Asserted-Identity: <sip:{number}@pbx.example;user=phone>",)
            yield CorpusCall(f"{name}-pai", country.host, caller, "pai_not_owned", False, asserted)


def _emergency() -> Iterator[CorpusCall]:
    """Emergency calls pass with no identity, a forged one, or the marks of the switched network."""
    shows_pstn = ('P-Access-Network-Info: GSTN;gstn-location="somewhere"',)
    for country in COUNTRIES:
        for number in country.emergency:
            uri = f"sip:{number}@edge.example"
            name = f"{country.region}-emergency-{number}"
            own = f"<sip:{country.number}@pbx.example>"
            yield CorpusCall(name, country.host, own, "emergency", True, request_uri=uri)
            yield CorpusCall(f"{name}-anonymous", country.host, _ANONYMOUS, "emergency", True, request_uri=uri)
            forged = f"<sip:{_FORGED}@pbx.example>"
            yield CorpusCall(f"{name}-forged", country.host, forged, "emergency", True, shows_pstn, request_uri=uri)
    for service in ("sos", "sos.police", "sos.ambulance", "sos.fire"):
        uri = f"urn:service:{service}"
        yield CorpusCall(f"urn-{service}", US.host, _ANONYMOUS, "emergency", True, request_uri=uri)
        yield CorpusCall(f"urn-{service}-stranger", STRANGER_HOST, _ANONYMOUS, "emergency", True, request_uri=uri)


def _good_forms() -> Iterator[CorpusCall]:
    """Header forms that RFC 3261, 3325 and 3966 allow, of a caller that may."""
    tel = "P-Asserted-Identity: <tel:+12025550123>"
    sip = f"P-Asserted-Identity: <sip:{US.number}@acme.example>"
    for name, from_ in (
        ("display-name", f"Alice <sip:{US.number}@pbx.example>"),
        ("quoted-display-name", f'"Alice, Sales" <sip:{US.number}@pbx.example>'),
        ("escaped-quote", f'"A \\"B\\" <sip:{_FORGED}@x>" <sip:{US.number}@pbx.example>'),
        ("number-as-display-name", f'"{_FORGED}" <sip:{US.number}@pbx.example>'),
        ("addr-spec", f"sip:{US.number}@pbx.example"),
        ("tel", f"<tel:{US.number}>"),
        ("tel-separators", "<tel:+1-202-555-0123>"),
        ("tel-with-params", "<tel:+12025550123;npdi;rn=+12025550000>"),
        ("sips", f"<sips:{US.number}@pbx.example>"),
        ("upper-scheme", f"<SIP:{US.number}@pbx.example>"),
        ("user-phone", f"<sip:{US.number}@pbx.example;user=phone>"),
        ("user-params", "<sip:+12025550123;npdi@pbx.example;user=phone>"),
        ("password", f"<sip:{US.number}:secret@pbx.example>"),
        ("port", f"<sip:{US.number}@pbx.example:5080>"),
        ("ipv6-host", f"<sip:{US.number}@[2001:db8::1]>"),
        ("uri-params", f"<sip:{US.number}@pbx.example;transport=tcp>"),
        ("header-params", f"<sip:{US.number}@pbx.example>;x=y"),
    ):
        yield CorpusCall(f"from-{name}", US.host, from_, "identity_owned", True)
    for name, headers in (
        ("sip-and-tel-lines", (sip, tel)),
        ("sip-and-tel-one-line", (f"{sip}, <tel:+12025550123>",)),
        ("folded", (f"P-Asserted-Identity:\r\n <sip:{US.number}@acme.example>,\r\n\t<tel:+12025550123>",)),
        ("addr-spec", (f"P-Asserted-Identity: sip:{US.number}@acme.example",)),
        ("display-name", (f'P-Asserted-Identity: "Sales, Inc." <sip:{US.number}@acme.example>',)),
        ("other-own-number", ("P-Asserted-Identity: <sip:+12025550199@acme.example>",)),
        ("lower-case-name", (f"p-asserted-identity: <sip:{US.number}@acme.example>",)),
        ("privacy-id", (sip, "Privacy: id")),
        ("privacy-none", (sip, "Privacy: none")),
    ):
        yield CorpusCall(f"pai-{name}", US.host, _CALLER, "identity_owned", True, headers)
        yield CorpusCall(f"anonymous-with-pai-{name}", US.host, _ANONYMOUS, "identity_owned", True, headers)
    for user in ("anonymous", "unavailable", "restricted", "unknown"):
        from_ = f"<sip:{user}@pbx.example>"
        yield CorpusCall(f"withheld-{user}", US.host, from_, "identity_owned", True, (tel,))
    yield CorpusCall("compact-from", US.host, _CALLER, "identity_owned", True, from_name="f")


def _forged_forms() -> Iterator[CorpusCall]:
    """The same forms around a number that is not the caller's; no good value beside a bad one hides it."""
    good = f"<sip:{US.number}@acme.example>"
    for name, from_ in (
        ("display-name", f"Alice <sip:{_FORGED}@pbx.example>"),
        ("owned-display-name", f'"{US.number}" <sip:{_FORGED}@pbx.example>'),
        ("owned-uri-in-quotes", f'"<sip:{US.number}@pbx.example>" <sip:{_FORGED}@pbx.example>'),
        ("addr-spec", f"sip:{_FORGED}@pbx.example"),
        ("tel", f"<tel:{_FORGED}>"),
        ("sips", f"<sips:{_FORGED}@pbx.example>"),
        ("owned-in-params", f"<sip:{_FORGED};x={US.number}@pbx.example>"),
        ("owned-as-password", f"<sip:{_FORGED}:{US.number}@pbx.example>"),
        ("owned-as-host", f"<sip:{_FORGED}@12025550123>"),
        ("owned-as-uri-param", f"<sip:{_FORGED}@pbx.example;user={US.number}>"),
        ("escaped-digits", "<sip:%2B1202555020%30@pbx.example>"),
        ("name-as-user", "<sip:alice@pbx.example>"),
        ("other-customer", f"<sip:{COUNTRIES[1].number}@pbx.example>"),
        ("extension", "<sip:123@pbx.example>"),
        ("premium-900", "<sip:+19005550123@pbx.example>"),
        ("too-long", "<sip:+120255501230000@pbx.example>"),
        ("letters", "<sip:+1202555O123@pbx.example>"),
        ("service-as-caller", "<sip:911@pbx.example>"),
    ):
        yield CorpusCall(f"forged-from-{name}", US.host, from_, "from_not_owned", False)
        asserted = (f"P-Asserted-Identity: {good}",)
        yield CorpusCall(f"forged-from-{name}-good-pai", US.host, from_, "from_not_owned", False, asserted)
    bad = f"<sip:{_FORGED}@acme.example>"
    for name, headers in (
        ("alone", (f"P-Asserted-Identity: {bad}",)),
        ("tel", (f"P-Asserted-Identity: <tel:{_FORGED}>",)),
        ("second-line", (f"P-Asserted-Identity: {good}", f"P-Asserted-Identity: <tel:{_FORGED}>")),
        ("first-line", (f"P-Asserted-Identity: {bad}", "P-Asserted-Identity: <tel:+12025550123>")),
        ("second-value", (f"P-Asserted-Identity: {good}, <tel:{_FORGED}>",)),
        ("folded-second-value", (f"P-Asserted-Identity: {good},\r\n <tel:{_FORGED}>",)),
        ("owned-display-name", (f'P-Asserted-Identity: "{US.number}" {bad}',)),
        ("odd-case-name", (f"p-ASSERTED-identity: {bad}",)),
        ("blank-before-colon", (f"P-Asserted-Identity : {bad}",)),
        ("privacy-id", (f"P-Asserted-Identity: {bad}", "Privacy: id")),
        ("other-customer", (f"P-Asserted-Identity: <sip:{COUNTRIES[2].number}@acme.example>",)),
    ):
        yield CorpusCall(f"forged-pai-{name}", US.host, _CALLER, "pai_not_owned", False, headers)
        yield CorpusCall(f"forged-pai-{name}-anonymous", US.host, _ANONYMOUS, "pai_not_owned", False, headers)
    yield CorpusCall("anonymous-alone", US.host, _ANONYMOUS, "identity_missing", False)
    yield CorpusCall("empty-host-alone", US.host, "<sip:anonymous@pbx.example>", "identity_missing", False)
    many = tuple(f"P-Asserted-Identity: {good}" for _ in range(20))
    yield CorpusCall("many-pai", US.host, _CALLER, "too_many_identities", False, many)
    yield CorpusCall("forged-compact-from", US.host, f"<sip:{_FORGED}@x>", "from_not_owned", False, from_name="f")


def _passport(number: str) -> str:
    """An Identity header whose token says that `number` calls (RFC 8224, RFC 8588)."""
    head = {"ppt": "shaken", "x5u": "https://cert.example.org/p.cer"}
    return identity(head, {"attest": "A", "dest": {"tn": [OUTSIDE[1:]]}, "orig": {"tn": number[1:]}})


def _other_claims() -> Iterator[CorpusCall]:
    """P-Preferred-Identity, Remote-Party-ID and PASSporT are claims too; a Diversion lends nobody a number."""
    asserted = f"P-Asserted-Identity: <sip:{US.number}@acme.example>"
    for name, reason, own, other in (
        (
            "ppi", "ppi_not_owned",
            f"P-Preferred-Identity: <sip:{US.number}@a>", f"P-Preferred-Identity: <tel:{_FORGED}>",
        ),
        (
            "rpid", "rpid_not_owned",
            f"Remote-Party-ID: <sip:{US.number}@a>;party=calling;screen=yes",
            f"Remote-Party-ID: Bob <sip:{_FORGED}@a>;screen=no;party=calling",
        ),
        (
            "rpid-default-party", "rpid_not_owned",
            f"Remote-Party-ID: <sip:{US.number}@a>", f"Remote-Party-ID: <sip:{_FORGED}@a>;privacy=off",
        ),
        ("passport", "passport_not_owned", _passport(US.number), _passport(_FORGED)),
    ):  # fmt: skip
        yield CorpusCall(f"{name}-own", US.host, _CALLER, "identity_owned", True, (own,))
        yield CorpusCall(f"{name}-other", US.host, _CALLER, reason, False, (other,))
        yield CorpusCall(f"{name}-other-good-pai", US.host, _CALLER, reason, False, (asserted, other))
        yield CorpusCall(f"{name}-own-then-other", US.host, _CALLER, reason, False, (own, other))
    for name, reason, number in (("own", "identity_owned", US.number), ("other", "ppi_not_owned", _FORGED)):
        hint = (f"P-Preferred-Identity: <sip:{number}@a>",)
        yield CorpusCall(f"anonymous-ppi-{name}", US.host, _ANONYMOUS, reason, number == US.number, hint)
    name_only = ("P-Preferred-Identity: <sip:alice@a>",)
    yield CorpusCall("anonymous-ppi-name", US.host, _ANONYMOUS, "identity_missing", False, name_only)
    called = f"Remote-Party-ID: <sip:{OUTSIDE}@a>;party=called"
    yield CorpusCall("rpid-of-called", US.host, _CALLER, "identity_owned", True, (called,))
    forwarded = f"Diversion: <sip:{US.number}@acme.example>;reason=unconditional"
    stranger = "<sip:+14155550188@elsewhere.example>"
    yield CorpusCall("forwarded-not-allowed", US.host, stranger, "from_not_owned", False, (forwarded,))
    foreign = f"<sip:{_FORGED}@acme.example>"
    for name, header, reason in (
        ("diversion-own", forwarded, "identity_owned"),
        ("diversion-other", f"Diversion: {foreign};reason=no-answer", "forwarder_not_owned"),
        ("diversion-other-then-own", f"{forwarded}, {foreign};reason=no-answer", "identity_owned"),
        ("diversion-own-then-other", f"Diversion: {foreign}, <sip:{US.number}@a>", "forwarder_not_owned"),
        ("diversion-extension", "Diversion: <sip:201@pbx.example>;reason=user-busy", "identity_owned"),
        ("history-other", f"History-Info: {foreign};index=1, <sip:{OUTSIDE}@a>;index=1.1;mp=1", "forwarder_not_owned"),
        (
            "history-of-called",
            f"History-Info: <sip:{OUTSIDE}@pbx.example>;index=1, <sip:{OUTSIDE}@edge.example>;index=1.1;np=1",
            "identity_owned",
        ),
    ):
        yield CorpusCall(f"own-{name}", US.host, _CALLER, reason, reason == "identity_owned", (header,))


def _lists() -> Iterator[CorpusCall]:
    """Numbers that nobody calls as, numbers that nobody may call, and a number that calls itself."""
    hotline = f"<sip:{HOTLINE}@pbx.example>"
    yield CorpusCall("hotline-calls", US.host, hotline, "do_not_originate", False)
    asserted = (f"P-Asserted-Identity: <tel:{HOTLINE}>",)
    yield CorpusCall("hotline-asserted", US.host, _CALLER, "do_not_originate", False, asserted)
    yield CorpusCall("hotline-emergency", US.host, hotline, "emergency", True, request_uri="sip:911@edge.example")
    for number, reason in (("+8821312345", "number_denied"), ("+8821612345", "identity_owned")):
        uri = f"sip:{number}@edge.example"
        yield CorpusCall(f"calls-{number}", US.host, _CALLER, reason, reason == "identity_owned", request_uri=uri)
    dialled = "sip:0118821312345@edge.example"
    yield CorpusCall("calls-denied-as-dialled", US.host, _CALLER, "number_denied", False, request_uri=dialled)
    for name, user in (
        ("zeros", "+0088213123456"), ("plus-inside", "011+88213123456"), ("no-plus", "88213123456"),
        ("other-prefix", "0088213123456"), ("overdialled", "+882131234567890123"), ("hash", "+88213123456%23"),
        ("pause", "+88213123456,,1"), ("star-code", "*6701188213123456"), ("context", "13123456;phone-context=+882"),
        ("context-third", "0088213123456;phone-context=+49"), ("routing", "+12025550123;npdi;rn=+88213123456"),
    ):  # fmt: skip
        uri = f"sip:{user}@edge.example"
        yield CorpusCall(f"calls-denied-{name}", US.host, _CALLER, "number_denied", False, request_uri=uri)
    for name, user in (
        ("routing", f"{OUTSIDE};npdi;rn=+12125550000"), ("local", "5550123"), ("extension", "201"),
        ("star-code", "*98"), ("context", "2025550198;phone-context=+1"), ("delhi", "0119111230000001"),
    ):  # fmt: skip
        uri = f"sip:{user}@edge.example"
        yield CorpusCall(f"calls-good-{name}", US.host, _CALLER, "identity_owned", True, request_uri=uri)
    uri = f"sip:{US.number}@edge.example"
    yield CorpusCall("calls-itself", US.host, _CALLER, "caller_is_called", False, request_uri=uri)
    for name, from_, reason in (
        ("premium", "<sip:+19005550123@carrier.example>", "do_not_originate"),
        ("impossible", "<sip:+11115550123@carrier.example>", "invalid_caller"),
        ("outside", f"<sip:{OUTSIDE}@carrier.example>", "carrier_call"),
    ):
        yield CorpusCall(
            f"in-from-{name}", CARRIER_HOST, from_, reason, reason == "carrier_call",
            request_uri=f"sip:{US.number}@edge.example", is_from_carrier=True,
        )  # fmt: skip


def _origins() -> Iterator[CorpusCall]:
    """Marks of the switched network refuse a call whose identity is right; IP access does not."""
    for name, value in (
        ("gstn", "GSTN"),
        ("gstn-lower", "gstn; gstn-location=12"),
        ("gstn-location", 'GSTN; gstn-location="1234"; network-provided'),
        ("gstn-second", "IEEE-802.3, GSTN"),
    ):
        headers = (f"P-Access-Network-Info: {value}",)
        yield CorpusCall(f"pstn-{name}", US.host, _CALLER, "pstn_origin", False, headers, ip_origin="pstn")
    for name, value in (
        ("dsl", "ADSL;dsl-location=1"),
        ("ethernet", "IEEE-802.3ab"),
        ("lte", "3GPP-E-UTRAN-FDD;utran-cell-id-3gpp=1"),
        ("docsis", "DOCSIS"),
    ):
        yield CorpusCall(f"ip-{name}", US.host, _CALLER, "identity_owned", True, (f"P-Access-Network-Info: {value}",))
    for name, kind in (
        ("isup", "application/ISUP;version=itu-t92+"),
        ("isup-ansi", "application/isup; base=ansi88"),
        ("qsig", "application/QSIG;version=iso"),
        ("q931", "application/x-q931"),
        ("gtd", "application/gtd"),
    ):
        yield CorpusCall(
            f"pstn-body-{name}", US.host, _CALLER, "pstn_origin", False, body_type=kind, body="\x01", ip_origin="pstn"
        )
        parts = (
            f"--b\r\nContent-Type: application/sdp\r\n\r\n{SDP}\r\n--b\r\nContent-Type: {kind}\r\n\r\n\x01\r\n--b--\r\n"
        )
        yield CorpusCall(
            f"pstn-part-{name}", US.host, _CALLER, "pstn_origin", False,
            body_type="multipart/mixed;boundary=b", body=parts, ip_origin="pstn",
        )  # fmt: skip


def _strangers() -> Iterator[CorpusCall]:
    """A source that is nobody's, whatever it says."""
    for number in (US.number, COUNTRIES[1].number, _FORGED, "alice"):
        from_ = f"<sip:{number}@pbx.example>"
        yield CorpusCall(f"stranger-{number}", STRANGER_HOST, from_, "unknown_source", False)
        asserted = (f"P-Asserted-Identity: <sip:{US.number}@acme.example>",)
        yield CorpusCall(f"stranger-{number}-pai", STRANGER_HOST, from_, "unknown_source", False, asserted)


def _from_carriers() -> Iterator[CorpusCall]:
    """Calls into the network: to numbers of ours only, and from no number of ours unless it was forwarded."""
    outside = f"<sip:{OUTSIDE}@carrier.example>"
    for country in COUNTRIES:
        uri = f"sip:{country.number}@edge.example"
        region = country.region
        yield CorpusCall(
            f"in-{region}", CARRIER_HOST, outside, "carrier_call", True, request_uri=uri, is_from_carrier=True
        )
        yield CorpusCall(
            f"in-{region}-not-ours", CARRIER_HOST, outside, "called_not_owned", False,
            request_uri=f"sip:{country.others[0]}@edge.example", is_from_carrier=True,
        )  # fmt: skip
        own = f"<sip:{country.number}@carrier.example>"
        yield CorpusCall(
            f"in-{region}-own-number", CARRIER_HOST, own, "own_number_from_carrier", False,
            request_uri=f"sip:{US.number}@edge.example", is_from_carrier=True,
        )  # fmt: skip
        yield CorpusCall(
            f"in-{region}-own-number-in-pai", CARRIER_HOST, outside, "own_number_from_carrier", False,
            (f"P-Asserted-Identity: <tel:{country.number}>",),
            request_uri=f"sip:{US.number}@edge.example", is_from_carrier=True,
        )  # fmt: skip
        for name, header in (
            ("diversion", "Diversion: <sip:+14155550177@carrier.example>;reason=unconditional"),
            (
                "history",
                "History-Info: <sip:+14155550177@carrier.example>;index=1, <sip:+12025550123@edge.example>;index=1.1",
            ),
        ):
            yield CorpusCall(
                f"in-{region}-forwarded-{name}", CARRIER_HOST, own, "forwarded_call", True, (header,),
                request_uri=f"sip:{US.number}@edge.example", is_from_carrier=True,
            )  # fmt: skip
    withheld = CorpusCall("in-anonymous", CARRIER_HOST, _ANONYMOUS, "carrier_call", True, is_from_carrier=True)
    yield withheld._replace(request_uri=f"sip:{US.number}@edge.example")
