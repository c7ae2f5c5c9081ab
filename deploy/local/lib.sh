# shellcheck shell=bash
# Functions that the scripts beside this file share: words on the terminal, free ports, processes that are known by
# pid and start time, and private servers that belong to the calling script. Sourced, never run.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
readonly here root

# ---- words ----------------------------------------------------------------------------------------------------------

if [[ -t 1 && -z ${NO_COLOR:-} && ${TERM:-dumb} != dumb ]]; then
    bold=$'\e[1m' dim=$'\e[2m' red=$'\e[31m' green=$'\e[32m' yellow=$'\e[33m' blue=$'\e[36m' plain=$'\e[0m'
else
    bold='' dim='' red='' green='' yellow='' blue='' plain=''
fi
# shellcheck disable=SC2034 # each script uses some of them
readonly bold dim red green yellow blue plain

heading() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
ok() { printf '  %s✓%s %s\n' "$green" "$plain" "$*"; }
note() { printf '  %s%s%s\n' "$dim" "$*" "$plain"; }
warn() { printf '  %s!%s %s\n' "$yellow" "$plain" "$*" >&2; }
die() {
    printf '%s✗ %s%s\n' "$red" "$*" "$plain" >&2
    exit 1
}

# ---- cargo ----------------------------------------------------------------------------------------------------------

# Puts cargo on the PATH where rustup left it, and sets the build directory outside the working tree.
use_cargo() {
    if ! command -v cargo >/dev/null && [[ -x $HOME/.cargo/bin/cargo ]]; then
        PATH=$HOME/.cargo/bin:$PATH
    fi
    export PATH
    export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$HOME/.cache/nuncio/target}
    export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-auto}
}

# build_nuncio PROFILE COPY [OPTION…]: builds the binary (dev or release) and copies it; options go to cargo. The copy stays what it is, though another
# clone builds into the same directory; the lock keeps the two steps together.
build_nuncio() {
    local profile=$1 copy=$2 directory=debug
    shift 2
    [[ $profile != release ]] || directory=release
    mkdir -p "$CARGO_TARGET_DIR"
    (
        flock 8
        cd "$root" || exit
        cargo build --locked --profile "$profile" --package nuncio --bin nuncio "$@" 8>&-
        install -m 755 "$CARGO_TARGET_DIR/$directory/nuncio" "$copy"
    ) 8>"$CARGO_TARGET_DIR/.nuncio-build.lock"
}

# ---- time -----------------------------------------------------------------------------------------------------------

# within SECONDS COMMAND…: polls the command until it succeeds; fails when the time is over.
within() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS < deadline)) || return 1
        sleep 0.1
    done
}

# ---- ports ----------------------------------------------------------------------------------------------------------

# Is anything bound to this port, in any state, on any address?
port_in_use() {
    local hex tables=(/proc/net/tcp)
    [[ ! -r /proc/net/tcp6 ]] || tables+=(/proc/net/tcp6)
    printf -v hex '%04X' "$1"
    grep -qE "^ *[0-9]+: [0-9A-F]+:$hex " "${tables[@]}"
}

# Sets `port` to one that nothing uses, below the range from which the kernel picks for outgoing connections, so that
# a server may be killed and started again on it. Not reserved: whoever binds must be ready to lose the race.
free_port() {
    local floor=10240 ceiling=32768
    if [[ -r /proc/sys/net/ipv4/ip_local_port_range ]]; then
        read -r ceiling _ </proc/sys/net/ipv4/ip_local_port_range
    fi
    ((ceiling > floor + 2000)) || ceiling=60000
    local tries
    for ((tries = 0; tries < 200; tries++)); do
        port=$((floor + (RANDOM * 32768 + RANDOM) % (ceiling - floor)))
        port_in_use "$port" || return 0
    done
    die "no free port between $floor and $ceiling"
}

# ---- processes ------------------------------------------------------------------------------------------------------

# When a process started, in clock ticks since boot: with the pid it names one process for good.
started_at() {
    local stat
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    stat=${stat##*) }
    # The state comes first; a zombie is not alive. The 20th field from here is the start time.
    [[ ${stat%% *} != Z ]] || return 1
    cut -d ' ' -f 20 <<<"$stat"
}

# remember_pid FILE PID
remember_pid() {
    local start
    start=$(started_at "$2") || return 1
    printf '%s %s\n' "$2" "$start" >"$1.new" && mv "$1.new" "$1"
}

# Sets `pid` to the process that FILE remembers; fails unless that very process is alive.
recall_pid() {
    local start
    pid=''
    [[ -r $1 ]] && read -r pid start <"$1" && [[ -n $pid && $(started_at "$pid") == "$start" ]]
}

is_gone() { ! recall_pid "$1"; }

# stop_remembered FILE SECONDS: SIGTERM, then SIGKILL when the time is over. The file goes with the process.
stop_remembered() {
    local pid
    if recall_pid "$1"; then
        kill -TERM "$pid" 2>/dev/null || true
        if ! within "$2" is_gone "$1"; then
            kill -KILL "$pid" 2>/dev/null || true
            within 10 is_gone "$1" || warn "process $pid does not go away"
        fi
    fi
    rm -f "$1"
}

# ---- private servers ------------------------------------------------------------------------------------------------

# launch_servers DIR COMMAND…: starts those of RabbitMQ and Redis that no variable names, waits until both answer, and
# writes DIR/env. COMMAND is put before serve.sh and decides whom the servers belong to.
launch_servers() {
    local dir=$1 name
    shift
    mkdir -p "$dir"
    dir=$(cd "$dir" && pwd)
    : >"$dir/env.new"
    for name in rabbitmq redis; do
        if [[ -n $(given_url "$name") ]]; then
            note "$name: using $(url_variable "$name") from the environment"
        elif ! recall_pid "$dir/$name/supervisor.pid"; then
            mkdir -p "$dir/$name"
            rm -f "$dir/$name/ready"
            "$@" bash "$here/serve.sh" "$name" "$dir/$name" </dev/null >"$dir/$name/supervisor.log" 2>&1 &
            remember_pid "$dir/$name/supervisor.pid" $! || true
        fi
    done
    for name in rabbitmq redis; do
        if [[ -n $(given_url "$name") ]]; then
            printf 'export %s=%q\n' "$(url_variable "$name")" "$(given_url "$name")" >>"$dir/env.new"
            continue
        fi
        if ! within 180 server_settled "$dir/$name" || [[ ! -e $dir/$name/ready ]]; then
            cat "$dir/$name/supervisor.log" >&2
            die "$name did not start; its logs are in $dir/$name/log"
        fi
        cat "$dir/$name/env" >>"$dir/env.new"
    done
    mv "$dir/env.new" "$dir/env"
}

server_settled() { [[ -e $1/ready ]] || is_gone "$1/supervisor.pid"; }

# The servers end with the calling script, however that ends.
own_servers() { launch_servers "$1" setpriv --pdeathsig TERM; }

stop_servers() {
    local name
    for name in rabbitmq redis; do
        stop_remembered "$1/$name/supervisor.pid" 45
        # Only if the supervisor had to be killed is there anything left here.
        stop_remembered "$1/$name/server.pid" 5
        stop_remembered "$1/$name/epmd.pid" 5
    done
    rm -f "$1/env"
}

url_variable() {
    case $1 in
    rabbitmq) echo NUNCIO_AMQP_URL ;;
    redis) echo NUNCIO_REDIS_URL ;;
    esac
}

given_url() {
    local variable
    variable=$(url_variable "$1")
    printf '%s' "${!variable:-}"
}
