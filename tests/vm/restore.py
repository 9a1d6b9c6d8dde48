"""In the guest: phones attached through vhci_hcd are found by hotplug under stable port ids and restored in parallel,
flashrackd without any rights, portwatch alone with USB rights.

With --rough the kernel's side is as rough as it gets, and the jobs must not notice: udevd runs and handles each
device with the shipped rule, cdc_acm takes every boot ROM before we do, USB transfers of all phones share 1 MiB, and
the first phone is unplugged many times between its discovery and the opening of its node."""
import argparse
import json
import os
import shutil
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import rack as bench  # noqa: E402
import uevents  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
NOBODY = 65534
GROUP_ID = 64123
# A job takes a phone that went away back three times (usb/recipe/session.c, four attempts); nodes that vanish before
# they were opened cost none, but on a quick machine the opener wins.
VANISHINGS = 3
LOOK_S = 1.5
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
    """It looks at sysfs once a day: what it finds the kernel has told it."""
    path = os.path.join(folder, "portwatch.sock")
    watch = bench.Process([bench.program("flashrack-portwatch"), "--listen", path, "--allow-uid", str(NOBODY),
                           "--verbose", "--rescan-ms", "86400000"], os.path.join(folder, "portwatch.log"))
    watch.ready("listening on")
    os.chown(path, NOBODY, NOBODY)
    return path, watch


def keep_logs(*processes):
    """Where guest.sh finds them and shows their end."""
    for process in processes:
        shutil.copy(process.log, os.environ["FLASHRACK_VM_OUT"])


def complaints(process):
    """What a program warned of in its log."""
    with open(process.log, encoding="utf-8", errors="replace") as f:
        return [line.strip() for line in f if "level=warn" in line or "level=error" in line]


def start_udevd():
    """With the shipped rule and its group, in the guest's own copy of /etc."""
    with open("/etc/group", "a", encoding="ascii") as f:
        f.write(f"flashrack:x:{GROUP_ID}:\n")
    os.makedirs("/run/udev/rules.d")
    shutil.copy(os.path.join(HERE, "../../server/dist/61-flashrack.rules"), "/run/udev/rules.d/")
    subprocess.run(["/lib/systemd/systemd-udevd", "--daemon"], check=True)
    subprocess.run(["udevadm", "control", "--ping"], check=True, timeout=60)


class Rough:
    """What the kernel does to the phones meanwhile, and whether it did."""

    def __init__(self, rack):
        self.rack = rack
        self.plugged = False
        self.unplugged = 0
        self.refusals = uevents.MemoryRefusals()
        start_udevd()
        with open("/sys/module/usbcore/parameters/usbfs_memory_mb", "w", encoding="ascii") as f:
            f.write("1")
        self.events = uevents.Uevents(self.on_event)
        self.events.start()

    def on_event(self, action, kind, port):
        """Unplugs the first phone, once for each time it came: now when the kernel has just found it, now when it has
        its driver and its node is about to be opened."""
        if port != self.rack.port(0) or self.unplugged == VANISHINGS:
            return
        if (action, kind) == ("add", "usb_device"):
            self.plugged = True
        moment = ("add", "usb_device") if self.unplugged % 4 == 0 else ("bind", "usb_interface")
        if self.plugged and (action, kind) == moment:
            self.plugged = False
            self.unplugged += 1
            time.sleep(self.unplugged % 3 * 0.004)
            self.rack.control(0, "unplug")

    def verdict(self, watch):
        """How many of the expectations were not met."""
        ports = [self.rack.port(i) for i in range(self.rack.count)]
        troubles = complaints(watch)
        refused = self.refusals.count()
        taken = {port: self.events.taken_over[port] for port in ports}
        say(f"cdc_acm's interfaces taken over: {taken}; refused for memory: {refused}; "
            f"unplugged at once: {self.unplugged}; portwatch complained: {troubles}")
        group = subprocess.run(["find", "/dev/bus/usb", "-gid", str(GROUP_ID), "-perm", "0660"], check=True,
                               capture_output=True, text=True).stdout.split()
        say(f"given to the group by udevd: {group}")
        return (sum(not count for count in taken.values()) + (not refused) + (self.unplugged != VANISHINGS) +
                bool(troubles) + (len(group) < len(ports)))


def take_in(rack, station, package):
    """Firmware and dumps, before the phones are there: nobody need plug them in vain meanwhile."""
    firmware = station.add_firmware(package)
    backups = [station.import_dump(rack.dump(i), label["serial"]) for i, label in enumerate(rack.labels)]
    return firmware["id"], [b["id"] for b in backups]


def restore_all(rack, station, package, given, finish, seconds):
    firmware, backups = given
    jobs = {}
    for i, label in enumerate(rack.labels):
        job = station.restore(rack.port(i), label["serial"], label["imeis"], firmware=firmware,
                              backup=backups[i], finish=finish)
        jobs[job["id"]] = i
    acceptor = bench.Acceptor(station, rack, jobs, look_s=LOOK_S)
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
    package = bench.make_package(os.path.join(folder, "package"), "--profile", args.profile)
    rack = bench.Rack(folder, phones=args.phones, profile=args.profile, hands_speed=20, time_scale=args.scale / 2,
                      vhci=True)
    station_dir = open_up(folder)
    path, watch = start_portwatch(folder)
    station = bench.Station(station_dir, import_dirs=[folder], usb=True, time_scale=args.scale,
                            extra=["--portwatch", path], as_user=UNPRIVILEGED)
    with station:
        given = take_in(rack, station, package)
        rough = Rough(rack) if args.rough else None
        with rack:
            start = time.monotonic()
            bad = restore_all(rack, station, package, given, args.finish, args.seconds)
            seconds = round(time.monotonic() - start, 1)
            if rough:
                bad += rough.verdict(watch)
        if bad:
            keep_logs(station.process, watch)
    say(json.dumps({"phones": args.phones, "seconds": seconds, "failures": bad}))
    watch.stop()
    return 1 if bad else 0


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--phones", type=int, default=4)
    p.add_argument("--rough", action="store_true")
    p.add_argument("--profile", default="mini")
    p.add_argument("--finish", default="lk")
    p.add_argument("--scale", type=float, default=3)
    p.add_argument("--seconds", type=float, default=400)
    args = p.parse_args()
    with bench.Workspace("guest") as folder:
        os.chmod(folder, 0o755)
        return run(args, folder)


if __name__ == "__main__":
    sys.exit(main())
