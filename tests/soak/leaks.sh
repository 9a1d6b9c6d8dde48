#!/bin/bash
# The tests of the label phone with LeakSanitizer's search at the end of every process of a station. `./run test` has it in
# restore_test.py only: it costs a fifth of the time.
set -euo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
status=0
lines=$(FLASHRACK_LEAKS=1 "$top/run" test phone | tee /dev/stderr) || status=1
printf '{"tally":"%s"}\n' "$(tail -n 1 <<<"$lines")"
exit "$status"
