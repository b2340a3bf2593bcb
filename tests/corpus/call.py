"""One call of the corpus, with its label."""

from __future__ import annotations

from typing import Final, NamedTuple

from edge_proxy.addr import Transport
from tests.corpus.network import OUTSIDE
from tests.kit.sipp import SDP

CHALLENGED: Final = "challenged"
"""In place of a reason: it is answered 407, and no verdict is reached."""


class CorpusCall(NamedTuple):
    """One INVITE. `reason` is the verdict's, or `CHALLENGED`; `is_good` says whether it must pass."""

    name: str
    host: str
    from_: str
    reason: str
    is_good: bool
    headers: tuple[str, ...] = ()
    request_uri: str = f"sip:{OUTSIDE}@edge.example"
    body_type: str = "application/sdp"
    body: str = SDP
    is_from_carrier: bool = False
    from_name: str = "From"
    ip_origin: str = ""
    """"": whatever it is."""
    contact: str = ""
    """The user part of Contact."""
    transport: Transport = Transport.UDP
    login: tuple[str, str] = ("", "")
    """User and password that a challenge is answered with; "": with nothing."""
    certificate: str = ""
    """What the certificate names that is shown on its TLS connection, as in `tls_identities`."""
    leaves: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Headers, each with the values that it has when the call reaches whoever is called."""
