#!/usr/bin/python3
"""One station, one rack, hundreds of jobs in a row, a random fault in every twentieth: no identity is lost, nothing is called
verified that is not, no phone is written that has no job, and neither memory nor descriptors rise. Before each job the phone loses
its identity. x5-check, which knows nothing of the station, and the phone's own screen judge each result. Dashboards are open
meanwhile. Seeded.

FLASHRACK_SOAK_JOBS (500) in at most FLASHRACK_SOAK_MINUTES, on FLASHRACK_SOAK_PHONES; the last line is one JSON object."""
import json
import os
import random
import sys
import threading
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "lib")]
import processes  # noqa: E402
import rack as bench  # noqa: E402
import sweep  # noqa: E402

FAULTY = 0.05
KINDS = ("unplug",) + sweep.KINDS
WARM_UP = 0.2  # of the samples: caches fill
# What may be added by 500 jobs: the databases' caches are bounded, a leak is not.
GROWTH_BYTES, GROWTH_FDS = 4 << 20, 8
PRIVATE_MAX_BYTES = 32 << 20  # of flashrackd, whoever looks on
DASHBOARDS = 2
PAGE = 50  # jobs of a list: until there are so many, its answers grow


class Dashboard(threading.Thread):
    """A page that is open somewhere: it reads its lists, listens for a moment, and begins again."""
    LISTS = (f"/jobs?limit={PAGE}", "/ports", "/phones", f"/backups?limit={PAGE}")

    def __init__(self, station):
        super().__init__(daemon=True)
        self.station = station

    def run(self):
        while True:
            try:
                for path in self.LISTS:
                    self.station.get(path)
                self.listen(time.monotonic() + 1)
            except (OSError, bench.ApiError):
                time.sleep(1)  # the station ends

    def listen(self, until):
        with urllib.request.urlopen(self.station.url + "/api/v1/events", timeout=60) as stream:
            for _ in stream:
                if time.monotonic() > until:
                    return


class Soak(sweep.Sweep):
    def __init__(self, folder, phones, seed, jobs):
        super().__init__(folder, phones, seed)
        self.rng = random.Random(seed)
        self.left, self.done, self.faults, self.struck = jobs, 0, 0, 0
        self.transfers = []  # of a clean job: where a fault can strike
        self.lost, self.false_success, self.cross_writes, self.unnamed = [], [], [], []
        self.after = {}  # phone -> its flash after its last job
        self.samples = []

    def open(self):
        super().open()
        for _ in range(DASHBOARDS):
            Dashboard(self.station).start()

    def draw(self):
        """The next job's fault: kind, transfer and seed, () for none; None when no job is left."""
        with self.lock:
            if self.left <= 0:
                return None
            self.left -= 1
            if self.rng.random() >= FAULTY:
                return ()
            self.faults += 1
            return self.rng.choice(KINDS), self.rng.choice(self.transfers), self.rng.randrange(1 << 30)

    def arm(self, phone, fault):
        kind, transfer, seed = fault
        step = self.rack.control(phone.index, "transfers")["steps"] + transfer["appearance"]
        self.rack.control(phone.index, "fault", fault=f"{kind}@step={step}@transfer={transfer['transfer']}@seed={seed}")

    def untouched(self, phone):
        """Nobody wrote to this phone since its own job ended."""
        if phone.index in self.after and self.after[phone.index] != self.rack.hashes(phone.index):
            self.cross_writes.append(phone.index)

    def whole(self, phone):
        """What checker and screen say: None, or what is wrong."""
        screen = self.rack.screen(phone.index)
        if screen.get("serial") != phone.label["serial"] or screen.get("imeis") != phone.label["imeis"]:
            return f"the screen shows {screen}"
        return self.check(phone)

    def job(self, phone, fault):
        self.untouched(phone)
        phone.lose_identity()

        job, hang = phone.run((lambda: self.arm(phone, fault)) if fault else None)
        struck = bool(fault) and self.rack.control(phone.index, "fault", clear=True)["dropped"] == 0
        outcome, wrong = self.judge(job, hang)
        name = f"job {job['id']}, fault {fault[0] if fault else 'none'}: {outcome}"
        if wrong:
            self.unnamed.append(f"{name}: {wrong}")
        if outcome not in ("succeeded", "recovered"):
            print(f"soak: {name}: {(job['error'] or {}).get('message')}", file=sys.stderr, flush=True)
            job, hang = phone.run()
            if hang or job["state"] != "succeeded":
                self.lost.append(f"{name}; again: {hang or job['error']}")
        if job["state"] == "succeeded":
            wrong = self.whole(phone)
            if wrong:
                self.false_success.append(f"{name}: {wrong}")
            self.after[phone.index] = self.rack.hashes(phone.index)
        with self.lock:
            self.done += 1
            self.struck += struck
            self.counts[outcome.split(":")[0]] += 1
            self.samples.append((processes.private_dirty(self.processes.pid),
                                 processes.descriptors(self.processes.pid)))

    def work_all(self, until):
        def one(phone):
            while time.monotonic() < until:
                fault = self.draw()
                if fault is None:
                    return
                try:
                    self.job(phone, fault)
                except Exception as error:  # noqa: BLE001: every phone's thread reports, none dies silently
                    self.unnamed.append(f"phone {phone.index}: {error!r}")
                    return

        threads = [threading.Thread(target=one, args=(phone,)) for phone in self.phones]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def growth(self):
        """Bytes and descriptors that 500 jobs would add to flashrackd, by regression over the run."""
        samples = self.samples[max(int(len(self.samples) * WARM_UP), PAGE):]
        return tuple(round(500 * processes.slope([s[i] for s in samples])) for i in (0, 1))

    def summary(self):
        grown = self.growth()
        judged = len(self.samples) >= 200  # fewer say little about a slope
        peak = max((sample[0] for sample in self.samples), default=0)
        flat = not judged or (grown[0] < GROWTH_BYTES and grown[1] < GROWTH_FDS and peak <= PRIVATE_MAX_BYTES)
        return {"jobs": self.done, "faults": self.faults, "struck": self.struck, "outcomes": dict(self.counts), "lost": self.lost,
                "false_success": self.false_success, "cross_writes": self.cross_writes, "unnamed": self.unnamed,
                "growth_bytes_per_500": grown[0], "growth_fds_per_500": grown[1], "private_dirty_max_bytes": peak,
                "growth_judged": judged,
                "flat": flat, "problems": self.problems}


def main():
    minutes = float(os.environ.get("FLASHRACK_SOAK_MINUTES", "10"))
    phones = int(os.environ.get("FLASHRACK_SOAK_PHONES", "8"))
    seed = int(os.environ.get("FLASHRACK_SOAK_SEED", "1"))
    jobs = int(os.environ.get("FLASHRACK_SOAK_JOBS", "500"))
    with bench.Workspace("flashrack-soak") as folder:
        soak = Soak(folder, phones, seed, jobs)
        soak.open()
        try:
            soak.transfers = soak.map()
            soak.work_all(time.monotonic() + 60 * minutes)
        finally:
            soak.close()
        found = soak.summary()
    print(json.dumps(found))
    bad = any(found[name] for name in ("lost", "false_success", "cross_writes", "unnamed", "problems"))
    return 1 if bad or not found["flat"] or not found["jobs"] else 0


if __name__ == "__main__":
    sys.exit(main())
