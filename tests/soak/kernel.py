#!/usr/bin/python3
"""The kernel path at length, in the QEMU guest: storms of attaching and detaching, and whole racks restored on several
virtual controllers at once. The last line is one JSON object."""
import json
import os
import pathlib
import subprocess
import sys
import time

VM = pathlib.Path(__file__).resolve().parents[1] / "vm"
SECONDS = 5400


def parts(seed):
    return {"storm_16": ["storm.py", "--phones", "16", "--cycles", "100", "--seed", seed],
            "storm_32": ["storm.py", "--phones", "32", "--cycles", "100", "--seed", seed],
            "restore_16": ["restore.py", "--phones", "16", "--profile", "tiny", "--scale", "6", "--seconds", "1800"],
            "restore_32": ["restore.py", "--phones", "32", "--profile", "tiny", "--scale", "12", "--seconds", "3600"]}


def run(name, script, *arguments):
    print(f"kernel: {name}", file=sys.stderr, flush=True)
    start = time.monotonic()
    done = subprocess.run([str(VM / "guest.sh"), "--time", str(SECONDS), "--memory", "4096", str(VM / script),
                           *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=False)
    lines = done.stdout.strip().splitlines()
    if done.returncode:
        print(done.stdout, file=sys.stderr)
    try:
        found = json.loads(lines[-1])
    except (IndexError, ValueError):
        found = {}
    return {**found, "passed": done.returncode == 0, "whole_seconds": round(time.monotonic() - start, 1)}


def main():
    todo = parts(os.environ.get("FLASHRACK_SOAK_SEED", "1"))
    wanted = sys.argv[1:] or list(todo)
    results = {name: run(name, *todo[name]) for name in wanted}
    print(json.dumps({"failures": sum(not r["passed"] for r in results.values()), **results}))
    return 0 if all(r["passed"] for r in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
