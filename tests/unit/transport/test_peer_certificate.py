"""The words that a certificate's names become (transport/peer_certificate.py)."""

from __future__ import annotations

from edge_proxy.transport.peer_certificate import identities_of, names_in


def test_alternative_names_are_read_and_the_common_name_is_not() -> None:
    """Every kind that a configuration can name, in lower case, addresses in their short form."""
    checked = {
        "subject": ((("commonName", "cn.example"),),),
        "subjectAltName": (
            ("DNS", "SBC.Acme.Example"),
            ("URI", "sip:Acme.example"),
            ("IP Address", "2001:DB8:0:0:0:0:0:1\n"),
            ("email", "a@b.example"),
            ("IP Address", "<invalid>"),
        ),
    }
    assert names_in(checked) == ["dns:sbc.acme.example", "uri:sip:acme.example", "ip:2001:db8::1"]


def test_without_names_there_are_none() -> None:
    """No certificate, none that was checked, no alternative names."""
    assert identities_of(None) == ()
    assert names_in({}) == []
