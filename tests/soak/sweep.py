#!/usr/bin/python3
"""Fault sweep: x5-restore on profile tiny with one fault a job, many phones side by side in one rack and one station.

A clean run on the first phone says what goes over the bus, more clean runs how many control transfers there are. Then
`unplug` happens at every transfer, every other kind at one position per (step, message), every kind at every control
transfer, and once another phone comes back after the halt. A job has to succeed, recover (succeed after another attempt),
or fail with a named error; after a failure a second, clean run must restore the phone, which an independent checker
confirms. The other phone must be told from the first and stay as it is. No step may be silent past its deadline, the
phone must not count a host mistake, and no process may keep more than it had. The seed picks the phones' USB model and
agent build. One JSON line.

As a part of `./run soak` it tries cases in random order for a fifth of the minutes; --all (./run soak --sweep) tries
every one, with --share a part of them; `./run test` has a sample of a minute."""
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

LATE_MS = 11000  # as usb/transport/fault.h has it by itself

# The phones' waits run twenty times as fast, the station's windows shrink to a third: most of a failing job is waiting.
PHONE_SCALE, STATION_SCALE = 0.05, float(os.environ.get("FLASHRACK_SWEEP_SCALE", "0.3"))
# Longest silence of a step, no byte, prompt or next step, in seconds before scaling: the longest single wait that
# usb/proto and usb/recipe grant in it (deadlines in usb/codec/README.md), and the 2 s in which a broken link goes
# away by itself. A prompt is answered by the person below.
QUIET_S = {"S3": 30, "S17": 30,  # 20 s until the prompt, the boot ROM's start sequence
           "S4": 30, "S18": 30,  # an agent's start, DRAM and all
           "S7": 130, "S8": 130, "S18w": 130,  # last status of a write
           "S10": 50,  # goodbye, gone from the bus, 20 s until the prompt
           "S11": 65, "S12": 65, "S13": 95, "S14": 95, "S15": 65,  # fastboot: first answer, chatter, flash
           "S20": 960}  # a start, before hands are asked for
QUIET_OTHER_S = 20  # reads: a chunk, a second status
# A look at a job costs the guest's emulated processor 20 ms, which its phones need more; 0.15 s elsewhere.
POLL_S = max(0.15, STATION_SCALE / 2)
BUSY_S = 20  # what a machine with other work adds, not scaled
JOB_S = 1500  # of one job, whatever it does: four attempts of each of its steps are the bound, this is a net
PATIENCE_S = 5  # of a person who did what the prompt says, before trying once more
KINDS = ("reset", "stall", "short", "long", "babble", "late", "nak", "corrupt", "garbage", "lie")
IN_ONLY = ("long", "babble")
SPOILS_HOST_BYTES = ("short", "corrupt", "garbage", "lie")  # of an OUT transfer: the phone hears what the host never said
# Of control transfers, a kind of the sweep's own: what the host asks a phone when it comes on the bus, and little later.
CONTROL_KINDS = KINDS + ("unplug",)
CONTROLS_MAX = 24  # that are looked for in one stay on the bus
# Words that the emulated firmware asks for, and the steps at whose beginning they become due
START, READS, WRITES = ("S4", "S18"), ("S5", "S6", "S9", "S18v", "S19"), ("S7", "S8", "S18w")
FASTBOOT = ("S11", "S12", "S13", "S15")
WORDS = {"da_checksum": START, "da_refused": START, "no_alive_byte": START, "emi_error": START, "digest_error": START,
         "boot_silent": START,
         "oversized": START + READS, "da_status": READS + WRITES, "merged": READS + WRITES,
         "log_packet": READS + WRITES, "storage_read": READS, "storage_write": WRITES,
         "lying_write": WRITES + ("S13",), "flash_fails": ("S13", "S14"), "info_flood": FASTBOOT, "long_reply": FASTBOOT,
         "reply_newline": FASTBOOT, "empty_getvar": ("S11",), "verity_unknown": ("S12",), "halt_stays": ("S15",),
         "no_serial_string": ("S11",)}
BEFORE_THE_BUS = ("no_serial_string",)  # asked for while the phone is still in its appearance before
MODELS, BUILDS = ("field", "buffered", "exact"), ("2018", "2017", "2019")
MISSED_SHARE = 0.1  # of the cases: a fault that did not happen, because the job went another way
# Their command comes once while the phone is on the bus, and only the clock says where its step begins.
ONE_COMMAND = ("verity_unknown", "halt_stays")
MISSED = "did not happen"
AREAS = ("user.img", "boot1.img", "boot2.img")
FINAL = ("succeeded", "failed", "cancelled", "interrupted")


def quiet_s(step):
    """Seconds that a step (its title) may be silent."""
    return QUIET_S.get((step or "").split(" ")[0], QUIET_OTHER_S) * STATION_SCALE + BUSY_S


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
        self.do("unplug")
        self.do("force_off")

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

    def order(self):
        return self.sweep.station.restore(self.rack.port(self.index), self.label["serial"], self.label["imeis"],
                                          firmware=self.sweep.firmware["id"], backup=self.backup["id"])

    def run(self, arm=None, until=lambda job: False, when=lambda job: True):
        """One job, led to its end or until until(job); arm is called when it waits for the phone, the first time that
        when(job) holds. (job, why it had to be given up or None)."""
        station, person = self.sweep.station, Person(self.sweep, self.index)
        order = self.order()
        start = moved = time.monotonic()
        seen, armed, pause = None, False, POLL_S
        while True:
            time.sleep(pause)
            job = station.job(order["id"])
            if job["state"] in FINAL or until(job):
                return job, None
            now = time.monotonic()
            if arm and not armed and job["prompt"] and when(job):
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
            if now - moved > quiet_s(job["step"]) or now - start > JOB_S:
                station.post(f"/jobs/{order['id']}/cancel")
                return station.wait(order["id"], seconds=60), f"hang in {job['step']}, prompt {job['prompt']}"
            pause = POLL_S if now - start < 15 else max(POLL_S, 0.5)


class Processes:
    """Descriptors and memory of the station's processes. A worker lives for one job: the most that one held in a clean
    job bounds all others. FLASHRACK_SWEEP_MEMORY=0 leaves memory out: a sanitizer keeps freed memory for a while, starts
    large, and looks for leaks itself when a process ends."""
    SLACK_FDS, SLACK_KIB = 2, 8192
    DAEMON_FDS, DAEMON_KIB = 16, 65536  # of flashrackd: caches of its databases, clients that come and go
    JUDGE_MEMORY = os.environ.get("FLASHRACK_SWEEP_MEMORY") != "0"

    def __init__(self, station):
        self.pid = station.process.child.pid
        self.peak = (0, 0)  # of a worker, since the last rest()
        self.before, self.bound = None, None
        threading.Thread(target=self.watch, daemon=True).start()

    @staticmethod
    def look(pid):
        """(name, descriptors, resident KiB); None for a process that went."""
        try:
            with open(f"/proc/{pid}/status", encoding="ascii") as f:
                status = {name: value.strip() for name, _, value in (line.partition(":") for line in f)}
            return status["Name"], len(os.listdir(f"/proc/{pid}/fd")), int(status.get("VmRSS", "0").split()[0])
        except OSError:
            return None

    def now(self):
        """name (15 characters, as the kernel keeps it) -> [(descriptors, KiB), ...]"""
        found = collections.defaultdict(list)
        with open(f"/proc/{self.pid}/task/{self.pid}/children", encoding="ascii") as f:
            pids = [self.pid] + f.read().split()
        for name, fds, kib in filter(None, map(self.look, pids)):
            found[name].append((fds, kib))
        return found

    def watch(self):
        while True:
            try:
                for fds, kib in self.now().get("flashrack-worker"[:15], ()):
                    self.peak = (max(self.peak[0], fds), max(self.peak[1], kib))
            except OSError:
                return  # the station ended
            time.sleep(0.2)

    def rest(self):
        """After the clean job: what is now, and was then, is normal."""
        self.before, self.bound, self.peak = self.now(), self.peak, (0, 0)

    def leaks(self):
        """Sentences; none is good."""
        after, found = self.now(), []
        for name, slack_fds, slack_kib in (("flashrackd", self.DAEMON_FDS, self.DAEMON_KIB),
                                           ("flashrack-portwatch"[:15], self.SLACK_FDS, self.SLACK_KIB)):
            was, now = self.before[name], after[name]
            if len(was) != len(now) or now[0][0] > was[0][0] + slack_fds or \
                    (self.JUDGE_MEMORY and now[0][1] > was[0][1] + slack_kib):
                found.append(f"{name}: {was} became {now} (descriptors, KiB)")
        if self.peak[0] > self.bound[0] + self.SLACK_FDS or \
                (self.JUDGE_MEMORY and self.peak[1] > self.bound[1] + self.SLACK_KIB):
            found.append(f"a worker had {self.peak} (descriptors, KiB), {self.bound} in a clean job")
        workers = [len(x["flashrack-worker"[:15]]) for x in (self.before, after)]
        if workers[1] > workers[0] + 1:
            found.append(f"{workers[0]} idle workers became {workers[1]}")
        return found

    def counts(self):
        return {"before": dict(self.before), "after": dict(self.now()), "worker_peak": self.peak,
                "worker_peak_clean": self.bound}


class Sweep:
    """The phones, the station and what came of each case. `rack`: other ways to make the rack (tests/vm/faults.py)."""

    def __init__(self, folder, phones, seed, **rack):
        self.dir, self.seed = folder, seed
        self.model, self.build = MODELS[seed % 3], BUILDS[seed // 3 % 3]
        self.package = bench.make_package(os.path.join(folder, "package"), "--profile", "tiny")
        how = {"hands": "none", "hands_speed": 50, "time_scale": PHONE_SCALE} | rack
        how["settings"] = [bench.patient_boot_rom(how["time_scale"]), f"usb_model={self.model}",
                           f"da_build={self.build}", *how.get("settings", ())]
        self.rack = bench.Rack(folder, phones=phones, profile="tiny", seed=seed, **how)
        self.counts = collections.Counter()
        self.by_code = collections.Counter()
        self.by_kind = collections.defaultdict(collections.Counter)
        self.happened = collections.Counter()  # kind -> faults
        self.mistakes = collections.Counter()  # of the host, by name, where a spoilt word on the wire may look like one
        self.problems = []
        self.lock = threading.Lock()

    def make_station(self):
        return bench.Station(self.dir, racks=[self.rack.address], import_dirs=[self.dir], time_scale=STATION_SCALE)

    def open(self):
        self.rack.start()
        self.station = self.make_station()
        self.station.start()
        self.processes = Processes(self.station)
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

    def controls(self, transfers):
        """How many control transfers each stay on the bus has: (stay, name of its first step, how many). Nobody lists
        them, so clean jobs count them, one a stay: all that may be there are ordered to be a millisecond late."""
        steps = {}
        for t in transfers:
            steps.setdefault(t["appearance"], t["name"])
        stays, found = sorted(steps), {}

        def count(phone, mine):
            for stay in mine:
                found[stay] = self.count_controls(phone, stay)

        share = len(self.phones)
        threads = [threading.Thread(target=count, args=(phone, stays[i::share])) for i, phone in enumerate(self.phones)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return [(stay, steps[stay], found[stay]) for stay in stays]

    def count_controls(self, phone, stay):
        def arm():
            step = self.rack.control(phone.index, "transfers")["steps"] + stay
            for n in range(1, CONTROLS_MAX + 1):
                self.rack.control(phone.index, "fault", fault=f"late@step={step}@control={n}@ms=1")

        phone.lose_identity()
        job, hang = phone.run(arm)
        if hang or job["state"] != "succeeded":
            raise RuntimeError(f"the clean run that counts control transfers failed: {hang or job['error']}")
        count = CONTROLS_MAX - self.rack.control(phone.index, "fault", clear=True)["dropped"]
        if not 0 < count < CONTROLS_MAX:
            raise RuntimeError(f"{count} control transfers in stay {stay}")
        return count

    def violations(self, phone):
        return collections.Counter(self.rack.control(phone.index, "violations")["violations"])

    def check(self, phone):
        passed, text = self.rack.check(phone.index, self.package, "lk")
        return None if passed else f"x5-check: {text.strip()[-300:]}"

    def judge(self, job, hang):
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

    def spoilt_after_all(self, phone, case, base):
        """Did a fault that was meant for a word of the phone hit one of the host? The place is another transfer's when
        those of this job come in another order or number than in the clean one."""
        if case["kind"] not in SPOILS_HOST_BYTES or "at" not in case:
            return False
        step, transfer = base + case["at"][0], case["at"][1]
        seen = self.rack.control(phone.index, "transfers")["transfers"]
        return any((t["step"], t["transfer"], t["in"]) == (step, transfer, False) for t in seen)

    def trial(self, phone, case):
        """One job with one fault; its outcome in a word, also counted."""
        phone.lose_identity()
        mistakes = self.violations(phone)
        base = {}

        def arm():
            base["steps"] = self.rack.control(phone.index, "transfers")["steps"]
            if "refused" in case:
                base["flash"] = self.rack.hashes(phone.index)
            self.rack.control(phone.index, "fault", fault=case["spec"](base["steps"]))

        job, hang = phone.run(arm, when=case.get("when", lambda job: True))
        happened = self.rack.control(phone.index, "fault", clear=True)["dropped"] == 0
        outcome, wrong = self.judge(job, hang)
        mistakes = self.violations(phone) - mistakes
        if case["kind"] in SPOILS_HOST_BYTES:  # told otherwise, the host does not know what the phone still has to say
            mistakes.pop("xflash.answer_not_read", None)
        if mistakes and case["judged"] and not self.spoilt_after_all(phone, case, base["steps"]):
            wrong = wrong or f"host mistakes: {dict(mistakes)}"
        if "refused" in case:
            wrong = wrong or self.untouched(phone, case, outcome, base)
        elif outcome in ("succeeded", "recovered"):
            wrong = wrong or self.check(phone)
        elif not wrong:
            wrong = self.second(phone)
        kind = MISSED if not happened and outcome == "succeeded" else outcome.split(":")[0]
        with self.lock:
            self.counts[kind] += 1
            if sum(self.counts.values()) % 100 == 0:
                print(f"sweep: {sum(self.counts.values())} tried: {dict(self.counts)}", file=sys.stderr, flush=True)
            self.by_kind[case["kind"]][kind] += 1
            self.happened[case["kind"]] += happened
            self.mistakes += mistakes
            if outcome.startswith("failed"):
                self.by_code[outcome[7:]] += 1
                print(f"sweep: {case['name']}: {outcome}: {(job['error'] or {}).get('message')}", file=sys.stderr, flush=True)
            if wrong:
                self.problems.append({"case": case["name"], "outcome": outcome, "why": wrong, "job": job["id"]})
                print(f"sweep: {case['name']}: {outcome}: {wrong}", file=sys.stderr, flush=True)
        return kind

    def untouched(self, phone, case, outcome, base):
        """A phone that must be refused: was it, with the flash that it had when it was plugged in, and is its serial, now
        seen on two chips, a conflict for everybody?"""
        if outcome != f"failed:{case['refused']}":
            return f"{outcome} instead of {case['refused']}"
        return self.conflict(phone) or \
            (None if self.rack.hashes(phone.index) == base["flash"] else "the flash of the refused phone has changed")

    def conflict(self, phone):
        """The next order for a serial that is on two chips is refused, or its job when it sees the phone."""
        try:
            job, hang = phone.run()
        except bench.ApiError as error:
            return None if error.problem.get("code") == "conflict" else str(error)
        outcome, wrong = self.judge(job, hang)
        return wrong or (None if outcome == "failed:L7:identity_conflict" else f"a serial on two chips: {outcome}")

    def judge_whole(self, cases, whole):
        """What no single case shows: that faults did happen, of each kind, and that nothing was left behind."""
        tried = sum(self.counts.values())
        if self.counts[MISSED] > max(2, MISSED_SHARE * tried):
            self.problems.append({"case": "all", "why": f"{self.counts[MISSED]} of {tried} did not happen"})
        kinds = {case["kind"] for case in cases}
        for kind in kinds if whole or tried >= 2 * len(kinds) else ():
            if not self.happened[kind]:
                self.problems.append({"case": kind, "why": "never happened"})
        self.problems += [{"case": "leak", "why": text} for text in self.processes.leaks()]

    def second(self, phone):
        job, hang = phone.run()
        if hang or job["state"] != "succeeded":
            return f"the second run did not restore the phone: {hang or job['error']}"
        self.rack.control(phone.index, "fault", clear=True)
        return self.check(phone)

    def work(self, cases, until):
        """The last phone is for cases in which a phone is refused, for good: its serial is on two chips then."""
        todo, refused = queue.SimpleQueue(), queue.SimpleQueue()
        for case in cases:
            (refused if "refused" in case else todo).put(case)

        def one(phone, todo):
            while time.monotonic() < until:
                try:
                    case = todo.get_nowait()
                except queue.Empty:
                    return
                try:
                    if self.trial(phone, case) == MISSED:
                        self.trial(phone, case)  # a retry of the job's own had moved the place
                except Exception as error:  # noqa: BLE001: a dead station or rack is a result, too
                    with self.lock:
                        self.problems.append({"case": case["name"], "why": f"{type(error).__name__}: {error}"})
                    print(f"sweep: {case['name']}: {error!r}", traceback.format_exc(), file=sys.stderr, flush=True)
                    if self.station.process.child.poll() is not None:
                        return

        threads = [threading.Thread(target=one, args=(phone, refused if phone is self.phones[-1] else todo), daemon=True)
                   for phone in self.phones]
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


def case_of(kind, name, transfer):
    seed = (transfer["transfer"] * 2654435761 + len(kind)) % 1000003
    appearance, place = transfer["appearance"], f"@transfer={transfer['transfer']}"
    if kind in BEFORE_THE_BUS:
        appearance, place = appearance - 1, ""
    if kind in ONE_COMMAND:
        place = ""
    if kind == "late":  # later than the station waits, whose deadlines run on another scale than the phone
        place += f"@ms={int(LATE_MS * STATION_SCALE)}"
    return {"kind": kind, "name": name, "judged": kind not in SPOILS_HOST_BYTES or transfer["in"],
            "at": (appearance, transfer["transfer"]),
            "spec": lambda base: f"{kind}@step={base + appearance}{place}@seed={seed}"}


def control_case(kind, stay, name, n):
    place = f"@control={n}@seed={(stay * 31 + n) * 2654435761 % 1000003}"
    if kind == "late":
        place += f"@ms={int(LATE_MS * STATION_SCALE)}"
    return {"kind": "control", "name": f"control {kind} {name} {stay}.{n}", "judged": True,
            "spec": lambda base: f"{kind}@step={base + stay}{place}"}


def other_phone():
    """Between the halves of a job, when the first phone was told to switch off and is to be plugged in again."""
    return {"kind": "other_phone", "name": "other_phone from S17 on", "judged": True, "refused": "F4:another_phone",
            "when": lambda job: (job["step"] or "").startswith("S17"), "spec": lambda base: "other_phone@seed=17"}


def cases_of(transfers, controls):
    """All cases; unplug at every transfer last, it takes the least time."""
    once, steps = {}, {}
    for t in transfers:
        once.setdefault((t["name"], t["message"]), t)
        steps.setdefault(t["name"].split(" ")[0], t)
    cases = [case_of(kind, f"{kind} {t['name']} {message}", t)
             for kind in KINDS for (_, message), t in once.items() if t["in"] or kind not in IN_ONLY]
    cases += [case_of(word, f"{word} from {step} on", steps[step])
              for word, places in WORDS.items() for step in places if step in steps]
    cases += [control_case(kind, stay, name, n) for stay, name, count in controls for n in range(1, count + 1)
              for kind in CONTROL_KINDS]
    cases.append(other_phone())
    cases += [case_of("unplug", f"unplug {t['name']} transfer {t['appearance']}.{t['transfer']} {t['message']}", t)
              for t in transfers]
    return cases


def share(text):
    """(K, N) of "K/N", for the command line."""
    k, n = map(int, text.split("/"))
    if not 1 <= k <= n:
        raise ValueError(text)
    return k, n


def mixed(cases, rng):
    """A random order in which the kinds take turns: a short sample has some of each."""
    by_kind = collections.defaultdict(list)
    for case in cases:
        by_kind[case["kind"]].append(case)
    for some in by_kind.values():
        rng.shuffle(some)
    turns = [(n, k, case) for k, some in enumerate(by_kind.values()) for n, case in enumerate(some)]
    return [case for _, _, case in sorted(turns, key=lambda turn: turn[:2])]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    soak_s = int(os.environ.get("FLASHRACK_SOAK_MINUTES", "5")) * 60 // 5
    parser.add_argument("--seconds", type=int, default=soak_s, help="stop beginning new cases after so long")
    parser.add_argument("--all", action="store_true", help="every case, in order")
    parser.add_argument("--phones", type=int, default=24)
    parser.add_argument("--seed", type=int, default=int(os.environ.get("FLASHRACK_SOAK_SEED", "1")))
    parser.add_argument("--kinds", default="", help="only these, comma separated")
    parser.add_argument("--share", type=share, default=(1, 1), metavar="K/N",
                        help="every Nth case from the Kth on: N such runs are the whole")
    parser.add_argument("--only", default="", help="only cases whose name contains this")
    args = parser.parse_args()
    start = time.monotonic()
    with bench.Workspace("flashrack-sweep") as folder:
        sweep = Sweep(folder, args.phones + 1, args.seed)
        sweep.open()
        transfers = sweep.map()
        controls = sweep.controls(transfers)
        cases = cases_of(transfers, controls)
        if args.kinds:
            cases = [c for c in cases if c["kind"] in args.kinds.split(",")]
        cases = [c for c in cases if args.only in c["name"]][args.share[0] - 1::args.share[1]]
        if not args.all:
            cases = mixed(cases, random.Random(args.seed))
        sweep.processes.rest()
        sweep.work(cases, float("inf") if args.all else time.monotonic() + args.seconds)
        sweep.judge_whole(cases, args.all)
        processes = sweep.processes.counts()
        sweep.close()
    tried = sum(sweep.counts.values())
    print(json.dumps({"seed": args.seed, "share": args.share, "phones": args.phones, "usb_model": sweep.model, "da_build": sweep.build,
                      "transfers": len(transfers), "controls": {f"{stay} {name}": count for stay, name, count in controls}, "cases": len(cases), "tried": tried,
                      "happened": sum(sweep.happened.values()), "outcomes": dict(sweep.counts),
                      "unnamed": sum("unnamed" in str(problem.get("why")) for problem in sweep.problems),
                      "failures": dict(sweep.by_code), "kinds": {k: dict(v) for k, v in sweep.by_kind.items()},
                      "seconds": round(time.monotonic() - start, 1), "processes": processes,
                      "mistakes_after_spoilt_words": dict(sweep.mistakes), "problems": sweep.problems[:50],
                      "problem_count": len(sweep.problems)}))
    return 1 if sweep.problems or not tried else 0


if __name__ == "__main__":
    sys.exit(main())
