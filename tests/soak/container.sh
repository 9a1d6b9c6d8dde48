#!/bin/bash
# container.sh [--keep]
#
# Builds docker/Dockerfile with buildah (chroot isolation: no Docker engine, no namespaces needed) on a base that
# debootstrap makes, runs each program of the images as their user, and a demo with one phone in the build stage.
# Prints one JSON object as last line. --keep leaves the images in build/soak/containers.
set -euo pipefail
# shellcheck source=tests/soak/debian.sh
. "$(dirname "${BASH_SOURCE[0]}")/debian.sh"

store=$soak_dir/containers
log=$soak_dir/container.log

# Everything under build/soak, nothing of this machine's own containers or settings.
tool() {
    local verb=$1
    shift
    buildah --root "$store/root" --runroot "$store/run" --storage-driver vfs "$verb" "$@"
}

run_in() { # image command...
    local container status=0
    container=$(tool from --pull-never "$1")
    shift
    tool run --isolation chroot "$container" -- "$@" || status=$?
    tool rm "$container" >/dev/null
    return "$status"
}

make_base() {
    local container
    container=$(tool from scratch)
    tool add --quiet "$container" "$soak_dir/bookworm.tar" / >/dev/null
    tool config --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
    tool commit --quiet --rm "$container" localhost/flashrack-base >/dev/null
}

make_target() { # target
    say "building target $1"
    tool bud --quiet --isolation chroot --pull-never --build-arg BASE=localhost/flashrack-base \
        --target "$1" --tag "localhost/flashrack-$1" --file "$top/docker/Dockerfile" "$context" \
        >>"$log" 2>&1 || { tail -n 30 "$log" >&2; die "target $1 failed"; }
}

main() {
    local keep='' context program user started=$SECONDS
    [ "${1-}" != --keep ] || keep=1
    need_root
    fresh_debian_tar
    rm -rf "$store"
    mkdir -p "$store"
    : >"$log"
    # What a checkout holds, and nothing that lies about in this one.
    context=$store/context
    git clone --quiet --no-hardlinks "$top" "$context"
    make_base
    for target in build station rack; do make_target "$target"; done
    for program in flashrackd flashrack-portwatch flashrack-worker flashrack; do
        run_in localhost/flashrack-station "$program" --version >&2
    done
    run_in localhost/flashrack-rack emulated-x5 --version >&2
    user=$(run_in localhost/flashrack-station id -un)
    [ "$user" = flashrack ] || die "the station runs as $user"
    say "demo with one phone"
    run_in localhost/flashrack-build /src/run demo --once --phones 1 >"$store/demo"
    printf '{"container":{"seconds":%d,"demo":%s}}\n' $((SECONDS - started)) "$(tail -n 1 "$store/demo")"
    [ -n "$keep" ] || rm -rf "$store"
}

main "$@"
