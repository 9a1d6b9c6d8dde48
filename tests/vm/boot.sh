#!/bin/bash
# The guest itself: exit status, output, the read-only root, the folder for results, the time limit.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$here/../../build/vm"
work=$(mktemp -d "$here/../../build/vm/boot.XXXXXX")
trap 'rm -rf "$work"' EXIT
fail() { echo "FAILED: $*"; exit 1; }

cat >"$work/inside" <<'EOF'
set -e
echo to-stdout
echo to-stderr >&2
echo again >/dev/stdout
[ "$(id -u)" = 0 ]
test -d /sys/devices/platform/vhci_hcd.7
test -e /dev/pts/ptmx && test -w /dev/shm
ping -c 1 127.0.0.1 >/dev/null 2>&1 || (exec 3<>/dev/udp/127.0.0.1/9)
[ -z "$(cat)" ] # no input
echo changed >"$1/mark" # in the checkout, as it seems
echo "$2 three" >"$FLASHRACK_VM_OUT/result"
head -c 3000000 /dev/zero | tr '\0' 'x' | fold -w 99 >&2
exit 7
EOF
echo "as it was" >"$work/mark"
mkdir "$work/out"

status=0
FLASHRACK_VM_OUT=$work/out "$here/vm.sh" --timeout 120 -- bash "$work/inside" "$work" "one two" \
    >"$work/stdout" 2>"$work/stderr" || status=$?
[ "$status" = 7 ] || { tail "$work/stderr"; fail "exit status $status, not 7"; }
[ "$(cat "$work/stdout")" = $'to-stdout\nagain' ] || fail "stdout is not what the command wrote"
grep -qx to-stderr "$work/stderr" || fail "stderr did not come through"
[ "$(grep -c '^x*$' "$work/stderr")" = 30304 ] || fail "a long output is not whole"
[ "$(cat "$work/mark")" = "as it was" ] || fail "the guest wrote through to the outside"
[ "$(cat "$work/out/result")" = "one two three" ] || fail "the result did not come out, or an argument was split"
echo "status, output, overlay and results: ok"

status=0
"$here/vm.sh" --timeout 10 -- sleep 600 2>"$work/stderr" || status=$?
[ "$status" = 124 ] || fail "exit status $status after the time limit, not 124"
echo "time limit: ok"

status=0
"$here/vm.sh" --timeout 120 -- sh -c 'echo c >/proc/sysrq-trigger' 2>"$work/stderr" || status=$?
[ "$status" = 125 ] || fail "exit status $status after a kernel crash, not 125"
grep -q 'Kernel panic' "$work/stderr" || fail "a kernel crash is not shown"
echo "crash: ok"

# Killed the hard way: no QEMU may stay behind. Its command line names the folder for results.
qemu_runs() { grep -lsz "^local,id=out,path=$(realpath "$work/out")," /proc/[0-9]*/cmdline | grep -q .; }
wait_until() { # seconds command...
    local until=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS < until)) || return 1
        sleep 0.2
    done
}
qemu_gone() { ! qemu_runs; }
FLASHRACK_VM_OUT=$work/out "$here/vm.sh" -- sleep 600 2>/dev/null &
vm=$!
wait_until 60 qemu_runs || fail "QEMU does not start"
kill -KILL "$vm"
wait "$vm" 2>/dev/null || true
wait_until 30 qemu_gone || fail "QEMU outlives the script that started it"
echo "killed: ok"
