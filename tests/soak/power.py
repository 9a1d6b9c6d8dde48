#!/usr/bin/python3
"""Power cuts and full disks below the store, one seed after the other until the minutes are over
(tests/unit/store_power.c). The last line is one JSON object; a failing seed is named in it."""
import json
import os
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
ROUNDS = 80  # of one process


def main():
    build = os.environ.get("FLASHRACK_BUILD", os.path.join(ROOT, "build", "release"))
    seed = int(os.environ.get("FLASHRACK_SOAK_SEED", "1")) * 1000000
    end = time.monotonic() + 60 * float(os.environ.get("FLASHRACK_SOAK_MINUTES", "10"))
    totals = {"rounds": 0, "cuts": 0, "failed_seeds": []}
    while time.monotonic() < end or not totals["rounds"]:
        done = subprocess.run([os.path.join(build, "tests", "unit", "test_store_power"), str(seed), str(ROUNDS)],
                              capture_output=True, text=True, check=False)
        lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
        found = json.loads(lines[-1]) if lines else {"last_seed": seed, "cuts": 0}
        totals["rounds"] += ROUNDS
        totals["cuts"] += found["cuts"]
        if done.returncode:
            totals["failed_seeds"].append(found["last_seed"])
            print(done.stdout + done.stderr, file=sys.stderr)
        seed += ROUNDS
    print(json.dumps(totals))
    return 1 if totals["failed_seeds"] else 0


if __name__ == "__main__":
    sys.exit(main())
