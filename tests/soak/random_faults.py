#!/usr/bin/python3
"""Rounds of a whole rack with a random fault on some phones, until the minutes are over. Each phone that a fault stopped
is ordered again and must be whole then: no lost identity, no outcome without a name. Seeded."""
import collections
import json
import os
import random
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import rack as bench  # noqa: E402

KINDS = ("unplug", "reset", "stall", "short", "late", "corrupt", "lie")
# A job of profile tiny makes some 1,550 transfers. Behind them the phone starts Android, and a person who reads the
# station's prompts would be needed to start it again; the emulated one does not read them.
TRANSFERS = 1400


def faults_of(rng, phones):
    chosen = {}
    for index in range(phones):
        if rng.random() < 0.6:
            chosen[index] = f"{rng.choice(KINDS)}@transfer={rng.randrange(1, TRANSFERS)}@seed={rng.randrange(1 << 30)}"
    return chosen


def run_jobs(station, rack, indices, firmware):
    jobs = {}
    for index in indices:
        label = rack.labels[index]
        job = station.restore(rack.port(index), label["serial"], label["imeis"], firmware=firmware, finish="lk")
        jobs[job["id"]] = index
    acceptor = bench.Acceptor(station, rack, jobs)
    acceptor.start()
    ended = acceptor.finish(400)
    return {index: ended.get(job_id) for job_id, index in jobs.items()}


def outcome(job):
    if job is None:
        return "hung"
    if job["state"] == "succeeded":
        return "recovered" if any(s["attempt"] > 1 for s in job["steps"]) else "succeeded"
    error = job.get("error") or {}
    return f"{job['state']}:{error.get('failure') or error.get('code')}"


def one_round(rng, phones, totals):
    with bench.Workspace("flashrack-soak") as folder:
        faults = faults_of(rng, phones)
        package = bench.make_package(os.path.join(folder, "package"), "--profile", "tiny")
        rack = bench.Rack(folder, phones=phones, profile="tiny", hands_speed=20, time_scale=0.2,
                          faults=[f"1-{i + 1}:{spec}" for i, spec in faults.items()], seed=rng.randrange(1 << 30))
        with rack, bench.Station(folder, racks=[rack.address], import_dirs=[folder]) as station:
            firmware = station.add_firmware(package)["id"]
            for index, label in enumerate(rack.labels):
                station.import_dump(rack.dump(index), label["serial"])
            left = list(range(phones))
            for attempt in range(3):
                results = run_jobs(station, rack, left, firmware)
                for index in list(left):
                    kind = faults.get(index, "none").split("@")[0] if attempt == 0 else "second run"
                    totals["outcomes"][f"{kind}: {outcome(results[index])}"] += 1
                    totals["jobs"] += 1
                    if results[index] and results[index]["state"] == "succeeded":
                        left.remove(index)
                if not left:
                    break
            totals["lost"] += len(left)
            for index in range(phones):
                passed, text = rack.check(index, package, "lk")
                if not passed and index not in left:
                    totals["false_success"] += 1
                    print(f"fault {faults.get(index)}:\n{text}", file=sys.stderr)


def main():
    minutes = float(os.environ.get("FLASHRACK_SOAK_MINUTES", "10"))
    phones = int(os.environ.get("FLASHRACK_SOAK_PHONES", "8"))
    seed = int(os.environ.get("FLASHRACK_SOAK_SEED", "1"))
    rng = random.Random(seed)
    totals = {"jobs": 0, "rounds": 0, "lost": 0, "false_success": 0, "outcomes": collections.Counter()}
    end = time.monotonic() + minutes * 60
    while time.monotonic() < end or not totals["rounds"]:
        one_round(rng, phones, totals)
        totals["rounds"] += 1
    unnamed = sum(n for name, n in totals["outcomes"].items() if "hung" in name or "internal" in name or ":None" in name)
    print(json.dumps(totals | {"unnamed": unnamed}))
    return 1 if totals["lost"] or totals["false_success"] or unnamed else 0


if __name__ == "__main__":
    sys.exit(main())
