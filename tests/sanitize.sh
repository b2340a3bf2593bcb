#!/bin/sh
# The compiled parts under AddressSanitizer and UndefinedBehaviorSanitizer: the modules in C and the engine
# are built anew in build/sanitized, then what is hostile runs on them: torture, property and differential tests, the
# fuzz and worst-case messages, every datagram test over real sockets, and the tests of the slabs. Called by
# `make sanitize`; takes some ten minutes.
set -eu
cd "$(dirname "$0")/.."
python=$PWD/.venv/bin/python
tree=build/sanitized
# Not asked of it: mypyc's tagged integers are shifted to the left when negative, which gcc defines and C does not.
flags="-fsanitize=address,undefined -fno-sanitize=shift-base -fno-sanitize-recover=all -fno-omit-frame-pointer -O1 -g1"
rm -rf "$tree"
mkdir -p "$tree"
cp -r edge_proxy tests config setup.py pyproject.toml README.md "$tree"
cd "$tree"
rm -rf edge_proxy/_engine edge_proxy/*/*.so
CFLAGS="$flags" LDFLAGS="$flags" "$python" setup.py -q build_ext --inplace
CFLAGS="$flags" LDFLAGS="$flags" EDGE_PROXY_ENGINE_OPT=1 "$python" setup.py -q build_engine

# The interpreter was not built with it, so the library goes first; Python's own allocator would hide what it looks for.
LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)"
ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1
UBSAN_OPTIONS=print_stacktrace=1
PYTHONMALLOC=malloc
EDGE_PROXY_ENGINE=compiled
export LD_PRELOAD ASAN_OPTIONS UBSAN_OPTIONS PYTHONMALLOC EDGE_PROXY_ENGINE
"$python" -c 'import edge_proxy; from edge_proxy.transport import _batch; print(edge_proxy.ENGINE, _batch.__file__)'
"$python" -c 'from edge_proxy.pipeline import _layout; from edge_proxy.sip import _lines; print(_layout.__file__, _lines.__file__)'
# What is found is written to stderr by the process that ends: pytest may not hold that back. Two tests of the slabs are
# about addresses and pages, of which the sanitizer takes many itself.
"$python" -m pytest -q --capture=sys --timeout=3600 --hypothesis-profile=ci -p no:cacheprovider \
  --deselect tests/unit/transport/test_slabs.py::test_a_few_that_live_on_keep_a_slab_each \
  --deselect tests/unit/transport/test_slabs.py::test_without_addresses_all_stays_as_it_was \
  tests/unit/transport/test_udp.py tests/unit/transport/test_slabs.py tests/unit/pipeline/test_record_text.py tests/unit/pipeline/test_steering.py \
  tests/unit/evidence/test_evidence_native.py tests/unit/evidence/test_evidence_ring.py \
  tests/unit/routing tests/unit/sip tests/torture tests/unit/test_engines_agree.py
"$python" -m tests.bench.hostile --this-engine --time --most 3
echo "nothing found"
