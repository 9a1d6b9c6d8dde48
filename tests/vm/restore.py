"""In the guest: phones attached through vhci_hcd are found by hotplug under stable port ids and restored in parallel,
flashrackd without any rights, portwatch alone with USB rights. Then one more phone, attached by Debian's own
`usbip attach` instead."""
import argparse
import os
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import rack as bench  # noqa: E402

NOBODY = 65534
UNPRIVILEGED = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs")


def say(text):
    print(text, flush=True)


def open_up(folder):
    """The station reads dumps and package as nobody; its own folder is its own."""
    subprocess.run(["chmod", "-R", "a+rX", folder], check=True)
    station = os.path.join(folder, "station")
    os.makedirs(station, exist_ok=True)
    os.chown(station, NOBODY, NOBODY)
    return station


def start_portwatch(folder):
    path = os.path.join(folder, "portwatch.sock")
    watch = bench.Process([bench.program("flashrack-portwatch"), "--listen", path, "--allow-uid", str(NOBODY)],
                          os.path.join(folder, "portwatch.log"))
    watch.ready("listening on")
    os.chown(path, NOBODY, NOBODY)
    return path, watch


class UsbipCable(threading.Thread):
    """Attaches one phone with Debian's usbip, again each time it shows up on the rack, as a person who runs that
    command would. No other device is attached, so it is always the first virtual port."""

    def __init__(self, address):
        super().__init__(daemon=True)
        self.host, self.port = address.rsplit(":", 1)
        self.stopping = threading.Event()
        self.attached = 0

    def run(self):
        while not self.stopping.is_set():
            done = subprocess.run(["usbip", "--tcp-port", self.port, "attach", "-r", self.host, "-b", "1-1"],
                                  capture_output=True, check=False)
            if done.returncode == 0:
                self.attached += 1
            time.sleep(0.2)


def restore_all(rack, station, package, finish, seconds):
    firmware = station.add_firmware(package)
    jobs = {}
    for i, label in enumerate(rack.labels):
        backup = station.import_dump(rack.dump(i), label["serial"])
        job = station.restore(rack.port(i), label["serial"], label["imeis"], firmware=firmware["id"],
                              backup=backup["id"], finish=finish)
        jobs[job["id"]] = i
    acceptor = bench.Acceptor(station, rack, jobs)
    acceptor.start()
    ended = acceptor.finish(seconds)
    bad = 0
    for job_id, index in jobs.items():
        job = ended.get(job_id) or station.job(job_id)
        passed, text = rack.check(index, package, finish)
        say(f"{rack.port(index)}: {job['state']}, checker {'content' if passed else 'finds differences'}")
        for s in job["steps"] if os.environ.get("FLASHRACK_STEPS") else ():
            say(f"  {s['name']:32} {s['attempt']} {s['state']:8} {s['started_at'][14:-1]} {(s['ended_at'] or '')[14:-1]}")
        if job["state"] != "succeeded" or not passed:
            bad += 1
            say(f"  step {job['step']}: {job.get('error')} {job.get('prompt')}\n{text}")
    if rack.violations():
        say(f"host mistakes: {rack.violations()}")
        bad += 1
    ports = {p["id"] for p in station.get("/ports")["items"]}
    missing = {rack.port(i) for i in range(rack.count)} - ports
    if missing:
        say(f"ports that were not seen: {missing}")
        bad += 1
    return bad


def run(args, folder):
    package = bench.make_package(os.path.join(folder, "package"))
    rack = bench.Rack(folder, phones=args.phones, hands_speed=20, time_scale=args.scale / 2, vhci=not args.usbip)
    if args.usbip:
        rack.port = lambda index: "platform-vhci_hcd.0-usb-0:1"
    station_dir = open_up(folder)
    path, watch = start_portwatch(folder)
    station = bench.Station(station_dir, import_dirs=[folder], usb=True, time_scale=args.scale,
                            extra=["--portwatch", path], as_user=UNPRIVILEGED)
    with rack, station:
        cable = UsbipCable(rack.address) if args.usbip else None
        if cable:
            cable.start()
        start = time.monotonic()
        bad = restore_all(rack, station, package, args.finish, args.seconds)
        say(f"{args.phones} phones in {time.monotonic() - start:.0f} s")
        if cable:
            cable.stopping.set()
            say(f"attached {cable.attached} times by usbip")
            bad += cable.attached < 3
        if bad:
            say(station.process.tail(30) + watch.tail(20))
    watch.stop()
    return 1 if bad else 0


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--phones", type=int, default=4)
    p.add_argument("--usbip", action="store_true")
    p.add_argument("--finish", default="lk")
    p.add_argument("--scale", type=float, default=3)
    p.add_argument("--seconds", type=float, default=400)
    args = p.parse_args()
    with bench.Workspace("guest") as folder:
        os.chmod(folder, 0o755)
        return run(args, folder)


if __name__ == "__main__":
    sys.exit(main())
