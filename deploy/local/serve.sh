#!/usr/bin/env bash
# serve.sh rabbitmq|redis DIR [--ephemeral]
#
# Runs one private server in the foreground, on loopback and on ports of its own, with everything it writes under DIR:
# beside any server that already runs, and beside other copies of this script. The ports are picked once and kept in
# DIR/ports, so that a second run in the same DIR is the same server again with the same data.
#
#   DIR/ready       exists while the server answers
#   DIR/env         NUNCIO_AMQP_URL or NUNCIO_REDIS_URL, to be sourced
#   DIR/server.pid  pid and start time of the server itself (and DIR/epmd.pid beside RabbitMQ)
#   DIR/log/        what the server says
#
# SIGTERM or SIGINT stops the server within bounds. When the server ends by itself, so does this script, with its status.
# The server dies with this script even if that is killed. --ephemeral: the data is worth nothing, so a stop is a kill
# and DIR is removed.
set -euo pipefail
# shellcheck source=deploy/local/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly files_wanted=65536

kind=${1:-} dir=${2:-}
case $kind:$dir in
rabbitmq:?* | redis:?*) ;;
*) die "usage: serve.sh rabbitmq|redis DIR [--ephemeral]" ;;
esac
ephemeral=no
[[ ${3:-} != --ephemeral ]] || ephemeral=yes
mkdir -p "$dir"/{data,log,home}
dir=$(cd "$dir" && pwd)
readonly kind dir ephemeral

server='' epmd=''

finish() {
    trap '' TERM INT
    rm -f "$dir/ready"
    local signal=TERM patience=20
    if [[ $ephemeral == yes ]]; then
        signal=KILL patience=5
    fi
    if [[ -n $server ]] && kill -"$signal" "$server" 2>/dev/null; then
        # A stopped process does not see SIGTERM before it goes on.
        kill -CONT "$server" 2>/dev/null || true
        within "$patience" is_gone "$dir/server.pid" || kill -KILL "$server" 2>/dev/null || true
        wait "$server" || true
    fi
    leave_epmd
    [[ $ephemeral == no ]] || rm -rf "$dir"
    exit 0
}

leave_epmd() {
    if [[ -n $epmd ]]; then
        kill -KILL "$epmd" 2>/dev/null || true
        wait "$epmd" || true
        epmd=''
    fi
    rm -f "$dir/server.pid" "$dir/epmd.pid"
}

raise_file_limit() {
    local hard
    hard=$(ulimit -Hn)
    if [[ $hard == unlimited ]] || ((hard >= files_wanted)); then
        ulimit -Sn "$files_wanted"
    elif ! ulimit -n "$files_wanted" 2>/dev/null; then
        ulimit -Sn "$hard"
        warn "only $hard files may be open here; thousands of queues need $files_wanted"
    fi
}

pick_ports() {
    local names name
    case $kind in
    rabbitmq) names='amqp_port dist_port epmd_port' ;;
    redis) names='redis_port' ;;
    esac
    for name in $names; do
        free_port
        printf '%s=%s\n' "$name" "$port"
    done >"$dir/ports.new"
    mv "$dir/ports.new" "$dir/ports"
}

# `setpriv` changes itself into the server, so that the pid is the server's own.
bound() { exec setpriv --pdeathsig KILL "$@"; }

launch_rabbitmq() {
    local sbin=${RABBITMQ_SBIN:-} candidate
    for candidate in /usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin; do
        [[ -n $sbin || ! -x $candidate/rabbitmq-server ]] || sbin=$candidate
    done
    [[ -n $sbin ]] || die "no rabbitmq-server here: run deploy/local/install.sh, or name its directory in RABBITMQ_SBIN"

    # shellcheck disable=SC2154 # from DIR/ports
    cat >"$dir/rabbitmq.conf" <<-CONF
		listeners.tcp.1 = 127.0.0.1:$amqp_port
		log.console = false
		log.file = rabbitmq.log
		log.file.level = info
		disk_free_limit.absolute = 64MB
	CONF
    # How long a dead-lettering quorum queue waits for a confirm before it publishes again: by default three minutes,
    # for which retries would be late after every restart of the broker.
    echo '[{rabbit,[{dead_letter_worker_publisher_confirm_timeout,5000}]}].' >"$dir/advanced.config"
    echo '[].' >"$dir/enabled_plugins"
    mkdir -p "$dir/conf.d"
    if [[ ! -e $dir/home/.erlang.cookie ]]; then
        (umask 077 && head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$dir/home/.erlang.cookie")
        chmod 400 "$dir/home/.erlang.cookie"
    fi

    # Also what `services.sh ctl` needs to speak to this node.
    # shellcheck disable=SC2154 # from DIR/ports
    cat >"$dir/node" <<-NODE
		export HOME=$(printf %q "$dir/home")
		export ERL_EPMD_PORT=$epmd_port ERL_EPMD_ADDRESS=127.0.0.1
		export RABBITMQ_NODENAME=nuncio-$amqp_port@localhost
		export RABBITMQ_CONF_ENV_FILE=/dev/null
		export RABBITMQ_CTL_DIST_PORT_MIN=10240 RABBITMQ_CTL_DIST_PORT_MAX=60000
		export NUNCIO_RABBITMQ_SBIN=$(printf %q "$sbin")
	NODE
    # shellcheck disable=SC2154 # from DIR/ports
    (
        unset "${!RABBITMQ_@}" "${!ERL_@}"
        # shellcheck source=/dev/null
        . "$dir/node"
        export RABBITMQ_DIST_PORT=$dist_port
        export RABBITMQ_CONFIG_FILE=$dir/rabbitmq.conf RABBITMQ_ADVANCED_CONFIG_FILE=$dir/advanced.config
        export RABBITMQ_CONFIG_FILES=$dir/conf.d RABBITMQ_ENABLED_PLUGINS_FILE=$dir/enabled_plugins
        export RABBITMQ_MNESIA_BASE=$dir/data RABBITMQ_LOG_BASE=$dir/log RABBITMQ_PID_FILE=$dir/data/pid
        export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="+S 2:2 +A 16 -kernel inet_dist_use_interface {127,0,0,1}"
        # As under systemd: the script becomes the Erlang VM instead of staying beside it.
        export RUNNING_UNDER_SYSTEMD=yes
        cd "$dir/home"
        bound "$sbin/rabbitmq-server" </dev/null >"$dir/log/console.log" 2>&1
    ) &
    server=$!
    printf 'export NUNCIO_AMQP_URL=amqp://guest:guest@127.0.0.1:%s/%%2f\n' "$amqp_port" >"$dir/env"
}

launch_epmd() {
    # shellcheck disable=SC2154 # from DIR/ports
    (bound epmd -port "$epmd_port" -address 127.0.0.1 </dev/null >"$dir/log/epmd.log" 2>&1) &
    epmd=$!
    remember_pid "$dir/epmd.pid" "$epmd" && within 10 port_in_use "$epmd_port"
}

launch_redis() {
    local program
    program=$(command -v redis-server || command -v valkey-server) ||
        die "no redis-server here: run deploy/local/install.sh"
    # shellcheck disable=SC2154 # from DIR/ports
    (
        cd "$dir/data"
        bound "$program" --port "$redis_port" --bind 127.0.0.1 --dir "$dir/data" --daemonize no \
            --appendonly yes --appendfsync everysec --save '' --maxmemory-policy noeviction \
            --logfile "$dir/log/redis.log" </dev/null >"$dir/log/console.log" 2>&1
    ) &
    server=$!
    printf 'export NUNCIO_REDIS_URL=redis://127.0.0.1:%s/0\n' "$redis_port" >"$dir/env"
}

# Speaks the first words of the protocol: a port that only accepts is not yet a server.
rabbitmq_answers() {
    (
        exec 3<>"/dev/tcp/127.0.0.1/$amqp_port" || exit 1
        printf 'AMQP\0\0\11\1' >&3
        IFS= read -r -n 1 -t 2 -u 3 first && [[ $first == $'\1' ]]
    ) 2>/dev/null
}

redis_answers() {
    (
        exec 3<>"/dev/tcp/127.0.0.1/$redis_port" || exit 1
        printf 'PING\r\n' >&3
        IFS= read -r -t 2 -u 3 line && [[ $line == +PONG* ]]
    ) 2>/dev/null
}

settled() { "${kind}_answers" || is_gone "$dir/server.pid"; }

# One try: 0 when the server answers.
start() {
    # shellcheck source=/dev/null
    . "$dir/ports"
    if [[ $kind == rabbitmq ]]; then
        launch_epmd || return 1
    fi
    "launch_$kind"
    remember_pid "$dir/server.pid" "$server" || return 1
    within 170 settled && recall_pid "$dir/server.pid"
}

raise_file_limit
rm -f "$dir/ready"
trap finish TERM INT

if [[ -e $dir/ports ]]; then
    start || die "$kind did not come back on its ports; see $dir/log"
else
    for try in 1 2 3; do
        pick_ports
        if start; then
            break
        fi
        # Most likely somebody took a port between the look and the bind.
        [[ -z $server ]] || kill -KILL "$server" 2>/dev/null || true
        leave_epmd
        if [[ $try == 3 ]]; then
            rm -f "$dir/ports"
            tail -n 20 "$dir"/log/*.log >&2 || true
            die "$kind does not start"
        fi
        rm -rf "${dir:?}/data"
        mkdir -p "$dir/data"
    done
fi

touch "$dir/ready"
status=0
wait "$server" || status=$?
rm -f "$dir/ready"
leave_epmd
exit "$status"
