"""What is told to the compiler of the engine (see engine.py) about a class; as it runs here, it changes nothing.

`acyclic=True`: no object of the class is ever part of a cycle that lasts, so the compiled one is none of the garbage
collector's: it is smaller, and is neither counted nor walked. Whoever hangs an object back on one that holds it has to
take it away again, as a transaction that ends does with its context.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_extensions import mypyc_attr
else:

    def mypyc_attr(**_attributes):
        return lambda marked: marked


__all__ = ["mypyc_attr"]
