#!/usr/bin/python3
"""The station's own life: workers that die in each phase, portwatch restarted, flashrackd ended in the middle of a
job, queues, descriptors. Usage: station_test.py [CASE...]; without one all cases run."""
import json
import os
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import rack as bench  # noqa: E402
from restore_test import Bench  # noqa: E402


class EarlierJob(Bench):
    def test_service_lk_left_in_the_other_slot(self):
        """A job before this one ended with the service LK in slot b; this one works on slot a and cleans both."""
        self.open(hands="none")
        listed = subprocess.run([bench.program("flashrack"), "dump", "list", self.rack.dump(0), "--json"],
                                check=True, capture_output=True, text=True)
        lk_b = next(p for p in json.loads(listed.stdout)["partitions"] if p["name"] == "lk_b")
        self.rack.stop()
        with open(os.path.join(self.package, "lk_service.img"), "rb") as image, \
                open(os.path.join(self.rack.phone_dir(0), "user.img"), "r+b") as flash:
            flash.seek(lk_b["first_lba"] * 512)
            flash.write(image.read()[:-700])  # its write was cut near the end
        self.station.stop()
        self.rack.args[self.rack.args.index("--hands") + 1] = "auto"
        self.rack.start()
        self.station.args[self.station.args.index("--usbip") + 1] = self.rack.address
        self.station.start()
        self.prepare()
        job = self.restore(finish="lk")
        self.assertEqual(job["state"], "succeeded", job.get("error"))
        self.assertEqual({w["partition"] for w in job["result"]["writes"] if w["step"] == "S18w"}, {"lk_a", "lk_b"})
        with open(os.path.join(self.package, "lk.img"), "rb") as image, \
                open(os.path.join(self.rack.phone_dir(0), "user.img"), "rb") as flash:
            flash.seek(lk_b["first_lba"] * 512)
            commercial = image.read()
            self.assertEqual(flash.read(lk_b["size"]), commercial.ljust(lk_b["size"], b"\0"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
