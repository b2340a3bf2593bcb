"""Kamailio as a record-routing proxy between the edge and one peer (tests/integration/interop/kamailio)."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.kit.peers import PeerProcess, require
from tests.kit.ports import wait_until_bound

CONFIG: Final = Path(__file__).resolve().parents[1] / "integration" / "interop" / "kamailio" / "kamailio.cfg"


def require_kamailio() -> None:
    require("kamailio", "kamailio")


class Kamailio(PeerProcess):
    """One Kamailio on UDP and TCP at `local`; `edge` and `peer` are SIP URIs, the edge sends from `edge_host`."""

    def __init__(self, directory: Path, *, local: tuple[str, int], edge: str, edge_host: str, peer: str) -> None:
        require_kamailio()
        place = f"{local[0]}:{local[1]}"
        command = ["kamailio", "-f", str(CONFIG), "-DD", "-E", "-m", "64", "-M", "8"]
        command += ["-l", f"udp:{place}", "-l", f"tcp:{place}", "-Y", str(directory), "-w", str(directory)]
        for name, value in (("EDGE", edge), ("EDGE_ADDRESS", edge_host), ("PEER", peer)):
            command += ["-A", f'{name}="{value}"']
        command += ["-A", f"OWN_HOST={local[0]}"]
        super().__init__(command, directory, f"kamailio-{local[1]}")
        try:
            for table in ("udp", "tcp"):
                wait_until_bound(local[1], table)
        except TimeoutError as error:
            self.end()
            raise AssertionError(f"{error}; it said:\n{self.log_text()}") from error
