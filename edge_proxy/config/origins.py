"""Settings of who may send: credentials, proofs and what they need of each other.

No password stands in a configuration: what is written is HA1, the hash of username, realm and password, or the name of
a file. Texts of errors never repeat either.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from ipaddress import ip_address
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import AfterValidator, Field
from pydantic import field_validator as check_field
from pydantic_core.core_schema import ValidationInfo

from edge_proxy.config.document import Document, KeyPath, Scalar, Sequence, quote
from edge_proxy.config.section import FilePath, Section
from edge_proxy.policy.access import Discriminator, Proof
from edge_proxy.policy.digest import Algorithm
from edge_proxy.resting import one_by_one

if TYPE_CHECKING:
    from edge_proxy.errors import ConfigError

_USERNAME: Final = re.compile(r"[^\s\"\\:]{1,128}")
_NOT_TOLD_BY: Final = frozenset({"via", "v", "call-id", "i", "cseq", "content-length", "l", "max-forwards"})
_REALM: Final = re.compile(r"[\x20-\x7e]{1,128}")


def _checked_username(text: str) -> str:
    if not (_USERNAME.fullmatch(text) and text.isprintable()):
        raise ValueError(
            f"{quote(text)} is no user name; write 1 to 128 characters without blanks, quotes, colons or backslashes"
        )
    return text


def _checked_realm(text: str) -> str:
    if not _REALM.fullmatch(text) or '"' in text or "\\" in text:
        raise ValueError(f"{quote(text)} is no realm; write 1 to 128 ASCII characters without quotes or backslashes")
    return text


def _checked_hash(digits: int) -> AfterValidator:
    def check(text: str) -> str:
        if not re.fullmatch(rf"[0-9A-Fa-f]{{{digits}}}", text):
            raise ValueError(  # what was written may be a password, so it is not repeated
                f"it is no hash of {digits} hexadecimal digits; write the output of "
                f"printf %s 'USER:REALM:PASSWORD' | {'sha256sum' if digits == 64 else 'md5sum'}"
            )
        return text.lower()

    return AfterValidator(check)


def _each_once(algorithms: list[Algorithm]) -> list[Algorithm]:
    if len(set(algorithms)) < len(algorithms):
        raise ValueError("an algorithm is listed twice; write each one once")
    return algorithms


def checked_identity(text: str) -> str:
    kind, _, rest = text.partition(":")
    rest = rest.strip().lower()
    match kind.lower():
        case "dns" if re.fullmatch(r"(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*", rest):
            return f"dns:{rest}"
        case "uri" if re.fullmatch(r"sips?:\S+", rest):
            return f"uri:{rest}"
        case "ip":
            with contextlib.suppress(ValueError):
                return f"ip:{ip_address(rest)}"
        case "sha256" if re.fullmatch(r"[0-9a-f]{64}", digits := rest.replace(":", "")):
            return f"sha256:{digits}"
    raise ValueError(
        f'{quote(text)} is no TLS identity; write "dns:sbc.acme.example", "uri:sip:acme.example", "ip:192.0.2.1" or '
        '"sha256:" and the 64 digits of openssl x509 -fingerprint -sha256'
    )


Asn = Annotated[int, Field(ge=1, le=4_294_967_295)]
TlsIdentityText = Annotated[str, AfterValidator(checked_identity)]
MinimumProof = Annotated[Proof, Field(strict=False)]


class CredentialSettings(Section):
    """One user name of a customer."""

    username: Annotated[str, AfterValidator(_checked_username)] = Field(examples=["acme-pbx"])
    ha1_sha256: Annotated[str, _checked_hash(64)] | None = None
    ha1_md5: Annotated[str, _checked_hash(32)] | None = None
    password_file: FilePath | None = Field(default=None, validate_default=True)

    @check_field("password_file")
    @classmethod
    def _one_way(cls, value: FilePath | None, info: ValidationInfo) -> FilePath | None:
        hashes = [key for key in ("ha1_sha256", "ha1_md5") if info.data.get(key) is not None]
        if value is None and not hashes and {"ha1_sha256", "ha1_md5"} <= info.data.keys():
            raise ValueError("nothing says the password; write ha1_sha256 or password_file")
        if value is not None and hashes:
            raise ValueError(f"it stands beside {hashes[0]}; write one of the two")
        return value


def _checked_header_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9\-.!%*_+`'~]{1,64}", text) or text.lower() in _NOT_TOLD_BY:
        raise ValueError(f"{quote(text)} is no header that tells customers apart; write one such as X-Tenant")
    return text


class MatchHeaderSettings(Section):
    """A header and what it holds."""

    name: Annotated[str, AfterValidator(_checked_header_name)] = Field(examples=["X-Tenant"])
    value: str = Field(min_length=1, max_length=256, examples=["acme"])


class MatchSettings(Section):
    """What tells a customer apart from others at the same address."""

    trunk_group: str | None = Field(default=None, min_length=1, max_length=128, examples=["TG2-1"])
    trunk_context: str | None = Field(
        default=None, min_length=1, max_length=253, validate_default=True, examples=["example.com"]
    )
    header: MatchHeaderSettings | None = Field(default=None, validate_default=True)

    @check_field("trunk_context")
    @classmethod
    def _of_a_group(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("trunk_group") is None:
            raise ValueError("a context names no trunk group; write trunk_group beside it")
        return value

    @check_field("header")
    @classmethod
    def _something(cls, value: MatchHeaderSettings | None, info: ValidationInfo) -> MatchHeaderSettings | None:
        if value is None and "trunk_group" in info.data and info.data["trunk_group"] is None:
            raise ValueError("nothing is there to match; write trunk_group or header")
        return value

    @property
    def compiled(self) -> Discriminator:
        header = self.header
        return Discriminator(
            (self.trunk_group or "").lower(),
            (self.trunk_context or "").lower(),
            "" if header is None else header.name.lower(),
            "" if header is None else header.value,
        )


class AuthenticationSettings(Section):
    """How customers with credentials are challenged."""

    realm: Annotated[str, AfterValidator(_checked_realm)] | None = Field(default=None, examples=["sip.example.net"])
    algorithms: Annotated[list[Annotated[Algorithm, Field(strict=False)]], AfterValidator(_each_once)] = Field(
        default=[Algorithm.SHA_256], min_length=1, examples=["[SHA-256]"]
    )
    nonce_s: float = Field(default=300, ge=10, le=86_400)


def find_origin_conflicts(document: Document) -> Iterator[ConfigError]:
    """What does not hold between the keys of a customer, or between customers."""
    first_use: dict[str, KeyPath] = {}
    certificates: dict[str, KeyPath] = {}
    for customer in one_by_one(range(_length(document, ("customers",)))):
        at: KeyPath = ("customers", customer)
        yield from _no_way_in(document, at)
        yield from _unreachable_proof(document, at)
        yield from _unasked_certificates(document, at)
        if _is_written(document, (*at, "match")) and not _length(document, (*at, "sources")):
            text = "it tells apart who sends from one address, and there are no sources; write them, or remove match"
            yield document.error((*at, "match"), text)
        asns: KeyPath = (*at, "asns")
        if _length(document, asns) and not _is_written(document, ("asn",)):
            yield document.error(asns, "without a table nobody's AS is known; write the section `asn`, or remove asns")
        for item in range(_length(document, (*at, "credentials"))):
            keys: KeyPath = (*at, "credentials", item, "username")
            name = _text(document, keys)
            if name is None:
                continue
            if name in first_use:
                line = document.line_of(first_use[name])
                yield document.error(
                    keys, f"{quote(name)} is already a user name on line {line}; user names are unique: write another"
                )
            first_use.setdefault(name, keys)
        for item in range(_length(document, (*at, "tls_identities"))):
            keys = (*at, "tls_identities", item)
            try:
                identity = checked_identity(_text(document, keys) or "")
            except ValueError:
                continue
            earlier = certificates.setdefault(identity, keys)
            if earlier[:2] != at:
                line = document.line_of(earlier)
                yield document.error(
                    keys, f"{quote(identity)} is already another customer's on line {line}; take it from one of the two"
                )


def match_of(document: Document, customer: int) -> tuple[str, ...]:
    """What tells a customer (by place in the file) apart at its addresses, in one spelling; () when nothing does."""
    at: KeyPath = ("customers", customer, "match")
    keys = (("trunk_group",), ("trunk_context",), ("header", "name"), ("header", "value"))
    group, context, name, value = (_text(document, (*at, *key)) or "" for key in keys)
    found = (group.lower(), context.lower(), name.lower(), value)
    return found if any(found) else ()


def _no_way_in(document: Document, at: KeyPath) -> Iterator[ConfigError]:
    if any(_length(document, (*at, key)) for key in ("credentials", "tls_identities")):
        return
    entry = document.find((*at, "sources"))
    if entry is None or not _is_written(document, (*at, "sources")):
        text = 'the key "sources" is missing; write `sources: ["192.0.2.0/28"]`, or `credentials`'
        yield document.error((*at, "sources"), text)
    elif isinstance(entry.node, Sequence) and not entry.node.items:
        text = 'the list is empty; write at least one item such as "192.0.2.0/28", or `credentials`'
        yield document.error((*at, "sources"), text)


def _unasked_certificates(document: Document, at: KeyPath) -> Iterator[ConfigError]:
    keys: KeyPath = (*at, "tls_identities")
    asks = _text(document, ("listeners", "customers", "tls", "client_certificate"))
    if _length(document, keys) and asks not in {"optional", "required"}:
        text = (
            "nobody is asked for a certificate; set listeners.customers.tls.client_certificate to optional or required"
        )
        yield document.error(keys, text)


def _unreachable_proof(document: Document, at: KeyPath) -> Iterator[ConfigError]:
    keys: KeyPath = (*at, "minimum_proof")
    wanted = _text(document, keys)
    has_digest, has_tls = (_length(document, (*at, key)) for key in ("credentials", "tls_identities"))
    if wanted == Proof.TLS_MUTUAL and not has_tls:
        yield document.error(keys, f"{wanted} needs tls_identities, which this customer has none of; write them")
    elif wanted == Proof.DIGEST and not (has_digest or has_tls):
        yield document.error(keys, f"{wanted} needs credentials, which this customer has none of; write them")


def _is_written(document: Document, keys: KeyPath) -> bool:
    """Whether the key is there and has a value: without one it counts as not written."""
    entry = document.find(keys)
    return entry is not None and not (isinstance(entry.node, Scalar) and entry.node.value is None)


def _length(document: Document, keys: KeyPath) -> int:
    entry = document.find(keys)
    return len(entry.node.items) if entry and isinstance(entry.node, Sequence) else 0


def _text(document: Document, keys: KeyPath) -> str | None:
    entry = document.find(keys)
    value = entry.node.value if entry and isinstance(entry.node, Scalar) else None
    return value if isinstance(value, str) else None
