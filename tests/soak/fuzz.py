#!/usr/bin/env python3
"""Every fuzz target for a minute (FLASHRACK_FUZZ_SECONDS), from its corpus on. The last line says how many inputs each
one executed; what a target finds is printed by tests/fuzz/run.sh and fails this part."""
import json
import os
import pathlib
import re
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parents[2]


def build():
    subprocess.run(["cmake", "--preset", "fuzz"], cwd=TOP, stdout=subprocess.DEVNULL, check=True)
    subprocess.run(["ninja", "-C", "build/fuzz", "--quiet", "fuzzers"], cwd=TOP, stdout=sys.stderr, check=True)


def executions(log):
    """ctest prefixes each line of a test with its number."""
    names = dict(re.findall(r"Start +(\d+): fuzz/(\S+)", log))
    counts = re.findall(r"^(\d+): stat::number_of_executed_units: *(\d+)", log, re.MULTILINE)
    return {names[number]: int(count) for number, count in counts}


def main():
    build()
    os.environ.setdefault("FLASHRACK_FUZZ_SECONDS", "60")
    done = subprocess.run(["ctest", "--test-dir", "build/fuzz", "-V", "-L", "^fuzz$", "-j", str(os.cpu_count())],
                          cwd=TOP, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=False)
    counts = executions(done.stdout)
    if done.returncode != 0:
        print(done.stdout[-20000:], file=sys.stderr)
    print(json.dumps({"executions": counts, "total": sum(counts.values())}))
    return 1 if done.returncode != 0 or not counts else 0


if __name__ == "__main__":
    sys.exit(main())
