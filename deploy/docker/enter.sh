#!/usr/bin/env bash
# enter.sh DIR ARGUMENTS…: runs /usr/bin/nuncio in the root that rootfs.sh assembled, read-only, as user 65532, with no
# right to gain others. Becomes that process, so that signals reach it; it dies with whoever called this.
# Needs root, or a kernel that lets users have namespaces; in the latter case the user is the caller's.
set -euo pipefail
(($# >= 1)) || { echo 'usage: enter.sh DIR ARGUMENTS…' >&2; exit 2; }

if [[ ${1:-} != --inside ]]; then
    self=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/enter.sh
    rootfs=$(cd "$1" && pwd)
    shift
    if ((EUID == 0)); then
        exec unshare --mount -- "$self" --inside "$rootfs" 65532 "$@"
    fi
    exec unshare --user --map-root-user --mount -- "$self" --inside "$rootfs" 0 "$@"
fi

rootfs=$2
user=$3
shift 3
mount --bind "$rootfs" "$rootfs"
mount --rbind /proc "$rootfs/proc"
mount -o remount,bind,ro "$rootfs"
privileges=(--no-new-privs)
if ((user != 0)); then
    # The one capability is for chroot alone.
    privileges+=(--reuid "$user" --regid "$user" --clear-groups)
    privileges+=("--inh-caps=-all,+sys_chroot" "--ambient-caps=-all,+sys_chroot")
fi
# From within, because the user may not be let through the directories above.
cd "$rootfs"
exec setpriv "${privileges[@]}" -- setpriv --pdeathsig KILL -- chroot . /usr/bin/nuncio "$@"
