#!/usr/bin/env bash
# Installs the official webhook libraries of PyPI and npm, at the versions pinned in tests/sdk-verify, for the tests
# that hold our signatures against them. Nothing goes into the working tree: a virtual environment for each generation
# of the Python library and a node directory, under ~/.cache/nuncio/sdks, each named by its pins and made only once.
# Copies that run at once wait for each other. Needs python3 with venv, node and npm, which install.sh provides.
# Prints what it made as `name=directory` lines. With `documents` as its argument it installs what validates the OpenAPI
# and AsyncAPI documents instead; with `manifests` what validates Dockerfile and Kubernetes manifests: hadolint, kubectl,
# and schemas.
set -euo pipefail
# shellcheck source=deploy/local/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly pins=$root/tests/sdk-verify
readonly sdks=${XDG_CACHE_HOME:-$HOME/.cache}/nuncio/sdks

# need PROGRAM PACKAGE
need() { command -v "$1" >/dev/null || die "$1 is not here: install it (Debian: apt-get install $2)"; }

# once NAME PINS COMMAND…: runs the command with a directory named by the pins' content, unless it was done before.
once() {
    local name=$1 file=$2 sum dir
    shift 2
    sum=$(sha256sum "$file" | cut -c -12)
    dir=$sdks/$name-$sum
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

mkdir -p "$sdks"
exec 8>"$sdks/.lock"
flock 8
case ${1:-libraries} in
libraries)
    once python-svix-1 "$pins/python-svix-1.txt" python_packages
    once python-svix-2 "$pins/python-svix-2.txt" python_packages
    once node "$pins/package-lock.json" node_packages
    ;;
documents)
    once schemathesis "$root/tests/e2e/api_schemathesis/requirements.txt" python_packages
    once asyncapi "$root/tests/e2e/api_documents/package-lock.json" node_packages
    ;;
manifests)
    once manifests-python "$root/deploy/kubernetes/validate/requirements.txt" python_packages
    once manifests-node "$root/deploy/kubernetes/validate/package-lock.json" node_packages
    ;;
*)
    die "usage: sdks.sh [documents | manifests]"
    ;;
esac
