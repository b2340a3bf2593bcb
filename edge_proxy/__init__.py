"""edge_proxy: a SIP edge proxy that checks who may call as whom, and keeps the evidence."""

from typing import Final

from edge_proxy.engine import choose

__version__: Final = "0.1.0"

ENGINE: Final = choose()
"""Chosen here, before any other module of the package is imported."""
