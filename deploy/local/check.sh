#!/usr/bin/env bash
# Everything that is checked without running Nuncio: format, lints, dependencies, docs, scripts, file sizes, and what
# it is deployed with.
# All checks run even if one fails; the exit status tells whether all passed.
set -euo pipefail
# shellcheck source=deploy/local/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly lines_max=600
readonly log=${TMPDIR:-/tmp}/nuncio-check.$$.log
trap 'rm -f "$log" "$log.json"' EXIT

"$here/install.sh" build check
use_cargo
cd "$root"

failed=()
# check NAME COMMAND…: silent when it passes.
check() {
    local name=$1 begun=$SECONDS
    shift
    if "$@" >"$log" 2>&1; then
        ok "$name $dim($((SECONDS - begun)) s)$plain"
    else
        printf '  %s✗ %s%s\n' "$red" "$name" "$plain"
        cat "$log"
        failed+=("$name")
    fi
}

clippy() { cargo clippy --locked --workspace --all-targets -- -D warnings; }
docs() { RUSTDOCFLAGS='-D warnings' cargo doc --locked --workspace --no-deps --document-private-items; }
deny() { "$HOME/.cache/nuncio/cargo-deny/bin/cargo-deny" --log-level warn --locked check "$@"; }

scripts() {
    local files
    mapfile -t files < <(git ls-files --cached --others --exclude-standard -- '*.sh' .ci/run)
    shellcheck --external-sources --exclude=SC2317 --exclude=SC2154 "${files[@]}"
}

# Sources that people read: not lock files, vendored assets, documents or data.
file_sizes() {
    local file lines long=0
    while IFS= read -r file; do
        [[ -f $file && $file != */vendor/* ]] || continue
        lines=$(wc -l <"$file")
        if ((lines > lines_max)); then
            echo "$file has $lines lines, more than $lines_max"
            long=1
        fi
    done < <(git ls-files --cached --others --exclude-standard -- '*.rs' '*.sh' '*.html' '*.css' '*.js' '*.py')
    return "$long"
}

# The OpenAPI document as it was reviewed, and the AsyncAPI document, by published validators.
documents() {
    local made openapi=$log.json
    made=$("$here/sdks.sh" documents) || return
    sed '1,/^---$/d' crates/web/src/api/snapshots/*openapi.snap >"$openapi"
    "$(sed -n 's/^schemathesis=//p' <<<"$made")/bin/openapi-spec-validator" "$openapi" || return
    rm -f "$openapi"
    node tests/e2e/api_documents/asyncapi.mjs "$(sed -n 's/^asyncapi=//p' <<<"$made")" docs/asyncapi.yaml
}

image() {
    local made
    made=$("$here/sdks.sh" manifests) || return
    "$(sed -n 's/^manifests-python=//p' <<<"$made")/bin/hadolint" deploy/docker/Dockerfile
}

observability() {
    promtool check rules deploy/observability/alerts.yaml || return
    promtool test rules deploy/observability/alerts.test.yaml || return
    python3 deploy/observability/check.py .
}

# systemd's own reading of the units; it wants to see the program, which may not be installed here.
units() {
    local unit copies
    command -v systemd-analyze >/dev/null || { echo 'no systemd-analyze here' && return 1; }
    copies=$(mktemp -d)
    for unit in deploy/local/systemd/*.service deploy/local/systemd/*.timer; do
        sed 's#^ExecStart=/usr/local/bin/nuncio#ExecStart=/bin/true#' "$unit" >"$copies/${unit##*/}"
    done
    systemd-analyze verify --man=no "$copies"/*
    local status=$?
    rm -rf "$copies"
    return "$status"
}

links() {
    local files
    mapfile -t files < <(git ls-files --cached --others --exclude-standard -- '*.md')
    python3 deploy/local/check/links.py . "${files[@]}"
}

heading 'Checks'
check 'format' cargo fmt --all --check
check "no file over $lines_max lines" file_sizes
check 'shell scripts' scripts
check 'lints' clippy
check 'docs' docs
check 'OpenAPI, AsyncAPI' documents
check 'links between documents' links
check 'image' image
check 'systemd units' units
check 'Kubernetes manifests' deploy/kubernetes/validate/validate.sh
check 'alerts, dashboard' observability
check 'licences, duplicates, sources' deny licenses bans sources

# The advisories come from a database on the network. Where that cannot be reached they cannot be checked, which is not a
# failure; where it can, whatever the check finds is one.
if "$HOME/.cache/nuncio/cargo-deny/bin/cargo-deny" --log-level warn --locked fetch db >"$log" 2>&1; then
    check 'advisories' deny advisories
else
    warn 'advisories NOT checked: the advisory database cannot be fetched from here'
fi

if ((${#failed[@]} > 0)); then
    die "failed: $(printf '%s; ' "${failed[@]}")"
fi
printf '%sall checks passed%s\n' "$green" "$plain"
