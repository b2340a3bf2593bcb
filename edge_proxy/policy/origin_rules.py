"""The rules of who may send: proved credentials, strong enough a proof, an autonomous system that is expected."""

from __future__ import annotations

from edge_proxy.policy.rules import Finding, Rulebook, Weighed
from edge_proxy.policy.verdict import Reason


def is_authentic(case: Weighed, book: Rulebook) -> Finding | None:
    """Credentials that are shown must be right (RFC 3261 §22.4).

    Where nothing is enforced nobody is challenged; who would have been (§22.3) is told here.
    """
    origin = case.facts.source.origin
    if origin.failure:
        return Finding(Reason.AUTHENTICATION_FAILED, origin.failure)
    if not origin.owes_credentials:
        return None
    who = case.facts.source.address.host if origin.customer is None else origin.customer.id
    return Finding(Reason.AUTHENTICATION_REQUIRED, f"{who} would have been challenged for credentials")


def proof_is_enough(case: Weighed, book: Rulebook) -> Finding | None:
    """The customer must be known at least as strongly as it is to be."""
    source = case.facts.source
    customer = source.origin.customer
    if customer is None:
        return None
    proof, minimum = source.origin.proof(source.transport), customer.access.minimum_proof
    if proof.reaches(minimum):
        return None
    return Finding(Reason.PROOF_TOO_WEAK, f"{customer.id} is known by {proof} only, and {minimum} is needed")


def asn_is_allowed(case: Weighed, book: Rulebook) -> Finding | None:
    """A customer that comes from some autonomous systems only must come from one of them."""
    origin = case.facts.source.origin
    if origin.customer is None or not origin.customer.access.asns or origin.asn in origin.customer.access.asns:
        return None
    return Finding(Reason.ASN_NOT_ALLOWED, f"{origin.customer.id} does not come from AS{origin.asn}")
