#!/bin/sh
# run.sh TARGET CORPUS [OPTION...]: replays the corpus, then searches. The corpus in the repository is not changed;
# what is found new goes to $FLASHRACK_FUZZ_KEEP (a folder), if that is set.
set -eu
target=$(realpath "$1")
corpus=$(realpath "$2")
shift 2
seconds=${FLASHRACK_FUZZ_SECONDS:-10}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
keep=${FLASHRACK_FUZZ_KEEP:-$work/new}
mkdir -p "$keep"
export ASAN_OPTIONS="${ASAN_OPTIONS:-}:quarantine_size_mb=32"
cd "$work"
"$target" -runs=0 -rss_limit_mb=512 -malloc_limit_mb=64 "$@" "$corpus" >"$work/replay" 2>&1 || {
    cat "$work/replay"
    exit 1
}
"$target" -max_total_time="$seconds" -rss_limit_mb=512 -malloc_limit_mb=64 -timeout=10 \
    -print_final_stats=1 "$@" "$keep" "$corpus" >"$work/search" 2>&1 || {
    tail -60 "$work/search"
    for found in crash-* leak-* oom-* timeout-*; do
        [ -e "$found" ] && { echo "$found:"; base64 "$found"; }
    done
    exit 1
}
grep -E 'number_of_executed_units|peak_rss_mb' "$work/search"
