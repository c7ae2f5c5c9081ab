#!/usr/bin/env bash
# The soak: faults at random, from a seed that is printed, while a load runs; exits non-zero when anything was lost.
# MINUTES, SEED and RATE (events a second) are taken from the environment; arguments go to the soak itself.
set -euo pipefail
# shellcheck source=deploy/local/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

"$here/install.sh" servers build
use_cargo
cd "$root"
work=$(mktemp -d "${TMPDIR:-/tmp}/nuncio-soak.XXXXXX")
readonly work
trap 'rm -rf "$work"' EXIT

heading 'Build'
build_nuncio release "$work/nuncio"
cargo build --locked --release --package e2e --bin soak
install -m 755 "$CARGO_TARGET_DIR/release/soak" "$work/soak"

heading 'Soak'
options=()
[[ -z ${MINUTES:-} ]] || options+=(--minutes "$MINUTES")
[[ -z ${SEED:-} ]] || options+=(--seed "$SEED")
[[ -z ${RATE:-} ]] || options+=(--rate "$RATE")
# Its servers and roles die with it.
NUNCIO_BIN=$work/nuncio TMPDIR=$work setpriv --pdeathsig TERM "$work/soak" "${options[@]}" "$@"
