"""What the newest lines of a journal say: the calls whose end is recorded there.

A worker that takes another's place reads them before it serves, so that a BYE whose answer the other one took with it
is not recorded as a second end of its call when it comes again (RFC 3261 §17.1.2.2: for 32 seconds at most).
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from edge_proxy.evidence.segments import segments_in

_NEWEST_BYTES: Final = 4 << 20
_END: Final = re.compile(rb'^\{"seq":\d+,"prev":"[0-9a-f]{64}","kind":"end","id":"([0-9a-f]{16})"', re.MULTILINE)


def recent_ends(directory: Path) -> list[int]:
    """The evidence ids, oldest first; of a bounded part of the journal. A journal that cannot be read says nothing."""
    ends: list[list[int]] = []
    left = _NEWEST_BYTES
    try:
        for _, path in reversed(segments_in(directory)):
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                file.seek(max(0, size - left))
                ends.append([int(match[1], 16) for match in _END.finditer(file.read(left))])
            left -= size
            if left <= 0:
                break
    except OSError:
        pass
    return [one for part in reversed(ends) for one in part]
