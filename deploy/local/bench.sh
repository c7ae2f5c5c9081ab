#!/usr/bin/env bash
# The benchmark: private servers, a release build, `nuncio all`, and `nuncio bench` against them. Arguments go to
# `nuncio bench`.
set -euo pipefail
# shellcheck source=deploy/local/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=deploy/local/stage.sh
. "$here/stage.sh"

open_stage bench
start_nuncio
heading 'Benchmark'
"$nuncio_bin" bench "$@"
