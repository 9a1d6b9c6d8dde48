# lib.sh: what test scripts in the guest share (`. "$(dirname "$0")/lib.sh"`). Sourced by bash.
# shellcheck shell=bash disable=SC2034 # output, status, here are for the tests
set -euo pipefail

[ -n "${FLASHRACK_VM-}" ] || { echo "this script runs in the guest: tests/vm/guest.sh $0" >&2; exit 2; }
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=$FLASHRACK_VM_OUT
work=$(mktemp -d)
rack_pid=

exec {never}<> <(:) # a pipe that nothing comes from, to sleep with

# Another program costs some 20 ms of the guest's processor before it does anything: what bash can do is left to bash.
say() { local uptime; read -r uptime _ </proc/uptime; printf '%s: %s\n' "$uptime" "$*"; }
pause() { read -r -t "$1" -u "$never" || true; }
fail() { say "FAILED: $*"; exit 1; }

# Runs a command, its output in $output (and shown); $status is its exit status.
try() {
    status=0
    output=$("$@" 2>&1) || status=$?
    printf '$ %s\n%s\n' "$*" "$output"
}

# Does a line of $output match the extended regular expression?
says() {
    local line
    while IFS= read -r line; do
        if [[ $line =~ $1 ]]; then return 0; fi
    done <<<"$output"
    return 1
}

# expect 0 PATTERN COMMAND...: exit status zero (or nonzero: !0) and output that matches the pattern.
expect() {
    local want=$1 pattern=$2
    shift 2
    try "$@"
    case $want in
    0) [ "$status" = 0 ] || fail "'$*' exited with $status" ;;
    !0) [ "$status" != 0 ] || fail "'$*' succeeded" ;;
    esac
    says "$pattern" || fail "'$*' did not say '$pattern'"
}

# output_is NAME: what the last command said is expect/NAME, word for word but for times, the serial and bus addresses.
# With FLASHRACK_EXPECT=write it becomes that file (README, "Expectations").
output_is() {
    local file=$here/expect/$1 said
    said=$(sed -E -e 's/\[ *[0-9.]+s\]/[TIME]/' -e 's/(Total time: )[0-9.]+s/\1TIME/' \
        -e "s/${serial:-no serial}/SERIAL/g" -e 's/^Bus [0-9]+ Device [0-9]+/Bus BUS Device DEVICE/' -e 's/[ \t]+$//' \
        <<<"$output")
    if [ "${FLASHRACK_EXPECT-}" = write ]; then
        printf '%s\n' "$said" >"$out/$1"
    else
        [ "$said" = "$(<"$file")" ] || diff -u "$file" - <<<"$said" || fail "not what ${file##*/} says"
    fi
}

# wait_for SECONDS COMMAND...: until the command succeeds.
wait_for() {
    local until=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < until)) || fail "waited in vain for: $*"
        pause 0.2
    done
}

# rack PHONES OPTION...: starts the emulated phones; their state is in $work/rack.
rack() {
    local phones=$1
    shift
    "$FLASHRACK_BUILD/emulated-x5" --phones "$phones" --state "$work/rack" --control "$work/control" \
        "$@" >"$out/emulated-x5.log" 2>&1 &
    rack_pid=$!
    wait_for 60 test -S "$work/control"
    coproc HANDS { exec /usr/bin/python3 "$here/control.py" "$work/control"; }
    hands_pid=$HANDS_PID
    exec {hands_in}>&"${HANDS[1]}" {hands_out}<&"${HANDS[0]}" # copies: a coprocess's own are closed in subshells
}

rack_stop() {
    [ -n "$rack_pid" ] || return 0
    exec {hands_in}>&- {hands_out}<&-
    kill "$rack_pid" "$hands_pid" 2>/dev/null || true
    wait "$rack_pid" "$hands_pid" 2>/dev/null || true
    rack_pid=
}

# control JSON: one order to the rack's hands, prints the answer.
control() {
    local answer
    printf '%s\n' "$1" >&"$hands_in"
    read -r answer <&"$hands_out"
    printf '%s\n' "$answer"
}

# usb_device VID:PID: prints the sysfs names of the devices with this id.
usb_device() {
    local dir vendor product
    for dir in /sys/bus/usb/devices/*; do
        { read -r vendor <"$dir/idVendor" && read -r product <"$dir/idProduct"; } 2>/dev/null || continue
        [ "$vendor:$product" != "$1" ] || echo "${dir##*/}"
    done
}
usb_has() { [ -n "$(usb_device "$1")" ]; }

trap 'rack_stop; rm -rf "$work"' EXIT
