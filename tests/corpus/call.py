"""One call of the corpus, with its label."""

from __future__ import annotations

from typing import NamedTuple

from tests.corpus.network import OUTSIDE
from tests.kit.sipp import SDP


class CorpusCall(NamedTuple):
    """One INVITE. `reason` is the verdict's; `is_good` says whether it must pass."""

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
