#!/bin/bash
# vm.sh [--memory MIB] [--smp N] [--timeout SECONDS] [--hubs] [--] COMMAND [ARGUMENT...]
#
# Runs COMMAND as root in a QEMU guest and exits with its status. The guest is Debian's own kernel
# (from the package, unpacked into build/vm, never installed) with this machine's root file system
# read-only beneath a tmpfs: COMMAND finds every program, library and this checkout where they are here,
# and whatever it writes is forgotten. One folder is shared for writing, $FLASHRACK_VM_OUT, at the same
# path inside and outside: the one the caller names in that variable, else a temporary one.
# README.md beside this file tells how the parts fit.
#
# Exit status: COMMAND's; 124 when the time was up; 125 when the guest did not start or died.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(cd "$here/../.." && pwd)
vm_dir=$top/build/vm
memory_mib=2048
cpus=2
timeout_s=600
hubs=()

# What the guest loads, in this order, each after what it depends on.
modules=(virtio_pci virtio_console 9pnet_virtio 9p overlay usb-common usbcore usbip-core vhci-hcd
    xhci-pci usbmon cdc-acm)

say() { printf 'vm: %s\n' "$*" >&2; }
die() { say "$*"; exit 125; }
usage() { say "$1; usage: vm.sh [--memory MIB] [--smp N] [--timeout SECONDS] [--hubs] -- COMMAND"; exit 2; }

# A controller at an address of our choice, a hub in it, a hub in that, and a keyboard (tests/vm/topology.py).
plug_in_hubs() {
    hubs=(-device qemu-xhci,id=xhci,addr=1d.0 -device usb-hub,bus=xhci.0,port=2
        -device usb-hub,bus=xhci.0,port=2.3 -device usb-kbd,bus=xhci.0,port=2.3.1)
}

parse_options() {
    while (($#)); do
        case $1 in
        --memory | --smp | --timeout)
            [[ ${2-} =~ ^[1-9][0-9]*$ ]] || usage "$1 needs a number"
            case $1 in
            --memory) memory_mib=$2 ;;
            --smp) cpus=$2 ;;
            --timeout) timeout_s=$2 ;;
            esac
            shift 2
            ;;
        --hubs) plug_in_hubs; shift ;;
        --) shift; break ;;
        -*) usage "unknown option $1" ;;
        *) break ;;
        esac
    done
    (($#)) || usage "no command"
    command=("$@")
}

# ---- the image: kernel, modules, busybox -----------------------------------------------------------

# The kernel package that Debian's metapackage names today.
kernel_package() {
    [ "$(dpkg --print-architecture)" = amd64 ] || die "the guest is amd64; this machine is not"
    apt-cache depends linux-image-amd64 2>/dev/null | sed -n 's/.*Depends: //p' | head -n 1
}

fetch_packages() { # into $work/deb
    local kernel
    kernel=$(kernel_package)
    [ -n "$kernel" ] || die "apt does not know linux-image-amd64: run apt-get update"
    say "fetching $kernel and busybox-static"
    mkdir "$work/deb"
    (cd "$work/deb" && apt-get -qq -o APT::Sandbox::User=root download "$kernel" busybox-static) ||
        die "cannot download the guest's packages; are the lists old? (apt-get update)"
    dpkg-deb --fsys-tarfile "$work"/deb/busybox-static_*.deb | tar -x -C "$work" ./bin/busybox
    dpkg-deb --fsys-tarfile "$work/deb/$kernel"_*.deb |
        tar -x -C "$work" --wildcards './boot/vmlinuz-*' './lib/modules/*/modules.*' \
            './lib/modules/*/kernel/drivers/'{usb,virtio,char}'/*' './lib/modules/*/kernel/fs/*' \
            './lib/modules/*/kernel/net/9p/*'
    tree=$(echo "$work"/lib/modules/*)
    "$work/bin/busybox" depmod -b "$work" "${tree##*/}"
}

# The payload of a bzImage is an xz stream whose place the setup header tells (Linux boot protocol:
# setup_sects at 0x1f1, payload_offset at 0x248, payload_length at 0x24c; the last four bytes are not
# part of the stream). Started as the ELF file inside, through its PVH entry, the kernel need not unpack
# itself under emulation.
unpack_kernel() { # bzImage vmlinux
    local sects offset length
    sects=$(od -An -tu1 -j $((0x1f1)) -N 1 "$1")
    offset=$(od -An -tu4 -j $((0x248)) -N 4 "$1")
    length=$(od -An -tu4 -j $((0x24c)) -N 4 "$1")
    dd if="$1" bs=1M iflag=skip_bytes,count_bytes skip=$(((sects + 1) * 512 + offset)) \
        count=$((length - 4)) status=none | xz -dc >"$2" || die "cannot unpack the kernel"
}

# Prints the files that a module depends on, then its own. modules.dep has the nearest dependency first.
module_files() { # name, with any mix of - and _
    local line
    line=$(grep -E "/${1//[-_]/[-_]}\.ko:" "$tree/modules.dep") || die "the kernel has no module $1"
    tr ' ' '\n' <<<"${line/:/}" | sed '/^$/d' | tac
}

build_initramfs() {
    local name file root=$work/initramfs
    mkdir -p "$root"/{bin,modules,dev,proc,sys,newroot}
    cp "$work/bin/busybox" "$root/bin/"
    ln -s busybox "$root/bin/sh"
    cp "$here/init.sh" "$root/init"
    cp "$here/stage2.sh" "$root/"
    chmod 755 "$root/init"
    for name in "${modules[@]}"; do module_files "$name"; done | awk '!seen[$0]++' >"$work/order"
    while read -r file; do
        cp "$tree/$file" "$root/modules/"
        basename "$file"
    done <"$work/order" >"$root/modules/order"
    (cd "$root" && find . | "$work/bin/busybox" cpio -o -H newc -R 0:0 2>/dev/null) >"$work/initrd"
}

# Makes build/vm/{vmlinux,initrd} unless they are of this very recipe.
build_image() {
    local stamp work tree
    stamp=$(cat "$here"/{vm,init,stage2}.sh | sha256sum | cut -d' ' -f1)
    [ "$(cat "$vm_dir/stamp" 2>/dev/null)" = "$stamp" ] && return 0
    work=$(mktemp -d "$vm_dir/work.XXXXXX")
    fetch_packages
    unpack_kernel "$(echo "$work"/boot/vmlinuz-*)" "$work/vmlinux"
    build_initramfs
    mv "$work"/{vmlinux,initrd} "$vm_dir/"
    echo "$stamp" >"$vm_dir/stamp"
    rm -rf "$work"
}

# ---- one run ---------------------------------------------------------------------------------------

# What the guest's first process reads: where the shared folder belongs, and the script to run.
write_command() {
    local name
    mkdir -p "$out/.guest"
    rm -f "$out/.guest"/*
    printf '%s' "$out" >"$out/.guest/path"
    {
        printf 'cd %q || exit 125\n' "$PWD"
        for name in PATH HOME LANG LC_ALL TZ "${!ASAN_@}" "${!UBSAN_@}" "${!FLASHRACK_@}"; do
            [ -z "${!name+set}" ] || printf 'export %s=%q\n' "$name" "${!name}"
        done
        printf 'export FLASHRACK_VM=1 FLASHRACK_VM_OUT=%q PATH=$PATH:/run/guest/bin\nexec' "$out"
        printf ' %q' "${command[@]}"
        printf '\n'
    } >"$out/.guest/command"
}

# Starts QEMU and leaves its exit status. A comma in an option's value is doubled. The setpriv makes the
# guest end when this script is killed.
run_qemu() {
    local stdout_fd stderr_fd relays=() status=0
    exec {stdout_fd}> >(exec cat); relays+=($!)
    exec {stderr_fd}> >(exec cat >&2); relays+=($!)
    setpriv --pdeathsig TERM timeout -k 5 "$timeout_s" qemu-system-x86_64 \
        -machine q35 -accel tcg,thread=multi -cpu "$cpu" \
        -m "$memory_mib" -smp "$cpus" -nodefaults -no-user-config -no-reboot -display none \
        -kernel "$vm_dir/vmlinux" -initrd "$vm_dir/initrd" -append "$kernel_line" \
        -serial "file:$run/console" -device virtio-serial-pci \
        -chardev "file,id=stdout,path=/dev/fd/$stdout_fd" \
        -device virtserialport,chardev=stdout,name=stdout \
        -chardev "file,id=stderr,path=/dev/fd/$stderr_fd" \
        -device virtserialport,chardev=stderr,name=stderr \
        -fsdev local,id=root,path=/,security_model=none,readonly=on,multidevs=remap \
        -device virtio-9p-pci,fsdev=root,mount_tag=root \
        -fsdev "local,id=out,path=${out//,/,,},security_model=none" \
        -device virtio-9p-pci,fsdev=out,mount_tag=out "${hubs[@]}" </dev/null >"$run/qemu.log" 2>&1 &
    trap 'kill '$!' 2>/dev/null' INT TERM HUP
    wait $! || status=$?
    trap - INT TERM HUP
    exec {stdout_fd}>&- {stderr_fd}>&-
    wait "${relays[@]}" || true
    return $status
}

cleanup() {
    [ -z "${run-}" ] || rm -rf "$run"
    [ -z "${work-}" ] || rm -rf "$work"
}

main() {
    local status=0
    parse_options "$@"
    mkdir -p "$vm_dir"
    trap cleanup EXIT
    exec {lock}>"$vm_dir/lock"
    flock "$lock"
    build_image
    exec {lock}>&-
    run=$(mktemp -d "$vm_dir/run.XXXXXX")
    out=${FLASHRACK_VM_OUT:-$run/out}
    mkdir -p "$out"
    out=$(cd "$out" && pwd -P)
    # Plain SSE2 code is the fastest under emulation: SHA-256 1.5 times, copying and clearing memory 6 times
    # as fast as with everything that QEMU can emulate (AVX2, fast rep movsb) announced. The vendor keeps
    # the kernel from a slow idle loop, made for an erratum of the AMD processor that qemu64 says it is.
    cpu=qemu64,+rdrand,vendor=GenuineIntel
    kernel_line="console=ttyS0 quiet panic=-1 reboot=t mitigations=off nokaslr random.trust_cpu=on tsc=reliable"
    write_command
    run_qemu || status=$?
    if [ -f "$out/.guest/status" ]; then
        status=$(cat "$out/.guest/status")
        exit "$status"
    fi
    [ "$status" = 124 ] && say "time is up after $timeout_s s" && exit 124
    say "the guest ended without a word (QEMU: $status)"
    tail -n 60 "$run/qemu.log" "$run/console" >&2 || true
    exit 125
}

main "$@"
