#!/usr/bin/python3
"""Fault sweep: x5-restore on profile tiny with one fault a job, many phones side by side in one rack and one station.

A clean run on the first phone says what goes over the bus. Then `unplug` happens at every transfer, every other kind
at one position per (step, message). A job has to succeed, recover (succeed after another attempt), or fail with a named
error; after a failure a second, clean run must restore the phone, which an independent checker confirms. One JSON line.

As a part of `./run soak` it tries cases in random order for a fifth of the minutes; --all (./run soak --sweep) tries
every one; `./run test` has a sample of a minute."""
import argparse
import collections
import json
import os
import queue
import random
import sys
import threading
import time
import traceback

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import rack as bench  # noqa: E402

# The phones' waits run twenty times as fast, the station's windows shrink to a third: most of a failing job is waiting.
PHONE_SCALE, STATION_SCALE = 0.05, float(os.environ.get("FLASHRACK_SWEEP_SCALE", "0.3"))
# Longest time that may pass without a step's end or a prompt: the longest answer the host waits for (120 s), scaled, and
# room for a loaded machine.
QUIET_S = 120 * STATION_SCALE + 60
JOB_S = 1500  # of one job, whatever it does: four attempts of each of its steps are the bound, this is a net
PATIENCE_S = 5  # of a person who did what the prompt says, before trying once more
KINDS = ("reset", "stall", "short", "late", "corrupt", "lie")
# Words that the emulated firmware asks for, and where they can happen
WORDS = ("da_checksum", "da_refused", "no_alive_byte", "emi_error", "digest_error", "merged", "ready_noise", "log_packet",
         "lying_write", "storage_read", "storage_write", "flash_fails", "info_flood", "long_reply", "reply_newline",
         "empty_getvar", "verity_unknown", "halt_stays", "no_serial_string")
AREAS = ("user.img", "boot1.img", "boot2.img")
FINAL = ("succeeded", "failed", "cancelled", "interrupted")


class Person:
    """Does what the station's prompts say, as a person who sees the phone but not its firmware."""

    def __init__(self, sweep, index):
        self.sweep, self.rack, self.index = sweep, sweep.rack, index
        self.done_for = None  # the prompt that was obeyed last
        self.since = 0

    def do(self, what, **more):
        return self.rack.control(self.index, what, **more)

    def state(self):
        return self.do("state")

    def wait_state(self, good, seconds=3):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            state = self.state()
            if good(state):
                return state
            time.sleep(0.03)
        return self.state()

    def force_off(self):
        """Only a phone that is not off needs the key; held on one that is off it would start it."""
        self.do("unplug")
        if self.wait_state(lambda s: s["stage"] == "off", 0.5)["stage"] != "off":
            self.do("power_long")
            self.wait_state(lambda s: s["stage"] == "off")

    def plug_with(self, *keys):
        self.do("hold", keys=list(keys))
        self.do("plug")
        self.wait_state(lambda s: s["on_bus"])
        if keys == ("vol_down",):  # a bootloader looks at the key a moment after the preloader
            self.wait_state(lambda s: s["stage"] == "lk")
        self.do("release", keys=list(keys))

    def obey(self, job):
        prompt = job["prompt"]
        if not prompt:
            if self.done_for:
                self.do("release")
            self.done_for = None
            return
        if prompt["answered_by"] == "person":
            screen = self.rack.screen(self.index)
            if screen.get("state") == "android":
                self.sweep.station.accept(job, screen)
            return
        what = (prompt["id"], "fastboot" in prompt["text"], len(job["steps"]))
        if self.done_for == what and time.monotonic() < self.since + PATIENCE_S:
            return  # done, even if the words changed; the station needs a moment to see it
        if "fastboot" in prompt["text"]:
            self.force_off()
            self.plug_with("vol_down")
        elif "switched on" in prompt["text"]:
            self.force_off()
            self.do("power_long")
            self.wait_state(lambda s: s["stage"] in ("lk", "android"))
            self.do("plug")
        else:
            self.force_off()
            self.plug_with("vol_up", "vol_down")
        self.done_for, self.since = what, time.monotonic()


class Phone:
    """One phone of the rack and everything that is put back before each job."""

    def __init__(self, sweep, index):
        self.sweep, self.rack, self.index = sweep, sweep.rack, index
        self.label = self.rack.labels[index]
        self.lost = {name: self.read(name) for name in AREAS}
        self.backup = None

    def read(self, name):
        with open(os.path.join(self.rack.phone_dir(self.index), name), "rb") as f:
            return f.read()

    def lose_identity(self):
        """The phone as it was after the accident. In place: the rack holds the files open."""
        person = Person(self.sweep, self.index)
        person.do("fault", clear=True)
        person.do("release")
        person.force_off()
        state = person.state()
        if state["stage"] != "off":
            raise RuntimeError(f"phone {self.index} does not switch off: {state}")
        for name, data in self.lost.items():
            with open(os.path.join(self.rack.phone_dir(self.index), name), "r+b") as f:
                f.write(data)

    def run(self, arm=None):
        """One job; arm is called when it waits for the phone. (job, why it had to be given up or None)."""
        station, person = self.sweep.station, Person(self.sweep, self.index)
        order = station.restore(self.rack.port(self.index), self.label["serial"], self.label["imeis"],
                                firmware=self.sweep.firmware["id"], backup=self.backup["id"])
        start = moved = time.monotonic()
        seen, armed, pause = None, False, 0.15
        while True:
            time.sleep(pause)
            job = station.job(order["id"])
            if job["state"] in FINAL:
                return job, None
            now = time.monotonic()
            if arm and not armed and job["prompt"]:
                arm()
                armed = True
            try:
                person.obey(job)
            except (bench.ApiError, RuntimeError):
                pass  # the prompt went meanwhile: look again
            progress = (job["step"], len(job["steps"]), (job["progress"] or {}).get("done_bytes"),
                        job["prompt"] and job["prompt"]["text"])
            if progress != seen:
                seen, moved = progress, now
            waits_for_start = (job["step"] or "").startswith("S20")
            if now - moved > QUIET_S + (900 * STATION_SCALE if waits_for_start else 0) or now - start > JOB_S:
                station.post(f"/jobs/{order['id']}/cancel")
                return station.wait(order["id"], seconds=60), f"hang in {job['step']}, prompt {job['prompt']}"
            pause = 0.15 if now - start < 15 else 0.5


class Sweep:
    def __init__(self, folder, phones, seed):
        self.dir, self.seed = folder, seed
        self.package = bench.make_package(os.path.join(folder, "package"), "--profile", "tiny")
        # windows are real time, so that a loaded machine does not miss them
        self.rack = bench.Rack(folder, phones=phones, profile="tiny", hands="none", hands_speed=50,
                               time_scale=PHONE_SCALE, seed=seed,
                               settings=[f"brom_window_ms={int(20000 / PHONE_SCALE)}"])
        self.counts = collections.Counter()
        self.by_code = collections.Counter()
        self.by_kind = collections.defaultdict(collections.Counter)
        self.problems = []
        self.lock = threading.Lock()

    def open(self):
        self.rack.start()
        self.station = bench.Station(self.dir, racks=[self.rack.address], import_dirs=[self.dir],
                                     time_scale=STATION_SCALE)
        self.station.start()
        self.firmware = self.station.add_firmware(self.package)
        self.phones = [Phone(self, i) for i in range(self.rack.count)]
        for phone in self.phones:
            phone.backup = self.station.import_dump(self.rack.dump(phone.index), phone.label["serial"])

    def close(self):
        ended = self.station.stop()
        self.rack.stop()
        if ended != 0:
            self.problems.append({"case": "end", "why": f"flashrackd ended with {ended}",
                                  "log": self.station.process.tail(5)})

    def map(self):
        """A clean job: its transfers with the step each belongs to."""
        phone = self.phones[0]
        phone.lose_identity()
        base = self.rack.control(0, "transfers")["steps"]
        job, hang = phone.run()
        if hang or job["state"] != "succeeded":
            raise RuntimeError(f"the clean run failed: {hang or job['error']}")
        steps = sorted((milliseconds(s["started_at"]), s["name"]) for s in job["steps"])
        transfers = self.rack.control(0, "transfers")["transfers"]
        context = ""
        for t in transfers:
            t["appearance"] = t["step"] - base
            t["name"] = max((s for s in steps if s[0] <= t["at_ms"]), default=(0, "before"))[1]
            context = message_of(t, context)
            t["message"] = context
        return transfers

    def memory(self):
        """(descriptors, resident KiB, processes) of flashrackd and its children."""
        pid = self.station.process.child.pid
        with open(f"/proc/{pid}/status") as f:
            kib = next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))
        with open(f"/proc/{pid}/task/{pid}/children") as f:
            children = len(f.read().split())
        return len(os.listdir(f"/proc/{pid}/fd")), kib, children

    def check(self, phone):
        passed, text = self.rack.check(phone.index, self.package, "lk")
        return None if passed else f"x5-check: {text.strip()[-300:]}"

    def judge(self, case, job, hang):
        """Outcome class, and what is wrong with it."""
        if hang:
            return "hang", hang
        if job["state"] == "succeeded":
            again = any(s["attempt"] > 1 for s in job["steps"])
            return ("recovered" if again else "succeeded"), None
        error = job["error"] or {}
        code = error.get("code")
        named = job["state"] == "failed" and error.get("failure") and code and code != "internal"
        return f"failed:{error.get('failure')}:{code}", None if named else f"unnamed outcome {job['state']}: {error}"

    def trial(self, phone, case):
        phone.lose_identity()
        base = {}

        def arm():
            base["steps"] = self.rack.control(phone.index, "transfers")["steps"]
            self.rack.control(phone.index, "fault", fault=case["spec"](base["steps"]))

        job, hang = phone.run(arm)
        happened = self.rack.control(phone.index, "fault", clear=True)["dropped"] == 0
        outcome, wrong = self.judge(case, job, hang)
        if outcome in ("succeeded", "recovered"):
            wrong = wrong or self.check(phone)
        elif not wrong:
            wrong = self.second(phone)
        kind = "did not happen" if not happened and outcome == "succeeded" else outcome.split(":")[0]
        with self.lock:
            self.counts[kind] += 1
            if sum(self.counts.values()) % 100 == 0:
                print(f"sweep: {sum(self.counts.values())} tried: {dict(self.counts)}", file=sys.stderr, flush=True)
            self.by_kind[case["kind"]][kind] += 1
            if outcome.startswith("failed"):
                self.by_code[outcome[7:]] += 1
                print(f"sweep: {case['name']}: {outcome}: {(job['error'] or {}).get('message')}", file=sys.stderr, flush=True)
            if wrong:
                self.problems.append({"case": case["name"], "outcome": outcome, "why": wrong, "job": job["id"]})
                print(f"sweep: {case['name']}: {outcome}: {wrong}", file=sys.stderr, flush=True)

    def second(self, phone):
        job, hang = phone.run()
        if hang or job["state"] != "succeeded":
            return f"the second run did not restore the phone: {hang or job['error']}"
        self.rack.control(phone.index, "fault", clear=True)
        return self.check(phone)

    def work(self, cases, until):
        todo = queue.SimpleQueue()
        for case in cases:
            todo.put(case)

        def one(phone):
            while time.monotonic() < until:
                try:
                    case = todo.get_nowait()
                except queue.Empty:
                    return
                try:
                    self.trial(phone, case)
                except Exception as error:  # noqa: BLE001: a dead station or rack is a result, too
                    with self.lock:
                        self.problems.append({"case": case["name"], "why": f"{type(error).__name__}: {error}"})
                    print(f"sweep: {case['name']}: {error!r}", traceback.format_exc(), file=sys.stderr, flush=True)
                    if self.station.process.child.poll() is not None:
                        return

        threads = [threading.Thread(target=one, args=(phone,), daemon=True) for phone in self.phones]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def milliseconds(text):
    from datetime import datetime
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000


def message_of(transfer, before):
    """What a transfer is, well enough to count each kind of message once: direction, size, and the words that tell
    commands apart; data is data."""
    direction = "in" if transfer["in"] else "out"
    head = transfer["head"]
    if transfer["len"] > 64:
        return f"{direction} data"
    if not transfer["in"]:
        return f"out {transfer['len']} {head[:16]}"
    context = before if before.startswith("out") else before.split(" after ", 1)[-1]
    return f"in {transfer['len']} after {context}"[:90]


def cases_of(transfers):
    """All cases; unplug at every transfer last, it takes the least time."""
    cases = []

    def add(kind, t, what):
        place = f"@transfer={t['transfer']}"
        seed = (t["transfer"] * 2654435761 + len(kind)) % 1000003
        cases.append({"kind": kind, "name": f"{kind} {t['name']} {what}",
                      "spec": lambda base, k=kind, a=t["appearance"], p=place, s=seed:
                              f"{k}@step={base + a}{p}@seed={s}"})

    once = {}
    for t in transfers:
        once.setdefault((t["name"], t["message"]), t)
    for kind in KINDS:
        for (_, message), t in once.items():
            add(kind, t, message)
    stages = {}
    for t in transfers:
        stages.setdefault((t["appearance"], t["stage"]), []).append(t)
    for word in WORDS:  # at the beginning and in the middle of each appearance on the bus
        for items in stages.values():
            add(word, items[0], "from the beginning")
            add(word, items[len(items) // 2], "from the middle")
    for t in transfers:
        add("unplug", t, f"transfer {t['appearance']}.{t['transfer']} {t['message']}")
    return cases


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    soak_s = int(os.environ.get("FLASHRACK_SOAK_MINUTES", "5")) * 60 // 5
    parser.add_argument("--seconds", type=int, default=soak_s, help="stop beginning new jobs after so long")
    parser.add_argument("--all", action="store_true", help="every case, in order")
    parser.add_argument("--phones", type=int, default=24)
    parser.add_argument("--seed", type=int, default=int(os.environ.get("FLASHRACK_SOAK_SEED", "1")))
    parser.add_argument("--kinds", default="", help="only these, comma separated")
    parser.add_argument("--only", default="", help="only cases whose name contains this")
    args = parser.parse_args()
    start = time.monotonic()
    with bench.Workspace("flashrack-sweep") as folder:
        sweep = Sweep(folder, args.phones, args.seed)
        sweep.open()
        transfers = sweep.map()
        cases = cases_of(transfers)
        if args.kinds:
            cases = [c for c in cases if c["kind"] in args.kinds.split(",")]
        cases = [c for c in cases if args.only in c["name"]]
        if not args.all:
            random.Random(args.seed).shuffle(cases)
        before = sweep.memory()
        sweep.work(cases, float("inf") if args.all else start + args.seconds)
        after = sweep.memory()
        # a sanitizer build (it starts large) keeps freed memory for a while, and looks for leaks itself when it ends
        grown = before[1] < 65536 < after[1] - before[1]
        leak = after[0] > before[0] + 16 or after[2] > before[2] + 1 or grown
        if leak:
            sweep.problems.append({"case": "leak", "why": f"{before} became {after}"})
        violations = sweep.rack.violations()
        sweep.close()
    tried = sum(sweep.counts.values())
    print(json.dumps({"seed": args.seed, "phones": args.phones, "transfers": len(transfers), "cases": len(cases),
                      "tried": tried, "outcomes": dict(sweep.counts), "failures": dict(sweep.by_code),
                      "kinds": {k: dict(v) for k, v in sweep.by_kind.items()},
                      "seconds": round(time.monotonic() - start, 1),
                      "fds_rss_kib_children": [list(before), list(after)], "violations": violations, "problems": sweep.problems[:50],
                      "problem_count": len(sweep.problems)}))
    return 1 if sweep.problems or not tried else 0


if __name__ == "__main__":
    sys.exit(main())
