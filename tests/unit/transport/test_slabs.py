"""Small objects in slabs keep what is written to them, and go back to the system slab by slab.

Each test has a process of its own: an allocator is taken over for good.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from edge_proxy.transport import memory
from edge_proxy.transport.memory import HAS_SLABS, give_back, take_over

ROOT = Path(__file__).resolve().parents[3]
needs_slabs = pytest.mark.needs(HAS_SLABS, "_slabs is not built here (no compiler): make engine")


def run(program: str, **environ: str) -> str:
    """What a program of its own process prints; it has neither failed nor complained."""
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONMALLOC"}
    done = subprocess.run(
        [sys.executable, "-c", "import gc, os, random\n" + textwrap.dedent(program)],
        cwd=ROOT,
        env=kept | environ,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


@needs_slabs
def test_what_is_written_stays_through_growing_shrinking_and_freeing() -> None:
    """Bytes and lists of every size class and beyond, grown and cut in place, some of them from before."""
    said = run("""
        before = [bytearray(b"o") * size for size in range(700)]
        from edge_proxy.transport import _slabs
        assert _slabs.take_over() and _slabs.take_over()
        chance, live = random.Random(1), dict(enumerate((each, each[0], len(each)) if each else (each, 0, 0)
                                                       for each in before))
        del before
        for turn in range(150_000):
            key = chance.randrange(5000)
            held, value, size = live.pop(key, (bytearray(), 0, 0))
            assert held == bytes([value]) * size, (turn, key)
            value, size = chance.randrange(256), chance.choice((0, 1, 15, 16, 17, 496, 511, 512, 513, 700, 5000,
                                                               chance.randrange(600)))
            held[:] = bytes([value]) * size
            live[key] = held, value, size
        assert all(held == bytes([value]) * size for held, value, size in live.values())
        lists = [[] for _ in range(300)]
        for number in range(300 * 200):
            lists[number % 300].append(number)
        assert all(each == list(range(first, 60_000, 300)) for first, each in enumerate(lists))
        assert [bytes(size) for size in range(600)] == [b"\\0" * size for size in range(600)]
        print("well")
    """)
    assert said == "well\n"


@needs_slabs
def test_a_few_that_live_on_keep_a_slab_each() -> None:
    """40 MB of objects, of which every thousandth stays: CPython's own allocator would keep all of it."""
    said = run("""
        from edge_proxy.transport import _slabs
        assert _slabs.take_over()

        def resident() -> int:
            return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

        start = resident()
        burst = [b"%d" % number * 3 for number in range(600_000)]
        peak, (held, in_use) = resident(), _slabs.held()
        assert held - in_use < 1 << 20
        stays = burst[::20_000]
        del burst
        gc.collect()
        held, in_use = _slabs.held()
        assert held - in_use > 30_000_000
        looks = 1
        while _slabs.give_back(100):
            looks += 1
        assert stays == [b"%d" % number * 3 for number in range(0, 600_000, 20_000)]
        held, in_use = _slabs.held()
        assert held == in_use < peak - start
        print(peak - start, resident() - start, looks)
    """)
    burst, left, looks = map(int, said.split())
    assert burst > 30_000_000
    assert left < 2_500_000
    assert looks > 10


@needs_slabs
def test_slabs_that_were_given_back_serve_again() -> None:
    said = run("""
        from edge_proxy.transport import _slabs
        assert _slabs.take_over()
        peaks = []
        for turn in range(5):
            burst = [(number, str(number)) for number in range(100_000, 200_000)]
            peaks.append(_slabs.held()[0])
            assert burst == [(number, str(number)) for number in range(100_000, 200_000)]
            del burst
            gc.collect()
            while _slabs.give_back(1000):
                pass
        assert max(peaks) < 1.1 * peaks[0], peaks
        print("well")
    """)
    assert said == "well\n"


@needs_slabs
def test_a_fork_has_its_own() -> None:
    """A worker is a fork of the supervisor: neither sees what the other does."""
    said = run("""
        from edge_proxy.transport import _slabs
        assert _slabs.take_over()
        shared = [str(number) for number in range(100_000)]
        child = os.fork()
        mine = [str(number) + ("c" if child == 0 else "p") for number in range(100_000)]
        if child == 0:
            del shared
            while _slabs.give_back(1000):
                pass
            assert mine[99_999] == "99999c"
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert shared == [str(number) for number in range(100_000)]
        assert mine[99_999] == "99999p"
        print("well")
    """)
    assert said == "well\n"


@needs_slabs
def test_without_addresses_all_stays_as_it_was() -> None:
    """Whoever limits the address space (LimitAS) has CPython's own allocator."""
    said = run("""
        import resource
        resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
        from edge_proxy.transport.memory import give_back, take_over
        print(take_over(), give_back(), [str(number) for number in range(100_000)][-1])
    """)
    assert said == "False False 99999\n"


@needs_slabs
def test_an_allocator_that_was_chosen_stays() -> None:
    program = "from edge_proxy.transport.memory import take_over\nprint(take_over())"
    assert run(program, PYTHONMALLOC="malloc") == "False\n"
    assert run(program, PYTHONDEVMODE="1") == "False\n"
    assert run(program) == "True\n"


@needs_slabs
def test_what_is_traced_stays_with_who_traces() -> None:
    """tracemalloc puts back what was there before it; if slabs came in between, that would be given what it never
    gave out. Slabs that were there first come back."""
    program = """
        from edge_proxy.transport.memory import take_over
        print(take_over())
        live = [str(number) for number in range(1000)]
    """
    assert run(program, PYTHONTRACEMALLOC="1") == "False\n"
    said = run("""
        import tracemalloc
        from edge_proxy.transport.memory import take_over
        assert take_over()
        live = [str(number) for number in range(1000)]
        tracemalloc.start()
        live = [str(number) for number in range(2000)]
        tracemalloc.stop()
        assert live == [str(number) for number in range(2000)]
        live = []
        print("well")
    """)
    assert said == "well\n"


@needs_slabs
@pytest.mark.needs(shutil.which("cc") is not None, "no compiler here")
def test_a_page_that_is_larger_than_a_slab_leaves_all_as_it_was(tmp_path: Path) -> None:
    """Arm with pages of 64 KiB: of four slabs on a page one cannot go back alone."""
    source, library = tmp_path / "pages.c", tmp_path / "pages.so"
    source.write_text("long sysconf(int name) { (void)name; return 65536; }\n")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    program = "from edge_proxy.transport import _slabs\nprint(_slabs.take_over(), [str(each) for each in range(9)][-1])"
    before = os.environ.get("LD_PRELOAD", "")
    assert run(program, LD_PRELOAD=f"{before} {library}") == "False 8\n"
    assert run(program) == "True 8\n"


@needs_slabs
@pytest.mark.parametrize("wrong", ["-1", "'a'", "1 << 70"])
def test_wrong_counts_are_refused(wrong: str) -> None:
    said = run(f"""
        from edge_proxy.transport import _slabs
        for _ in range(2):
            try:
                _slabs.give_back({wrong})
            except (OverflowError, TypeError):
                print("refused")
            _slabs.take_over()
    """)
    assert said == "refused\nrefused\n"


def test_where_it_is_not_built_all_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "HAS_SLABS", False)
    assert not take_over()
    assert not give_back()
    assert memory.empty_slab_bytes() == 0
