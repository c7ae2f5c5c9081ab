#!/usr/bin/env bash
# Starts private servers and `nuncio all` and leaves them running, with everything they keep in .nuncio/. A second
# call changes nothing and prints the addresses again. `make down` stops them.
set -euo pipefail
# shellcheck source=deploy/local/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly state=$root/.nuncio

"$here/install.sh" servers build
mkdir -p "$state"
exec 7>"$state/lock"
flock 7

# prefer NAME PORT: the usual port if nobody has it, else a free one.
prefer() {
    if port_in_use "$2"; then
        free_port
        warn "port $2 is taken; $1 is on $port"
    else
        port=$2
    fi
}

if recall_pid "$state/nuncio.pid"; then
    note "already running, pid $pid"
else
    use_cargo
    heading 'Build'
    build_nuncio release "$state/nuncio"
    heading 'Servers'
    # The lock is this script's, not the servers'.
    launch_servers "$state/services" setsid 7>&-
    # shellcheck source=/dev/null
    . "$state/services/env"
    ok 'RabbitMQ and Redis answer'

    heading 'Nuncio'
    if [[ ! -s $state/main-secret ]]; then
        (umask 077 && head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$state/main-secret")
    fi
    prefer 'the API' 8071
    listen=${NUNCIO_LISTEN:-127.0.0.1:$port}
    prefer 'the health listener' 9464
    metrics=${NUNCIO_METRICS_LISTEN:-127.0.0.1:$port}
    (
        umask 077
        cat >"$state/env" <<-ENV
			export NUNCIO_AMQP_URL=$(printf %q "$NUNCIO_AMQP_URL")
			export NUNCIO_REDIS_URL=$(printf %q "$NUNCIO_REDIS_URL")
			export NUNCIO_MAIN_SECRET=$(printf %q "${NUNCIO_MAIN_SECRET:-$(cat "$state/main-secret")}")
			export NUNCIO_LISTEN=$(printf %q "$listen")
			export NUNCIO_METRICS_LISTEN=$(printf %q "$metrics")
			export NUNCIO_EGRESS_ALLOW=$(printf %q "${NUNCIO_EGRESS_ALLOW:-127.0.0.0/8}")
			export PATH=$(printf %q "$state"):\$PATH
		ENV
    )
    # shellcheck source=/dev/null
    . "$state/env"
    setsid "$state/nuncio" all </dev/null >"$state/nuncio.log" 2>&1 7>&- &
    remember_pid "$state/nuncio.pid" $! || true
    ready() { is_gone "$state/nuncio.pid" || curl -fsS --max-time 2 -o /dev/null "http://$metrics/readyz" 2>/dev/null; }
    if ! within 60 ready || is_gone "$state/nuncio.pid"; then
        tail -n 30 "$state/nuncio.log" >&2
        die "nuncio is not ready; its log is $state/nuncio.log"
    fi
    ok 'ready'
fi

# shellcheck source=/dev/null
. "$state/env"
cat <<END

  console       http://$NUNCIO_LISTEN/console
  API           http://$NUNCIO_LISTEN/docs
  health        http://$NUNCIO_METRICS_LISTEN/readyz
  RabbitMQ      $NUNCIO_AMQP_URL
  Redis         $NUNCIO_REDIS_URL
  log           $state/nuncio.log

  In each terminal, for the settings of this Nuncio and the command \`nuncio\`:
    source $state/env

  \`nuncio token\` prints what the console and the API ask for. Endpoints may be on 127.0.0.1, where \`nuncio listen\`
  receives. README.md goes on from here, under "The first ten minutes"; \`make down\` stops it.
END
