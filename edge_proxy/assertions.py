"""Run the operator's assertions against a snapshot before it serves: each failing one is an error at its line.

The calls are judged by the functions that judge live traffic. Nothing is sent, counted or recorded.
"""

from __future__ import annotations

import re
from typing import Final

from edge_proxy.addr import Side
from edge_proxy.compile import compile_snapshot
from edge_proxy.config import AssertionSettings, ConfigErrors, Settings, load_assertions, settings_error
from edge_proxy.config.document import quote
from edge_proxy.config.endpoints import parse_source
from edge_proxy.errors import ConfigError, RemoteProtocolError
from edge_proxy.pipeline.saved import judge_saved
from edge_proxy.pipeline.snapshot import Snapshot
from edge_proxy.resting import one_by_one

MAX_TOLD: Final = 100

_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


def compile_asserted(settings: Settings, serving: Snapshot | None = None) -> Snapshot:
    """What is to serve after `serving`. Raises ConfigErrors also when an assertion does not hold for it."""
    snapshot = compile_snapshot(settings, serving=serving)
    check_assertions(settings, snapshot)
    return snapshot


def check_assertions(settings: Settings, snapshot: Snapshot) -> int:
    """How many assertions hold. Raises ConfigErrors with all that do not, or that cannot be read."""
    path = settings.policy.assertions
    if path is None:
        return 0
    if not path.is_file():
        text = f"cannot read {path}: no such file; name a file of assertions, or remove the key"
        raise ConfigErrors([settings_error(settings, "policy.assertions", text)])
    assertions = load_assertions(path)
    failures: list[ConfigError] = []
    for line, one in one_by_one(assertions):
        got = _failure(one, snapshot)
        if got:
            failures.append(ConfigError(got, path=str(path), line=line, key=quote(one.name)))
            if len(failures) == MAX_TOLD:
                break
    if failures:
        raise ConfigErrors(failures)
    return len(assertions)


def _failure(one: AssertionSettings, snapshot: Snapshot) -> str:
    """What is other than asserted; "" when nothing is."""
    expected = one.expect if one.reason is None else f"{one.expect} ({one.reason})"
    transport, address = parse_source(one.source)
    try:
        side = None if one.side is None else Side(one.side)
        verdict = judge_saved(snapshot, request_of(one), transport, address, side).verdict
    except RemoteProtocolError as error:
        return f"expected {expected}, got no verdict: {error}"
    if verdict.outcome == one.expect and one.reason in {None, verdict.reason}:
        return ""
    return f"expected {expected}, got {verdict.outcome} ({verdict.reason}): {verdict.text}"


def request_of(one: AssertionSettings) -> bytes:
    """The INVITE that an assertion stands for."""
    uri = _uri(one.to)
    transport, address = parse_source(one.source)
    caller = one.from_ if "<" in one.from_ else f"<{_uri(one.from_)}>"
    lines = [
        f"INVITE {uri} SIP/2.0",
        f"Via: SIP/2.0/{transport.upper()} {address};branch=z9hG4bK-assertion",
        "Max-Forwards: 70",
        f"From: {caller};tag=assertion",
        f"To: <{uri}>",
        "Call-ID: assertion",
        "CSeq: 1 INVITE",
        f"Contact: <sip:{address}>",
        *(f"P-Asserted-Identity: {pai if '<' in pai else f'<{_uri(pai)}>'}" for pai in one.pai),
        *one.headers,
        "Content-Length: 0",
    ]
    return "\r\n".join((*lines, "", "")).encode()


def _uri(text: str) -> str:
    return text if _SCHEME.match(text) else f"sip:{text}@assertion.example"
