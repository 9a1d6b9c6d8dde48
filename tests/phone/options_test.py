#!/usr/bin/python3
"""The command line of emulated-x5. Usage: options_test.py [CASE...]; without one all cases run."""
import os
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import rack as bench  # noqa: E402

USAGE = 2


class Options(unittest.TestCase):
    def setUp(self):
        self.workspace = bench.Workspace("flashrack-options")
        self.dir = self.workspace.__enter__()
        self.addCleanup(self.workspace.__exit__)

    def test_refused(self):
        """Options that are none: the same status for all, a sentence that names what is wrong, and no rack."""
        for option, value in (("--seed", "abc"), ("--seed", "1x"), ("--seed", "-1"), ("--seed", ""),
                              ("--phones", "0"), ("--slot", "c"), ("--profile", "huge"), ("--firmware", "TA-1"),
                              ("--firmware", "PDA-" + "1" * 40), ("--tac", "1234567"), ("--tac", "1234567x"),
                              ("--sys8-9", "mdlog"), ("--sys8-9", "mdlog,"), ("--sys8-9", "a,B"),
                              ("--hands-speed", "fast"), ("--listen", "nowhere"),
                              ("--fault", "1-1:unplug@transfer=0"), ("--fault", "1-1:unplug@"),
                              ("--fault", "1-1:unplug@byte=0"), ("--fault", "1-1:unplug@step=0"),
                              ("--fault", "1-1:unplug@step=01"), ("--fault", "stall"),
                              ("--fault", "1-9:stall"), ("--set", "colour=red"), ("--set", "1-9:battery_mv=1"),
                              ("--set", "battery_mv")):
            with self.subTest(option=option, value=value):
                done = subprocess.run([bench.program("emulated-x5"), "--listen", "127.0.0.1:0", "--profile", "tiny",
                                       "--state", os.path.join(self.dir, "phones"), option, value],
                                      capture_output=True, text=True, timeout=60)
                self.assertEqual(done.returncode, USAGE, done.stdout + done.stderr)
                self.assertIn(value.rpartition(":")[2].partition("=")[0], done.stderr)
                self.assertEqual(done.stdout, "")

    def test_phones_that_are_made(self):
        """Firmware of another generation, another type code, other names in the partition table."""
        rack = bench.Rack(self.dir, profile="tiny", hands="none", lost=False, time_scale=0.05)
        rack.state = os.path.join(self.dir, "fresh")
        rack.args[rack.args.index("--state") + 1] = rack.state
        rack.args += ["--set", "fail_command=oem lks=no: not here", "--firmware", "PDA-2110-0-00WW-B01", "--tac", "35123406", "--sys8-9", "mdlog,mdmeta"]
        with rack:
            rack.control(0, "power_long")
            end = time.monotonic() + 60
            while "version" not in (screen := rack.screen(0)) and time.monotonic() < end:
                time.sleep(0.05)
            label = rack.control(0, "state")["label"]
            settings = rack.control(0, "settings")["settings"]
        self.assertEqual((screen["android"], screen["version"]), ("9", "PDA-2110-0-00WW-B01"))
        self.assertEqual(screen["imeis"], label["imeis"])
        self.assertEqual(settings["fail_command"], "oem lks=no: not here")
        self.assertEqual({imei[:8] for imei in label["imeis"]}, {"35123406"})
        user = os.path.join(rack.phone_dir(0), "user.img")
        self.assertEqual([bench.partition(user, name)["number"] for name in ("mdlog", "mdmeta")], [7, 8])


if __name__ == "__main__":
    unittest.main(verbosity=2)
