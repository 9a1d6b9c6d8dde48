#!/usr/bin/python3
"""The station's own life: workers that die in each phase, portwatch restarted, flashrackd ended in the middle of a
job, queues, descriptors. Usage: station_test.py [CASE...]; without one all cases run."""
import concurrent.futures
import fcntl
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import unittest
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import rack as bench  # noqa: E402
from restore_test import Bench, descriptors  # noqa: E402


class EarlierJob(Bench):
    profile = "mini"  # an LK longer than the part that it is recognised by

    def test_service_lk_left_in_the_other_slot(self):
        """A job before this one ended with the service LK in slot b; this one works on slot a and cleans both."""
        self.open(hands="none")
        lk_b = bench.partition(self.rack.dump(0), "lk_b")
        self.rack.stop()
        self.put(lk_b, "lk_service.img", cut=-700)  # its write was cut near the end
        self.station.stop()
        self.rack.args[self.rack.args.index("--hands") + 1] = "auto"
        self.rack.start()
        self.station.args[self.station.args.index("--usbip") + 1] = self.rack.address
        self.station.start()
        self.prepare()
        job = self.restore(finish="lk")
        self.assertEqual(job["state"], "succeeded", job.get("error"))
        self.assertEqual({w["partition"] for w in job["result"]["writes"] if w["step"] == "S18w"}, {"lk_a", "lk_b"})
        self.assert_commercial(lk_b)


def children(pid, name):
    """Processes with this (cut) name whose parent is pid."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/stat") as f:
                stat = f.read()
        except OSError:
            continue  # it ended meanwhile
        comm, rest = stat[stat.index("(") + 1:stat.rindex(")")], stat[stat.rindex(")") + 2:].split()
        if comm == name[:15] and int(rest[1]) == pid and rest[0] != "Z":
            found.append(int(entry))
    return found


class Processes(Bench):
    """What the cases below need to know of the station's processes and files."""

    def until(self, true, what, seconds=30):
        end = time.monotonic() + seconds
        while not true():
            if time.monotonic() > end:
                self.fail(f"never: {what}")
            time.sleep(0.05)

    def pid(self):
        return self.station.process.child.pid

    def worker(self, job):
        """The process that does this job: the one with its spool."""
        spool = f"job-{job['id']}.spool"
        for pid in children(self.pid(), "flashrack-worker"):
            if any(spool in target for target in descriptors(pid).values()):
                return pid
        self.fail("no worker has the job's spool")
        return None

    def fill_disk(self):
        """From now on the station can store nothing: none of its files may be longer than a page."""
        limits = resource.prlimit(self.pid(), resource.RLIMIT_FSIZE)
        resource.prlimit(self.pid(), resource.RLIMIT_FSIZE, (4096, limits[1]))

    def make_room(self):
        for pid in (self.pid(), *children(self.pid(), "flashrack-worker")):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def spools(self):
        folder = os.path.join(self.station.data, "spool")
        return sorted(os.listdir(folder)) if os.path.isdir(folder) else []

    def restart(self, with_signal=signal.SIGTERM):
        """Ends flashrackd and starts it again on the same data."""
        self.station.process.child.send_signal(with_signal)
        status = self.station.process.child.wait(30)
        if with_signal == signal.SIGTERM:
            self.assertEqual(status, 0, self.station.process.tail(40))
        self.station.start()

    def assert_interrupted(self, job, step):
        self.assertEqual(job["state"], "interrupted", job)
        self.assertEqual(job["error"]["code"], "station_interrupted")
        self.assertIn(step, job["error"]["message"])
        self.assertTrue(job["error"]["advice"])

    def assert_port_works(self):
        """The next job on the port goes through, and no spool stays behind."""
        self.assert_restored(self.restore())
        self.until(lambda: self.spools() == [], f"spool files go: {self.spools()}")


class Lifetime(Processes):
    """Ends of processes in each phase; afterwards the port works and the phone can be restored."""
    profile = "mini"  # each step lasts long enough to be met in it

    def kill_worker(self, step, state="running", **rack):
        self.open(**rack)
        self.prepare()
        job = self.station.wait(self.order()["id"], until=(state,), step=step, seconds=60)
        os.kill(self.worker(job), signal.SIGKILL)
        job = self.station.wait(job["id"], seconds=20)
        self.assert_interrupted(job, step)
        self.off()  # as the advice says
        self.assert_port_works()

    def test_worker_killed_before_the_phone_came(self):
        self.open(hands="none")
        self.prepare()
        job = self.station.wait(self.order()["id"], until=("prompt",), step="S3")
        os.kill(self.worker(job), signal.SIGKILL)
        self.assert_interrupted(self.station.wait(job["id"], seconds=20), "S3")
        self.until(lambda: self.spools() == [], "spool files go")
        port = self.station.get("/ports")["items"][0]
        self.assertIsNone(port["job_id"])

    def test_worker_killed_in_the_backup(self):
        self.kill_worker("S5")

    def test_worker_killed_while_writing_identity(self):
        self.kill_worker("S7")

    def test_worker_killed_with_the_service_lk_in_place(self):
        self.kill_worker("S10")

    def test_worker_hangs(self):
        self.open(hands="none")
        self.prepare()
        job = self.station.wait(self.order()["id"], until=("prompt",), step="S3")
        os.kill(self.worker(job), signal.SIGSTOP)
        job = self.station.wait(job["id"], seconds=40)
        self.assert_interrupted(job, "hung")

    def test_portwatch_killed_while_waiting(self):
        self.open(hands="none")
        self.prepare()
        job = self.station.wait(self.order()["id"], until=("prompt",), step="S3")
        old = children(self.pid(), "flashrack-portwatch")
        os.kill(old[0], signal.SIGKILL)
        self.until(lambda: children(self.pid(), "flashrack-portwatch") not in ([], old), "another portwatch")
        self.download_mode()
        self.station.wait(job["id"], until=("running",), step="S4")
        self.rack.control(0, "release", keys=["vol_up", "vol_down"])
        job = self.station.wait(job["id"], until=("prompt",), step="S17", seconds=90)
        self.assertEqual(job["state"], "prompt", job.get("error"))

    def test_portwatch_does_not_end(self):
        """As in a call of the kernel that does not come back: the station ends without it."""
        self.open(hands="none")
        self.station.process.ready("portwatch is there")
        watch = children(self.pid(), "flashrack-portwatch")[0]
        os.kill(watch, signal.SIGSTOP)
        self.stop_station()
        self.assertFalse(os.path.exists(f"/proc/{watch}"))

    def test_portwatch_killed_in_the_backup(self):
        self.open()
        self.prepare()
        job = self.order()
        acceptor = bench.Acceptor(self.station, self.rack, {job["id"]: 0})
        acceptor.start()
        self.station.wait(job["id"], until=("running",), step="S5", seconds=60)
        os.kill(children(self.pid(), "flashrack-portwatch")[0], signal.SIGKILL)
        self.assert_restored(acceptor.finish_job(job["id"], 150))

    def station_ends(self, with_signal):
        self.open(phones=2)
        self.prepare()
        job = self.order()
        waiting = self.order()
        self.station.wait(job["id"], until=("running",), step="S5", seconds=60)
        self.restart(with_signal)
        self.until(lambda: self.station.job(job["id"])["run_count"] >= 2, "the job goes on")  # resume_test.py: to its end
        self.assertIn(self.station.job(waiting["id"])["state"], ("queued", "waiting"))
        steps = [s for s in self.station.job(job["id"])["steps"] if s["run"] == 1]
        self.assertNotIn("running", {step["state"] for step in steps}, steps)
        self.station.post(f"/jobs/{job['id']}/cancel")
        self.assertEqual(self.station.wait(job["id"], seconds=30)["state"], "cancelled")
        self.rack.control(0, "unplug")
        acceptor = bench.Acceptor(self.station, self.rack, {waiting["id"]: 0})
        acceptor.start()
        self.assert_restored(acceptor.finish_job(waiting["id"], 150))
        self.until(lambda: self.spools() == [], f"spool files go: {self.spools()}")

    def test_station_ended_in_the_backup(self):
        self.station_ends(signal.SIGTERM)

    def test_station_killed_in_the_backup(self):
        self.station_ends(signal.SIGKILL)


class InBetween(Processes):
    """A person is faster than the station, which takes up what a former process left."""

    def test_cancel_waits_until_the_job_is_taken_up(self):
        self.open(hands="none")
        self.prepare()
        job = self.station.wait(self.order()["id"], until=("prompt",), step="S3")
        pid = self.worker(job)
        self.station.process.child.kill()
        self.station.process.child.wait(30)
        self.until(lambda: not os.path.exists(f"/proc/{pid}"), "its worker ends")
        # what a worker of before that is still in its step does: it holds the spool
        with open(os.path.join(self.station.data, "spool", f"job-{job['id']}.spool"), "rb") as spool, \
                concurrent.futures.ThreadPoolExecutor(1) as threads:
            fcntl.flock(spool, fcntl.LOCK_EX)

            def cancel():
                answer = threads.submit(self.station.post, f"/jobs/{job['id']}/cancel")
                self.assertFalse(concurrent.futures.wait([answer], timeout=0.5).done)
                return answer

            self.station.start()
            answer = cancel()
            self.stop_station()  # it does not wait for this
            self.assertIsNotNone(answer.exception(30))
            self.station.start()
            answer = cancel()
            fcntl.flock(spool, fcntl.LOCK_UN)
            answer.result(30)
        self.assertEqual(self.station.wait(job["id"])["state"], "cancelled")  # its worker may have been there just before
        self.until(lambda: self.spools() == [], f"spool files go: {self.spools()}")


class Laws(Bench):
    """A recipe is data that anybody may write; none of these may hurt a phone. Each is refused twice: by the station,
    which looks at recipe and plan before it takes an order, and by gate and session of the worker, for which a
    station that takes everything (flashrackd-unchecked) gives it the plan all the same."""

    def bend(self, change, static, **rack):
        """A station whose recipe is the shipped one with a change, which it refuses with the word `static` (None: only
        the phone tells); then one that refuses nothing."""
        schema = os.path.join(self.dir, "schema")
        shutil.copytree(os.path.join(bench.ROOT, "schema"), schema)
        path = os.path.join(schema, "recipes", "x5-restore.json")
        with open(path) as f:
            recipe = json.load(f)
        change(recipe)
        with open(path, "w") as f:
            json.dump(recipe, f)
        self.open(station_extra=["--schema", schema], **rack)
        self.prepare()
        if static is None:
            return
        with self.assertRaises(bench.ApiError) as caught:
            self.order()
        self.assertEqual(caught.exception.status, 409)
        self.assertIn("recipe step", caught.exception.detail)
        self.assertIn(static, caught.exception.detail)
        self.assertEqual(self.station.get("/jobs")["items"], [])
        self.stop_station()
        self.station.args[0] = bench.program("flashrackd-unchecked")
        self.station.start()

    def steps(self, drop=(), order=None):
        """A change: without these steps, or only these in this order; references to dropped ones go, too."""
        def change(recipe):
            steps = {step["id"]: step for step in recipe["steps"]}
            kept = order or [name for name in steps if name not in drop]
            recipe["steps"] = [steps[name] for name in kept]
            for step in recipe["steps"]:
                before = kept[:kept.index(step["id"])]
                for key in ("reopen", "of"):
                    if key in step:
                        step[key] = [name for name in step[key] if name in before]
        return change

    def refused_untouched(self, change, static, *words):
        self.bend(change, static, hands="none")
        before = self.rack.hashes(0)
        job = self.station.wait(self.order()["id"], until=("prompt",), step="S3")
        self.download_mode()
        job = self.station.wait(job["id"], seconds=90)
        self.assertEqual(job["state"], "failed", job)
        for word in words:
            self.assertIn(word, job["error"]["message"])
        self.assertEqual(self.rack.hashes(0), before)

    def never_succeeds(self, change, static, *words):
        self.bend(change, static)
        job = self.restore()
        self.assertEqual(job["state"], "failed", job)
        self.assertEqual(job["error"]["code"], "recipe_breaks_a_law")
        for word in words:
            self.assertIn(word, job["error"]["message"])

    def test_law_1_write_before_the_backup(self):
        self.refused_untouched(self.steps(order=["S3", "S4", "S6", "S7"]), "law 1", "no permit")

    def test_law_1_backup_that_leaves_something_out(self):
        self.refused_untouched(lambda recipe: recipe["backup_set"].remove("para"), "para", "para")

    def test_law_2_identity_from_nowhere_but_the_role_table(self):
        def change(recipe):
            next(s for s in recipe["steps"] if s["id"] == "S7")["partitions"].append("seccfg")
        self.refused_untouched(change, "seccfg", "seccfg")

    def stopped_before(self, mode, change, static, *words):
        """The worker stops while the phone is still in the download agent: it never came up in `mode`."""
        self.never_succeeds(change, static, *words)
        job = self.station.get("/jobs")["items"][0]
        self.assertNotIn(job["error"]["phone_state"], ("restored", "booted", "first_start"))
        self.assertNotIn(job["result"]["phone_state"], ("restored", "booted", "first_start"))
        state = self.rack.control(0, "state")
        self.assertNotIn(state["stage"], mode)

    def test_law_4_nothing_read_back(self):
        self.stopped_before(("android",), self.steps(drop=["S19"]), "law 4", "nvram", "never read back")

    def test_law_4_firmware_not_read_back(self):
        self.stopped_before(("android",), self.steps(drop=["S18v"]), "law 4", "lk_a", "never read back")

    def test_law_4_not_read_back_before_fastboot(self):
        self.stopped_before(("lk", "android"), self.steps(drop=["S9"]), "law 4", "never read back")

    def test_law_5_service_lk_stays(self):
        self.stopped_before(("android",), self.steps(drop=["S18w", "S18v"]), "law 5", "service bootloader")

    def test_law_5_nvram_is_not_whole(self):
        self.stopped_before(("android",), self.steps(drop=["S13"]), None, "nvram is not whole")


class Peers(unittest.TestCase):
    """Who may talk to portwatch."""

    SCRIPT = ("import os, socket, sys\n"
              "os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[2]))\n"
              "s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.settimeout(10); s.connect(sys.argv[1])\n"
              "print(s.recv(65536).decode())\n")

    def hello(self, path, uid):
        return subprocess.run([sys.executable, "-c", self.SCRIPT, path, str(uid)], capture_output=True, text=True)

    @unittest.skipIf(os.geteuid() != 0, "only root can be somebody else")
    def test_process_of_another_user(self):
        with bench.Workspace() as folder:
            os.chmod(folder, 0o755)
            path = os.path.join(folder, "pw")
            process = bench.Process([bench.program("flashrack-portwatch"), "--listen", path, "--no-usb",
                                     "--allow-uid", "4711"], os.path.join(folder, "log"))
            try:
                process.ready("listening")
                self.assertIn("PermissionError", self.hello(path, 65534).stderr)  # the socket's mode
                os.chmod(path, 0o666)
                self.assertEqual(self.hello(path, 65534).stdout.strip(), "")  # and its credentials
                self.assertIn("hello", self.hello(path, 4711).stdout)
                self.assertIn("hello", self.hello(path, 0).stdout)
            finally:
                process.stop()  # before its log goes

    def test_none_there(self):
        """A station that sees no phone says why, in its log and to whoever asks."""
        with bench.Workspace() as folder, bench.Station(folder, extra=["--portwatch", os.path.join(folder, "none")]) as station:
            with self.assertRaises(bench.ApiError) as caught:
                station.call("GET", "/readyz")
            self.assertFalse(caught.exception.problem["portwatch"])
            station.process.ready(r"level=error .*no portwatch at \S+/none: no phone is seen", 30)

    def test_where_a_stream_begins_after_a_restart(self):
        """Behind all that is stored, also for a cursor of a database that is no longer there."""
        def hello(cursor):
            request = urllib.request.Request(station.url + "/api/v1/events", headers=cursor)
            with urllib.request.urlopen(request, timeout=30) as stream:
                lines = [stream.readline().decode().strip() for _ in range(6)]
            data = json.loads(lines[lines.index("event: hello") + 1][6:])
            return lines[lines.index("event: hello") - 1], data["cursor"], data["newest"]

        with bench.Workspace() as folder, bench.Station(folder, racks=["127.0.0.1:9"]) as station:
            job = station.post("/jobs", {"recipe": "x5-identify", "port": "usbip-127.0.0.1:9-1-1"})
            station.post(f"/jobs/{job['id']}/cancel")
            station.wait(job["id"])
            before = hello({})
            self.assertRegex(before[0], "id: [1-9]")
            station.stop()
            station.start()
            self.assertEqual(hello({}), before)
            self.assertEqual(hello({"Last-Event-ID": "4711"}), before)
            self.assertEqual(before[1], before[2])
            self.assertEqual(hello({"Last-Event-ID": "1"})[1:], ("1", before[2]))  # and gives what is between

    def test_rescan_out_of_bounds(self):
        for value in ("99", "86400001", "1s", ""):
            done = subprocess.run([bench.program("flashrack-portwatch"), "--listen", "unused", "--rescan-ms", value],
                                  capture_output=True, text=True)
            self.assertEqual(done.returncode, 2, value)
            self.assertIn("--rescan-ms takes 100 to 86400000", done.stderr)


class Queue(Processes):
    def waiting(self, **more):
        return self.station.wait(self.order(**more)["id"], until=("prompt", "queued", "waiting"))

    def test_two_jobs_on_one_port(self):
        self.open(hands="none")
        self.prepare()
        first = self.station.wait(self.order()["id"], until=("prompt",))
        second = self.order()
        urgent = self.order(priority=5)
        self.assertEqual(self.station.job(second["id"])["state"], "waiting")
        self.station.post(f"/jobs/{first['id']}/cancel")
        self.assertEqual(self.station.wait(first["id"])["state"], "cancelled")
        self.station.wait(urgent["id"], until=("prompt",))
        self.assertEqual(self.station.job(second["id"])["state"], "waiting")
        self.station.post(f"/jobs/{second['id']}/cancel")  # one that only waits
        self.assertEqual(self.station.job(second["id"])["state"], "cancelled")
        self.station.post(f"/jobs/{urgent['id']}/cancel")
        self.station.wait(urgent["id"])
        self.until(lambda: self.spools() == [], "spool files go")

    def test_order_for_another_phone(self):
        """phone_id is a condition: the phone that comes must be that one."""
        self.open(phones=2, hands="none")
        self.prepare()
        job = self.station.wait(self.order()["id"], until=("prompt",), step="S3")
        self.download_mode()  # makes phone 0 known, up to the second connection
        self.station.wait(job["id"], until=("running",), step="S4")
        self.rack.control(0, "release", keys=["vol_up", "vol_down"])
        self.station.wait(job["id"], until=("prompt",), step="S17", seconds=90)
        known = self.station.get("/phones")["items"][0]["id"]
        self.station.post(f"/jobs/{job['id']}/cancel")  # else the next job would wait for the end of this one
        self.station.wait(job["id"])
        before = self.rack.hashes(1)
        label = self.rack.labels[1]
        backup = self.station.import_dump(self.rack.dump(1), label["serial"])
        other = self.station.restore(self.rack.port(1), label["serial"], label["imeis"], phone_id=known,
                                     firmware=self.firmware["id"], backup=backup["id"])
        self.station.wait(other["id"], until=("prompt",), step="S3")
        self.download_mode(1)
        self.assert_failed(self.station.wait(other["id"], seconds=60), "another_phone")
        self.assertEqual(self.rack.hashes(1), before)

    def test_pause_between_steps(self):
        self.open(hands="none")
        self.prepare()
        job = self.station.wait(self.order()["id"], until=("prompt",), step="S3")
        self.assertIsNone(job["pending"])
        self.assertEqual(self.station.post(f"/jobs/{job['id']}/pause")["pending"], "pause")
        self.assertIsNone(self.station.post(f"/jobs/{job['id']}/resume")["pending"])
        self.station.post(f"/jobs/{job['id']}/pause")
        self.download_mode()
        job = self.station.wait(job["id"], until=("paused",))
        self.assertIsNone(job["pending"])
        self.assertEqual(self.station.get("/ports")["items"][0]["state"], "busy")
        self.station.post(f"/jobs/{job['id']}/resume")
        self.until(lambda: "S5" in [step["name"].split()[0] for step in self.station.job(job["id"])["steps"]], "it goes on")

    def test_job_of_a_disabled_port_waits_over_a_restart(self):
        self.open(hands="none")
        self.prepare()
        port = self.rack.port(0)
        first = self.station.wait(self.order()["id"], until=("prompt",))
        second = self.order()
        disabled = self.station.change_port(port, enabled=False)
        self.assertEqual((disabled["state"], disabled["enabled"]), ("prompt", False))  # its job goes on there
        with self.assertRaises(bench.ApiError):
            self.order()
        self.station.post(f"/jobs/{first['id']}/cancel")
        self.station.wait(first["id"])
        self.assertEqual(self.station.get("/ports/" + port)["state"], "disabled")
        self.restart()
        time.sleep(1)
        self.assertIn(self.station.job(second["id"])["state"], ("queued", "waiting"))
        self.station.change_port(port, enabled=True)
        self.station.wait(second["id"], until=("prompt",), step="S3")

    def test_port_that_nobody_has_seen(self):
        """A rack's phone that is off can be ordered for; a socket that only an order named is none afterwards."""
        self.open(hands="none")
        self.prepare()
        port = self.rack.port(0).replace("-1-1", "-9-99")
        self.assertNotEqual(port, self.rack.port(0))
        label = self.rack.labels[0]
        job = self.station.restore(port, label["serial"], firmware=self.firmware["id"])
        self.station.wait(job["id"], until=("prompt",), step="S3")
        self.assertEqual(self.station.get("/ports/" + port)["job_id"], job["id"])
        self.assertEqual(self.station.post(f"/jobs/{job['id']}/cancel")["pending"], "cancel")
        self.station.wait(job["id"])
        self.assertNotIn(port, [p["id"] for p in self.station.get("/ports")["items"]])
        self.assert_refused(lambda: self.station.get("/ports/" + port), "no port")

    def test_descriptors_over_many_jobs(self):
        self.open(hands="none")
        self.prepare()

        def one():
            job = self.station.wait(self.order()["id"], until=("prompt",))
            worker = self.worker(job)
            self.station.post(f"/jobs/{job['id']}/cancel")
            self.station.wait(job["id"])
            return worker

        one()
        before = len(descriptors(self.pid()))
        for _ in range(25):
            one()
        self.until(lambda: len(descriptors(self.pid())) <= before + 1,
                   f"descriptors as before ({before}): {sorted(descriptors(self.pid()).values())}")

    def test_worker_holds_nothing_but_its_own(self):
        self.open(hands="none")
        self.prepare()
        job = self.station.wait(self.order()["id"], until=("prompt",))
        names = [self.firmware["path"], "image-", "spool/job-", "record/job-", "memfd:plan"]
        for fd, target in sorted(descriptors(self.worker(job)).items()):
            if fd <= 4 or any(name in target for name in names):
                continue
            self.fail(f"the worker holds fd {fd}: {target}")
        for pid in children(self.pid(), "flashrack-portwatch"):
            for fd, target in descriptors(pid).items():
                self.assertNotIn(".db", target)
                self.assertNotIn("spool", target)


if __name__ == "__main__":
    unittest.main(verbosity=2)
