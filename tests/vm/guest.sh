#!/bin/bash
# guest.sh [--time SECONDS] [--memory MIB] [--smp N] [--hubs] SCRIPT [ARGUMENT...]
#
# Runs a test script (bash, or Python where its name says so) in the guest, with a time limit, and exits with its status. The script finds
# the programs under $FLASHRACK_BUILD (default build/release) and may leave files in $FLASHRACK_VM_OUT; on
# failure those, the end of the guest's kernel log and, last, the script's own last words are shown: a summary of
# failed tests keeps the end of what a test printed.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(cd "$here/../.." && pwd)
options=(--timeout 300)
while [[ ${1-} == --* ]]; do
    case $1 in
    --hubs)
        options+=("$1")
        shift
        continue
        ;;
    --time) options+=(--timeout "$2") ;;
    --memory | --smp) options+=("$1" "$2") ;;
    *) echo "guest.sh: unknown option $1" >&2; exit 2 ;;
    esac
    shift 2
done
script=$(realpath "$1")
case $script in
*.py) interpreter=/usr/bin/python3 ;;
*) interpreter=/bin/bash ;;
esac
shift

export FLASHRACK_BUILD=${FLASHRACK_BUILD:-$top/build/release}
mkdir -p "$top/build/vm"
FLASHRACK_VM_OUT=$(mktemp -d "$top/build/vm/out.XXXXXX")
export FLASHRACK_VM_OUT
said=$(mktemp "$top/build/vm/said.XXXXXX")
trap 'rm -rf "$FLASHRACK_VM_OUT" "$said"' EXIT

show_end() { # file title
    [ -s "$1" ] || return 0
    echo "---- $2, its end"
    tail -n 30 "$1"
}

show_leftovers() {
    local file
    for file in "$FLASHRACK_VM_OUT/.guest/dmesg" "$FLASHRACK_VM_OUT"/*.log; do
        show_end "$file" "${file##*/}"
    done
    show_end "$said" "${script##*/} said"
    echo "---- ${script##*/} ended with $1"
}

status=0
{ "$here/vm.sh" "${options[@]}" -- "$interpreter" "$script" "$@" 2>&1 >&3 | tee -a "$said" >&2; } 3>&1 |
    tee -a "$said" || status=$?
[ "$status" = 0 ] || [ "$status" = 77 ] || show_leftovers "$status" >&2
exit "$status"
