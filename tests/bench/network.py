"""Generated networks of any size, one and the same for every candidate: numbers, prefixes of ASes, customers, callers.

Numbers are two neighbours and then a gap, dealt to the customers pair by pair. The first customer is the one that
calls, from 127.0.0.2; the others have an address each in 10.0.0.0/8. Prefixes are /24 from 127.0.0.0 up, with as many
ASes as there are prefixes, up to 60,000; the first prefix holds both ends of the calls.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final, NamedTuple

import yaml

from tests.kit.proxy_process import ACME_HOST, Config, Site, run_command

_FIRST_NUMBER: Final = 12_010_000_000
_FIRST_PREFIX: Final = int(IPv4Address("127.0.0.0"))
_FIRST_SOURCE: Final = int(IPv4Address("10.0.0.0"))
_PREFIX_ADDRESSES: Final = 256
_MOST_ASNS: Final = 60_000
MOST_CALLERS: Final = 10_000


class Size(NamedTuple):
    """How much of everything there is."""

    name: str
    numbers: int
    prefixes: int
    customers: int
    live_calls: int = 0
    owners: int = 0
    """How many of the customers own numbers; 0: all of them."""

    @property
    def owner_count(self) -> int:
        return self.owners or self.customers


class Network:
    """What a size means to each candidate, as files in a directory of its own."""

    def __init__(self, directory: Path, size: Size, data: Path | None = None) -> None:
        """`data` is another network's with the same numbers and owners, so that they are imported once."""
        directory.mkdir(parents=True, exist_ok=True)
        self.size = size
        self.directory = directory
        self.asn_table = directory / "asn.tsv"
        self.callers = directory / "callers.csv"
        self.data = data or directory / "data"
        self._write_prefixes(self.asn_table)
        self._write_callers()
        if data is None:
            self._import()

    def config(self, site: Site, directory: Path, data_dir: Path | None = None) -> Config:
        """The configuration of one edge_proxy in `directory`, whose data directory gets the imported numbers."""
        config = site.config(directory)
        data_dir = data_dir or directory / "data"
        config["data_dir"] = str(data_dir)
        acme = config["customers"][0]
        config["customers"] = [{key: value for key, value in acme.items() if key != "numbers"} | {"id": self.owner(0)}]
        config["customers"] += [
            {"id": self.owner(number), "sources": [f"{self._host(number)}/32"], "country": "US"}
            for number in range(1, self.size.customers)
        ]
        config["asn"]["table"] = str(self.asn_table)
        directory.mkdir(parents=True, exist_ok=True)
        if not data_dir.exists():
            shutil.copytree(self.data, data_dir)
        return config

    def write_kamailio_database(self, path: Path) -> None:
        """The same for Kamailio's htable and mtree."""
        path.unlink(missing_ok=True)
        database = sqlite3.connect(path)
        database.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF")
        database.execute("CREATE TABLE version (table_name TEXT, table_version INTEGER)")
        columns = "key_name VARCHAR(64), key_type INTEGER, value_type INTEGER, key_value VARCHAR(128), expires INTEGER"
        for table in ("owned", "customers"):
            database.execute(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, {columns})")
            database.execute("INSERT INTO version VALUES (?, 2)", (table,))
        database.execute("CREATE TABLE asn (id INTEGER PRIMARY KEY, tprefix VARCHAR(32), tvalue VARCHAR(128))")
        database.execute("INSERT INTO version VALUES ('asn', 1)")
        hosts = ((self._host(number), self.owner(number)) for number in range(self.size.customers))
        for table, rows in (("owned", self._owned()), ("customers", hosts)):
            database.executemany(f"INSERT INTO {table} VALUES (NULL, ?, 0, 0, ?, 0)", rows)  # noqa: S608
        prefixes = ((str(first)[:-1], str(asn)) for first, asn in self._prefixes())
        database.executemany("INSERT INTO asn VALUES (NULL, ?, ?)", prefixes)
        database.commit()
        database.close()

    def owner(self, customer: int) -> str:
        return f"customer-{customer}"

    def swap_asns(self, turn: int) -> None:
        """Another table of the same size, of two that take turns: every prefix is in another AS."""
        other = self.directory / f"asn-{turn % 2}.tsv"
        if not other.exists():
            self._write_prefixes(other, shift=1 + turn % 2)
        shutil.copyfile(other, self.asn_table)

    def _host(self, customer: int) -> str:
        return str(IPv4Address(_FIRST_SOURCE + customer)) if customer else ACME_HOST

    def _owner_of(self, place: int) -> str:
        return self.owner(place // 2 % self.size.owner_count)

    def _owned(self) -> Iterator[tuple[str, str]]:
        return ((_number(place), self._owner_of(place)) for place in range(self.size.numbers))

    def _prefixes(self, shift: int = 0) -> Iterator[tuple[IPv4Address, int]]:
        for place in range(self.size.prefixes):
            yield IPv4Address(_FIRST_PREFIX + place * _PREFIX_ADDRESSES), 1 + (place + shift) % _MOST_ASNS

    def _write_prefixes(self, path: Path, shift: int = 0) -> None:
        with path.open("w", encoding="ascii") as file:
            for first, asn in self._prefixes(shift):
                file.write(f"{first}\t{first + _PREFIX_ADDRESSES - 1}\t{asn}\tUS\tEXAMPLE-{asn}\n")

    def _write_callers(self) -> None:
        """Numbers of the first customer, in no order, as SIPp takes them."""
        chance = random.Random(1)
        pairs = -(-self.size.numbers // (2 * self.size.owner_count))
        with self.callers.open("w", encoding="ascii") as file:
            file.write("SEQUENTIAL\n")
            for _ in range(min(self.size.numbers, MOST_CALLERS)):
                pair = chance.randrange(pairs) * self.size.owner_count
                place = 2 * pair + chance.randrange(2)
                file.write(f"{_number(place)}\n")

    def _import(self) -> None:
        """By the operator's own way, once; what is made of the numbers at a start is made here too."""
        owned, config = self.directory / "owned.csv", self.directory / "edge-proxy.yaml"
        self.data.mkdir()
        config.write_text(yaml.dump(self.config(Site(), self.directory), Dumper=yaml.CSafeDumper), encoding="utf-8")
        with owned.open("w", encoding="ascii") as file:
            file.write("number,customer\n")
            file.writelines(f"{number},{customer}\n" for number, customer in self._owned())
        for command in (("numbers", "import", "--config", config, owned), ("check", "--config", config)):
            done = run_command(*command, timeout_s=1200)
            if done.returncode:
                raise SystemExit(f"edge-proxy {command[0]} failed: {done.stderr}")
        owned.unlink()


def _number(place: int) -> str:
    return f"+{_FIRST_NUMBER + place // 2 * 5 + place % 2}"
