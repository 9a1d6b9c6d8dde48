#!/usr/bin/env python3
"""Runs every other script of this folder (NAME.sh, NAME.py) and prints one JSON summary line; exits 1 if
one of them failed. A script's last line on stdout, if it is a JSON object, becomes part of the summary.
Scripts read FLASHRACK_SOAK_MINUTES, FLASHRACK_SOAK_PHONES and FLASHRACK_SOAK_SEED."""
import json
import os
import pathlib
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
PARTS_OF_OTHERS = {"soak.py", "debian.sh", "compose.py"}


def last_object(text):
    lines = text.strip().splitlines()
    try:
        value = json.loads(lines[-1]) if lines else None
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def run(script):
    print(f"soak: {script.stem}", file=sys.stderr, flush=True)
    start = time.monotonic()
    command = ["/usr/bin/python3" if script.suffix == ".py" else "bash", str(script)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=False)
    return {
        "name": script.stem,
        "status": done.returncode,
        "seconds": round(time.monotonic() - start, 1),
        "result": last_object(done.stdout),
    }


def main():
    scripts = sorted(p for p in HERE.iterdir() if p.suffix in (".sh", ".py") and p.name not in PARTS_OF_OTHERS)
    parts = [run(script) for script in scripts]
    failed = [part["name"] for part in parts if part["status"] != 0]
    summary = {name: int(os.environ[f"FLASHRACK_SOAK_{name.upper()}"]) for name in ("minutes", "phones", "seed")}
    print(json.dumps(summary | {"failed": failed, "parts": parts}))
    return 1 if failed or not parts else 0


if __name__ == "__main__":
    sys.exit(main())
