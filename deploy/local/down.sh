#!/usr/bin/env bash
# Stops what up.sh started: Nuncio first, which finishes what is in flight, then the servers. Data stays in .nuncio/.
set -euo pipefail
# shellcheck source=deploy/local/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly state=$root/.nuncio

if [[ ! -d $state ]]; then
    note 'nothing was started here'
    exit 0
fi
exec 7>"$state/lock"
flock 7
stop_remembered "$state/nuncio.pid" 40
stop_servers "$state/services"
ok "stopped; the data is in $state"
