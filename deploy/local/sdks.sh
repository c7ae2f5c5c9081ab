#!/usr/bin/env bash
# sdks.sh [libraries | rust | schemathesis | documents | manifests | browser]
#
# Installs what nobody here wrote and the tests hold Nuncio against, pinned. Nothing goes into the working tree: virtual
# environments, node directories and a build directory under ~/.cache/nuncio/sdks, each named by its pins and made only
# once. Copies that run at once wait for each other. Prints what it made as `name=directory` lines. Needs what
# `install.sh sdk` provides.
#
#   libraries     the official webhook libraries of PyPI, in both generations, and npm (default)
#   rust          the program that drives Svix's Rust client, of crates.io
#   schemathesis  what tries the API by its OpenAPI document
#   documents     what validates the OpenAPI and AsyncAPI documents
#   manifests     what validates Dockerfile and Kubernetes manifests: hadolint, kubectl, and schemas
#   browser       what drives Chromium and looks at its pages: playwright-core and axe-core; needs `install.sh browser`
set -euo pipefail
# shellcheck source=deploy/local/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly pins=$root/tests/sdk-verify
readonly sdks=${XDG_CACHE_HOME:-$HOME/.cache}/nuncio/sdks

# need PROGRAM PACKAGE
need() { command -v "$1" >/dev/null || die "$1 is not here: install it (Debian: apt-get install $2)"; }

# pinned NAME PINS: sets `dir` to the directory that is named by the pins' content.
pinned() {
    local sum
    sum=$(sha256sum "$2" | cut -c -12)
    dir=$sdks/$1-$sum
}

# once NAME PINS COMMAND…: runs the command with a directory named by the pins' content, unless it was done before.
once() {
    local name=$1 file=$2 dir
    shift 2
    pinned "$name" "$file"
    if [[ ! -e $dir/.complete ]]; then
        rm -rf "$dir"
        mkdir -p "$dir"
        "$@" "$dir" "$file" >&2
        touch "$dir/.complete"
    fi
    printf '%s=%s\n' "$name" "$dir"
}

python_packages() {
    need python3 python3
    python3 -c 'import ensurepip, venv' 2>/dev/null || die 'python3 has no venv: apt-get install python3-venv'
    python3 -m venv "$1"
    "$1/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --requirement "$2"
}

node_packages() {
    need node nodejs
    need npm npm
    cp "${2%/*}/package.json" "$2" "$1"
    (cd "$1" && npm ci --silent --no-audit --no-fund --ignore-scripts)
}

# Cargo knows by itself what is to be built again.
rust_client() {
    local package=$root/tests/e2e/api_sdks/rust dir
    use_cargo
    need cargo rustup
    need pkg-config pkg-config
    pkg-config --exists openssl || die 'OpenSSL cannot be built against here: apt-get install libssl-dev'
    pinned rust "$package/Cargo.lock"
    cargo build --quiet --locked --manifest-path "$package/Cargo.toml" --target-dir "$dir" >&2
    printf 'rust=%s\n' "$dir/debug"
}

mkdir -p "$sdks"
exec 8>"$sdks/.lock"
flock 8
case ${1:-libraries} in
libraries)
    once python-svix-1 "$pins/python-svix-1.txt" python_packages
    once python-svix-2 "$pins/python-svix-2.txt" python_packages
    once node "$pins/package-lock.json" node_packages
    ;;
rust)
    rust_client
    ;;
schemathesis | documents)
    once schemathesis "$root/tests/e2e/api_schemathesis/requirements.txt" python_packages
    [[ $1 != documents ]] || once asyncapi "$root/tests/e2e/api_documents/package-lock.json" node_packages
    ;;
manifests)
    once manifests-python "$root/deploy/kubernetes/validate/requirements.txt" python_packages
    once manifests-node "$root/deploy/kubernetes/validate/package-lock.json" node_packages
    ;;
browser)
    once browser "$here/screenshots/package-lock.json" node_packages
    ;;
*)
    die "usage: sdks.sh [libraries | rust | schemathesis | documents | manifests | browser]"
    ;;
esac
