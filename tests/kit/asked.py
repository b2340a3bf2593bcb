"""A process as compiled_files.ask starts it: `python -m tests.kit.asked`; says how the system schedules it.

Asked to, it is slow while it has idle time only: `looks_s` to find out, `makes_s` to make; or always: `hangs_s`.
"""

from __future__ import annotations

import json
import os
import sys
import time

from edge_proxy.compiled_files import begin


def main() -> None:
    asked = json.load(sys.stdin)
    is_idle = os.sched_getscheduler(0) == os.SCHED_IDLE
    time.sleep(asked["looks_s"] * is_idle + asked.get("hangs_s", 0))
    begin()
    time.sleep(asked["makes_s"] * is_idle)
    json.dump({"is_idle": is_idle, "nice": os.nice(0), "asked": asked}, sys.stdout)


if __name__ == "__main__":
    main()
