#!/usr/bin/python3
"""A worker's memory while it writes a whole upgrade with a 3 GB sparse system image: Private_Dirty stays below 4.5 MB,
so nothing is ever loaded whole. Release build (sanitizers have their own ideas of memory)."""
import os
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import rack as bench  # noqa: E402
from processes import private_dirty, workers  # noqa: E402

LIMIT_BYTES = 9 << 19  # 4.0 to 4.1 MB were measured with profile mini; pages of a program just built count as dirty, too
SERVER_BYTES = 32 << 20
SYSTEM_BYTES = 3 << 30


class Memory(unittest.TestCase):
    def test_worker_while_writing_3_gb(self):
        with bench.Workspace("flashrack-memory") as folder:
            package = bench.make_package(os.path.join(folder, "package"), "--profile", "full")
            rack = bench.Rack(folder, profile="full", hands_speed=20, time_scale=0.2, dump_bytes=400 << 20)
            with rack, bench.Station(folder, racks=[rack.address], import_dirs=[folder]) as station:
                firmware = station.add_firmware(package)
                system = [f for f in firmware["detail"]["files"] if f["name"] == "system.img"][0]
                self.assertTrue(system["sparse"])
                self.assertEqual(system["expanded_bytes"], SYSTEM_BYTES)
                label = rack.labels[0]
                station.import_dump(rack.dump(0), label["serial"])
                job = station.restore(rack.port(0), label["serial"], finish="upgrade")
                peak, server, seen_write, end = 0, 0, False, time.monotonic() + 400
                while time.monotonic() < end:
                    now = station.job(job["id"])
                    peak = max([peak] + [private_dirty(pid) for pid in workers(station)])
                    server = max(server, private_dirty(station.process.child.pid))
                    seen_write |= (now["step"] or "").startswith("S18w")
                    step = now["step"] or ""
                    if now["state"] in ("failed", "interrupted") or step.startswith(("S20", "S21")):
                        break
                    time.sleep(0.05)
                print(f"peak Private_Dirty: a worker {peak} bytes, the server {server}")
                self.assertIn(now["state"], ("running", "prompt"), now)
                self.assertTrue(seen_write)
                self.assertGreater(peak, 0)
                self.assertLess(peak, LIMIT_BYTES)
                self.assertLess(server, SERVER_BYTES)


if __name__ == "__main__":
    unittest.main(verbosity=2)
