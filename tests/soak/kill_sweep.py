#!/usr/bin/python3
"""kill -9 at each journal point: flashrackd, portwatch or the job's worker dies when the n-th step of a restore has begun.
Afterwards the job has gone on, or ended with a named failure and the phone's state in words; taken up or ordered again it
succeeds, and x5-check finds the flash as it must be. flashrackd is started again, and the time until it is ready is printed.
Seeded; as a part of `./run soak` it tries points in random order until the minutes are over. --cases N: so many, for `./run test`.
The last line is one JSON object."""
import argparse
import json
import os
import random
import signal
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "lib")]
import processes  # noqa: E402
import rack as bench  # noqa: E402
import sweep  # noqa: E402

VICTIMS = ("flashrackd", "portwatch", "worker")
READY_S = 60  # ends a hang
FRESH_WORKER_S = 20  # a worker of a job that has just been taken up may not have opened its record yet


class Phone(sweep.Phone):
    """Leads a job that is there already, where `job` is set."""
    job = None

    def order(self):
        job, self.job = self.job, None
        return job or super().order()


class KillSweep(sweep.Sweep):
    def open(self):
        self.rack.start()
        self.station = bench.Station(self.dir, racks=[self.rack.address], import_dirs=[self.dir],
                                     time_scale=sweep.STATION_SCALE)
        self.ready_s = []
        self.start_station()
        self.firmware = self.station.add_firmware(self.package)
        self.phone = Phone(self, 0)
        self.phone.backup = self.station.import_dump(self.rack.dump(0), self.phone.label["serial"])

    def start_station(self):
        start = time.monotonic()
        self.station.start()
        while True:
            try:
                self.station.call("GET", "/readyz")
                break
            except (bench.ApiError, OSError):
                if time.monotonic() > start + READY_S:
                    raise
                time.sleep(0.01)
        self.ready_s.append(time.monotonic() - start)

    def victim(self, name, job):
        """Its pid; None when the job ended meanwhile."""
        end = time.monotonic() + FRESH_WORKER_S
        while time.monotonic() < end:
            if name == "worker":
                pid = processes.worker_of_job(self.station, job["id"])
            else:
                pid = {kind: pid for pid, kind in processes.of_station(self.station).items()}.get(name)
            if pid or self.station.job(job["id"])["state"] in sweep.FINAL:
                return pid
            time.sleep(0.02)
        return None

    def kill(self, name, job):
        pid = self.victim(name, job)
        if not pid:
            return False
        os.kill(pid, signal.SIGKILL)
        if name == "flashrackd":
            self.station.process.child.wait()
            self.station.process.file.close()
            self.start_station()
        return True

    def again(self, job):
        """Takes the job up where the station can, else orders anew."""
        if job["state"] == "interrupted":
            try:
                self.station.post(f"/jobs/{job['id']}/resume")
                self.phone.job = job
            except bench.ApiError:
                pass
        return self.phone.run()

    def trial(self, name, point):
        """What became of the job that was hit, and what is wrong with it or None."""
        self.phone.lose_identity()
        job, hang = self.phone.run(until=lambda j: len(j["steps"]) >= point)
        if hang or job["state"] in sweep.FINAL:
            return "missed", hang
        if not self.kill(name, job):
            return "missed", None
        self.phone.job = job
        job, hang = self.phone.run()
        outcome = job["state"]
        if hang:
            return outcome, hang
        if outcome != "succeeded":
            error = job["error"] or {}
            if not error.get("message") or error.get("code") in (None, "internal"):
                return outcome, f"not named: {error}"
            job, hang = self.again(job)
            if hang or job["state"] != "succeeded":
                return outcome, f"it did not end well after that: {hang or job['error']}"
        return outcome, self.check(self.phone)

    def points(self):
        """How many steps a job begins."""
        self.phone.lose_identity()
        job, hang = self.phone.run()
        if hang or job["state"] != "succeeded":
            raise RuntimeError(f"the clean run failed: {hang or job['error']}")
        return len(job["steps"])


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--cases", type=int, default=0, help="at most so many, each kind of process in turn (0: all)")
    p.add_argument("--seed", type=int, default=int(os.environ.get("FLASHRACK_SOAK_SEED", "1")))
    args = p.parse_args()
    rng = random.Random(args.seed)
    end = time.monotonic() + 60 * float(os.environ.get("FLASHRACK_SOAK_MINUTES", "10"))
    outcomes, problems = {}, []
    with bench.Workspace("flashrack-kill") as folder:
        kills = KillSweep(folder, 1, args.seed)
        kills.open()
        try:
            points = list(range(1, kills.points() + 1))
            rng.shuffle(points)
            cases = [(victim, point) for point in points for victim in VICTIMS]
            for victim, point in cases[:args.cases or None]:
                if time.monotonic() > end:
                    break
                outcome, wrong = kills.trial(victim, point)
                outcomes[f"{victim}: {outcome}"] = outcomes.get(f"{victim}: {outcome}", 0) + 1
                if wrong:
                    problems.append({"victim": victim, "point": point, "outcome": outcome, "why": wrong})
                    print(f"kill: {problems[-1]}", file=sys.stderr, flush=True)
        finally:
            kills.station.stop()
            kills.rack.stop()
        ready = sorted(kills.ready_s[1:])
    print(json.dumps({"outcomes": outcomes, "problems": problems, "restarts": len(ready),
                      "ready_s_median": round(ready[len(ready) // 2], 3) if ready else None,
                      "ready_s_max": round(ready[-1], 3) if ready else None}))
    return 1 if problems or not outcomes else 0


if __name__ == "__main__":
    sys.exit(main())
