#!/usr/bin/python3
"""kill -9 at each journal point: flashrackd, portwatch or the job's worker dies when the worker has just put its n-th record
(a step's intent or result, an extent group's, a backup's parts) into the spool, which is read here as it grows. Afterwards the
job has gone on, or ended with a named failure and the phone's state in words; taken up or ordered again it succeeds, and
x5-check finds the flash as it must be. flashrackd is started again, and the time until it is ready is printed.
Seeded; as a part of `./run soak` it tries points in random order until the minutes are over. --cases N: so many, for `./run test`.
The last line is one JSON object."""
import argparse
import json
import os
import random
import signal
import struct
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "lib")]
import processes  # noqa: E402
import rack as bench  # noqa: E402
import sweep  # noqa: E402

VICTIMS = ("flashrackd", "portwatch", "worker")
READY_S = 60  # ends a hang
LOOK_S = 0.0005
# usb/wire/spool.h
SPOOL_HEADER_BYTES, RECORD_HEAD, CHUNK, EXTENT = 32, struct.Struct("<HHII"), 1, 7
TYPES = {2: "partition", 3: "backup", 4: "intent", 5: "result", 6: "note", EXTENT: "extent", 8: "done"}


class Journal(threading.Thread):
    """Follows the spool of a job and calls back at its n-th record; chunks of a backup do not count."""

    def __init__(self, station, job, point=None, then=None):
        super().__init__(daemon=True)
        self.path = os.path.join(station.data, "spool", f"job-{job['id']}.spool")
        self.point, self.then, self.names, self.over = point, then, [], threading.Event()

    def take(self, f):
        head = f.read(RECORD_HEAD.size)
        kind, _, length, _ = RECORD_HEAD.unpack(head) if len(head) == RECORD_HEAD.size else (0, 0, 0, 0)
        payload = f.read(length) if kind else b""
        if not kind or len(payload) < length:
            return False
        if kind != CHUNK:
            said = json.loads(payload)
            words = (TYPES[kind], said.get("step"), said.get("name") or said.get("partition"), said.get("phase"))
            self.names.append(" ".join(word for word in words if word))
        return True

    def run(self):
        while not os.path.exists(self.path) and not self.over.is_set():
            time.sleep(LOOK_S)
        at = SPOOL_HEADER_BYTES
        try:
            with open(self.path, "rb", buffering=0) as f:
                while not self.over.is_set():
                    f.seek(at)
                    if not self.take(f):
                        time.sleep(LOOK_S)
                        continue
                    at = f.tell()
                    if len(self.names) == self.point:
                        self.then()
                        return
        except OSError:
            pass  # the run is over, and its spool was taken in

    def stop(self):
        self.over.set()
        self.join()


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
        """Its pid, 0 when it is gone."""
        if name == "worker":
            return processes.worker_of_job(self.station, job["id"]) or 0
        return {kind: pid for pid, kind in processes.of_station(self.station).items()}.get(name, 0)

    def led(self, job, journal):
        """Leads the job to its end or to the kill. (job, why it had to be given up or None)"""
        self.phone.job = job
        try:
            return self.phone.run(until=lambda _: not journal.is_alive())
        except (bench.ApiError, OSError):
            journal.join(READY_S)
            return job, None  # it is flashrackd that died

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
        """What became of the job that was hit, where that was, and what is wrong with it or None."""
        self.phone.lose_identity()
        job, hit = self.phone.order(), []

        def kill():
            pid = self.victim(name, job)
            if pid:
                os.kill(pid, signal.SIGKILL)
                hit.append(journal.names[-1])
        journal = Journal(self.station, job, point, kill)
        journal.start()
        found, hang = self.led(job, journal)
        journal.stop()
        if name == "flashrackd" and hit:
            self.station.process.child.wait()
            self.station.process.file.close()
            self.start_station()
        if not hit:
            return "missed", None, hang
        self.phone.job = job
        found, hang = self.phone.run()
        outcome = found["state"]
        if hang:
            return outcome, hit[0], hang
        if outcome != "succeeded":
            error = found["error"] or {}
            if not error.get("message") or error.get("code") in (None, "internal"):
                return outcome, hit[0], f"not named: {error}"
            found, hang = self.again(found)
            if hang or found["state"] != "succeeded":
                return outcome, hit[0], f"it did not end well after that: {hang or found['error']}"
        return outcome, hit[0], self.check(self.phone)

    def points(self):
        """The records of a clean job."""
        self.phone.lose_identity()
        job = self.phone.order()
        journal = Journal(self.station, job)
        journal.start()
        self.phone.job = job
        job, hang = self.phone.run()
        journal.stop()
        if hang or job["state"] != "succeeded":
            raise RuntimeError(f"the clean run failed: {hang or job['error']}")
        return journal.names


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--cases", type=int, default=0, help="at most so many, each kind of process in turn (0: all)")
    p.add_argument("--seed", type=int, default=int(os.environ.get("FLASHRACK_SOAK_SEED", "1")))
    args = p.parse_args()
    rng = random.Random(args.seed)
    end = time.monotonic() + 60 * float(os.environ.get("FLASHRACK_SOAK_MINUTES", "10"))
    outcomes, kinds, problems = {}, {}, []
    with bench.Workspace("flashrack-kill") as folder:
        kills = KillSweep(folder, 1, args.seed)
        kills.open()
        try:
            names = kills.points()
            points = list(range(1, len(names) + 1))
            rng.shuffle(points)
            cases = [(victim, point) for point in points for victim in VICTIMS]
            for victim, point in cases[:args.cases or None]:
                if time.monotonic() > end:
                    break
                outcome, where, wrong = kills.trial(victim, point)
                outcomes[f"{victim}: {outcome}"] = outcomes.get(f"{victim}: {outcome}", 0) + 1
                if where:
                    kinds[where.split(" ")[0]] = kinds.get(where.split(" ")[0], 0) + 1
                if wrong:
                    problems.append({"victim": victim, "point": point, "where": where, "outcome": outcome, "why": wrong})
                    print(f"kill: {problems[-1]}", file=sys.stderr, flush=True)
        finally:
            kills.station.stop()
            kills.rack.stop()
        ready = sorted(kills.ready_s[1:])
    print(json.dumps({"points": len(names), "outcomes": outcomes, "killed_after": kinds, "problems": problems, "restarts": len(ready),
                      "ready_s_median": round(ready[len(ready) // 2], 3) if ready else None,
                      "ready_s_max": round(ready[-1], 3) if ready else None}))
    return 1 if problems or not outcomes else 0


if __name__ == "__main__":
    sys.exit(main())
