#!/usr/bin/env bash
# The benchmark: a release build, measured on private servers that the benchmark starts and ends itself. Arguments go
# to it: `deploy/local/bench.sh --quick`, `--scenario NAME` (`list` names them), `--full`, `--compare REPORT.json`.
set -euo pipefail
# shellcheck source=deploy/local/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

"$here/install.sh" servers build
use_cargo
cd "$root"
work=$(mktemp -d "${TMPDIR:-/tmp}/nuncio-bench.XXXXXX")
readonly work
trap 'rm -rf "$work"' EXIT

heading 'Build'
build_nuncio release "$work/nuncio"
cargo build --locked --release --package e2e --bin bench
# A copy, too: it starts itself again as its own load and receiver.
install -m 755 "$CARGO_TARGET_DIR/release/bench" "$work/bench"

heading 'Benchmark'
# Its servers and roles die with it.
NUNCIO_BIN=$work/nuncio TMPDIR=$work setpriv --pdeathsig TERM "$work/bench" "$@"
