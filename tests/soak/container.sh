#!/bin/bash
# container.sh [--keep]
#
# Builds docker/Dockerfile with buildah (chroot isolation: no Docker engine, no namespaces needed) on a base that
# debootstrap makes, runs each program of the images as their user, a restore with the two services that
# docker/compose.yaml describes (with its users, variables and volumes), and a demo in the build stage.
# Prints one JSON object as last line. --keep leaves the images in build/soak/containers.
set -euo pipefail
# shellcheck source=tests/soak/debian.sh
. "$(dirname "${BASH_SOURCE[0]}")/debian.sh"

store=$soak_dir/containers
context=$store/context
log=$soak_dir/container.log
driver=vfs # copies every layer; works anywhere

# Everything under build/soak, nothing of this machine's own containers or settings.
tool() {
    local verb=$1
    shift
    buildah --root "$store/root" --runroot "$store/run" --storage-driver "$driver" "$verb" "$@"
}

# Layers are mounted, not copied, where this file system lets overlays be stacked on it.
pick_driver() {
    local try=$store/try
    mkdir -p "$try"/{lower,upper,work,merged}
    if mount -t overlay overlay "$try/merged" \
        -o "lowerdir=$try/lower,upperdir=$try/upper,workdir=$try/work" 2>/dev/null; then
        umount "$try/merged"
        driver=overlay
    fi
    rm -rf "$try"
}

run_options=() # of buildah run, for the next run_in

run_in() { # target command...: in a container of that image, as the image's user
    local container status=0
    container=$(tool from --pull-never "localhost/flashrack-$1")
    shift
    tool run --isolation chroot "${run_options[@]}" "$container" -- "$@" || status=$?
    tool rm "$container" >/dev/null
    return "$status"
}

free_port() {
    /usr/bin/python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
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
    tool bud --quiet --layers --format docker --isolation chroot --pull-never --build-arg BASE=localhost/flashrack-base \
        --target "$1" --tag "localhost/flashrack-$1" --file "$top/docker/Dockerfile" "$context" \
        >>"$log" 2>&1 || { tail -n 30 "$log" >&2; die "target $1 failed"; }
}

# The station in its container, as its user, until its own health check is content.
station_answers() {
    local port
    port=$(free_port)
    # shellcheck disable=SC2016 # for the shell inside
    run_in station env FLASHRACK_LISTEN="127.0.0.1:$port" FLASHRACK_NO_USB=1 bash -c '
        flashrackd & station=$!
        for try in $(seq 100); do
            flashrack-healthcheck 2>/dev/null && kill "$station" && exit 0
            sleep 0.2
        done
        echo "the health check fails" >&2
        kill "$station"
        exit 1' >>"$log" 2>&1 || { tail -n 30 "$log" >&2; die "the station does not answer"; }
}

compose() { /usr/bin/python3 "$top/tests/soak/compose.py" "$@"; }

# A service of compose.yaml: its image and user, its variables (later ones of the caller win) and its named volumes.
start_service() { # service more-variables... -- argument...
    local name=$1 target line variables=() arguments=()
    shift
    mapfile -t variables < <(compose environment "$name")
    while (($#)) && [ "$1" != -- ]; do variables+=("$1"); shift; done
    (($# == 0)) || { shift; arguments=("$@"); }
    target=$(compose target "$name")
    run_options=()
    while read -r line; do
        mkdir -p "$store/volumes/${line%%:*}"
        chown "$service_uid" "$store/volumes/${line%%:*}"
        run_options+=(--volume "$store/volumes/$line")
    done < <(compose volumes "$name")
    run_in "$target" env "${variables[@]}" "$(service_command "$target")" "${arguments[@]}" >>"$log" 2>&1 &
    run_options=()
}

# buildah run knows no entry point: it is the image's.
service_command() { # target
    tool inspect --type image --format '{{index .OCIv1.Config.Entrypoint 0}}' "localhost/flashrack-$1"
}

# Station and rack as compose.yaml has them, and one phone restored by REST.
services_restore() {
    local web rack try
    web=$(free_port)
    rack=$(free_port)
    service_uid=$(run_in station id -u)
    start_service rack RACK_PHONES=1 -- --listen "127.0.0.1:$rack" --control /var/lib/rack/ctl --hands-speed 20
    for try in $(seq 300); do
        [ -S "$store/volumes/rack/ctl" ] && break
        sleep 0.2
    done
    [ -S "$store/volumes/rack/ctl" ] || { tail -n 30 "$log" >&2; die "the rack's container did not start in $try tries"; }
    start_service station "FLASHRACK_LISTEN=127.0.0.1:$web" "FLASHRACK_USBIP=127.0.0.1:$rack" FLASHRACK_NO_USB=1
    for try in $(seq 300); do
        FLASHRACK_LISTEN=127.0.0.1:$web bash "$top/docker/healthcheck.sh" 2>/dev/null && break
        sleep 0.2
    done
    compose restore "http://127.0.0.1:$web" "127.0.0.1:$rack" "$store/volumes/rack" ||
        { tail -n 30 "$log" >&2; die "the containers did not restore a phone"; }
}

# Runs in namespaces of its own, so that nothing stays mounted or running whatever fails.
inside() {
    local target program user service_uid started=$SECONDS
    pick_driver
    make_base
    for target in build station rack; do make_target "$target"; done
    for program in flashrackd flashrack-portwatch flashrack-worker flashrack; do
        run_in station "$program" --version >&2
    done
    run_in rack emulated-x5 --version >&2
    user=$(run_in station id -un)
    [ "$user" = flashrack ] || die "the station runs as $user"
    station_answers
    say "one phone, restored by the two services of compose.yaml"
    services_restore
    say "demo with one phone"
    run_in build /src/run demo --once --phones 1 >"$store/demo"
    printf '{"container":{"seconds":%d,"demo":%s}}\n' $((SECONDS - started)) "$(tail -n 1 "$store/demo")"
}

main() {
    local keep='' status=0
    [ "${1-}" != --keep ] || keep=1
    need_root
    fresh_debian_tar
    rm -rf --one-file-system "$store"
    mkdir -p "$store"
    : >"$log"
    # What is committed, and nothing that lies about in this checkout.
    git clone --quiet --no-hardlinks "$top" "$context"
    unshare --mount --propagation private --pid --fork --kill-child --mount-proc -- bash "${BASH_SOURCE[0]}" --inside || status=$?
    [ -n "$keep" ] || rm -rf --one-file-system "$store"
    return "$status"
}

if [ "${1-}" = --inside ]; then inside; else main "$@"; fi
