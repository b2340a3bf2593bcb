"""A customer whose call is up cannot show another's number by what it sends inside of it, or as if it were inside."""

from __future__ import annotations

import pytest

from edge_proxy.pipeline.counters import Cause
from tests.kit.messages import CARRIER, FOREIGN, Dialog, request
from tests.kit.playbook import Playbook


def as_if_inside(dialog: Dialog, to: str, from_: str = f"<sip:{FOREIGN}@x>;tag=new") -> bytes:
    """An INVITE with the signed Route of a call that is up."""
    return request(
        "INVITE", f"sip:{CARRIER}", from_=from_, to=to, call_id=dialog.call_id, routes=dialog.routes_of_caller
    )


@pytest.mark.parametrize(
    "to",
    ["<sip:a@b>, <sip:c@d>;tag=bob", "sip:a@b, <sip:c@d>;tag=bob", '<sip:a@b>;x="\\">;tag=bob', "<sip:a@b> <>;tag=bob"],
)
def test_request_that_is_new_for_others_is_not_inside_a_dialog_for_us(to: str) -> None:
    """What decides that nobody judges it is a tag in To that all see."""
    play = Playbook()
    dialog = play.call()
    play.reads_what_leaves = False
    play.customer.sends(as_if_inside(dialog, to)).gets(400)
    play.carrier.gets_nothing()
    assert play.count(Cause.MALFORMED) == 1
