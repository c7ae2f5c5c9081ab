#!/usr/bin/env bash
# rootfs.sh DIR BINARY: assembles in DIR what the image holds, out of the same Debian packages that the image's base is
# made of, as this machine has them (libc6, libgcc-s1, ca-certificates, netbase): no shell, no package manager.
# enter.sh runs the binary in it as the image's user. So it is known, where no container engine is, that the image
# lacks no library, no certificate and no right.
set -euo pipefail
(($# == 2)) || { echo 'usage: rootfs.sh DIR BINARY' >&2; exit 2; }
rootfs=$1
binary=$2

mkdir -p "$rootfs"/{usr/bin,etc/ssl/certs,tmp,proc,dev,home/nonroot}
chmod 1777 "$rootfs/tmp"
chmod 755 "$rootfs"

# The libraries of the two packages, and nothing that the binary happens to find elsewhere on this machine.
{ dpkg -L libc6 && dpkg -L libgcc-s1; } | grep -E '\.so(\.[0-9]+)*$' | grep -v /gconv/ | while IFS= read -r library; do
    mkdir -p "$rootfs${library%/*}"
    cp --dereference "$library" "$rootfs$library"
done
# The loader's path is written into every binary.
loader=$(dpkg -L libc6 | grep -E '/ld-linux.*\.so' | head -n 1)
interpreter=$(LC_ALL=C readelf --program-headers "$binary" | sed -n 's/.*program interpreter: \(.*\)]$/\1/p')
[[ -n $interpreter ]] || { echo "rootfs.sh: $binary names no loader" >&2; exit 1; }
mkdir -p "$rootfs${interpreter%/*}"
[[ -e $rootfs$interpreter ]] || cp --dereference "$loader" "$rootfs$interpreter"

cp --dereference /etc/ssl/certs/ca-certificates.crt "$rootfs/etc/ssl/certs/"
cp --dereference /etc/services /etc/protocols "$rootfs/etc/" 2>/dev/null || true
printf 'root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n' >"$rootfs/etc/passwd"
printf 'root:x:0:\nnonroot:x:65532:\n' >"$rootfs/etc/group"
printf 'passwd: files\nhosts: files dns\nnetworks: files\n' >"$rootfs/etc/nsswitch.conf"
# What an engine puts into every container.
cp --dereference /etc/hosts /etc/resolv.conf "$rootfs/etc/"

install -m 755 "$binary" "$rootfs/usr/bin/nuncio"
