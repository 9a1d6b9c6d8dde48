#!/usr/bin/python3
"""Whose turn it is, and where: jobs by serial, by phone, by nothing; limits, pause, retry, moved phones, a full disk.
Usage: schedule_test.py [CASE...]; without one all cases run."""
import concurrent.futures
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import unittest
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import rack as bench  # noqa: E402
from station_test import Processes  # noqa: E402

ENDED = ("succeeded", "failed", "cancelled")


class Schedule(Processes):
    def begin(self, phones=1, retries=0, extra=(), **rack):
        self.open(phones=phones, station_extra=["--retries", str(retries), *extra], **rack)
        self.firmware = self.station.add_firmware(self.package)
        for index in range(phones):
            self.station.import_dump(self.rack.dump(index), self.rack.labels[index]["serial"])

    def anywhere(self, index, **more):
        """An order that names no port."""
        label = self.rack.labels[index]
        return self.station.post("/jobs", {"recipe": "x5-restore", "serial": label["serial"], "imeis": label["imeis"],
                                           "firmware": self.firmware["id"], **more})

    def on_port(self, index, **more):
        return self.anywhere(index, port=self.rack.port(index), **more)

    def port(self, index):
        return self.station.get("/ports/" + self.rack.port(index))

    def change_port(self, index, **change):
        return self.station.change_port(self.rack.port(index), **change)

    def takes_work(self, index, yes=True):
        return self.change_port(index, takes_work=yes)

    def waits_for(self, job, what, seconds=90):
        def so():
            waits = self.station.job(job["id"])["waits_for"]
            return bool(waits) and waits["what"] == what
        self.until(so, f"job {job['id']} waits for {what}: {self.station.job(job['id'])}", seconds)

    def verb(self, job, verb, **body):
        return self.station.post(f"/jobs/{job['id']}/{verb}", body)

    def answer(self, job, answer):
        return self.verb(job, "answer", prompt_id=job["prompt"]["id"], answer=answer)

    def asked_about_the_phone(self, job):
        return self.station.wait(job["id"], until=("prompt",), step="S5", seconds=60)

    def second_pass(self, job):
        """With nobody's hands a job comes as far as the prompt before the second connection."""
        job = self.station.wait(job["id"], until=("prompt",), step="S17", seconds=90)
        self.assertEqual(job["state"], "prompt", job.get("error"))
        return job

    def hands(self, index):
        self.download_mode(index)  # the keys are kept until the station has the phone: a boot ROM waits for a second
        self.until(lambda: self.rack.control(index, "state")["imported"], f"phone {index} is spoken to", 60)
        self.rack.control(index, "release", keys=["vol_up", "vol_down"])


class Anywhere(Schedule):
    def test_next_phone_on_a_port_that_takes_work(self):
        self.begin(phones=3, hands="none")
        first, second = self.anywhere(0), self.anywhere(1)
        self.waits_for(first, "work_port")
        self.assertIsNone(self.station.job(first["id"])["port"])
        self.download_mode(1)  # a phone that nobody asked about is only looked at
        self.until(lambda: any(p["mode"] == "brom" for p in self.station.get("/ports")["items"]), "a boot ROM")
        self.waits_for(second, "work_port")
        before = self.rack.hashes(1)
        self.takes_work(1)
        # the first job meets it, and a person sees on the label that it is the other phone
        job = self.asked_about_the_phone(first)
        self.assertEqual(job["port"], self.rack.port(1))
        self.assertIn(self.rack.labels[0]["serial"], job["prompt"]["text"])
        with self.assertRaises(bench.ApiError):
            self.answer(job, "retry")
        self.answer(job, "abort")
        self.waits_for(first, "phone")
        self.until(lambda: self.station.job(first["id"])["phone_id"] is None, "the other phone is not the job's")
        self.assertEqual(self.rack.hashes(1), before)
        # so the phone's own job has it next
        self.off(1)
        self.hands(1)
        job = self.asked_about_the_phone(second)
        self.answer(job, "ok")
        job = self.second_pass(second)
        # by phone_id alone: serial and IMEIs are known by now
        other = self.station.post("/jobs", {"recipe": "x5-restore", "phone_id": job["phone_id"],
                                            "firmware": self.firmware["id"]})
        self.assertEqual(self.station.job(other["id"])["serial"], self.rack.labels[1]["serial"])
        self.waits_for(other, "phone_busy")
        self.verb(second, "cancel")
        self.station.wait(second["id"])
        self.waits_for(other, "phone")
        self.assert_refused(lambda: self.station.post("/jobs", {"recipe": "x5-restore"}), "serial")
        # a person who names the port is believed, as in an order
        self.verb(first, "resume", port=self.rack.port(0))
        self.station.wait(first["id"], until=("prompt",), step="S3")

    def test_a_phone_that_was_met_is_not_the_ordered_one(self):
        """A job that named no port has read a phone that lost its serial, and then its worker or the station ended:
        nobody has said yet that it is this phone, and the next run asks, as the first one did."""
        self.begin(phones=2, hands="none")
        job = self.anywhere(0)
        self.download_mode(1)
        self.until(lambda: any(p["mode"] == "brom" for p in self.station.get("/ports")["items"]), "a boot ROM")
        self.takes_work(1)
        job = self.asked_about_the_phone(job)
        before = self.rack.hashes(1)
        os.kill(self.worker(job), signal.SIGKILL)
        self.assertEqual(self.station.wait(job["id"])["state"], "interrupted")
        self.verb(job, "resume")
        job = self.asked_once_more(job, before)
        self.restart(signal.SIGKILL)
        job = self.asked_once_more(job, before)
        self.answer(job, "abort")
        self.waits_for(job, "phone")
        self.until(lambda: self.station.job(job["id"])["phone_id"] is None, "the other phone is not the job's")
        self.assertEqual(self.rack.hashes(1), before)

    def asks(self, job):
        return (job["prompt"] or {}).get("id") == "is-it-this-phone"

    def asked_once_more(self, job, before):
        run = job["run_count"]

        def asked():
            now = self.station.job(job["id"])
            return now if now["run_count"] > run and (now["permitted"] or self.asks(now)) else None
        for _ in range(8):  # a boot ROM that looked for somebody too early is off again
            self.off(1)
            self.download_mode(1)
            end = time.monotonic() + 20
            while not asked() and time.monotonic() < end:
                time.sleep(0.1)
            if asked():
                break
        self.rack.control(1, "release", keys=["vol_up", "vol_down"])
        job = self.station.job(job["id"])
        self.assertEqual((job["state"], job["permitted"]), ("prompt", False), job["step"])
        self.assertIn(f"is the phone on port {self.rack.port(1)} the one", job["prompt"]["text"].lower())
        self.assertEqual(self.rack.hashes(1), before)
        return job


class FakePortwatch:
    """Ports that a test makes up: what portwatch would say of them. Hands no device to anybody."""

    def __init__(self, path):
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(path)
        self.listener.listen()
        self.listener.settimeout(30)
        self.peer = None

    def accept(self):
        self.peer, _ = self.listener.accept()
        self.peer.settimeout(30)
        self.say(**json.loads(self.peer.recv(65536)))  # the same build as the station's hello says

    def say(self, **message):
        self.peer.send(json.dumps(message).encode())

    def hub(self, hub, parent="", kind="controller", sockets=4, self_powered=1):
        self.say(type="hub", hub=hub, parent=parent, kind=kind, speed=3, sockets=sockets, self_powered=self_powered)

    def port(self, port, mode="android", serial="", speed=3):
        self.say(type="port", port=port, mode=mode, vid=0x2e04, pid=1, speed=speed, serial=serial)

    def close(self):
        self.peer.close()
        self.listener.close()


XHCI = "pci-0000:00:14.0-usb-0:"


class MadeUpPorts(Schedule):
    """No phone is needed to see where a job goes."""

    def setUp(self):
        super().setUp()
        self.rack = bench.Rack(self.dir, phones=2, profile="tiny", lost=False)
        path = os.path.join(self.dir, "pw")
        self.watch = FakePortwatch(path)
        self.station = bench.Station(self.dir, import_dirs=[self.dir], extra=["--portwatch", path])
        self.station.start()
        self.watch.accept()
        self.addCleanup(self.watch.close)
        self.addCleanup(self.stop_station)
        self.firmware = self.station.add_firmware(self.package)
        for index in range(2):
            self.station.import_dump(self.rack.dump(index), self.rack.labels[index]["serial"])

    def test_phone_that_shows_its_serial(self):
        serial = self.rack.labels[0]["serial"]
        for place, shown in (("1.1", "0123456789ABCDEF"), ("1.2", "0123456789ABCDEF"), ("1.3", serial), ("1.4", serial)):
            self.watch.port(XHCI + place, serial=shown)
        self.until(lambda: len(self.station.get("/ports")["items"]) == 4, "four ports")
        job = self.anywhere(0)
        self.waits_for(job, "work_port")  # two ports show it: a person must say which
        self.watch.port(XHCI + "1.4", mode="none", speed=0)
        job = self.station.wait(job["id"], until=("running", "prompt"), seconds=30)
        self.assertEqual(job["port"], XHCI + "1.3")
        port = self.station.get("/ports/" + XHCI + "1.3")
        self.assertEqual((port["speed"], port["usb_serial"], port["job_id"]), ("high", serial, job["id"]))
        other = self.anywhere(1)  # no placeholder is anybody's serial
        self.waits_for(other, "work_port")

    def test_labels_and_ids(self):
        for place in ("10", "2", "1"):
            self.watch.port(XHCI + place)
        self.until(lambda: len(self.station.get("/ports")["items"]) == 3, "three ports")
        self.assertEqual([p["id"] for p in self.station.get("/ports")["items"]], [XHCI + n for n in ("1", "2", "10")])
        self.station.change_port(XHCI + "1", label="A1")
        for label in ("A1", "a1"):
            self.assert_refused(lambda: self.station.change_port(XHCI + "2", label=label), "has the label")
        self.assert_refused(lambda: self.station.change_port(XHCI + "2", label=XHCI + "1"), "id of a port")
        job = self.anywhere(0, port="a1")  # as it is typed in: one label, whatever its letters
        self.assertEqual(self.station.wait(job["id"], until=("running", "prompt"), seconds=30)["port"], XHCI + "1")
        relabel = [bench.program("flashrack"), "port", "label", "a1", "--set", "a1", "--server", self.station.url]
        subprocess.run(relabel, check=True, capture_output=True)
        self.assertEqual(self.station.get("/ports/" + XHCI + "1")["label"], "a1")
        self.assertIsNone(self.station.change_port(XHCI + "1", label="")["label"])
        self.assert_refused(lambda: self.anywhere(0, port="A1"), "no port 'A1'")
        self.station.change_port(XHCI + "2", label="A1")

    def test_phone_that_was_moved(self):
        """Proposed by what a port shows, done when a person says so, and never when two ports show it."""
        serial = self.rack.labels[0]["serial"]
        for place in ("1", "2", "3"):
            self.watch.port(XHCI + place, mode="none", speed=0)
        self.until(lambda: len(self.station.get("/ports")["items"]) == 3, "three ports")
        job = self.station.wait(self.anywhere(0, port=XHCI + "1")["id"], until=("prompt",), step="S3")
        self.assertIsNone(job["seen_on"])

        def seen_on():
            return (self.station.job(job["id"])["seen_on"] or {}).get("port")
        self.watch.port(XHCI + "2", mode="fastboot", serial=serial)
        self.until(lambda: seen_on() == XHCI + "2", "the phone is seen")
        seen = self.station.job(job["id"])
        self.assertEqual((seen["seen_on"]["by"], seen["port"], seen["state"]), ("serial", XHCI + "1", "prompt"))
        self.assertIn("continue there?", seen["seen_on"]["text"])
        self.watch.port(XHCI + "3", mode="android", serial=serial)
        self.until(lambda: seen_on() is None, "two show it: a person has to look")
        self.watch.port(XHCI + "3", mode="none", speed=0)
        self.until(lambda: seen_on() == XHCI + "2", "one shows it")
        told = subprocess.run([bench.program("flashrack"), "job", job["id"], "--server", self.station.url],
                              capture_output=True, text=True, check=True).stdout
        self.assertIn(f"flashrack resume {job['id']} --port {XHCI}2", told)
        self.verb(job, "resume", port=XHCI + "2")
        moved = self.station.job(job["id"])
        self.assertEqual((moved["port"], moved["seen_on"]), (XHCI + "2", None))
        self.assertIsNone(self.station.get("/ports/" + XHCI + "1")["job_id"])
        # interrupted, it is as lost as while it waits
        os.kill(self.worker(job), signal.SIGKILL)
        self.assertEqual(self.station.wait(job["id"])["state"], "interrupted")
        self.watch.port(XHCI + "2", mode="none", speed=0)
        self.watch.port(XHCI + "3", mode="fastboot", serial=serial)
        self.until(lambda: seen_on() == XHCI + "3", "an interrupted job's phone is seen")
        self.verb(job, "resume", port=XHCI + "3")
        self.assertEqual(self.station.job(job["id"])["port"], XHCI + "3")

    def test_phone_that_went_while_nobody_looked(self):
        """portwatch died, and the next one says nothing of a port whose phone was taken away meanwhile."""
        for place in ("1", "2"):
            self.watch.port(XHCI + place, mode="fastboot", serial=self.rack.labels[0]["serial"])
        self.until(lambda: len(self.station.get("/ports")["items"]) == 2, "two ports")
        self.watch.peer.close()
        self.watch.accept()
        self.watch.port(XHCI + "2", mode="fastboot")
        self.until(lambda: self.station.get("/ports/" + XHCI + "1")["state"] == "empty", "nothing is there", 10)
        self.assertEqual(self.station.get("/ports/" + XHCI + "2")["mode"], "fastboot")

    def test_next_phone_where_the_last_one_was_taken_away(self):
        """Whoever takes the phone away before the job's end does not keep the next one on that port from work."""
        self.watch.port(XHCI + "1", mode="brom")
        self.until(lambda: self.station.get("/ports")["items"], "a port")
        self.station.change_port(XHCI + "1", takes_work=True)
        job = self.station.wait(self.anywhere(0)["id"], until=("running", "prompt"), seconds=30)
        self.watch.port(XHCI + "1", mode="none", speed=0)
        self.until(lambda: self.station.get("/ports/" + XHCI + "1")["mode"] == "none", "it is taken away")
        self.verb(job, "cancel")
        self.station.wait(job["id"])
        self.assertIsNone(self.station.get("/ports/" + XHCI + "1")["phone_id"])
        self.watch.port(XHCI + "1", mode="brom")
        job = self.station.wait(self.anywhere(1)["id"], until=("running", "prompt"), seconds=30)
        self.assertEqual(job["port"], XHCI + "1")

    def test_resumed_and_cancelled_at_once(self):
        """Two people, one interrupted job: whoever is told that it is cancelled finds it cancelled."""
        self.watch.port(XHCI + "1", mode="none", speed=0)
        self.until(lambda: self.station.get("/ports")["items"], "a port")
        for _ in range(4):
            self.station.change_port(XHCI + "1", enabled=True)
            job = self.station.wait(self.anywhere(0, port=XHCI + "1")["id"], until=("prompt",), step="S3")
            os.kill(self.worker(job), signal.SIGKILL)
            self.assertEqual(self.station.wait(job["id"])["state"], "interrupted")
            # a job that goes on is seen to wait here
            self.station.change_port(XHCI + "1", enabled=False)
            with concurrent.futures.ThreadPoolExecutor() as people:
                asked = [people.submit(self.verb, job, verb) for verb in ("resume", "cancel")]
                resumed, cancelled = (person.exception() for person in asked)
            if cancelled:  # the other one was faster by far
                self.assertIsNone(resumed)
                self.assertIn("gone on", str(cancelled))
                self.verb(job, "cancel")
            time.sleep(0.2)
            now = self.station.job(job["id"])
            self.assertEqual((now["state"], now["waits_for"]), ("cancelled", None))
            self.assert_refused(lambda: self.verb(job, "resume"), "has ended")

    def test_empty_sockets_have_names(self):
        controller = XHCI.removesuffix("-usb-0:")
        self.watch.hub(controller)
        self.watch.hub(XHCI + "2", controller, "single_tt", sockets=7)
        self.watch.hub(XHCI + "2.7", XHCI + "2", "multi_tt", sockets=2, self_powered=0)
        self.watch.port(XHCI + "2.7.1", mode="fastboot")
        self.watch.port("pci-0000:09:00.0-usb-0:1")
        self.until(lambda: len(self.station.get("/ports")["items"]) == 2, "two ports")
        topology = self.station.get("/ports/topology")
        root, = topology["controllers"]
        self.assertEqual((root["id"], root["kind"], root["advice"]), (controller, "controller", None))
        self.assertEqual([s["id"] for s in root["sockets"]], [XHCI + str(n) for n in range(1, 5)])
        self.assertEqual([(s["port"], s["hub"] is None) for s in root["sockets"]],
                         [(None, True), (None, False), (None, True), (None, True)])
        outer = root["sockets"][1]["hub"]
        self.assertIn("single-TT", outer["advice"])
        inner = outer["sockets"][6]["hub"]
        self.assertIn("100 mA", inner["advice"])
        self.assertEqual([(s["id"], (s["port"] or {}).get("mode")) for s in inner["sockets"]],
                         [(XHCI + "2.7.1", "fastboot"), (XHCI + "2.7.2", None)])
        self.assertEqual([p["id"] for p in topology["elsewhere"]], ["pci-0000:09:00.0-usb-0:1"])
        self.station.change_port(XHCI + "2.7.1", label="A1")
        tree = subprocess.run([bench.program("flashrack"), "ports", "--topology", "--server", self.station.url],
                              capture_output=True, text=True, check=True).stdout
        self.assertIn(f"{controller}: controller, high speed, 4 sockets\n", tree)
        self.assertRegex(tree, r"  2  single-TT hub, high speed, 7 sockets\n +! A single-TT hub")
        self.assertIn("  1  A1: connected, fastboot\n", tree)
        self.assertIn(f"  2  {XHCI}2.7.2: empty, never used\n", tree)
        # the hub goes, and its port is in no hub any more
        self.watch.hub(XHCI + "2.7", XHCI + "2", "multi_tt", sockets=0)
        self.until(lambda: len(self.station.get("/ports/topology")["elsewhere"]) == 2, "a port without a hub")

    def test_labels_by_plugging_along_the_rack(self):
        self.watch.port(XHCI + "7")  # was there before
        begin = [bench.program("flashrack"), "calibrate", "--server", self.station.url]
        person = subprocess.Popen(begin, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                  text=True)
        self.addCleanup(person.kill)
        self.assertIn("next socket", person.stdout.readline())
        self.watch.port(XHCI + "1")
        self.assertIn(XHCI + "1", person.stdout.readline())
        person.stdin.write("A1\n")
        person.stdin.flush()
        self.assertIn("next socket", person.stdout.readline())
        job = self.station.post("/jobs", {"recipe": "x5-identify", "port": XHCI + "1"})
        self.waits_for(job, "calibration")  # nobody talks to the phone that is carried along
        self.watch.port(XHCI + "2")
        self.assertIn(XHCI + "2", person.stdout.readline())
        # the same label twice is refused, and asked for again
        out, err = person.communicate("A1\nA2\n\n", timeout=60)
        self.assertIn("A1 already", err)
        self.assertIn("2 labelled", out)
        self.assertEqual(person.returncode, 0, err)
        labels = {p["id"]: p["label"] for p in self.station.get("/ports")["items"]}
        self.assertEqual(labels, {XHCI + "7": None, XHCI + "1": "A1", XHCI + "2": "A2"})
        self.assertEqual(self.station.get("/calibration")["state"], "off")
        self.assert_refused(lambda: self.station.post("/calibration/label", {"label": "A3"}), "begin")
        self.station.wait(job["id"], until=("running", "prompt"), seconds=30)


class Placeholder(Schedule):
    def start_or_force_off(self, index):
        self.rack.control(index, "unplug")
        self.rack.control(index, "power_long")

    def in_fastboot(self, index):
        """As a person leaves it who holds the wrong key. Without proinfo LK says serial 0123456789ABCDEF."""
        self.rack.control(index, "hold", keys=["vol_down"])
        self.rack.control(index, "plug")  # no long power key: it would force the phone off again after twelve seconds
        shown = (self.rack.port(index), "fastboot")
        self.until(lambda: shown in [(p["id"], p["mode"]) for p in self.station.get("/ports")["items"]], "fastboot")
        self.rack.control(index, "release", keys=["vol_down"])

    def test_two_phones_with_the_same_serial_never_mix(self):
        self.begin(phones=2, hands="none")
        for index in range(2):
            self.in_fastboot(index)
        jobs = [self.on_port(index) for index in range(2)]
        chips = []
        for index, job in enumerate(jobs):
            self.station.wait(job["id"], until=("prompt",), step="S3")
            self.start_or_force_off(index)
            self.hands(index)
        for index, job in enumerate(jobs):
            job = self.second_pass(job)
            chips.append(self.station.get(f"/phones/{job['phone_id']}")["chip_id"])
            self.rack.control(index, "unplug")
            self.hands(index)
        self.assertEqual(chips, [label["chip_id"] for label in self.rack.labels])
        for index, job in enumerate(jobs):
            self.station.wait(job["id"], until=("prompt",), step="S21", seconds=90)  # all is written and verified
            passed, text = self.rack.check(index, self.package, "lk")
            self.assertTrue(passed, text)
        self.assertEqual(self.rack.violations(), {})


class Turns(Schedule):
    def states(self):
        """Every state of every job, in the order of the events."""
        request = urllib.request.Request(self.station.url + "/api/v1/events", headers={"Last-Event-ID": "0"})
        last = max(int(self.station.job(job["id"])["id"]) for job in self.station.get("/jobs")["items"])
        seen, kind, ended = [], None, set()
        with urllib.request.urlopen(request, timeout=60) as stream:
            for line in stream:
                text = line.decode().strip()
                if text.startswith("event:"):
                    kind = text[6:].strip()
                elif text.startswith("data:") and kind == "job":
                    job = json.loads(text[5:])
                    seen.append((job["id"], job["state"]))
                    if job["state"] in ENDED:
                        ended.add(job["id"])
                if len(ended) == last:
                    return seen
        return seen

    def on_the_bus(self, job_id):
        """It moves bytes: from the agent's start to the next time that hands are needed."""
        job = self.station.job(job_id)
        return job["state"] == "running" and (job["step"] or "").startswith("S5 ")

    def most_on_the_bus(self, jobs):
        """How many of them were in steps that move bytes at the same time, by the times of their steps."""
        by_hand = ("S3", "S4", "S10", "S17", "S18", "S20", "S21")  # and an agent's start, for which no phone can wait
        turns = []
        for job_id in jobs:
            for step in self.station.job(job_id)["steps"]:
                if step["name"].split()[0] not in by_hand:
                    turns += [(step["ended_at"], -1), (step["started_at"], 1)]
        count = most = 0
        for _, change in sorted(turns):
            count += change
            most = max(most, count)
        return most

    def test_limit_and_order(self):
        self.begin(phones=4, extra=["--jobs-max", "2"], settings=["emmc_read_bytes_per_s=1000000"])
        jobs = {}
        for index, priority in enumerate((0, 0, 0, 7)):
            if index == 2:  # the limit is reached: the others have to wait for their first turn
                self.until(lambda: all(self.on_the_bus(job) for job in jobs), "two read their backups")
            jobs[self.on_port(index, priority=priority)["id"]] = index
        acceptor = bench.Acceptor(self.station, self.rack, jobs)
        acceptor.start()
        ended = acceptor.finish(170)
        for job_id, index in jobs.items():
            self.assert_restored(ended.get(job_id) or self.station.job(job_id), index)
        busy, peak, order = set(), 0, []
        for job_id, state in self.states():
            if state in ("running", "prompt"):
                if job_id not in order:
                    order.append(job_id)
                busy.add(job_id)
            else:
                busy.discard(job_id)
            peak = max(peak, len(busy))
        self.assertGreater(peak, 2, "those that wait for hands keep nobody from beginning")
        self.assertEqual(self.most_on_the_bus(jobs), 2)
        self.assertEqual(order[2], list(jobs)[3], f"the urgent one is next: {order}")
        history = self.station.get(f"/ports/{self.rack.port(0)}/history")["items"]
        self.assertEqual([(r["id"], r["state"]) for r in history], [(list(jobs)[0], "succeeded")])

    def test_operator_is_away(self):
        """Each port asks for its phone, whatever the limit; then one after the other moves bytes."""
        self.begin(phones=2, hands="none", extra=["--jobs-max", "1"], settings=["emmc_read_bytes_per_s=1000000"])
        first, second = (self.on_port(index) for index in range(2))
        for job in (first, second):
            self.station.wait(job["id"], until=("prompt",), step="S3")
        self.hands(0)
        self.until(lambda: self.on_the_bus(first["id"]), "the first reads its backup")
        self.hands(1)
        self.waits_for(second, "slot")
        self.until(lambda: self.station.job(second["id"])["steps"][-1]["name"].startswith("S4 "), "its agent waits")
        held = self.station.job(second["id"])
        self.assertEqual(held["state"], "running")
        self.verb(second, "pause")  # a person may change her mind meanwhile
        self.station.wait(second["id"], until=("paused",))
        self.verb(second, "resume")
        self.second_pass(first)
        self.second_pass(second)
        self.assertEqual(self.most_on_the_bus([first["id"], second["id"]]), 1)

    def taken_up(self, job, verb):
        """Says the verb; False while the station still reads what its former process left."""
        try:
            self.verb(job, verb)
        except bench.ApiError as error:
            self.assertEqual((error.status, "being taken up" in error.detail), (409, True), error)
            return False
        return True

    def test_pause_over_a_restart(self):
        self.begin(phones=2, hands="none")
        running = self.station.wait(self.on_port(0)["id"], until=("prompt",))
        queued = self.on_port(0)
        self.verb(queued, "pause")
        self.verb(running, "pause")
        self.hands(0)
        self.station.wait(running["id"], until=("paused",))
        for how in (signal.SIGTERM, signal.SIGKILL):
            self.restart(how)
            for job in (running, queued):
                self.assertEqual(self.station.job(job["id"])["state"], "paused")
        self.until(lambda: self.taken_up(running, "resume"), "the job is taken up after the start")
        self.off()
        self.station.wait(running["id"], until=("prompt",), step="S3")
        self.verb(queued, "resume")
        self.waits_for(queued, "port")

    def test_disk_full_at_the_end(self):
        """What the store cannot take is told again: the rows end, and the port is free."""
        self.begin(hands="none")
        job = self.station.wait(self.on_port(0)["id"], until=("prompt",), step="S3")
        second, third = self.on_port(0), self.on_port(0)
        worker = self.worker(job)
        self.fill_disk()
        with self.assertRaises(bench.ApiError):
            self.verb(second, "cancel")
        self.station.process.ready("could not be stored")
        with self.assertRaises(bench.ApiError) as caught:
            self.station.call("GET", "/readyz")
        self.assertEqual(caught.exception.status, 503)
        self.assertIn("disk", caught.exception.problem["disk"]["trouble"])
        doctor = subprocess.run([bench.program("flashrack"), "doctor", "--server", self.station.url],
                                capture_output=True, text=True)
        self.assertEqual(doctor.returncode, 1)
        self.assertIn("nothing can be stored", doctor.stdout)
        os.kill(worker, signal.SIGKILL)
        self.station.process.ready("it is tried again")
        self.make_room()
        self.assertEqual(self.station.wait(job["id"], seconds=90)["state"], "interrupted")
        self.assertEqual(self.station.wait(second["id"], seconds=90)["state"], "cancelled")
        self.station.wait(third["id"], until=("prompt",), step="S3")
        self.assertTrue(self.station.call("GET", "/readyz")["ok"])


class HalfWritten(Schedule):
    profile = "mini"  # a tiny phone is through before anybody can kill its worker

    def test_half_written_phone_keeps_its_port(self):
        self.begin(hands="none")
        job = self.station.wait(self.on_port(0)["id"], until=("prompt",), step="S3")
        next_job = self.on_port(0)
        self.hands(0)
        job = self.station.wait(job["id"], until=("running",), step="S7", seconds=60)
        os.kill(self.worker(job), signal.SIGKILL)
        self.assertEqual(self.station.wait(job["id"])["state"], "interrupted")
        self.waits_for(next_job, "kept_port")
        self.assertEqual(self.port(0)["kept_for"], job["id"])
        self.restart()
        self.waits_for(next_job, "kept_port")
        self.rack.control(0, "unplug")
        self.station.wait(next_job["id"], until=("prompt",), step="S3")
        self.verb(job, "cancel")
        self.assertEqual(self.station.job(job["id"])["state"], "cancelled")


class Again(Schedule):
    def wrong_phone(self, **more):
        """A job that meets another phone than its own, on the port that it names."""
        job = self.before_the_wrong_phone(**more)
        self.hands(1)
        return job

    def before_the_wrong_phone(self, **more):
        self.begin(phones=2, lost=False, hands="none", retries=3, **more)
        return self.station.wait(self.anywhere(0, port=self.rack.port(1))["id"], until=("prompt",), step="S3")

    def passing(self):
        """A catalogue in which another phone is a thing that passes: runs that fail by themselves take a minute."""
        schema = os.path.join(self.dir, "schema")
        shutil.copytree(os.path.join(bench.ROOT, "schema"), schema)
        path = os.path.join(schema, "failures.json")
        with open(path) as f:
            catalogue = json.load(f)
        next(failure for failure in catalogue["failures"] if failure["id"] == "F4")["class"] = "retry"
        with open(path, "w") as f:
            json.dump(catalogue, f)
        return ["--schema", schema]

    def test_failure_that_nobody_stored(self):
        """It is tried again, too, when flashrackd dies before the database has it: the spool tells."""
        job = self.before_the_wrong_phone(extra=self.passing())
        worker = self.worker(job)
        self.fill_disk()
        self.hands(1)
        self.until(lambda: not os.path.exists(f"/proc/{worker}"), "its worker ends", 60)
        self.restart(signal.SIGKILL)
        self.waits_for(job, "retry")
        job = self.station.job(job["id"])
        self.assertEqual((job["retries"], job["error"]["class"]), (1, "retry"))
        self.rack.control(1, "unplug")
        self.verb(job, "resume")  # a person does not wait for the back-off
        self.station.wait(job["id"], until=("prompt",), step="S3")

    def test_failure_that_passes(self):
        job = self.wrong_phone(extra=self.passing())
        self.waits_for(job, "retry")
        self.until(lambda: self.station.job(job["id"])["retries"] == 1, "the store knows of it")
        waiting = self.station.job(job["id"])
        self.assertTrue(waiting["retry_at"])
        self.assertEqual(waiting["error"]["code"], "another_phone")
        self.rack.control(1, "unplug")
        self.station.wait(job["id"], until=("prompt",), step="S3")  # by itself, after ten seconds
        self.assertIsNone(self.station.job(job["id"])["error"])
        job = self.station.job(job["id"])
        connects = [(s["attempt"], s["state"]) for s in job["steps"] if s["name"].startswith("S3")]
        self.assertEqual(connects, [(1, "done"), (2, "running")], "every attempt is kept")

    def test_failure_that_does_not_pass(self):
        job = self.wrong_phone()
        job = self.station.wait(job["id"], seconds=90)
        self.assert_failed(job, "another_phone")
        self.assertEqual(job["retries"], 0)


class AfterTheJob(Schedule):
    def test_phone_and_result_stay_with_the_port(self):
        self.begin(hands="none", settings=["emmc_read_bytes_per_s=1000000"])
        job = self.station.wait(self.on_port(0)["id"], until=("prompt",), step="S3")
        self.download_mode(0)  # and the keys are kept: it comes up in the boot ROM again
        self.station.wait(job["id"], until=("running",), step="S5", seconds=60)
        self.verb(job, "cancel")
        job = self.station.wait(job["id"], seconds=60)
        self.assertEqual(job["state"], "cancelled", job["error"])
        port = self.port(0)
        self.assertEqual((port["job_id"], port["phone_id"]), (None, job["phone_id"]))
        self.assertEqual((port["last"]["job_id"], port["last"]["outdated"]), (job["id"], False))
        self.rack.control(0, "unplug")
        self.until(lambda: self.port(0)["mode"] == "none", "it was taken away")
        self.assertIsNone(self.port(0)["phone_id"])
        self.rack.control(0, "plug")
        self.until(lambda: self.port(0)["mode"] == "brom", "a phone comes")
        last = self.port(0)["last"]
        self.assertEqual((last["job_id"], last["state"], last["outdated"]), (job["id"], "cancelled", True))
        self.assertIsNone(self.port(0)["phone_id"])


class Moved(Schedule):
    def test_not_while_its_worker_holds_the_phone(self):
        """Paused between two steps the agent on the old port still answers: the next step would write there."""
        self.begin(phones=2, hands="none")
        job = self.station.wait(self.on_port(0)["id"], until=("prompt",), step="S3")
        self.hands(0)
        job = self.second_pass(job)
        self.verb(job, "pause")
        self.rack.control(0, "unplug")
        self.hands(0)
        job = self.station.wait(job["id"], until=("paused",), step="S18", seconds=60)
        self.assert_refused(lambda: self.verb(job, "resume", port=self.rack.port(1)), "holds its phone",
                            self.rack.port(0))
        self.assertEqual((self.station.job(job["id"])["state"], self.port(0)["job_id"]), ("paused", job["id"]))
        self.verb(job, "resume")
        self.station.wait(job["id"], until=("prompt",), step="S21", seconds=90)
        passed, text = self.rack.check(0, self.package, "lk")
        self.assertTrue(passed, text)

    def test_phone_comes_as_a_person_says_another_port(self):
        """The station hears of the order first and of the phone then, that its worker has taken on the old port: no step
        follows there, and the next run asks for the phone on the new port."""
        self.begin(phones=2, hands="none", retries=1)
        job = self.station.wait(self.on_port(0)["id"], until=("prompt",), step="S3")
        before = self.rack.hashes(0)
        line = http.client.HTTPConnection(self.station.url.split("//")[1], timeout=60)
        self.addCleanup(line.close)
        line.request("GET", "/healthz")  # the connection is there, so that what is sent on it is heard first
        line.getresponse().read()
        os.kill(self.pid(), signal.SIGSTOP)
        try:
            line.request("POST", f"/api/v1/jobs/{job['id']}/resume", json.dumps({"port": self.rack.port(1)}),
                         {"Content-Type": "application/json"})
            self.hands(0)
            time.sleep(1)
        finally:
            os.kill(self.pid(), signal.SIGCONT)
        self.assertEqual(line.getresponse().status, 200)
        self.until(lambda: self.station.job(job["id"])["run_count"] == 2, "another run", 60)
        job = self.station.wait(job["id"], until=("prompt",), step="S3")
        self.assertEqual(job["port"], self.rack.port(1))
        self.assertEqual(self.rack.hashes(0), before)

    def test_phone_on_another_port(self):
        self.begin(phones=2, hands="none")
        job = self.station.wait(self.on_port(0)["id"], until=("prompt",), step="S3")
        self.assert_refused(lambda: self.verb(job, "resume", port="no-such-port"), "port")
        self.hands(0)
        self.second_pass(job)
        self.rack.stop()
        self.rack.args[self.rack.args.index("--listen") + 1] = self.rack.address
        folders = [self.rack.phone_dir(0), self.rack.phone_dir(1)]
        for old, new in ((folders[0], "x"), (folders[1], folders[0]), ("x", folders[1])):
            os.rename(os.path.join(self.rack.state, old), os.path.join(self.rack.state, new))
        self.rack.start()
        # in download mode it shows nothing: an ordered job has to look
        self.assertIsNone(self.station.job(job["id"])["seen_on"])
        look = self.station.post("/jobs", {"recipe": "x5-identify", "port": self.rack.port(1)})
        self.station.wait(look["id"], until=("prompt",), step="S3")
        self.rack.control(1, "unplug")
        self.download_mode(1)  # the keys are kept: portwatch has to find the rack again first
        self.until(lambda: self.station.job(job["id"])["seen_on"], "the phone is seen")
        look = self.station.wait(look["id"])  # it stops by itself, and nobody cancelled it
        self.assert_failed(look, "conflict", "another job")
        self.assertEqual(self.station.job(job["id"])["seen_on"]["by"], "chip")
        self.verb(job, "resume", port=self.rack.port(1))
        self.assertEqual(self.station.job(job["id"])["port"], self.rack.port(1))
        self.assertIsNone(self.port(0)["job_id"])
        self.rack.control(1, "unplug")
        self.download_mode(1)
        job = self.station.wait(job["id"], until=("running", "prompt"), step="S20", seconds=90)
        self.assertIn(job["state"], ("running", "prompt"), job.get("error"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
