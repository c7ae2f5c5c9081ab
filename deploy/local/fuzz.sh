#!/usr/bin/env bash
# The guard against a million generated URLs, addresses and Retry-After headers; NUNCIO_FUZZ_CASES for another number.
set -euo pipefail
# shellcheck source=deploy/local/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

"$here/install.sh" build
use_cargo
cd "$root"
export NUNCIO_FUZZ_CASES=${NUNCIO_FUZZ_CASES:-1000000}
heading "Properties of URLs: $NUNCIO_FUZZ_CASES cases each"
cargo test --locked --release --package nuncio-egress --test url_properties
