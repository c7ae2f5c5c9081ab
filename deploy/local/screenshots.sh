#!/usr/bin/env bash
# screenshots.sh [DIR]: pictures of every page of the portal and the console at 1280 and 390 pixels, in light and dark,
# into DIR (default .nuncio/screenshots). On private servers, with a fresh installation that it fills first. Exits 0
# only if no page overflows, throws, breaks its content security policy, or has what axe-core objects to.
set -euo pipefail
# shellcheck source=deploy/local/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=deploy/local/stage.sh
. "$here/stage.sh"

readonly out=${1:-$root/.nuncio/screenshots}
readonly walk=$here/screenshots

"$here/install.sh" browser
modules=$("$here/sdks.sh" browser | sed -n 's/^browser=//p')
readonly modules

# Retries that a visitor of a few minutes sees.
export NUNCIO_RETRY_FIRST=3s NUNCIO_RETRY_FACTOR=2 NUNCIO_RETRY_CEILING=60s NUNCIO_RETRY_ATTEMPTS=6
open_stage screenshots
start_nuncio
free_port
receiver=$port
spawn receiver "$nuncio_bin" listen --listen "127.0.0.1:$receiver" --json
free_port
failing=$port
spawn failing "$nuncio_bin" listen --listen "127.0.0.1:$failing" --status 500 --json
token=$("$nuncio_bin" token 2>/dev/null)

heading 'Pictures'
NODE_MODULES=$modules CHROMIUM=$(command -v chromium) node "$walk/walk.mjs" \
    "http://$NUNCIO_LISTEN" "$token" "http://127.0.0.1:$receiver" "http://127.0.0.1:$failing" "$out"
ok "$out"
