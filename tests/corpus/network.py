"""The network of the corpus: twelve customers in twelve countries, each with a block of numbers and an address."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.kit.proxy_process import ROOT

PROXY_HOST: Final = "127.0.0.1"
CARRIER_HOST: Final = "127.0.0.1"
STRANGER_HOST: Final = "127.0.9.9"
OUTSIDE: Final = "+14155550142"
"""Who is called unless a case says otherwise; nobody's number here."""
HOTLINE: Final = "+12025550190"
"""Owned by the US customer, and on a list of numbers that only receive calls."""


@dataclass(frozen=True)
class Country:
    """One customer. `owned` is written in every way its people write it; `others` holds the same for no number of it.

    `emergency` are numbers that must pass whatever else a call shows.
    """

    region: str
    numbers: str
    owned: tuple[str, ...]
    others: tuple[str, ...]
    emergency: tuple[str, ...]

    @property
    def id(self) -> str:
        return f"customer-{self.region.lower()}"

    @property
    def host(self) -> str:
        return f"127.0.1.{1 + [country.region for country in COUNTRIES].index(self.region)}"

    @property
    def number(self) -> str:
        """An owned number in E.164."""
        return self.owned[0]


COUNTRIES: Final = (
    Country(
        "US", "+12025550100-+12025550199",
        ("+12025550123", "12025550123", "2025550123", "01112025550123", "+1-202-555-0123", "+1.202.555.0123",
         "(202)555-0123", "%2B12025550123"),
        ("+12025550200", "12025550099", "2025550200", "01112125550123", "+1-202-555-0200", "+1.203.555.0123",
         "(203)555-0123", "%2B12025550200", "5550123", "+442025550123"),
        ("911", "9911", "112"),
    ),
    Country(
        "GB", "+442079460000-+442079460999",
        ("+442079460123", "442079460123", "02079460123", "00442079460123", "+44-20-7946-0123", "(020)79460123"),
        ("+442079461000", "442079459999", "02079461000", "00442079461000", "+44-20-7945-0123", "(020)79461000",
         "79460123", "+12079460123"),
        ("999", "112"),
    ),
    Country(
        "DE", "+4930901820000-+4930901820099",
        ("+4930901820012", "4930901820012", "030901820012", "004930901820012", "+49-30-9018-20012",
         "(030)901820012"),
        ("+4930901820100", "4930901820100", "030901820100", "004930901820100", "+49-30-9018-20100",
         "(030)901820100", "901820012", "+4989901820012"),
        ("112", "110"),
    ),
    Country(
        "FR", "+33199000100-+33199000199",
        ("+33199000123", "33199000123", "0199000123", "0033199000123", "+33.1.99.00.01.23", "01-99-00-01-23",
         "199000123"),
        ("+33199000200", "33199000200", "0199000200", "0033199000200", "+33.1.99.00.02.00", "01-99-00-02-00",
         "199000200", "+33299000123"),
        ("112", "15", "17", "18"),
    ),
    Country(
        "IT", "+390669800000-+390669800099",
        ("+390669800012", "390669800012", "0669800012", "00390669800012", "+39-06-6980-0012"),
        ("+390669800100", "390669800100", "0669800100", "00390669800100", "+39-06-6980-0100", "+39669800012",
         "+390269800012"),
        ("112", "113", "118"),
    ),
    Country(
        "AU", "+61255500000-+61255500099",
        ("+61255500012", "61255500012", "0255500012", "001161255500012", "+61-2-5550-0012", "(02)55500012"),
        ("+61255500100", "61255500100", "0255500100", "001161255500100", "+61-2-5550-0100", "(02)55500100",
         "+61355500012"),
        ("000", "112", "106"),
    ),
    Country(
        "JP", "+81335500000-+81335500099",
        ("+81335500012", "81335500012", "0335500012", "01081335500012", "+81-3-3550-0012", "03-3550-0012"),
        ("+81335500100", "81335500100", "0335500100", "01081335500100", "+81-3-3550-0100", "03-3550-0100",
         "+81635500012"),
        ("110", "119"),
    ),
    Country(
        "IN", "+911123000000-+911123000099",
        ("+911123000012", "911123000012", "01123000012", "00911123000012", "+91-11-2300-0012"),
        ("+911123000100", "911123000100", "01123000100", "00911123000100", "+91-11-2300-0100", "+912223000012"),
        ("112", "100", "108"),
    ),
    Country(
        "ES", "+34910500000-+34910500099",
        ("+34910500012", "34910500012", "910500012", "0034910500012", "+34-910-500-012"),
        ("+34910500100", "34910500100", "910500100", "0034910500100", "+34-910-500-100", "+34930500012"),
        ("112",),
    ),
    Country(
        "CH", "+41445500000-+41445500099",
        ("+41445500012", "41445500012", "0445500012", "0041445500012", "+41-44-550-00-12", "044-550-00-12"),
        ("+41445500100", "41445500100", "0445500100", "0041445500100", "+41-44-550-01-00", "044-550-01-00",
         "+41225500012"),
        ("112", "117", "118", "144"),
    ),
    Country(
        "NL", "+31205500000-+31205500099",
        ("+31205500012", "31205500012", "0205500012", "0031205500012", "+31-20-5500012"),
        ("+31205500100", "31205500100", "0205500100", "0031205500100", "+31-20-5500100", "+31305500012"),
        ("112",),
    ),
    Country(
        "BR", "+551130500000-+551130500099",
        ("+551130500012", "551130500012", "+55-11-3050-0012", "+55(11)30500012"),
        ("+551130500100", "551130500100", "+55-11-3050-0100", "+55(11)30500100", "+552130500012"),
        ("190", "192", "193"),
    ),
)  # fmt: skip

US: Final = COUNTRIES[0]


def network(directory: Path, customers_port: int, carriers_port: int, answering_port: int, metrics_port: int) -> Any:
    """The configuration; whoever is called answers at `answering_port`."""
    return {
        "node": "corpus",
        "data_dir": str(directory / "data"),
        "listeners": {
            "customers": {"bind": f"{PROXY_HOST}:{customers_port}"},
            "carriers": {"bind": f"{PROXY_HOST}:{carriers_port}"},
        },
        "customers": [
            {
                "id": country.id,
                "sources": [f"{country.host}/32"],
                "targets": [f"sip:{CARRIER_HOST}:{answering_port}"],
                "country": country.region,
                "numbers": [country.numbers],
            }
            for country in COUNTRIES
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
            {"id": "inbound-only", "kind": "do_not_originate", "numbers": [HOTLINE, "+1900*"]},
            {"id": "fraud", "kind": "deny", "applies_to": "called", "numbers": ["+88213*"], "expires": "2099-12-31"},
            {"id": "expired", "kind": "deny", "applies_to": "called", "numbers": [OUTSIDE], "expires": "2020-01-01"},
        ],
        "policy": {
            "rules": {"caller_is_called": "enforce", "invalid_caller": "enforce", "forwarder_not_owned": "enforce"}
        },
        "asn": {"table": str(ROOT / "config" / "asn-sample.tsv")},
        "telemetry": {"listen": f"{PROXY_HOST}:{metrics_port}"},
        "sip": {"overload": {"delay_ms": 0}},
    }
