#!/usr/bin/python3
"""./run bench ports: what a port costs when others work beside it. N paced phones restored at once by one station, time
per phone against one alone; and how much longer its neighbours take while one worker is killed again and again. One
JSON object a line. The phones are paced (a bus and a flash slower than this machine), so that what is measured is the
station. Usage: ports.py [--profile tiny|mini] [N...]"""
import argparse
import json
import os
import signal
import statistics
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import processes  # noqa: E402
import rack as bench  # noqa: E402

COUNTS = (1, 4, 8, 16, 32)
# A high-speed phone manages ten times this; slow phones leave two cores time for 32 of them and for their emulation.
PACE = ("high_speed_bytes_per_s=4000000", "emmc_read_bytes_per_s=4000000", "emmc_write_bytes_per_s=3000000")
JOB_S = 1800  # ends a hang
SAMPLE_S = 0.25
CRASH_EVERY_S = 1.0


class Sampler(threading.Thread):
    """Peaks of memory by kind of process."""

    def __init__(self, station):
        super().__init__(daemon=True)
        self.station, self.peaks, self.over = station, {}, threading.Event()

    def run(self):
        while not self.over.wait(SAMPLE_S):
            for pid, name in processes.of_station(self.station).items():
                self.peaks[name] = max(self.peaks.get(name, 0), processes.private_dirty(pid))

    def stop(self):
        self.over.set()
        self.join()
        return self.peaks


class Crasher(threading.Thread):
    """Kills the worker of one port whenever it works, and orders its job again when it has ended."""

    def __init__(self, station, order):
        super().__init__(daemon=True)
        self.station, self.order, self.kills, self.over = station, order, 0, threading.Event()

    def run(self):
        job = self.order()
        while not self.over.wait(CRASH_EVERY_S):
            if self.station.job(job["id"])["state"] in ("failed", "interrupted", "cancelled", "succeeded"):
                job = self.order()
            pid = processes.worker_of_job(self.station, job["id"])
            if pid:
                os.kill(pid, signal.SIGKILL)
                self.kills += 1
        try:
            self.station.post(f"/jobs/{job['id']}/cancel")
        except bench.ApiError:
            pass  # it has ended by itself

    def stop(self):
        self.over.set()
        self.join()
        return self.kills


def seconds_of(job):
    parse = lambda text: time.mktime(time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S")) + float("0" + text[19:23])
    return parse(job["ended_at"]) - parse(job["started_at"])


def measure(profile, count, crash):
    """Seconds of each job that nobody disturbed, and what the processes took."""
    with bench.Workspace("flashrack-ports") as folder:
        package = bench.make_package(os.path.join(folder, "package"), "--profile", profile)
        rack = bench.Rack(folder, phones=count, profile=profile, hands_speed=20, settings=PACE)
        with rack, bench.Station(folder, racks=[rack.address], import_dirs=[folder]) as station:
            firmware = station.add_firmware(package)["id"]
            for index, label in enumerate(rack.labels):
                station.import_dump(rack.dump(index), label["serial"])

            def order(index):
                label = rack.labels[index]
                return station.restore(rack.port(index), label["serial"], label["imeis"], firmware=firmware)

            sampler, crasher = Sampler(station), None
            server, phones = station.process.child.pid, rack.process.child.pid
            cpu = processes.cpu_seconds(server), processes.cpu_seconds(phones)
            if crash:
                crasher = Crasher(station, lambda: order(0))
                crasher.start()
            jobs = {order(index)["id"]: index for index in range(1 if crash else 0, count)}
            acceptor = bench.Acceptor(station, rack, jobs)
            for thread in (sampler, acceptor):
                thread.start()
            ended = acceptor.finish(JOB_S)
            kills = crasher.stop() if crasher else 0
            peaks = sampler.stop()
            took = [seconds_of(job) for job in ended.values() if job["state"] == "succeeded"]
            if len(took) < len(jobs):
                raise RuntimeError(f"{len(took)} of {len(jobs)} jobs succeeded:\n{station.process.tail()}")
            return {"seconds": took, "kills": kills, "private_dirty_bytes": peaks,
                    "station_cpu_s": processes.cpu_seconds(server) - cpu[0],
                    "phones_cpu_s": processes.cpu_seconds(phones) - cpu[1]}


def line(found, count, baseline, base):
    median = statistics.median(found["seconds"])
    print(json.dumps({"bench": "ports", "phones": count, "baseline": baseline, "ratio": round(median / base, 3),
                      "worst_ratio": round(max(found["seconds"]) / base, 3), "median_seconds": round(median, 2),
                      "baseline_seconds": round(base, 2), "kills": found["kills"],
                      "station_cpu_s_per_phone": round(found["station_cpu_s"] / count, 3),
                      "phones_cpu_s_per_phone": round(found["phones_cpu_s"] / count, 3),
                      "private_dirty_bytes": found["private_dirty_bytes"]}), flush=True)
    return median


def main():
    p = argparse.ArgumentParser(prog="./run bench ports", description=__doc__)
    p.add_argument("--profile", choices=("tiny", "mini"), default="mini")
    p.add_argument("counts", nargs="*", type=int, metavar="N")
    args = p.parse_args()
    counts = args.counts or COUNTS
    alone = statistics.median(measure(args.profile, 1, False)["seconds"])
    medians = {}
    for count in counts:
        medians[count] = line(measure(args.profile, count, False), count, "one phone alone", alone)
    beside = max((n for n in counts if 1 < n <= 8), default=None)
    if beside:
        line(measure(args.profile, beside, True), beside, "the same without a worker that crashes", medians[beside])
    return 0


if __name__ == "__main__":
    sys.exit(main())
