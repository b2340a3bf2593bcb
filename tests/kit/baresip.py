"""baresip: a complete user agent with media. It plays a sine tone into its calls and takes in what it hears."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.kit.peers import PeerProcess, missing, require

_MODULE_DIRS: Final = [Path("/usr/lib/baresip/modules"), Path("/usr/local/lib/baresip/modules")]
_MODULES: Final = ("stdio", "g711", "aubridge", "ausine", "account", "menu")

_CONFIG: Final = """\
poll_method epoll
sip_listen {host}:{port}
net_interface {host}
rtp_ports {first}-{last}
rtcp_mux no
jitter_buffer_delay 5-10
call_local_timeout 30
call_max_calls 4
audio_source ausine,440
audio_player aubridge,nowhere
audio_alert aubridge,nobody
audio_txmode thread
ausrc_srate 48000
ausrc_channels 2
module_path {modules}
module stdio.so
module g711.so
module aubridge.so
module ausine.so
module_tmp account.so
module_app menu.so
"""
# ausine makes 48 kHz stereo only; baresip resamples it for G.711. aubridge is a player that needs no sound card.


def require_baresip() -> Path:
    """Where its modules are."""
    require("baresip", "baresip-core")
    for directory in _MODULE_DIRS:
        if all((directory / f"{name}.so").exists() for name in _MODULES):
            return directory
    return missing(f"baresip's modules {', '.join(_MODULES)} are missing: install the Debian package baresip-core")


class Baresip(PeerProcess):
    """One user agent that answers every call and calls through `proxy`; its RTP and RTCP use `rtp_ports`."""

    def __init__(
        self, directory: Path, *, number: str, local: tuple[str, int], proxy: tuple[str, int], rtp_ports: range
    ) -> None:
        modules = require_baresip()
        host, port = local
        self.rtp_ports = rtp_ports
        directory.mkdir(parents=True)
        (directory / "config").write_text(
            _CONFIG.format(host=host, port=port, first=rtp_ports[0], last=rtp_ports[-1], modules=modules)
        )
        (directory / "accounts").write_text(
            f'<sip:{number}@{host}:{port}>;regint=0;answermode=auto;outbound="sip:{proxy[0]}:{proxy[1]}"\n'
        )
        super().__init__(["baresip", "-f", str(directory)], directory, "baresip")
        self.wait_for("baresip is ready")

    def dial(self, uri: str) -> None:
        self.say(f"/dial {uri}")

    def hang_up(self) -> None:
        self.say("/hangup")

    def quit(self) -> int:
        self.say("/quit")
        return self.wait(10)
