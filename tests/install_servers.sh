#!/bin/sh
# Install from Debian's packages what the tests need; with the word "venv" Python's venv, with "bench" what counts and
# what is measured beside the proxy.
# Without root this only says what is missing: the tests that need it are then skipped by name.
set -eu

if [ "${1:-}" = venv ]; then
    packages="python3-venv"
elif [ "${1:-}" = bench ]; then
    packages=""
    command -v valgrind >/dev/null 2>&1 || packages="valgrind"
    command -v tcpdump >/dev/null 2>&1 || packages="$packages tcpdump"
    # Kamailio's database for the benchmark; with it comes Kamailio.
    ls /usr/lib/*/kamailio/modules/db_sqlite.so >/dev/null 2>&1 || packages="$packages kamailio-sqlite-modules"
else
    packages=""
    command -v sipp >/dev/null 2>&1 || packages="$packages sip-tester"
    command -v kamailio >/dev/null 2>&1 || packages="$packages kamailio"
    command -v baresip >/dev/null 2>&1 || packages="$packages baresip-core"
    command -v prometheus >/dev/null 2>&1 || packages="$packages prometheus"
    command -v promtool >/dev/null 2>&1 || packages="$packages prometheus"
    ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || packages="$packages postgresql"
    # What the compiled parts are built with; a Python that is not Debian's brings its own Python.h.
    command -v gcc >/dev/null 2>&1 || packages="$packages gcc libc6-dev"
    header="$(${PYTHON:-python3} -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h"
    [ -e "$header" ] || packages="$packages python3-dev"
    command -v systemd-analyze >/dev/null 2>&1 || packages="$packages systemd"
fi
[ -n "$packages" ] || exit 0

if [ "$(id -u)" != 0 ]; then
    echo "not root: tests that need these Debian packages are skipped:$packages" >&2
    exit 0
fi
if ! command -v apt-get >/dev/null 2>&1; then
    echo "no apt-get: install these by your own means:$packages" >&2
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
# A package's own service must not start here: the tests start the servers they need, on their own ports.
policy=/usr/sbin/policy-rc.d
made_policy=no
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    made_policy=yes
fi
trap '[ "$made_policy" = no ] || rm -f "$policy"' EXIT
# shellcheck disable=SC2086
apt-get -qq install -y --no-install-recommends $packages >/dev/null 2>&1 || {
    apt-get -qq update
    apt-get -qq install -y --no-install-recommends $packages >/dev/null
}
