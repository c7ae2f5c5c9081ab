# shellcheck shell=bash
# A stage for one run: a directory, private servers and a build of now, with `nuncio all` between them; all of it
# gone when the calling script ends, however it ends. Sourced after lib.sh, never run.

stage=''

# open_stage NAME: sets `stage` (a directory) and `nuncio_bin`; exports the NUNCIO_* of a fresh installation.
open_stage() {
    "$here/install.sh" servers build
    use_cargo
    stage=$(mktemp -d "${TMPDIR:-/tmp}/nuncio-$1.XXXXXX")
    trap close_stage EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM

    heading 'Build'
    nuncio_bin=$stage/nuncio
    # Unoptimised: on a bare machine that is minutes sooner, and nothing here is measured.
    build_nuncio dev "$nuncio_bin"
    ok "$("$nuncio_bin" --version)"

    heading 'Servers'
    own_servers "$stage/servers"
    # shellcheck source=/dev/null
    . "$stage/servers/env"
    ok "RabbitMQ and Redis answer"

    NUNCIO_MAIN_SECRET=$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n')
    NUNCIO_NAMESPACE=$1-$(head -c 4 /dev/urandom | od -An -tx1 | tr -d ' \n')
    export NUNCIO_MAIN_SECRET NUNCIO_NAMESPACE NUNCIO_EGRESS_ALLOW=127.0.0.0/8
}

# start_nuncio: starts `nuncio all` on free ports and waits until it is ready.
start_nuncio() {
    local try
    for try in 1 2 3; do
        free_port
        export NUNCIO_LISTEN=127.0.0.1:$port
        free_port
        export NUNCIO_METRICS_LISTEN=127.0.0.1:$port
        spawn nuncio "$nuncio_bin" all
        if within 60 nuncio_settled && recall_pid "$stage/nuncio.pid"; then
            return 0
        fi
        grep -q 'in use' "$stage/nuncio.log" || break
    done
    tail -n 40 "$stage/nuncio.log" >&2
    die "nuncio is not ready (try $try)"
}

nuncio_settled() {
    is_gone "$stage/nuncio.pid" || curl -fsS --max-time 2 -o /dev/null "http://$NUNCIO_METRICS_LISTEN/readyz" 2>/dev/null
}

# spawn NAME COMMAND…: in the background, with its output in NAME.out and NAME.log; it dies with this script.
spawn() {
    local name=$1
    shift
    setpriv --pdeathsig KILL "$@" </dev/null >>"$stage/$name.out" 2>>"$stage/$name.log" &
    remember_pid "$stage/$name.pid" $! || true
}

close_stage() {
    local status=$? file
    trap '' TERM INT
    for file in "$stage"/*.pid; do
        [[ ! -e $file ]] || stop_remembered "$file" 15
    done
    stop_servers "$stage/servers"
    rm -rf "$stage"
    exit "$status"
}
