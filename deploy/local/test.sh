#!/usr/bin/env bash
# The whole test suite. Builds the binary, starts one private RabbitMQ and Redis that all end-to-end tests share (each
# in a namespace of its own), and runs every test of the workspace, examples and documentation included. Arguments
# go to `cargo test`.
set -euo pipefail
# shellcheck source=deploy/local/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

begun=$SECONDS
"$here/install.sh" servers build sdk prometheus browser
use_cargo
cd "$root"

run=$(mktemp -d "${TMPDIR:-/tmp}/nuncio-test.XXXXXX")
readonly run
tests=''
finish() {
    local status=$?
    trap '' TERM INT
    # Interrupted: cargo, the tests and what they started are one process group.
    [[ -z $tests ]] || kill -TERM -- "-$tests" 2>/dev/null || true
    stop_servers "$run/servers"
    # Servers of tests that ended a moment ago remove their directories as they go.
    within 15 no_servers_left || warn "servers may be left running in $run/tmp"
    rm -rf "$run"
    exit "$status"
}
no_servers_left() { ! compgen -G "$run/tmp/nuncio-*/server.pid" >/dev/null; }
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

heading 'Build'
# First the one with crash points, so that the default one is what stays in the build directory.
build_nuncio dev "$run/nuncio-failpoints" --features failpoints
build_nuncio dev "$run/nuncio"
cargo test --locked --workspace --no-run

heading 'Servers'
own_servers "$run/servers"
# shellcheck source=/dev/null
. "$run/servers/env"
ok 'RabbitMQ and Redis answer'

heading 'Tests'
mkdir "$run/tmp"
export NUNCIO_TEST_AMQP_URL=${NUNCIO_AMQP_URL:?} NUNCIO_TEST_REDIS_URL=${NUNCIO_REDIS_URL:?}
export NUNCIO_BIN=$run/nuncio NUNCIO_TEST_FAILPOINTS_BIN=$run/nuncio-failpoints TMPDIR=$run/tmp
# Not what the binary under test should find by itself.
unset NUNCIO_AMQP_URL NUNCIO_REDIS_URL

# In the background, so that a signal to this script ends the run at once and not after the last test.
status=0
set -m
{ cargo test --locked --workspace --no-fail-fast "$@" </dev/null 2>&1 | tee "$run/output"; } &
tests=$!
set +m
wait "$tests" || status=$?
tests=''

# One closing line for all of cargo's.
awk -v status="$status" -v seconds="$((SECONDS - begun))" '
    /^test result:/ { binaries++; passed += $4; failed += $6; ignored += $8 }
    /^test .* \.\.\. FAILED$/ { names = names "\n  " $2 }
    END {
        verdict = status == 0 && failed == 0 && passed > 0 ? "ok" : "FAILED"
        printf "\nall tests: %s. %d passed; %d failed; %d ignored; %d binaries; finished in %d s%s\n", \
            verdict, passed, failed, ignored, binaries, seconds, names
        exit verdict == "ok" ? 0 : 1
    }' "$run/output" || status=1
exit "$status"
