#!/usr/bin/env bash
# Builds every overlay with `kubectl kustomize`, its values.env being the example, and validates what came out: by
# Kubernetes' published schemas, by those of the custom resources, and by what manifests.py knows that they promise.
# What it needs, pinned here, is installed by deploy/local/sdks.sh.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../../.." && pwd)
readonly kubernetes=1.34

made=$("$root/deploy/local/sdks.sh" manifests)
python=$(sed -n 's/^manifests-python=//p' <<<"$made")
node=$(sed -n 's/^manifests-node=//p' <<<"$made")
work=$(mktemp -d "${TMPDIR:-/tmp}/nuncio-manifests.XXXXXX")
trap 'rm -rf "$work"' EXIT

# Elsewhere, so that nobody's own values.env is read or overwritten.
mkdir -p "$work/deploy" "$work/built"
cp -r "$root/deploy/kubernetes" "$root/deploy/observability" "$work/deploy/"
built=()
for overlay in "$work"/deploy/kubernetes/overlays/*/; do
    [[ ! -e $overlay/values.env.example ]] || cp "$overlay/values.env.example" "$overlay/values.env"
done
for overlay in "$work"/deploy/kubernetes/overlays/*/; do
    file=$work/built/$(basename "$overlay").yaml
    "$python/bin/kubectl" kustomize "$overlay" >"$file"
    built+=("$file")
done
"$python/bin/kubernetes-validate" --strict --quiet --no-warn -k "$kubernetes" "${built[@]}"
"$python/bin/python" "$here/manifests.py" "$root" "$node" "${built[@]}"
