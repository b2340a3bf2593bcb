"""edge_proxy: a SIP edge proxy that checks who may call as whom, and keeps the evidence."""

from typing import Final

__version__: Final = "0.1.0"
