#!/usr/bin/python3
"""`flashrack` as a client: every command against the real station with an emulated phone, and against a peer that
misbehaves as no station of ours does. Usage: client_test.py [CASE...]; without one all cases run."""
import contextlib
import http.server
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import unittest
import urllib.request

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import rack as bench  # noqa: E402
from restore_test import Bench  # noqa: E402

IMEI = "490154203237518"
WAIT = 120
DIST = os.path.join(bench.ROOT, "server", "dist")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Client(unittest.TestCase):
    """Runs `flashrack` at self.url."""

    url = None

    def environment(self):
        env = {k: v for k, v in os.environ.items() if not k.startswith("FLASHRACK_") or k == "FLASHRACK_BUILD"}
        return dict(env, FLASHRACK_SERVER=self.url, LC_ALL="C.UTF-8", TZ="UTC")

    def run_client(self, *args, status=0):
        done = subprocess.run([bench.program("flashrack"), *args], env=self.environment(), capture_output=True,
                              text=True, timeout=WAIT, stdin=subprocess.DEVNULL)
        self.assertEqual(done.returncode, status, f"{args}\n{done.stdout}{done.stderr}")
        self.assertNotIn("Sanitizer", done.stderr)
        return done

    def out(self, *args):
        done = self.run_client(*args)
        self.assertEqual(done.stderr, "")
        return done.stdout

    def json(self, *args, status=0):
        return json.loads(self.run_client(*args, "--json", status=status).stdout)

    def refused(self, *args, words=()):
        """Exit status 1, nothing on stdout, the reason and what to do on stderr."""
        done = self.run_client(*args, status=1)
        self.assertEqual(done.stdout, "")
        self.assertTrue(done.stderr.startswith("flashrack: "), done.stderr)
        for word in words:
            self.assertIn(word.lower(), done.stderr.lower())
        return done.stderr

    def spawn(self, *args, name="client"):
        child = bench.Process([bench.program("flashrack"), *args], os.path.join(self.dir, name + ".log"),
                              env=self.environment())
        self.addCleanup(child.stop)
        return child


class Station(Bench, Client):
    """A station with one phone."""

    def open(self, **more):
        super().open(**more)
        self.url = self.station.url
        self.label = self.rack.labels[0]

    def numbers(self, **other):
        seen = dict(self.rack.screen(0), **other)
        args = ["--serial", seen["serial"], "--wlan-mac", seen["wlan_mac"], "--bt-mac", seen["bt_mac"]]
        for imei in seen["imeis"]:
            args += ["--imei", imei]
        return args

    def order_args(self):
        args = ["restore", "--port", self.rack.port(0), "--serial", self.label["serial"]]
        for imei in self.label["imeis"]:
            args += ["--imei", imei]
        return args

    def feed(self):
        """Package and backup by the client itself; their ids."""
        firmware = self.json("firmware", "add", self.package)
        backup = self.json("import-dump", self.rack.dump(0), "--serial", self.label["serial"])
        return firmware["id"], backup["id"]

    def wait_ready(self):
        """The station answers before it has its portwatch."""
        end = time.monotonic() + 20
        while not any(c["check"] == "ready" and c["verdict"] == "ok" for c in self.ask_doctor()):
            self.assertLess(time.monotonic(), end)
            time.sleep(0.05)

    def ask_doctor(self):
        done = subprocess.run([bench.program("flashrack"), "doctor", "--json"], env=self.environment(),
                              capture_output=True, text=True)
        return json.loads(done.stdout)["checks"]


class AtTheStation(Station):
    def test_a_whole_restore(self):
        self.open()
        firmware, backup = self.feed()
        events = self.spawn("events", "--json", "--after", "0", name="events")
        follow = self.spawn(*self.order_args(), "--firmware", firmware, "--backup", backup, "--finish", "lk",
                            "--client-ref", "order 4711", "--follow", name="follow")
        follow.ready(r"Check the phone's numbers", WAIT)
        self.assertIn("flashrack answer 1", follow.tail())

        # while it waits: where a person is wanted is said everywhere
        self.assertRegex(self.out("jobs"), r"\n1 +prompt +S21 acceptance ")
        self.assertIn("DO NOW    Check the phone's numbers", self.out("job", "1"))
        self.assertRegex(self.out("ports"), r"\n- +prompt +android +1 +1 +usbip-")
        self.assertRegex(self.out("doctor"), r"INFO +jobs +job 1 on \S+ waits for a person")

        wrong = dict(imeis=[IMEI, self.label["imeis"][1]])
        self.refused("answer", "1", *self.numbers(**wrong), words=[IMEI, self.label["imeis"][0]])
        self.refused("answer", "1", "--serial", IMEI, words=["IMEI", "serial"])
        self.assertIn("succeeded", self.out("answer", "1", *self.numbers()))
        self.assertEqual(follow.child.wait(30), 0)

        with open(follow.log) as f:
            text = f.read()
        self.assertRegex(text, r"^\d\d:\d\d:\d\d  job 1: x5-restore of PDA")
        # the first prompt may have been answered before anybody followed
        self.assertIn("*** DO NOW: Unplug, then download mode once more ***", text)
        self.assertRegex(text, r"\d  S7 write identity\n")
        self.assertIn(f"IMEI 1 is {IMEI} on the phone", text)
        self.assertRegex(text, r"job 1 succeeded after .*\n$")
        self.assertNotIn("\033", text)
        self.assert_restored(self.station.job("1"))
        self.look_back(events)

    def look_back(self, events):
        """What the lists say after it, and the events that were printed."""
        self.assertEqual(self.json("job", "1", "--follow")["state"], "succeeded")
        self.assertRegex(self.out("job", "1"), r"\nS9 verify what was written +1 +done +")
        self.assertRegex(self.out("phones"), rf"\n1 +{self.label['serial']} +own +{', '.join(self.label['imeis'])} ")
        self.assertRegex(self.out("ports"), r"job 1 succeeded\n")
        self.assertEqual([b["origin"] for b in self.json("backups")["items"]], ["station", "import"])
        self.assertIn("station", [b["origin"] for b in self.json("backups", "--phone", "1")["items"]])
        by_serial = self.json("backups", "--serial", self.label["serial"])["items"]
        self.assertEqual([b["origin"] for b in by_serial], ["import"])
        self.assertEqual(self.json("jobs")["items"][0]["client_ref"], "order 4711")
        self.assertEqual(self.json("jobs", "--open")["items"], [])
        self.assertEqual(len(self.json("jobs", "--state", "succeeded", "--serial", self.label["serial"])["items"]), 1)
        self.assertEqual(self.json("phones", "--serial", "PDAXXXXXXXXXXXXX")["items"], [])
        self.refused("answer", "1", "--abort", words=["asks nothing"])
        self.refused("cancel", "1", words=["ended"])

        events.ready(r'"state": ?"succeeded"', 20)
        events.child.send_signal(signal.SIGINT)
        self.assertEqual(events.child.wait(10), 0)
        with open(events.log) as f:
            lines = [json.loads(line) for line in f]
        ids = [int(e["id"]) for e in lines if e["id"]]
        self.assertEqual(ids, sorted(set(ids)))
        self.assertLessEqual({"job", "log", "port", "phone", "prompt"}, {e["type"] for e in lines})
        self.assertIn("live", {"stored" if e["id"] else "live" for e in lines})

    def test_follow_ends_with_the_jobs_failure(self):
        self.open(settings=["battery_mv=3400"])
        self.feed()
        done = self.run_client(*self.order_args(), "--follow", status=1)
        self.assertRegex(done.stdout, r"job 1 failed after ")
        self.assertRegex(done.stderr, r"flashrack: job 1 failed: .*battery.*\n +Likely cause: the battery is too low\n"
                                      r" +.*Charge the phone")
        again = self.run_client("job", "1", "--follow", "--json", status=1)
        self.assertEqual(json.loads(again.stdout)["error"]["code"], "battery_low")
        self.assertIn("failed", again.stderr)
        self.assertRegex(self.out("job", "1"), r"\n  error +.*battery.*\n +Likely cause: the battery is too low\n"
                                               r" +.*Charge the phone")
        with urllib.request.urlopen(self.url + "/api/v1/jobs/1/report") as page:
            self.assertRegex(page.read().decode(), r"battery has .*\n.*Likely cause</th><td>the battery is too low<.*\n"
                                                   r".*Advice</th><td>.*Charge the phone")

    def test_abort_ends_the_job(self):
        self.open()
        self.feed()
        order = self.json(*self.order_args(), "--key", "one-order")
        self.assertEqual(self.json(*self.order_args(), "--key", "one-order")["id"], order["id"])
        follow = self.spawn("job", order["id"], "--follow", "--json")
        follow.ready(r"Check the phone's numbers", WAIT)
        self.run_client("answer", order["id"], "--abort")
        self.assertEqual(follow.child.wait(30), 1)
        self.assertEqual(self.json("job", order["id"])["error"]["code"], "numbers_differ")

    def test_numbers_entered_at_the_terminal(self):
        self.open(settings=("high_speed_bytes_per_s=500000",))  # five times that in QUICK time: its bar is seen to grow
        self.feed()
        terminal = Terminal(self, [bench.program("flashrack"), *self.order_args(), "--follow"])
        terminal.until(r"'abort' ends the job")
        seen = self.rack.screen(0)
        self.assertRegex(terminal.text, r"\[#+\.*\] +\d+ %")
        self.assertIn("\033[1;7m DO NOW: ", terminal.text)
        for question, line in ((r"Serial", IMEI), (r"not the serial[\s\S]*Serial", seen["serial"]),
                               (r"IMEI 1", seen["imeis"][1]), (r"IMEI 2", seen["imeis"][1]),
                               (r"Wi-Fi MAC", seen["wlan_mac"]), (r"Bluetooth MAC", seen["bt_mac"])):
            terminal.until(question)
            terminal.type(line)
        terminal.until(r"not accepted: [\s\S]*Serial")  # the two IMEIs were the same
        for line in (seen["serial"], *seen["imeis"], seen["wlan_mac"], seen["bt_mac"]):
            terminal.type(line)
        terminal.until(r"job 1 succeeded after")
        self.assertEqual(terminal.wait(), 0)
        self.assert_restored(self.station.job("1"))

    def test_is_it_this_phone_at_the_terminal(self):
        """A question that wants no numbers asks for none, and another shell is told how to answer it."""
        self.open()
        self.feed()
        port = self.rack.port(0)
        self.station.change_port(port, takes_work=True)
        args = self.order_args()
        del args[args.index("--port"):args.index("--port") + 2]
        terminal = Terminal(self, [bench.program("flashrack"), *args, "--follow"])
        terminal.until(r"Is the phone on port")
        terminal.until(r"ok or abort\?")
        self.assertNotIn("Serial (About)", terminal.text)
        follow = self.spawn("job", "1", "--follow")
        follow.ready(r"Answer: flashrack answer 1 \(ok\), or flashrack answer 1 --abort", WAIT)
        terminal.type("perhaps")
        terminal.until(r"perhaps\s+ok or abort\?")
        terminal.type("abort")
        job = self.station.wait("1", until=("waiting",))
        self.assertEqual(job["waits_for"]["what"], "phone")
        terminal.until(r"waiting: its phone has not shown up", 10)
        self.out("cancel", "1")
        self.assertEqual((terminal.wait(), follow.child.wait(30)), (1, 1))

    def test_a_job_without_its_phone(self):
        self.open(hands="none")
        self.out("ports")
        self.feed()
        told = self.out(*self.order_args())
        self.assertRegex(told, r"^job 1: restore of PDA\w+ on usbip-\S+, \w+\nNext: flashrack job 1 --follow\n$")
        self.station.wait("1", until=("prompt",))
        follow = self.spawn("job", "1", "--follow")
        follow.ready("Phone wanted in download mode")
        self.refused("answer", "1", "--abort", words=["done at the phone", "Volume Up"])
        port = self.rack.port(0)  # that only the order has named so far
        self.assertIn("label A1", self.out("port", "label", port, "--set", "A1"))
        for verb in ("pause", "resume", "cancel"):
            self.assertIn("job 1 will", self.out(verb, "1"))
        self.assertEqual(follow.child.wait(30), 1)
        self.assertEqual(self.json("job", "1")["state"], "cancelled")
        self.assertIn("flashrack: job 1 cancelled", follow.tail())
        # any recipe, and what the port is called
        self.assertRegex(self.out("order", "--recipe", "x5-identify", "--port", "A1"), r"^job 2: x5-identify on usbip-\S+, \w+\n")
        self.refused("order", "--recipe", "x5-identify", "--backup", "1", words=["writes no backup", "leave it out"])
        self.refused("order", "--recipe", "x5-upgrade", "--port", "A1", words=["serial"])
        self.assertEqual(self.json("port", "label", "A1", "--remove")["label"], None)
        self.refused("port", "label", "A1", "--remove", words=["no port 'A1'"])
        self.out("cancel", "2")

    def test_a_port_out_of_use_and_taking_work(self):
        self.open(hands="none")
        self.feed()
        port, orders = self.rack.port(0), self.order_args()
        self.out(*orders)
        self.station.wait("1", until=("prompt",))
        self.station.change_port(port, label="A1")  # that only the order has named so far
        self.refused("port", "disable", "Z9", words=["no port 'Z9'", "flashrack ports"])
        self.refused("port", "enable", "Z9", words=["no port 'Z9'"])
        self.refused("port", "takes-work", port + "9", words=[f"no port '{port}9'"])
        self.assertEqual(self.out("port", "takes-work", port), f"port {port} (A1): in use; takes work, also of jobs that name no port\n")
        self.assertRegex(self.out("ports"), rf"\nA1 +prompt .* {port} +takes work\n")
        self.assertRegex(self.out("ports", "--topology"), r"A1: prompt.*, takes work\n")
        self.assertEqual(self.out("port", "takes-work", "a1", "--off"), f"port {port} (A1): in use; only for jobs that name it\n")
        self.assertRegex(self.out("ports"), rf"\nA1 +prompt .* {port} +-\n")

        self.assertEqual(self.out("port", "disable", "A1"), f"port {port} (A1): out of use; its job goes on there\n")
        self.assertRegex(self.out("ports"), rf"\nA1 +prompt .* {port} +out of use after its job\n")
        self.assertRegex(self.out("ports", "--topology"), r"A1: prompt.*, out of use after its job\n")
        self.refused(*orders, words=["port A1 is disabled"])
        self.assertRegex(self.out("doctor"), rf"INFO +port +port A1 is out of use\n +-> flashrack port enable {port}\n")
        self.out("cancel", "1")
        self.station.wait("1")
        shown = self.json("port", "takes-work", "A1")
        self.assertEqual((shown["id"], shown["state"], shown["enabled"], shown["takes_work"]), (port, "disabled", False, True))
        self.assertEqual(self.out("port", "disable", port), f"port {port} (A1): out of use; it will take work when it is enabled\n")
        self.assertRegex(self.out("ports"), rf"\nA1 +disabled .* {port} +job 1 cancelled\n")
        self.refused(*orders, words=["port A1 is disabled"])
        self.out("port", "takes-work", "A1", "--off")
        self.assertEqual(self.out("port", "disable", "A1"), f"port {port} (A1): out of use\n")
        enabled = self.json("port", "enable", "A1")
        self.assertEqual((enabled["enabled"], enabled["takes_work"], enabled["label"]), (True, False, "A1"))
        self.assertNotIn("out of use", self.out("doctor"))
        self.out(*orders)
        self.out("cancel", "2")

    def test_interrupt_leaves_the_job_running(self):
        self.open(hands="none")
        self.feed()
        follow = self.spawn(*self.order_args(), "--follow")
        follow.ready("Phone wanted in download mode")
        follow.child.send_signal(signal.SIGINT)
        self.assertEqual(follow.child.wait(10), 1)
        self.assertIn("goes on without being watched", follow.tail())
        self.assertEqual(self.json("job", "1")["state"], "prompt")
        self.run_client("cancel", "1")

    def test_follow_survives_a_restart_of_the_station(self):
        self.open(hands="none")
        self.feed()
        follow = self.spawn(*self.order_args(), "--follow")
        follow.ready("Phone wanted in download mode")
        self.assertEqual(self.station.stop(), 0)
        follow.ready("does not answer")
        args = self.station.args
        args[args.index("--listen") + 1] = self.url.split("//")[1]
        self.station.start()
        end = time.monotonic() + 30  # the station takes the job over first
        while self.station.job("1")["state"] not in ("cancelled", "interrupted", "failed"):
            self.assertLess(time.monotonic(), end)
            subprocess.run([bench.program("flashrack"), "cancel", "1"], env=self.environment(), capture_output=True)
            time.sleep(0.1)
        self.assertEqual(follow.child.wait(60), 1)
        self.assertRegex(follow.tail(), rf"flashrack: job 1 {self.station.job('1')['state']}")

    def test_refusals(self):
        self.open(hands="none")
        serial, port = self.label["serial"], self.rack.port(0)
        self.refused("restore", "--port", port, "--serial", serial, words=["firmware"])
        self.feed()
        self.refused("restore", "--port", port, "--serial", IMEI, words=["IMEI", "serial"])
        self.refused("restore", "--port", "Z9", "--serial", serial, words=["no port 'Z9'"])
        self.refused("restore", "--port", port, "--serial", serial, "--imei", "123", words=["imei"])
        self.refused("restore", "--port", port, "--serial", serial, "--finish", "format", words=["finish"])
        self.refused("restore", "--port", port, "--serial", serial, "--firmware", "99", words=["99"])
        self.refused("restore", "--port", port, "--serial", "PDAZZZZZZZZZZZZZ", words=["backup"])
        self.refused("import-dump", self.rack.dump(0), "--serial", "PDAZZZZZZZZZZZZZ", words=[serial])
        self.refused("import-dump", os.path.join(self.dir, "none"), "--serial", serial, words=["none"])
        self.refused("import-dump", "none.bin", "--serial", serial, words=["none.bin"])
        self.refused("firmware", "add", "/etc", words=["import-dir"])
        self.refused("job", "99", words=["99"])
        self.refused("job", "99", "--follow", words=["99"])
        self.refused("job", "abc", words=["'abc' is no id"])
        with self.assertRaises(bench.ApiError) as refused:
            self.station.post("/backups/1/verify", {"all": True})  # takes no fields
        self.assertEqual(refused.exception.status, 422)
        self.refused("job", "../ports", words=["nothing at this address"])
        for verb in ("cancel", "pause", "resume", "answer"):
            self.refused(verb, "99", words=["99"])
        self.refused("jobs", "--state", "nice", words=["state"])
        self.assertEqual(self.json("jobs")["items"], [])

    def test_databases(self):
        self.open(hands="none")
        self.feed()
        self.assertIn("are whole", self.out("db", "check"))
        self.assertEqual(self.json("db", "check")["problems"], [])
        copy = self.json("db", "backup")
        self.assertEqual(os.path.dirname(copy["path"]), os.path.join(self.station.data, "copies"))
        named = os.path.join(self.station.data, "copies", "monday")
        self.assertIn("backups.db", self.out("db", "backup", "-o", named))
        self.assertEqual(sorted(os.listdir(named)), ["backups.db", "station.db"])
        self.refused("db", "backup", "-o", named, words=["not empty"])
        self.refused("db", "backup", "-o", os.path.join(self.dir, "monday"), words=["--copy-dir"])
        self.assert_damage_shown()
        self.station.stop()
        self.damage("station.db")
        log = os.path.join(self.dir, "damaged.log")
        with open(log, "wb") as out:
            status = subprocess.run(self.station.args, stdout=out, stderr=out, timeout=WAIT).returncode
        with open(log) as text:
            said = text.read()
        self.assertEqual(status, 3, said)
        self.assertIn("is damaged", said)
        self.go_back_to(named)
        self.station.start()
        self.url = self.station.url
        self.assertEqual(len(self.json("backups")["items"]), 1)

    def assert_damage_shown(self):
        """What a check finds while the station works is no secret of its log."""
        self.assertTrue(self.station.call("GET", "/readyz")["ok"])
        self.damage("backups.db")
        self.refused("db", "check", words=["backups.db: "])
        with self.assertRaises(bench.ApiError) as caught:
            self.station.call("GET", "/readyz")
        health = caught.exception.problem
        self.assertEqual((caught.exception.status, health["ok"], health["portwatch"]), (503, False, True))
        self.assertIn("backups.db: ", health["damage"])
        self.assertRegex(self.run_client("doctor", status=1).stdout, r"FAIL +ready +a database is damaged: backups.db: ")

    def damage(self, name):
        with contextlib.closing(sqlite3.connect(os.path.join(self.station.data, name))) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # the log would hide it
        with open(os.path.join(self.station.data, name), "r+b") as f:
            f.seek(4096)
            f.write(os.urandom(16 * 4096))

    def go_back_to(self, copy):
        """What the advice says."""
        for name in ("station.db", "backups.db"):
            shutil.copy(os.path.join(copy, name), os.path.join(self.station.data, name))
            for end in ("-wal", "-shm"):
                if os.path.exists(os.path.join(self.station.data, name + end)):
                    os.remove(os.path.join(self.station.data, name + end))

    def test_package_with_problems(self):
        self.open(hands="none")
        other = bench.make_package(os.path.join(self.dir, "other"), "--without", "lk_service.img")
        done = self.run_client("firmware", "add", other, status=1)
        self.assertIn("platform  MT6771", done.stdout)
        self.assertIn("lk_service.img", done.stderr)

    def test_empty_lists_say_what_to_do_next(self):
        self.open(hands="none")
        for command, words in (("jobs", "flashrack restore"), ("phones", "flashrack restore"),
                               ("backups", "flashrack import-dump"), ("firmware list", "flashrack firmware add")):
            self.assertIn(words, self.out(*command.split()))
            self.assertEqual(self.json(*command.split()), {"items": [], "next": None})
        self.assertIn("None fits", self.out("jobs", "--state", "failed"))
        self.wait_ready()
        doctor = self.json("doctor")
        self.assertTrue(doctor["ok"])
        found = {c["check"]: c["verdict"] for c in doctor["checks"]}
        self.assertEqual((found["station"], found["ready"], found["version"], found["firmware"]),
                         ("ok", "ok", "ok", "warn"))

    def test_failures_are_looked_up(self):
        self.open(hands="none")
        with open(os.path.join(bench.ROOT, "schema", "failures.json")) as f:
            catalogue = [{"seen_by": "station", **failure} for failure in json.load(f)["failures"]]
        self.assertEqual(self.json("failures"), {"items": catalogue, "next": None})
        table = self.out("failures")
        self.assertRegex(table, r"^ID +CLASS +CAUSE\nA1 +stop +no backup of this phone is known\n")
        self.assertEqual(len(re.findall(r"(?m)^[A-Z]\d+ ", table)), len(catalogue))
        # all words, wherever they stand, small or capital; the advice as a whole
        found = self.out("failures", "GOOGLE", "signs")
        self.assertEqual(found, "E6  stop  owner_lock  (only a person sees it)\n"
                                "  cause     the phone asks for the Google account that was used before\n"
                                "  advice    That is normal: the owner signs in. The lock is not touched here.\n")
        ids = lambda *words: [f["id"] for f in self.json("failures", *words)["items"]]  # noqa: E731
        self.assertEqual(ids("e1"), ["E1"], "an id is meant as a whole")
        self.assertEqual(ids("owner_lock"), ["E6"])
        self.assertEqual(ids("nvram warning"), ["E10"])
        self.assertNotIn("person", self.out("failures", "D13"))
        longest = max(catalogue, key=lambda f: len(f["advice"]))
        self.assertIn(longest["advice"], self.out("failures", longest["code"]))
        self.refused("failures", "google", "nvram", words=["all of this in it: google nvram", "'flashrack failures' lists"])
        self.refused("failures", "\033[2J", words=["this in it: ?[2J"])
        self.assertEqual(self.json("failures", "E99", status=1), {"items": [], "next": None})
        with self.assertRaises(bench.ApiError) as refused:
            self.station.get("/failures?limit=1")  # the list is never cut
        self.assertEqual(refused.exception.status, 422)

    def test_a_catalogue_that_is_not_whole_is_not_taken(self):
        """Found at the start, not when the first phone fails so; E6 is what no program reports."""
        self.open(hands="none")
        self.station.stop()
        schema = os.path.join(self.dir, "schema")
        shutil.copytree(os.path.join(bench.ROOT, "schema"), schema)
        path = os.path.join(schema, "failures.json")
        with open(path) as f:
            whole = json.load(f)["failures"]
        bare = [{k: v for k, v in failure.items() if failure["id"] != "E6" or k != "cause"} for failure in whole]
        for failures, words in ((bare, "failure E6 lacks"), (whole[:9], "there is no failure"), ([], "there is no failure")):
            with open(path, "w") as f:
                json.dump({"failures": failures}, f)
            done = subprocess.run([*self.station.args, "--schema", schema], capture_output=True, text=True, timeout=WAIT)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(words, done.stderr)
            self.assertIn("take the file that came with this program", done.stderr)

    def test_lists_are_read_page_by_page(self):
        self.open(hands="none")
        self.feed()
        for i in range(5):
            self.json(*self.order_args(), "--key", f"order-{i}")
        ids = [j["id"] for j in self.json("jobs", "--open")["items"]]
        self.assertEqual(ids, ["1", "2", "3", "4", "5"])
        two = self.json("jobs", "--limit", "2")
        self.assertEqual([j["id"] for j in two["items"]], ["5", "4"])
        self.assertTrue(two["next"])
        for job_id in ids:
            self.run_client("cancel", job_id)


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, test, args):
        self.text, self.seen = "", 0
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execve(args[0], args, dict(test.environment(), TERM="xterm"))
        self.status = None
        test.addCleanup(self.close)

    def until(self, pattern, seconds=WAIT):
        """Reads until the pattern stands in what came since the match before."""
        end = time.monotonic() + seconds
        while True:
            match = re.search(pattern, self.text[self.seen:])
            if match:
                self.seen += match.end()
                return
            if time.monotonic() > end:
                raise TimeoutError(f"no '{pattern}' in:\n{self.text}")
            if select.select([self.fd], [], [], 0.5)[0]:
                try:
                    self.text += os.read(self.fd, 65536).decode(errors="replace")
                except OSError:
                    raise EOFError(f"ended without '{pattern}':\n{self.text}") from None

    def type(self, line):
        os.write(self.fd, line.encode() + b"\n")

    def wait(self):
        if self.status is None:
            self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.status

    def close(self):
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            self.wait()
        os.close(self.fd)


class Peer(Client):
    """A peer that answers what the test tells it to: answers[path] is a list of functions, the last one stays."""

    def setUp(self):
        self.workspace = bench.Workspace("flashrack-client")
        self.dir = self.workspace.__enter__()
        self.addCleanup(self.workspace.__exit__)
        self.seen = []
        self.answers = {}
        test = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                path = self.path.split("?")[0]
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                test.seen.append((self.command, self.path, dict(self.headers), body))
                todo = test.answers.get(path) or [lambda h: test.reply(h, 404, b"{}")]
                (todo.pop(0) if len(todo) > 1 else todo[0])(self)
                self.close_connection = True

            do_GET = do_POST = answer

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)

    @staticmethod
    def reply(handler, status, body, kind="application/json"):
        handler.send_response(status)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    @staticmethod
    def stream(*pieces):
        """A chunked event stream of these pieces, which then breaks. A piece may be a function that waits for its time."""
        def answer(handler):
            handler.send_response(200)
            handler.send_header("Content-Type", "text/event-stream")
            handler.send_header("Transfer-Encoding", "chunked")
            handler.end_headers()
            for piece in pieces:
                data = (piece() if callable(piece) else piece).encode()
                handler.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
                handler.wfile.flush()
        return answer

    def headers_of(self, path, name):
        return [h.get(name) for _, p, h, _ in self.seen if p.split("?")[0] == path]

    def test_stream_resumes_behind_the_last_stored_event(self):
        log = 'event: log\ndata: {"job_id":"1","level":"info","step":"S3","message":"m%d"}\n\n'
        self.answers["/api/v1/events"] = [
            # an event in pieces; one without an id; and one that breaks off behind its id
            self.stream("retry: 9\n\nid: 5\nevent: hello\ndata: {}\n\nid: 6\nev", "ent: log\r\ndata: {\"job_id\":"
                        "\"1\",\"message\":\"first\"}\r", "\n\r\n: comment\n" + log % 2 + "id: 7\n"),
            self.stream("event: hello\ndata: {}\n\n" + "id: 7\n" + log % 3),
            lambda h: self.reply(h, 403, json.dumps({"detail": "not for you", "code": "refused",
                                                    "advice": "Ask."}).encode()),
        ]
        done = self.run_client("events", "--json", status=1)
        self.assertEqual([(e["id"], e["data"]["message"]) for e in map(json.loads, done.stdout.splitlines())],
                         [("6", "first"), (None, "m2"), ("7", "m3")])
        self.assertEqual(self.headers_of("/api/v1/events", "Last-Event-ID"), [None, "6", "7"])
        self.assertIn("trying again", done.stderr)
        self.assertIn("flashrack: not for you\n           Ask.", done.stderr)

    def test_an_endless_event_is_dropped(self):
        self.answers["/api/v1/events"] = [
            self.stream("id: 5\nevent: hello\ndata: {}\n\n", "data: " + "x" * (2 << 20)),
            lambda h: self.reply(h, 404, b"{}")]
        done = self.run_client("events", status=1)
        self.assertEqual(done.stdout, "")
        self.assertIn("Is this the address of a Flashrack station?", done.stderr)

    def test_order_whose_answer_is_lost_stays_one_order(self):
        def lost(handler):
            handler.connection.shutdown(socket.SHUT_RDWR)
        job = json.dumps({"id": "1", "state": "queued", "serial": "S", "port": "P"}).encode()
        self.answers["/api/v1/jobs"] = [lost, lambda h: self.reply(h, 201, job)]
        self.assertEqual(self.json("restore", "--port", "P", "--serial", "S")["id"], "1")
        keys = self.headers_of("/api/v1/jobs", "Idempotency-Key")
        self.assertEqual(len(keys), 2)
        self.assertEqual(keys[0], keys[1])
        self.json("restore", "--port", "P", "--serial", "S")
        self.assertNotEqual(self.headers_of("/api/v1/jobs", "Idempotency-Key")[2], keys[0])

    def test_an_answered_question_does_not_come_up_again(self):
        """What a station refuses is asked again; and the stream may be behind what the client has read."""
        taken, over = threading.Event(), threading.Event()

        def job(number, state="prompt"):
            prompt = {"id": f"S4-{number}", "step": "S4 look", "text": f"Question {number}", "todo": "Look.",
                      "answered_by": "person", "wants": "confirmation"}
            return json.dumps({"id": "1", "state": state, "step": "S4 look", "prompt": prompt if state == "prompt" else None})

        def held(event, *texts):
            self.assertTrue(event.wait(WAIT))
            return "".join(f"event: job\ndata: {text}\n\n" for text in texts)

        def accept(event):
            def answer(handler):
                event.set()
                self.reply(handler, 200, job(1).encode())
            return answer
        now = [job(1)]
        self.answers["/api/v1/jobs/1"] = [lambda h: self.reply(h, 200, now[0].encode())]
        self.answers["/api/v1/jobs/1/answer"] = [
            lambda h: self.reply(h, 503, b'{"detail":"not now","code":"busy"}'), accept(taken), accept(over)]
        self.answers["/api/v1/events"] = [self.stream(
            "id: 1\nevent: hello\ndata: {}\n\n", lambda: held(taken, job(1), job(2)), lambda: held(over, job(2, "succeeded")))]
        terminal = Terminal(self, [bench.program("flashrack"), "job", "1", "--follow"])
        terminal.until(r"DO NOW: Question 1[\s\S]*ok or abort\?")
        terminal.type("ok")
        terminal.until(r"not accepted: not now[\s\S]*ok or abort\?")
        now[0] = job(2)
        terminal.type("ok")
        terminal.until(r"not accepted: Question 2[\s\S]*DO NOW: Question 2[\s\S]*ok or abort\?")
        now[0] = job(2, "succeeded")
        terminal.type("ok")
        terminal.until(r"job 1 succeeded")
        self.assertEqual(terminal.wait(), 0)
        self.assertEqual(terminal.text.count("DO NOW: Question 1"), 1)
        self.assertEqual(terminal.text.count("DO NOW: Question 2"), 1)

    def job_text(self, step="S4 look", state="running", prompt=None, by="person", **more):
        """A job as GET and the stream give it; its prompt's id is its text."""
        asks = prompt and {"id": prompt, "step": step, "text": prompt, "todo": "Look.", "answered_by": by, **more}
        return json.dumps({"id": "1", "state": state, "step": step, "prompt": asks})

    def answer_job(self, before, *after):
        """The job when it is asked, and as it is read after its answer was taken."""
        self.seen.clear()
        self.answers["/api/v1/jobs/1"] = [lambda h, t=text: self.reply(h, 200, t.encode()) for text in (before, *after)]
        self.answers["/api/v1/jobs/1/answer"] = [lambda h: self.reply(h, 200, before.encode())]

    def test_an_answer_counts_once_it_was_taken(self):
        """Whatever the job does then: waits in the queue, in the same step, or asks something else."""
        confirm, numbers = {"wants": "confirmation"}, {"wants": "numbers"}
        question = self.job_text(state="prompt", prompt="Is it this one?", **confirm)
        for after in (self.job_text(state="waiting"), self.job_text(), self.job_text("S5 backup")):
            self.answer_job(question, question, after)
            begun = time.monotonic()
            self.assertRegex(self.out("answer", "1", "--abort"), r"^job 1 took the answer; now \w+\n$")
            self.assertLess(time.monotonic() - begun, 10)
        asked = self.job_text("S21 acceptance", "prompt", "Numbers", **numbers)
        between = self.job_text("S21 acceptance")
        for after in (self.job_text("S22 unplug", "prompt", "Unplug it", by="usb"), self.job_text("S21 acceptance", "paused"),
                      self.job_text("S21 acceptance", "prompt", "Replug it", by="usb")):
            self.answer_job(asked, asked, between, after)
            self.assertIn("took the answer", self.out("answer", "1", "--serial", "S"))
        self.answer_job(asked, asked, between, self.job_text("S21 acceptance", "prompt", "IMEI 1 differs", **numbers))
        self.refused("answer", "1", "--serial", "S", words=["IMEI 1 differs"])

    def test_numbers_are_no_yes(self):
        self.answer_job(self.job_text(state="prompt", prompt="Is it this one?", wants="confirmation"))
        for numbers in (["--serial", "S"], ["--imei", IMEI], ["--wlan-mac", "M"], ["--bt-mac", "M", "--abort"]):
            self.refused("answer", "1", *numbers, words=["no numbers", "Is it this one?"])
        self.assertEqual([method for method, *_ in self.seen], ["GET"] * 4)

    def follow(self, reads, *streams, status=0):
        """Output of a followed job: `reads` are what GET gives one after the other, None breaks off."""
        def read(text):
            return lambda h: self.reply(h, 200, text.encode()) if text else h.connection.shutdown(socket.SHUT_RDWR)
        self.answers["/api/v1/jobs/1"] = [read(text) for text in reads]
        self.answers["/api/v1/events"] = [self.stream(*pieces) for pieces in streams]
        text = self.run_client("job", "1", "--follow", status=status).stdout
        self.assertEqual(len(self.headers_of("/api/v1/events", "Accept")), len(streams))
        return text

    @staticmethod
    def stays_open():
        """The last piece of a stream that does not break before the client has gone."""
        time.sleep(15)
        return ": still here\n"

    def job_event(self, text, number=None):
        return (f"id: {number}\n" if number else "") + f"event: job\ndata: {text}\n\n"

    def test_the_end_is_read_again_when_nothing_came(self):
        """Nothing more is told of a job that has ended."""
        hello, beat = "id: 5\nevent: hello\ndata: {\"cursor\":\"5\"}\n\n", "event: beat\ndata: {}\n\n"
        over = self.job_text(state="succeeded")
        self.follow([self.job_text(), self.job_text(), None, over],
                    [hello, self.job_event(over, 6), lambda: time.sleep(0.5) or beat, self.stays_open])

    def test_an_end_that_is_not_stored_yet(self):
        """The stream tells it first; what is read then is older, and its question over."""
        asked = self.job_text(state="prompt", prompt="Question")
        over = self.job_text(state="failed")
        text = self.follow([asked, asked, asked, over], ["id: 5\nevent: hello\ndata: {\"cursor\":\"5\"}\n\n",
                           self.job_event(over), self.job_event(over, 6), self.stays_open], status=1)
        self.assertEqual(text.count("DO NOW: Question"), 1)

    def test_after_a_break_nobody_is_told_to_do_what_is_over(self):
        """The stream gives again what was missed; of that only the job as it is now says what to do."""
        hello = 'event: hello\ndata: {"cursor":"%d","newest":"%d"}\n\n'
        log = 'id: 8\nevent: log\ndata: {"job_id":"1","level":"info","message":"saved"}\n\n'
        now = self.job_text("S21 acceptance", "prompt", "New question")
        over = self.job_text("S21 acceptance", "succeeded")
        text = self.follow(
            [self.job_text(), self.job_text(), now, now, over],
            ["id: 5\n" + hello % (5, 5), self.job_event(self.job_text("S4 look", "prompt", "First question"), 6)],
            [hello % (6, 10), self.job_event(self.job_text("S5 backup"), 7), log,
             self.job_event(self.job_text("S6 unplug", "prompt", "Old question"), 9), "id: 10\nevent: port\ndata: {}\n\n",
             self.job_event(now, 11), self.job_event(over, 12), self.stays_open])
        self.assertNotIn("Old question", text)
        self.assertEqual(text.count("DO NOW: First question"), 1)
        self.assertEqual(text.count("DO NOW: New question"), 1)
        self.assertRegex(text, r"(?s)trying again.*S5 backup.*saved.*S6 unplug.*S21 acceptance.*DO NOW: New question")

    def test_token_and_host_are_sent(self):
        self.answers["/rack7/api/v1/ports"] = [lambda h: self.reply(h, 200, b'{"items":[],"next":null}')]
        self.run_client("ports", "--server", self.url + "/rack7/", "--token", "secret")
        _, _, headers, _ = self.seen[-1]
        self.assertEqual(headers["Authorization"], "Bearer secret")
        self.assertEqual(headers["Host"], self.url.split("//")[1])

    def test_answers_that_are_no_stations(self):
        for body in (b"", b"<html>", b"[]", b"{" * 100000):
            self.answers["/api/v1/ports"] = [lambda h, b=body: self.reply(h, 200, b)]
            self.refused("ports", words=["answered 200", "Flashrack station"])
        self.answers["/api/v1/ports"] = [lambda h: self.reply(h, 502, b"Bad gateway", "text/plain")]
        self.refused("ports", words=["answered 502"])
        self.answers["/api/v1/ports"] = [lambda h: h.connection.shutdown(socket.SHUT_RDWR)]
        self.refused("ports", words=["without an answer"])
        done = self.run_client("doctor", status=1)
        self.assertRegex(done.stdout, r"FAIL +station +what answers there is not a Flashrack station")

    def test_what_a_station_sends_cannot_drive_the_terminal(self):
        port = {"id": "usbip-1", "label": "\033[2J", "state": "empty", "mode": "none", "phone_id": None,
                "job_id": None, "trouble": "\033]0;x\007"}
        body = json.dumps({"items": [port], "next": None}).encode()
        self.answers["/api/v1/ports"] = [lambda h: self.reply(h, 200, body)]
        text = self.out("ports")
        self.assertNotIn("\033", text)
        self.assertIn("?[2J", text)

    def test_an_error_of_an_older_station_has_no_cause(self):
        job = {"id": "1", "state": "failed", "error": {"code": "link_error", "message": "gone", "advice": "Another cable."}}
        self.answers["/api/v1/jobs/1"] = [lambda h: self.reply(h, 200, json.dumps(job).encode())]
        self.assertRegex(self.out("job", "1"), r"\n  error +gone\n +Another cable\.\n$")

    def test_a_station_without_failures(self):
        self.refused("failures", words=["404"])  # it is older than they are
        self.answers["/api/v1/failures"] = [lambda h: self.reply(h, 200, b'{"items":[],"next":null}')]
        self.refused("failures", words=["catalogue is empty", "--schema"])

    def test_doctor_says_what_is_not_ready(self):
        self.answers["/healthz"] = [lambda h: self.reply(h, 200, b"ok\n", "text/plain")]
        self.answers["/readyz"] = [lambda h: self.reply(h, 503, b'{"ok":false,"portwatch":false,"jobs":0}')]
        ports = {"items": [{"id": "usbip-1", "label": "A1", "state": "fault", "trouble": "over-current"},
                           {"id": "usbip-2", "label": "B 2", "state": "disabled", "trouble": None}], "next": None}
        self.answers["/api/v1/ports"] = [lambda h: self.reply(h, 200, json.dumps(ports).encode())]
        text = self.run_client("doctor", status=1).stdout
        self.assertRegex(text, r"FAIL +ready +flashrack-portwatch does not run")
        self.assertRegex(text, r"-> systemctl restart flashrack-portwatch")
        self.assertRegex(text, r"FAIL +port +port A1: over-current")
        self.assertRegex(text, r"INFO +port +port B 2 is out of use\n +-> flashrack port enable usbip-2\n")
        self.assertRegex(text, r"FAIL +firmware ")

    def test_doctor_says_how_far_sealing_is(self):
        self.answers["/healthz"] = [lambda h: self.reply(h, 200, b"ok\n", "text/plain")]
        for sealing, words in (({"chunks_left": 0, "trouble": None}, r"OK +sealing +all backups are sealed"),
                               ({"chunks_left": None, "trouble": None}, r"INFO +sealing +some chunks"),
                               ({"chunks_left": 17, "trouble": None}, r"INFO +sealing +17 chunks .* being sealed"),
                               ({"chunks_left": 3, "trouble": "disk full"}, r"WARN +sealing +3 chunks .*: disk full")):
            ready = {"ok": True, "portwatch": True, "jobs": 0, "sealing": sealing}
            self.answers["/readyz"] = [lambda h: self.reply(h, 200, json.dumps(ready).encode())]
            self.assertRegex(self.run_client("doctor", status=1).stdout, words)


COMMANDS = ("ports", "port label", "port enable", "port disable", "port takes-work", "order", "phones", "jobs", "job", "restore", "answer",
            "pause", "resume", "cancel", "backups", "import-dump", "firmware list", "firmware add", "failures", "events", "doctor")


class NoStation(Client):
    def setUp(self):
        self.url = f"http://127.0.0.1:{free_port()}"

    def test_nobody_there(self):
        self.refused("ports", words=["no station answers at " + self.url, "refused", "./run serve"])
        self.refused("restore", "--port", "A1", "--serial", "S", "--follow", words=["no station"])
        done = self.run_client("doctor", status=1)
        self.assertRegex(done.stdout, r"FAIL +station +no station answers")
        self.assertFalse(self.json("doctor", status=1)["ok"])

    def test_addresses(self):
        for address in ("ftp://x", "http://", "http://a?b=c", "http://a:b:c"):
            self.refused("ports", "--server", address, words=["address"])
        self.refused("ports", "--server", "http://no-such-host.invalid", words=["no-such-host.invalid"])
        self.refused("ports", "--server", self.url.replace("http://", "https://"), "--tls-ca", "/dev/null",
                     words=["certificates"])

    def test_usage_needs_no_station(self):
        for args in (["job"], ["job", "1", "2"], ["restore"], ["restore", "--port", "A1"], ["order", "--port", "A1"],
                     ["port", "label", "A1"], ["port", "label", "A1", "--set", "A2", "--remove"], ["port", "enable"],
                     ["port", "disable", "A1", "A2"], ["port", "disable", "A1", "--off"], ["port", "takes-work"], ["jobs", "--limit", "0"],
                     ["jobs", "--limit", "x"], ["import-dump", "F"], ["import-dump", "--serial", "S"],
                     ["firmware", "add"], ["events", "--after", "x"], ["answer"], ["ports", "--nonsense"], ["cancel"],
                     ["answer", "1"] + ["--imei", IMEI] * 9):
            done = self.run_client(*args, status=2)
            self.assertIn("usage: flashrack", done.stderr)

    def test_every_command_has_help(self):
        everything = self.out("--help")
        for command in COMMANDS:
            text = self.out(*command.split(), "--help")
            self.assertIn(f"usage: flashrack {command} ", text)
            self.assertIn("FLASHRACK_SERVER", text)
            self.assertIn(f"\n  {command} ", everything)

    def complete(self, *words):
        script = ('. "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _flashrack; '
                  'printf "%s\\n" "${COMPREPLY[@]}"')
        done = subprocess.run(["bash", "-c", script, "complete", os.path.join(DIST, "flashrack.bash"),
                               bench.program("flashrack"), *words], capture_output=True, text=True, check=True)
        return done.stdout.split()

    def test_completion(self):
        first = self.complete("")
        self.assertEqual({c.split()[0] for c in COMMANDS} - set(first), set())
        self.assertEqual(self.complete("resu"), ["resume"])
        self.assertLessEqual({"add", "list", "check"}, set(self.complete("firmware", "")))
        self.assertLessEqual({"label", "enable", "disable", "takes-work"}, set(self.complete("port", "")))
        self.assertIn("--off", self.complete("port", "takes-work", "A1", "--o"))
        self.assertLessEqual({"--port", "--serial", "--follow", "--json"}, set(self.complete("restore", "--")))
        self.assertEqual(self.complete("restore", "--finish", "u"), ["upgrade"])
        self.assertIn("--token", self.complete("firmware", "add", "--"))

    def test_man_page_names_every_command(self):
        with open(os.path.join(DIST, "flashrack.1")) as f:
            page = f.read().replace("\\-", "-")
        for command in COMMANDS:
            self.assertRegex(page, rf"(?m)^\.B .*\b{command}\b|\\fB{command}\b")


class Tls(Station):
    def environment(self):
        return dict(super().environment(), FLASHRACK_TLS_CA=self.trusted)

    def test_certificate_is_checked(self):
        self.trusted, key = os.path.join(self.dir, "cert.pem"), os.path.join(self.dir, "key.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-keyout", key, "-out", self.trusted, "-days", "2", "-subj", "/CN=station", "-addext",
                        "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
        self.open(hands="none", station_extra=["--tls-cert", self.trusted, "--tls-key", key])
        self.assertTrue(self.url.startswith("https://"))
        self.feed()
        follow = self.spawn(*self.order_args(), "--follow")
        follow.ready("Phone wanted in download mode")
        by_name = self.url.replace("127.0.0.1", "localhost")
        self.refused("ports", "--server", by_name, words=["not trusted", "hostname"])
        self.refused("ports", "--server", self.url.replace("https", "http"), words=["http or https"])
        self.run_client("cancel", "1")
        self.assertEqual(follow.child.wait(30), 1)
        self.assertIn("job 1 cancelled", follow.tail())
        self.trusted = ""  # only what the system trusts
        self.refused("ports", words=["not trusted", "--tls-ca"])
        self.refused("events", words=["not trusted"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
