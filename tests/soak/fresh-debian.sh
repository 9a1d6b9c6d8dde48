#!/bin/bash
# fresh-debian.sh [--keep] [COMMAND...]
#
# Proves that a fresh Debian 12 (debootstrap, minbase) needs nothing but ./run: clones this repository's HEAD
# into one and runs the README's commands there, or those named (each one argument, such as "test unit"). `serve` is
# ended when the station says that it is ready.
# Prints the time of each, and one JSON object as last line. --keep leaves the system in build/soak/fresh.
set -euo pipefail
# shellcheck source=tests/soak/debian.sh
. "$(dirname "${BASH_SOURCE[0]}")/debian.sh"

keep=
root=$soak_dir/fresh
home=/root/flashrack

# ./run in there; the words of the command follow
fresh_run=(env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb LANG=C.UTF-8
    chroot "$root" bash -c "cd $home && exec ./run \"\$@\"" run)

# The station must say where it is, answer /readyz there, and end well when asked to.
until_ready() { # serve...
    local out=$soak_dir/serve.out url='' pid status=0
    : >"$out"
    "${fresh_run[@]}" "$@" --listen 127.0.0.1:0 >"$out" &
    pid=$!
    while kill -0 "$pid" 2>/dev/null && [ -z "$url" ]; do
        url=$(sed -n 's/^Flashrack is at //p' "$out")
        sleep 0.2
    done
    [ -n "$url" ] || { cat "$out"; return 1; }
    /usr/bin/python3 -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1] + "/readyz")' "$url" || status=$?
    kill -TERM "$pid"
    wait "$pid" || status=$?
    return "$status"
}

# Everything that needs mounts; runs in a mount namespace of its own, so nothing stays mounted.
inside() {
    local command started status failed=0 results=()
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    mount --rbind -o ro /sys "$root/sys"
    for command in "$@"; do
        say "./run $command"
        started=$SECONDS
        status=0
        # shellcheck disable=SC2086 # the words of the command
        if [[ $command == serve* ]]; then
            until_ready $command >&2 || status=$?
        else
            "${fresh_run[@]}" $command >&2 || status=$?
        fi
        say "./run $command: status $status, $((SECONDS - started)) s"
        results+=("{\"command\":\"./run $command\",\"seconds\":$((SECONDS - started)),\"status\":$status}")
        [ "$status" = 0 ] || failed=1
    done
    (IFS=,; printf '{"fresh_debian":[%s]}\n' "${results[*]}")
    return "$failed"
}

main() {
    local status=0
    [ "${1-}" != --keep ] || { keep=1; shift; }
    (($#)) || set -- serve "demo --once --phones 2" "test unit"
    need_root
    fresh_debian_tar
    rm -rf --one-file-system "$root"
    mkdir -p "$root"
    tar -C "$root" -xpf "$soak_dir/bookworm.tar"
    git -C "$top" diff --quiet HEAD || say "what is not committed is not tested"
    git clone --quiet --no-hardlinks "$top" "$root$home"
    unshare --mount --propagation private -- bash "${BASH_SOURCE[0]}" --inside "$@" || status=$?
    [ -n "$keep" ] || rm -rf --one-file-system "$root"
    return "$status"
}

if [ "${1-}" = --inside ]; then
    shift
    inside "$@"
else
    main "$@"
fi
