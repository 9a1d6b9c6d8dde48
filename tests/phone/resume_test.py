#!/usr/bin/python3
"""A job survives whatever ends: workers, flashrackd and portwatch killed in each phase, upgrades, full disks, another
phone at the resume. Usage: resume_test.py [CASE...]; without one all cases run."""
import os
import signal
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import rack as bench  # noqa: E402
from station_test import Processes, children  # noqa: E402

# nokia-x5.md 7.5: what a phone is left as when its worker dies in the step
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
            self.assertIn(job["state"], ("queued", "running", "prompt"), job)
            self.assertLess(time.monotonic(), end, job["step"])
            time.sleep(0.02)
            job = self.station.job(job["id"])
        return job

    def plug_again(self, job, index=0):
        """As the page asks of a phone that the dead worker left deaf, once the next run is there to ask."""
        self.until(lambda: self.station.job(job["id"])["run_count"] > job["run_count"], "another run", 60)
        self.rack.control(index, "unplug")
        self.rack.control(index, "power_long")
        self.download_mode(index)
        self.until(lambda: self.attempts(job, "S4")[-1]["run"] == self.station.job(job["id"])["run_count"],
                   "another S4", 90)
        self.rack.control(index, "release", keys=["vol_up", "vol_down"])

    def finish(self, job, runs=2, index=0, finish="lk"):
        acceptor = bench.Acceptor(self.station, self.rack, {job["id"]: index})
        acceptor.start()
        job = acceptor.finish(150).get(job["id"]) or self.station.job(job["id"])
        self.assertEqual(job["state"], "succeeded", (job["step"], job["prompt"], job["error"]))
        self.assert_restored(job, index, finish)
        self.assertEqual(job["run_count"], runs)
        self.assertEqual(job["phone_state"], "restored")
        self.assertIsNone(job["error"])
        self.until(lambda: self.spools() == [], f"spool files go: {self.spools()}")
        return job

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

    def test_in_s7(self):
        self.killed("S7")

    def test_in_s8(self):
        job = self.killed("S8")
        self.assertEqual(len(self.attempts(job, "S7")), 1)  # proven to be there, not written again

    def test_in_s13(self):
        job = self.killed("S13")
        self.assertEqual(len(self.attempts(job, "S8")), 1)

    def test_in_s18w(self):
        job = self.killed("S18w")
        self.assertEqual(len(self.attempts(job, "S13")), 1)  # straight to the bootloader


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

    def test_stopped_in_s18w(self):
        self.killed("S18w", signal.SIGTERM)


if __name__ == "__main__":
    unittest.main(verbosity=2)
