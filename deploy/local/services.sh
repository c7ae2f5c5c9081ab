#!/usr/bin/env bash
# services.sh start|stop|status|ctl [DIR]
#
# A private RabbitMQ and Redis that stay up until they are stopped, with data in DIR (default .nuncio/services).
#   start   start what is not running, then print DIR/env
#   stop    stop both, within bounds; the data stays
#   status  one line per server; exit 0 only if both answer
#   ctl     services.sh ctl DIR ARGUMENTS…: rabbitmqctl against that node
# NUNCIO_AMQP_URL and NUNCIO_REDIS_URL, where set, are used instead and nothing is started for them.
set -euo pipefail
# shellcheck source=deploy/local/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

verb=${1:-}
dir=${2:-$root/.nuncio/services}

case $verb in
start)
    launch_servers "$dir" setsid
    cat "$dir/env"
    ;;
stop)
    stop_servers "$dir"
    ;;
status)
    down=0
    for name in rabbitmq redis; do
        if [[ -n $(given_url "$name") ]]; then
            printf '%-9s yours, by %s\n' "$name" "$(url_variable "$name")"
        elif recall_pid "$dir/$name/server.pid" && [[ -e $dir/$name/ready ]]; then
            printf '%-9s up, pid %s, %s\n' "$name" "$pid" "$(cut -d = -f 2- "$dir/$name/env")"
        else
            printf '%-9s down\n' "$name"
            down=1
        fi
    done
    exit "$down"
    ;;
ctl)
    (($# >= 3)) || die "usage: services.sh ctl DIR ARGUMENTS…"
    shift 2
    # Without its node, rabbitmqctl would leave an epmd behind.
    recall_pid "$dir/rabbitmq/server.pid" || die "no private RabbitMQ runs in $dir"
    # shellcheck source=/dev/null
    . "$dir/rabbitmq/node"
    exec "$NUNCIO_RABBITMQ_SBIN/rabbitmqctl" "$@"
    ;;
*)
    die "usage: services.sh start|stop|status|ctl [DIR]"
    ;;
esac
