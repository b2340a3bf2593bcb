"""What a turn of the pipeline comes to: what its shell has to do, in this order."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from edge_proxy.native import mypyc_attr
from edge_proxy.pipeline.aliases import Alias
from edge_proxy.pipeline.records import Record
from edge_proxy.routing.names import NameQuery
from edge_proxy.transaction.layer import Send


@mypyc_attr(acyclic=True)
class Output:
    """What the shell must do now: first put the records into the journal, then send, then have names looked up."""

    __slots__ = ("aliases", "records", "sends", "wanted_names")

    def __init__(
        self, records: list[Record], sends: list[Send], wanted_names: Collection[NameQuery], aliases: Sequence[Alias]
    ) -> None:
        self.records = records
        self.sends = sends
        self.wanted_names = wanted_names
        self.aliases = aliases
