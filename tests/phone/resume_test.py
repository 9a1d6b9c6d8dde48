#!/usr/bin/python3
"""A job survives whatever ends: workers, flashrackd and portwatch killed in each phase, upgrades, full disks, another
phone at the resume. Usage: resume_test.py [CASE...]; without one all cases run."""
import concurrent.futures
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import rack as bench  # noqa: E402
from restore_test import descriptors  # noqa: E402
from station_test import Processes, children  # noqa: E402

# usb/recipe/README.md, "phone_state": what a phone is left as when its worker dies in the step
LEFT = {"S5": "untouched", "S7": "identity_partly_written", "S8": "service_lk_unverified",
        "S13": "nvram_partly_written_do_not_boot", "S18w": "commercial_firmware_partly_written"}
SLOW = "emmc_write_bytes_per_s=40000"  # so that a write can be met in its middle


class Runs(Processes):
    def setUp(self):
        super().setUp()
        self.package = bench.make_package(os.path.join(self.dir, "tiny"), "--profile", "tiny")

    def begin(self, step, **rack):
        """A job that is in this step."""
        rack.setdefault("profile", "tiny")
        rack.setdefault("settings", [SLOW])
        self.open(**rack)
        self.prepare()
        return self.meet(self.order(), step)

    def meet(self, job, step, seconds=90):
        end = time.monotonic() + seconds
        while not ((job["step"] or "").startswith(step + " ") and job["state"] == "running"):
            self.assertIn(job["state"], ("queued", "waiting", "running", "prompt"), job)
            self.assertLess(time.monotonic(), end, job["step"])
            time.sleep(0.02)
            job = self.station.job(job["id"])
        return job

    def comes_to_the_agent(self, job, seconds=20):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.attempts(job, "S4")[-1]["run"] == self.station.job(job["id"])["run_count"]:
                return True
            time.sleep(0.2)
        return False

    def plug_again(self, job, index=0):
        """As the page asks of a phone that the dead worker left deaf, once the next run is there to ask."""
        self.until(lambda: self.station.job(job["id"])["run_count"] > job["run_count"], "another run", 60)
        for _ in range(8):  # the rack's own hands may have taken the phone meanwhile: then once more, as a person would
            self.off(index)
            self.download_mode(index)
            if self.comes_to_the_agent(job):
                break
        else:
            self.fail("the phone never came to another S4")
        self.rack.control(index, "release", keys=["vol_up", "vol_down"])

    def finish(self, job, runs=2, index=0, finish="lk"):
        acceptor = bench.Acceptor(self.station, self.rack, {job["id"]: index})
        acceptor.start()
        job = acceptor.finish_job(job["id"], 150)
        self.assertEqual(job["state"], "succeeded", (job["step"], job["prompt"], job["error"]))
        self.assert_restored(job, index, finish)
        self.assertGreaterEqual(job["run_count"], runs)  # a cable pulled once more makes one more
        self.assertEqual(job["phone_state"], "restored")
        self.assertIsNone(job["error"])
        self.until(lambda: self.spools() == [], f"spool files go: {self.spools()}")
        return job

    def change(self, sql):
        """In the database of a station that does not run."""
        db = sqlite3.connect(os.path.join(self.station.data, "station.db"))
        with db:
            db.execute(sql)
        db.close()

    def attempts(self, job, step):
        return [s for s in self.station.job(job["id"])["steps"] if s["name"].startswith(step + " ")]


class WorkerKilled(Runs):
    """The job is interrupted, its phone's state is named, and it goes on when somebody says so."""

    def killed(self, step, **rack):
        job = self.begin(step, **rack)
        os.kill(self.worker(job), signal.SIGKILL)
        job = self.station.wait(job["id"], seconds=20)
        self.assert_interrupted(job, step)
        self.assertEqual(job["phone_state"], LEFT[step])
        self.assertEqual(job["error"]["phone_state"], LEFT[step])
        self.assertEqual(self.attempts(job, step)[-1]["state"], "interrupted")
        self.station.post(f"/jobs/{job['id']}/resume")
        self.plug_again(job)
        return self.finish(job)

    def test_in_s5(self):
        self.killed("S5", settings=["emmc_read_bytes_per_s=400000"])

    def test_in_s8(self):
        job = self.killed("S8")
        self.assertEqual(len(self.attempts(job, "S7")), 1)  # proven to be there, not written again

    def test_in_s13(self):
        job = self.killed("S13")
        self.assertEqual(len(self.attempts(job, "S8")), 1)

    def test_spool_lost(self):
        """Nobody knows what such a run has written: its phone is not called untouched."""
        job = self.begin("S7")
        worker = self.worker(job)
        os.unlink(os.path.join(self.station.data, "spool", f"job-{job['id']}.spool"))
        os.kill(worker, signal.SIGKILL)
        job = self.station.wait(job["id"], seconds=60)
        self.assert_interrupted(job, "S7")
        self.assertEqual(job["error"]["phone_state"], "unknown")
        self.assertIn("do not start it", job["error"]["advice"])

    def test_in_s18w(self):
        job = self.killed("S18w")
        self.assertEqual(len(self.attempts(job, "S13")), 1)  # straight to the bootloader


class TakenUp(Runs):
    """A station with retries goes on by itself, once in each step."""

    def crash(self):
        job = self.begin("S7", station_extra=["--retries", "3"])
        os.kill(self.worker(job), signal.SIGKILL)
        self.until(lambda: self.station.job(job["id"])["run_count"] >= 2, "another run", 60)
        return job

    def test_by_itself(self):
        job = self.crash()
        self.plug_again(job)
        job = self.finish(job)
        states = [s["state"] for s in self.attempts(job, "S7")]
        # plug_again() may have pulled the cable of a phone that the rack's own hands had brought back already
        self.assertEqual([state for state in states if state != "failed"], ["interrupted", "done"], states)
        self.assertEqual(job["crash_step"], "S7 write identity")
        log = self.station.get(f"/jobs/{job['id']}/log?limit=1000")["items"]
        said = [line["message"] for line in log if "takes the job up again by itself" in line["message"]]
        self.assertEqual(len(said), 1, log)
        self.assertIn("signal 9", said[0])

    def test_twice_in_a_step(self):
        """What kills its worker in a step would do so for ever: a person looks first. Also after a restart."""
        job = self.crash()
        self.restart()
        self.plug_again(self.station.job(job["id"]))
        job = self.meet(self.station.job(job["id"]), "S7")
        os.kill(self.worker(job), signal.SIGKILL)
        job = self.station.wait(job["id"], seconds=60)
        self.assertEqual((job["state"], job["error"]["code"]), ("interrupted", "worker_died_twice"), job)
        self.assertEqual(job["error"]["class"], "stop")
        self.assertIn("Then resume the job", job["error"]["advice"])
        self.assertEqual(self.port(0)["kept_for"], job["id"])

    def port(self, index):
        return self.station.get("/ports/" + self.rack.port(index))


class TornByAnotherJob(Runs):
    def test_service_lk_in_the_other_slot(self):
        """Too little of it is there to tell it by its bytes; the journal of the job that wrote it knows."""
        job = self.begin("S8")
        os.kill(self.worker(job), signal.SIGKILL)
        self.station.wait(job["id"], seconds=60)
        self.station.post(f"/jobs/{job['id']}/cancel")
        self.station.stop()
        self.rack.stop()
        lk_b = bench.partition(self.rack.dump(0), "lk_b")
        self.put(lk_b, "lk_service.img", cut=20000)
        self.change("UPDATE write_extent SET partition = 'lk_b' WHERE kind = 'service_lk'")
        self.rack.args[self.rack.args.index("--listen") + 1] = self.rack.address
        self.rack.start()
        self.station.start()
        job = self.restore(finish="lk")
        self.assertEqual(job["state"], "succeeded", job.get("error"))
        self.assertEqual({w["partition"] for w in job["result"]["writes"] if w["step"] == "S18w"}, {"lk_a", "lk_b"})
        self.assert_commercial(lk_b)
        self.off()
        job = self.restore(finish="lk")  # the job before succeeded: all that was given is taken back
        self.assertEqual(job["state"], "succeeded", job.get("error"))
        self.assertEqual({w["partition"] for w in job["result"]["writes"] if w["step"] == "S18w"}, {"lk_a"})


class PortwatchKilled(Runs):
    def test_in_s7(self):
        """The worker holds the phone's connection itself, and the next portwatch hands over the later ones."""
        job = self.begin("S7")
        old = children(self.pid(), "flashrack-portwatch")
        os.kill(old[0], signal.SIGKILL)
        self.until(lambda: children(self.pid(), "flashrack-portwatch") not in ([], old), "another portwatch", 60)
        self.finish(job, runs=1)


class DiskFull(Runs):
    def start_on_a_full_disk(self, sql=None):
        """Killed, so that the log of the database is longer than any file may be after the start."""
        self.assertGreater(os.path.getsize(os.path.join(self.station.data, "station.db-wal")), 36000)
        self.station.process.child.kill()
        self.station.process.child.wait()
        self.until(lambda: not self.strays(), "the workers of before end", 60)
        if sql:
            self.change_beside(sql)
        self.station.args = ["prlimit", "--fsize=36000:unlimited", *self.station.args]
        self.station.start()
        self.station.process.ready("err=station_disk")

    def strays(self):
        return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc")))
                if any(self.station.data in target for target in descriptors(pid).values()) and pid != os.getpid()]

    def change_beside(self, sql):
        """As change(), but the log of the database stays as long as it is."""
        script = "import os, sqlite3, sys\ndb = sqlite3.connect(sys.argv[1])\nwith db: db.execute(sys.argv[2])\nos._exit(0)"
        subprocess.run([sys.executable, "-c", script, os.path.join(self.station.data, "station.db"), sql], check=True)

    def test_at_the_start(self):
        """What cannot be stored now is stored later: the job is taken up when there is room."""
        self.open(hands="none")
        self.prepare()
        job = self.station.wait(self.order()["id"], until=("prompt",), step="S3")
        # without it the first thing that is stored is that the job goes on
        os.unlink(os.path.join(self.station.data, "spool", f"job-{job['id']}.spool"))
        self.start_on_a_full_disk()
        self.assertIn(self.station.job(job["id"])["state"], ("prompt", "running"))  # the last that was committed
        with self.assertRaises(bench.ApiError) as caught:
            self.station.post(f"/jobs/{job['id']}/resume")
        self.assertIn("being taken", caught.exception.detail)
        self.make_room()
        self.until(lambda: self.station.job(job["id"])["run_count"] >= 2, "another run", 60)
        self.station.wait(job["id"], until=("prompt",), step="S3", seconds=60)

    def test_at_the_start_and_cannot_go_on(self):
        self.open(hands="none")
        self.prepare()
        job = self.station.wait(self.order()["id"], until=("prompt",), step="S3")
        waiting = self.station.wait(self.order()["id"], until=("waiting",))
        self.start_on_a_full_disk("UPDATE job SET recipe = 'no-more', recipe_sha256 = 'gone' WHERE id = 2")
        self.make_room()
        self.assert_failed(self.station.wait(waiting["id"], seconds=30), "conflict", "order it again")
        self.station.wait(job["id"], until=("prompt",), step="S3", seconds=60)

    def test_while_the_journal_is_taken_in(self):
        """What the dead worker left stays in its spool until there is room for it."""
        job = self.begin("S13")
        worker = self.worker(job)
        self.fill_disk()
        os.kill(worker, signal.SIGKILL)
        self.station.process.ready("it is tried again")
        self.assertNotEqual(self.spools(), [])
        self.assertNotIn(self.station.job(job["id"])["state"], ("interrupted", "failed"))
        self.make_room()
        job = self.station.wait(job["id"], seconds=60)
        self.assert_interrupted(job, "S13")
        self.assertEqual(job["phone_state"], LEFT["S13"])
        self.assertEqual(self.attempts(job, "S13")[-1]["state"], "interrupted")

    def test_cancelled_while_the_journal_is_taken_in(self):
        """The report of a job that a person gives up in that moment tells what its worker wrote all the same."""
        job = self.begin("S13")
        worker = self.worker(job)
        self.fill_disk()
        os.kill(worker, signal.SIGKILL)
        self.station.process.ready("it is tried again")
        with concurrent.futures.ThreadPoolExecutor() as people:
            cancelled = people.submit(self.station.post, f"/jobs/{job['id']}/cancel")
            time.sleep(0.3)
            self.make_room()
            self.assertEqual(cancelled.result()["state"], "cancelled")
        manifest = self.station.get(f"/jobs/{job['id']}/report.json")["manifest"]
        self.assertEqual(manifest["phone_state"], LEFT["S13"])
        self.assertIn("S13", {extent["step"].split()[0] for extent in manifest["journal"]})


class StationKilled(Runs):
    """Workers end their step; the next flashrackd takes the job up by itself."""

    def killed(self, step, with_signal=signal.SIGKILL, **rack):
        job = self.begin(step, **rack)
        self.restart(with_signal)
        self.plug_again(job)
        job = self.finish(job)
        states = [s["state"] for s in job["steps"]]
        self.assertNotIn("running", states)
        return job

    def test_in_s5(self):
        self.killed("S5", settings=["emmc_read_bytes_per_s=400000"])

    def test_in_s7(self):
        job = self.killed("S7")
        self.assertEqual([s["state"] for s in self.attempts(job, "S7")], ["done"], self.attempts(job, "S7"))

    def test_in_s13(self):
        job = self.killed("S13")
        self.assertEqual([s["state"] for s in self.attempts(job, "S13")], ["done"])

    def test_at_the_acceptance(self):
        """All was read back before the phone was let start: the next run asks for the numbers, not for the keys."""
        self.open(profile="tiny")
        self.prepare()
        job = self.station.wait(self.order()["id"], until=("prompt",), step="S21", seconds=90)
        self.assertEqual(job["run_count"], 1)
        self.restart(signal.SIGKILL)
        job = self.finish(job)
        self.assertEqual({s["name"].split()[0] for s in job["steps"] if s["run"] == 2}, {"S20", "S21"})

    def test_stopped_in_s18w(self):
        self.killed("S18w", signal.SIGTERM)


class Upgrade(Runs):
    def test_sighup_in_a_write(self):
        """A live upgrade: the same process, the write in its middle is not disturbed, the job goes on."""
        job = self.begin("S7")
        pid, old, worker = self.pid(), self.station.url, self.worker(job)
        os.kill(pid, signal.SIGHUP)

        def started():
            with open(self.station.process.log, errors="replace") as f:
                urls = re.findall(r"Flashrack is at (\S+)", f.read())
            self.station.url = urls[-1]
            return len(urls) == 2
        self.until(started, "started anew")
        self.assertNotEqual(self.station.url, old)  # port 0: another one
        self.assertEqual(self.pid(), pid)
        self.plug_again(job)
        job = self.finish(job)
        self.assertEqual([s["state"] for s in self.attempts(job, "S7")], ["done"])
        self.until(lambda: not os.path.exists(f"/proc/{worker}"), "the worker of before is reaped")

    def test_black_boxes_of_both_runs(self):
        job = self.begin("S7")
        os.kill(self.worker(job), signal.SIGKILL)
        job = self.station.wait(job["id"], seconds=20)
        self.station.post(f"/jobs/{job['id']}/resume")
        self.until(lambda: self.station.job(job["id"])["run_count"] >= 2, "another run")
        folder = os.path.join(self.station.data, "record")
        self.until(lambda: sorted(os.listdir(folder)) ==
                   [f"job-{job['id']}-run-2.pcapng", f"job-{job['id']}.pcapng"], os.listdir(folder))
        self.assertGreater(os.path.getsize(os.path.join(folder, f"job-{job['id']}.pcapng")), 1000)


class NewerRecipe(Runs):
    """An upgrade of the station brings the next version of a recipe while its jobs are half-way."""

    def bring(self):
        """The next start has version 2 of x5-restore, in which a step has another name."""
        schema = os.path.join(self.dir, "schema")
        shutil.copytree(os.path.join(bench.ROOT, "schema"), schema)
        path = os.path.join(schema, "recipes", "x5-restore.json")
        with open(path) as f:
            recipe = json.load(f)
        self.version = recipe["version"]
        recipe["version"] += 1
        next(step for step in recipe["steps"] if step["id"] == "S13")["name"] = "another name"
        with open(path, "w") as f:
            json.dump(recipe, f)
        self.station.args += ["--schema", schema]

    def upgrade(self, sql=None):
        self.bring()
        self.station.process.child.send_signal(signal.SIGTERM)
        self.assertEqual(self.station.process.child.wait(30), 0)
        if sql:
            self.change(sql)
        self.station.start()

    def port(self):
        return self.station.get("/ports/" + self.rack.port(0))

    def refused_to_go_on(self, job, *words):
        with self.assertRaises(bench.ApiError) as caught:
            self.station.post(f"/jobs/{job['id']}/resume")
        self.assertEqual(caught.exception.status, 409)
        for word in words:
            self.assertIn(word, caught.exception.detail)

    def test_job_goes_on_with_the_one_it_was_ordered_with(self):
        job = self.begin("S7")
        self.upgrade()
        self.plug_again(job)
        job = self.finish(job)
        self.assertEqual(job["recipe_version"], self.version)
        self.assertEqual([s["name"] for s in job["steps"] if s["name"].startswith("S13")], ["S13 write nvram"])
        later = self.order()
        self.assertEqual(later["recipe_version"], self.version + 1)

    def test_resume_of_an_interrupted_job(self):
        job = self.begin("S7")
        os.kill(self.worker(job), signal.SIGKILL)
        job = self.station.wait(job["id"], seconds=20)
        self.upgrade()
        self.station.post(f"/jobs/{job['id']}/resume")
        self.plug_again(job)
        self.assertEqual(self.finish(job)["recipe_version"], self.version)

    def test_half_written_and_cannot_go_on(self):
        """It is interrupted, with the phone's state in words: what is in the way may be taken away."""
        job = self.begin("S7")
        self.upgrade("INSERT INTO conflict (kind, value, backup_id, noticed_ms) SELECT 'import_claim', backup_id,"
                     " backup_id, 1 FROM job")
        job = self.station.wait(job["id"], seconds=60)
        self.assertEqual((job["state"], job["error"]["code"]), ("interrupted", "identity_conflict"), job)
        self.assertEqual(job["phone_state"], LEFT["S7"])
        self.assertEqual(job["error"]["phone_state"], LEFT["S7"])
        self.assertIn("identity is partly written", job["error"]["advice"])
        self.assertEqual(self.port()["kept_for"], job["id"])
        self.refused_to_go_on(job, "conflict")
        self.station.post(f"/jobs/{job['id']}/cancel")
        job = self.station.job(job["id"])
        self.assertEqual(job["state"], "cancelled")
        self.assertNotIn("esume", job["error"]["advice"])  # that is over
        self.assertIn("Order the job again", job["error"]["advice"])
        self.assertIsNone(self.port()["kept_for"])

    def test_untouched_and_cannot_go_on(self):
        """It fails, and its port is free again."""
        self.open(hands="none")
        self.prepare()
        job = self.station.wait(self.order()["id"], until=("prompt",), step="S3")
        self.upgrade("DELETE FROM recipe_version")
        job = self.station.wait(job["id"], seconds=60)
        self.assert_failed(job, "conflict", "order it again")
        self.station.wait(self.order()["id"], until=("prompt",), step="S3")
        self.assertIsNone(self.port()["kept_for"])


class BeforeItsWorker(Runs):
    """A run that cannot be given a worker: the folder of the spools is none, as on a disk that broke."""

    def folder(self):
        return os.path.join(self.station.data, "spool")

    def break_disk(self):
        os.rename(self.folder(), self.folder() + "-away")
        with open(self.folder(), "w"):
            pass

    def mend_disk(self):
        os.unlink(self.folder())
        os.rename(self.folder() + "-away", self.folder())

    def test_failure_that_passes(self):
        self.open(hands="none", station_extra=["--retries", "3"])
        self.prepare()
        first = self.station.wait(self.order()["id"], until=("prompt",), step="S3")
        self.station.post(f"/jobs/{first['id']}/cancel")
        self.station.wait(first["id"])
        self.until(lambda: self.spools() == [], "spool files go")
        self.break_disk()
        job = self.station.wait(self.order()["id"], until=("waiting", "failed"))
        self.until(lambda: (self.station.job(job["id"])["waits_for"] or {}).get("what") == "retry", "a back-off", 10)
        job = self.station.job(job["id"])
        self.assertEqual((job["state"], job["retries"], job["error"]["code"]), ("waiting", 1, "station_disk"))
        self.mend_disk()
        self.station.wait(job["id"], until=("prompt",), step="S3", seconds=60)

    def test_half_written(self):
        """It is not closed: its port stays with it, and it goes on when there is a disk again."""
        job = self.begin("S7")
        os.kill(self.worker(job), signal.SIGKILL)
        job = self.station.wait(job["id"], seconds=20)
        self.until(lambda: self.spools() == [], "spool files go")
        self.break_disk()
        self.station.post(f"/jobs/{job['id']}/resume")
        self.until(lambda: self.station.job(job["id"])["run_count"] >= 2, "another run")
        job = self.station.wait(job["id"], until=("interrupted", "failed"), seconds=20)
        self.assertEqual((job["state"], job["error"]["code"]), ("interrupted", "station_disk"), job["error"])
        self.assertEqual((job["phone_state"], job["error"]["phone_state"]), (LEFT["S7"], LEFT["S7"]))
        self.assertIn("identity is partly written", job["error"]["advice"])
        self.assertEqual(self.station.get("/ports/" + self.rack.port(0))["kept_for"], job["id"])
        self.mend_disk()
        self.station.post(f"/jobs/{job['id']}/resume")
        self.plug_again(job)
        self.finish(job, runs=3)


class AnotherPhone(Runs):
    def test_at_the_resume(self):
        """The job remembers its chip: another phone is refused before any byte, and the job's own is not hurt."""
        job = self.begin("S13", phones=2)
        os.kill(self.worker(job), signal.SIGKILL)
        job = self.station.wait(job["id"], seconds=20)
        self.assertEqual(job["chip_id"], self.rack.labels[0]["chip_id"])
        before = [self.rack.hashes(index) for index in range(2)]
        self.station.post(f"/jobs/{job['id']}/resume", {"port": self.rack.port(1)})
        self.station.wait(job["id"], until=("prompt",), step="S3", seconds=60)
        self.download_mode(1)
        job = self.station.wait(job["id"], seconds=60)
        self.assert_failed(job, "another_phone")
        self.assertEqual(job["phone_state"], LEFT["S13"])
        self.assertEqual([self.rack.hashes(index) for index in range(2)], before)


class ChangedPackage(Runs):
    def test_file_changed_in_place_while_the_job_waits(self):
        """The hash that was catalogued is the hash of what is sent, however long the job waited for its phone."""
        self.open(profile="tiny", hands="none")
        self.prepare()
        job = self.station.wait(self.order()["id"], until=("prompt",), step="S3", seconds=60)
        with open(os.path.join(self.package, "lk_service.img"), "r+b") as image:
            image.seek(-5, os.SEEK_END)
            image.write(b"other")
        self.download_mode()
        job = self.station.wait(job["id"], seconds=60)
        self.assertEqual(job["state"], "failed", job)
        self.assertIn("lk_service.img was changed", job["error"]["message"])
        self.assertEqual({w["step"] for w in job["result"]["writes"]}, {"S7"})  # nothing went to a bootloader's slot
        self.assertEqual(job["phone_state"], "identity_partly_written")


class OlderCopy(Runs):
    def test_what_a_lost_job_has_saved(self):
        """An older copy of the databases was put in place: the job is gone, what it read of its phone is not."""
        self.open(profile="tiny", settings=[SLOW])
        self.prepare()
        self.assertEqual(self.station.stop(), 0)
        copy = os.path.join(self.dir, "copy")
        os.mkdir(copy)
        for name in ("station.db", "backups.db"):
            shutil.copy(os.path.join(self.station.data, name), copy)
        self.station.start()
        job = self.meet(self.order(), "S7")
        worker = self.worker(job)
        self.station.process.child.kill()
        self.station.process.child.wait()
        for name in ("station.db", "backups.db"):
            shutil.copy(os.path.join(copy, name), self.station.data)
            for log in ("-wal", "-shm"):
                os.unlink(os.path.join(self.station.data, name + log))
        self.station.start()
        self.until(lambda: self.spools() == [f"job-{job['id']}.spool.kept"], "its spool is read", 60)
        self.until(lambda: not os.path.exists(f"/proc/{worker}"), "the worker has ended its step")
        saved = [b for b in self.station.get("/backups")["items"] if b["origin"] == "station"]
        self.assertEqual([(b["chip_id"], b["complete"], b["job_id"]) for b in saved],
                         [(self.rack.labels[0]["chip_id"], True, None)])


class GivenUp(Runs):
    def test_half_written_phone_is_not_releasable(self):
        job = self.begin("S13", station_extra=["--retries", "3"])
        self.station.post(f"/jobs/{job['id']}/cancel")  # acts after the step: whoever wanted it to stop is asked again
        os.kill(self.worker(job), signal.SIGKILL)
        job = self.station.wait(job["id"], seconds=20)
        self.assert_interrupted(job, "S13")
        self.station.post(f"/jobs/{job['id']}/cancel")
        job = self.station.job(job["id"])
        self.assertEqual(job["state"], "cancelled")
        self.assertIn("must not be given away", job["error"]["message"])
        self.assertIn("Do not start the phone", job["error"]["advice"])
        self.assertEqual(job["error"]["phone_state"], LEFT["S13"])


class Journal(Runs):
    def test_spool_damaged_in_its_middle(self):
        """One bit among the chunks hides the records behind it, and with them every write."""
        job = self.begin("S7")
        worker = self.worker(job)
        self.station.process.child.kill()
        self.station.process.child.wait()
        self.until(lambda: not os.path.exists(f"/proc/{worker}"), "the worker ends its step", 60)
        with open(os.path.join(self.station.data, "spool", f"job-{job['id']}.spool"), "r+b") as spool:
            spool.seek(500)
            byte = spool.read(1)[0]
            spool.seek(500)
            spool.write(bytes([byte ^ 1]))
        self.station.start()
        self.until(lambda: self.station.job(job["id"])["run_count"] == 2, "the job goes on")
        self.assertEqual(self.station.job(job["id"])["phone_state"], None)

    def test_what_the_store_refuses(self):
        """A worker that lied, or one of another version: its job goes on, and nobody claims to know what it did."""
        job = self.begin("S7")
        worker = self.worker(job)
        self.station.process.child.kill()
        self.station.process.child.wait()
        self.until(lambda: not os.path.exists(f"/proc/{worker}"), "the worker ends its step", 60)
        self.change("CREATE TRIGGER refuse BEFORE INSERT ON write_extent BEGIN SELECT raise(ABORT, 'no'); END")
        self.station.start()
        self.until(lambda: self.station.job(job["id"])["run_count"] >= 2, "the job goes on")
        self.assertEqual(self.station.job(job["id"])["phone_state"], None)
        self.assertIn(f"job-{job['id']}.spool.kept", self.spools())

    def test_what_nobody_heard(self):
        """Steps begun and ended after flashrackd died are in the list afterwards, with the times of the worker."""
        job = self.begin("S7")
        worker = self.worker(job)
        self.station.process.child.kill()
        self.station.process.child.wait()
        self.until(lambda: not os.path.exists(f"/proc/{worker}"), "the worker ends its step", 60)
        self.station.start()
        self.until(lambda: self.station.job(job["id"])["run_count"] >= 2, "the job goes on")
        step = self.attempts(job, "S7")[0]
        self.assertEqual((step["state"], step["run"]), ("done", 1))
        self.assertIsNotNone(step["ended_at"])
        log = self.station.get(f"/jobs/{job['id']}/log?limit=1000")["items"]
        self.assertTrue([line for line in log if "in step S7" in line["message"]], log)
        self.assertEqual(self.station.job(job["id"])["phone_state"], "identity_partly_written")

    def test_backup_of_a_phone_that_was_not_noted(self):
        """flashrackd died between the chip id and the backup: the pre-image is kept, under the phone it names."""
        job = self.begin("S5", settings=["emmc_read_bytes_per_s=400000"])
        worker = self.worker(job)
        self.station.process.child.kill()
        self.station.process.child.wait()
        self.until(lambda: not os.path.exists(f"/proc/{worker}"), "the worker ends its step", 60)
        self.change("UPDATE job SET phone_id = NULL")
        self.station.start()
        self.until(lambda: self.station.job(job["id"])["run_count"] >= 2, "the job goes on")
        backups = [b for b in self.station.get("/backups")["items"] if b["origin"] == "station"]
        phone = self.station.get("/phones")["items"][0]
        self.assertEqual([b["phone_id"] for b in backups], [phone["id"]])
        self.assertEqual([name for name in self.spools() if name.endswith(".kept")], [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
