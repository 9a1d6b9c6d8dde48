#!/bin/bash
# guest.sh [--time SECONDS] [--memory MIB] [--smp N] SCRIPT [ARGUMENT...]
#
# Runs a test script (bash, or Python where its name says so) in the guest, with a time limit, and exits with its status. The script finds
# the programs under $FLASHRACK_BUILD (default build/release) and may leave files in $FLASHRACK_VM_OUT; on
# failure those and the end of the guest's kernel log are shown.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(cd "$here/../.." && pwd)
options=(--timeout 300)
while [[ ${1-} == --* ]]; do
    case $1 in
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
trap 'rm -rf "$FLASHRACK_VM_OUT"' EXIT

show_leftovers() {
    local file
    for file in "$FLASHRACK_VM_OUT"/*.log "$FLASHRACK_VM_OUT/.guest/dmesg"; do
        [ -s "$file" ] || continue
        echo "---- ${file##*/}, its end"
        tail -n 40 "$file"
    done
}

status=0
"$here/vm.sh" "${options[@]}" -- "$interpreter" "$script" "$@" || status=$?
[ "$status" = 0 ] || [ "$status" = 77 ] || show_leftovers >&2
exit "$status"
