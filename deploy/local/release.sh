#!/usr/bin/env bash
# release.sh [sbom]: what a release consists of, in dist/: an archive with the binary (thin LTO, linked to glibc and
# nothing else), manual pages and completions; the bill of materials; checksums of both. The version is that of
# Cargo.toml, and CHANGELOG.md must have a section for it. With `sbom`, the bill of materials alone.
set -euo pipefail
# shellcheck source=deploy/local/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

"$here/install.sh" build check
use_cargo
cd "$root"

version=$(sed -n '/^\[workspace.package\]/,/^\[/ s/^version = "\(.*\)"/\1/p' Cargo.toml)
target=$(rustc -vV | sed -n 's/^host: //p')
name=nuncio-$version-$target
dist=$root/dist
mkdir -p "$dist"

heading 'Bill of materials'
python3 deploy/release/sbom.py "$target" >"$dist/$name.cdx.json"
ok "$(jq -r '"\(.components | length) components"' "$dist/$name.cdx.json"), dist/$name.cdx.json"
[[ ${1:-} != sbom ]] || exit 0

grep -q "^## $version\b" CHANGELOG.md || die "CHANGELOG.md has no section for $version"
[[ -z $(git status --porcelain) ]] || warn 'built from a tree with changes that are not committed'

heading 'Build'
work=$(mktemp -d "${TMPDIR:-/tmp}/nuncio-release.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/$name"/{bin,man,completions}
build_nuncio release "$work/$name/bin/nuncio"
binary=$work/$name/bin/nuncio
said=$("$binary" --version)
[[ $said == "nuncio $version" ]] || die "the binary says '$said', Cargo.toml says $version"
# What it is linked to: glibc and gcc's unwinder, which every Debian has.
others=$(ldd "$binary" | grep -vE 'linux-vdso|lib(c|m|gcc_s|pthread|dl|rt)\.so|ld-linux' || true)
[[ -z $others ]] || die "the binary is linked to more than glibc: $others"
glibc=$(objdump -T "$binary" | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -n 1)
ok "$said, $(du -h "$binary" | cut -f 1), needs ${glibc/_/ }"

heading 'Archive'
"$binary" man "$work/$name/man"
"$binary" completions bash >"$work/$name/completions/nuncio.bash"
"$binary" completions zsh >"$work/$name/completions/_nuncio"
"$binary" completions fish >"$work/$name/completions/nuncio.fish"
cp LICENSE README.md CHANGELOG.md "$work/$name/"
cp -r deploy/local/systemd "$work/$name/"
# The same content is the same archive: owners, order and times say nothing.
tar --directory "$work" --sort=name --owner=0 --group=0 --numeric-owner --mode='u=rwX,go=rX' \
    --mtime="@$(git log -1 --format=%ct)" --create "$name" | gzip -n -9 >"$dist/$name.tar.gz"
(cd "$dist" && sha256sum "$name.tar.gz" "$name.cdx.json" >"$name.sha256")
ok "dist/$name.tar.gz, $(du -h "$dist/$name.tar.gz" | cut -f 1)"
ok "dist/$name.sha256"
