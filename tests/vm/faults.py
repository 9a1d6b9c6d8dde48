"""In the guest, over vhci_hcd and usbfs: one fault a phone, phones side by side, each judged as in the fault sweep
(tests/soak/sweep.py); a job that is cancelled, another phone on the port in the middle of a job, a phone that asks for
authentication, a phone that nobody asked about, a finished phone's preloader, and a phone that Debian's `usbip attach`
plugs in; the tree of controllers, hubs and sockets meanwhile. There is no udevd here and portwatch rescans once a day:
kernel events alone find the phones. One JSON line."""
import glob
import json
import os
import re
import subprocess
import sys
import threading
import time
import traceback

os.environ.setdefault("FLASHRACK_SWEEP_SCALE", "2")  # of the station's deadlines; before sweep is loaded
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "soak"))
import restore  # noqa: E402
import sweep  # noqa: E402
import topology  # noqa: E402
import uevents  # noqa: E402
from restore import bench, say  # noqa: E402

# Each on a phone of its own; places in the agent's second stay on the bus, where all data moves. More comes than fits
# in the middle of data (430), and a header announces more than there can be.
FAULTS = {1: "stall@step=brom@transfer=310", 2: "short@step=brom@transfer=345", 3: "reset@step=brom@transfer=390",
          4: "unplug@step=brom@byte=900000", 5: "corrupt@step=brom@transfer=450", 6: "stall@step=lk@transfer=8",
          11: "babble@step=brom@transfer=430", 12: "oversized@step=brom@transfer=420"}
# The partner of the swap waits unplugged as 1-1: the first virtual port stays free for usbip. The one that nobody
# asked about is alone on its controller, so is the finished phone (FINISHED) while nobody works with it.
PARTNER, FINISHED, BYSTANDER, SWAPPED, LOCKED, CANCELLED, PHONES = 0, 6, 7, 8, 9, 10, 13
PHONE_SCALE = 0.5
SECONDS = 60
EXPECT = os.path.join(restore.HERE, "expect", "lsusb-agent")


class UsbipCable(threading.Thread):
    """Attaches one phone with Debian's usbip, again each time it shows up on the rack, as a person who runs that
    command would. usbip takes the first free virtual port, which nobody else uses here."""

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


class Kernel(sweep.Sweep):
    """The sweep's phones on virtual ports, flashrackd without rights."""

    def __init__(self, folder):
        super().__init__(folder, PHONES, seed=0, vhci=True, time_scale=PHONE_SCALE,
                         settings=[f"1-{LOCKED + 1}:target_config=2", f"1-{BYSTANDER + 1}:brom_window_ms=3600000"])
        self.lock = threading.RLock()

    def make_station(self):
        path, self.watch = restore.start_portwatch(self.dir)
        return bench.Station(restore.open_up(self.dir), usb=True, import_dirs=[self.dir], time_scale=sweep.STATION_SCALE,
                             extra=["--portwatch", path], as_user=restore.UNPRIVILEGED)

    def open(self):
        super().open()
        for index in range(PHONES):
            self.rack.control(index, "unplug")

    def expect(self, good, text):
        if not good:
            with self.lock:
                self.problems.append(text)

    def untouched(self, index, before, text):
        self.expect(self.rack.hashes(index) == before, f"{text}: its flash has changed")


def fault(kernel, index, spec):
    kernel.trial(kernel.phones[index], {"kind": spec.split("@")[0], "name": spec, "spec": lambda base: spec,
                                        "judged": not spec.startswith(sweep.SPOILS_HOST_BYTES)})


def agent_as_lsusb_sees_it(kernel, index):
    """The identity after the speed switch: word for word, without a complaint."""
    device, = glob.glob(f"/sys/devices/platform/vhci_hcd.{index % 8}/usb[0-9]*/*-{index // 8 + 1}")
    address = ":".join(uevents.NodeOpens.read(os.path.join(device, name)) for name in ("busnum", "devnum"))
    done = subprocess.run(["lsusb", "-v", "-s", address], capture_output=True, text=True, check=False)
    text = re.sub(r"(?m)^Bus \d+ Device \d+", "Bus BUS Device DEVICE", done.stdout)
    text = re.sub(r"(?m)[ \t]+$", "", text).strip() + "\n"
    if os.environ.get("FLASHRACK_EXPECT") == "write":
        with open(os.path.join(os.environ["FLASHRACK_VM_OUT"], os.path.basename(EXPECT)), "w", encoding="utf-8") as f:
            f.write(text)
        return
    with open(EXPECT, encoding="utf-8") as f:
        kernel.expect(f.read().strip() == text.strip(), f"lsusb reads the agent otherwise:\n{text}")
    kernel.expect(not done.stderr, f"lsusb complains about the agent: {done.stderr}")


def cancel(kernel, index):
    """After the identity was read, out of a pause; the next job finds the phone as it lies there."""
    before = kernel.rack.hashes(index)
    job, hang = kernel.phones[index].run(until=lambda job: (job["step"] or "").startswith("S5"))
    kernel.station.post(f"/jobs/{job['id']}/pause")
    kernel.station.wait(job["id"], until=("paused",), seconds=SECONDS)
    agent_as_lsusb_sees_it(kernel, index)
    topology.look(kernel.station, kernel.rack, {index: ("da", "high"), BYSTANDER: ("brom", "full")}, kernel.expect)
    kernel.station.post(f"/jobs/{job['id']}/cancel")
    job = kernel.station.wait(job["id"], seconds=SECONDS)
    kernel.expect(not hang and job["state"] == "cancelled", f"cancelled: {hang or job['state']}")
    kernel.untouched(index, before, "cancelled")
    wrong = kernel.second(kernel.phones[index])
    kernel.expect(not wrong, f"after the cancelled job: {wrong}")


def swap(kernel, index, partner):
    """Between two halves of a job another phone comes back on the port."""
    phone, person = kernel.phones[index], sweep.Person(kernel, index)
    before = kernel.rack.hashes(partner)
    job, hang = phone.run(until=lambda job: (job["step"] or "").startswith("S17") and job["prompt"])
    kernel.expect(not hang and job["state"] == "prompt", f"swap: {hang or job['state']} {job['error']}")
    person.force_off()
    kernel.rack.control(index, "swap", **{"with": kernel.rack.labels[partner]["bus_id"]})
    person.plug_with("vol_up", "vol_down")
    job = kernel.station.wait(job["id"], seconds=SECONDS)
    kernel.expect((job["error"] or {}).get("code") == "another_phone", f"swap: {job['state']} {job['error']}")
    kernel.untouched(partner, before, "the phone that was put on the port")


def locked(kernel, index):
    before = kernel.rack.hashes(index)
    job, hang = kernel.phones[index].run()
    code = (job["error"] or {}).get("code")
    kernel.expect(not hang and code == "authentication_needed", f"secured phone: {hang or job['state']} {job['error']}")
    kernel.untouched(index, before, "secured phone")


def attached_by_usbip(kernel):
    """A second rack, and Debian's usbip in the place of its vhci."""
    folder = os.path.join(kernel.dir, "usbip")
    os.mkdir(folder)
    other = Usbip(kernel, bench.Rack(folder, phones=1, profile="tiny", hands="none", hands_speed=50, seed=77,
                                     time_scale=PHONE_SCALE,
                                     settings=[f"brom_window_ms={int(20000 / PHONE_SCALE)}"]))
    with other.rack:
        cable = UsbipCable(other.rack.address)
        cable.start()
        phone = sweep.Phone(other, 0)
        restore.open_up(folder)
        phone.backup = kernel.station.import_dump(other.rack.dump(0), phone.label["serial"])
        job, hang = phone.run()
        cable.stopping.set()
        passed, text = other.rack.check(0, kernel.package, "lk")
        kernel.expect(not hang and job["state"] == "succeeded" and passed,
                      f"attached by usbip: {hang or job['state']} {job['error']} {text[-300:]}")
        kernel.expect(cable.attached >= 3, f"usbip attached {cable.attached} times")
        kernel.expect(not other.rack.violations(), f"attached by usbip: host mistakes {other.rack.violations()}")


class Usbip:
    """What sweep.Phone wants of a sweep: another rack, the same station."""

    def __init__(self, kernel, rack):
        self.station, self.firmware, self.rack = kernel.station, kernel.firmware, rack
        rack.port = lambda index: "platform-vhci_hcd.0-usb-0:1"


def left_alone(kernel, index, opens, mode):
    """Law 10: what nobody asked about is seen, and that is all."""
    state = kernel.rack.control(index, "state")
    ports = {port["id"]: port["mode"] for port in kernel.station.get("/ports")["items"]}
    kernel.expect(ports.get(kernel.rack.port(index)) == mode, f"{mode} on {kernel.rack.port(index)} is not seen: {ports}")
    kernel.expect(not opens.take(), f"somebody opened the node of the {mode} that nobody asked about")
    kernel.expect(state["transfers"] == 0, f"the {mode} that nobody asked about was spoken to: {state}")


def finished_phone(kernel, index):
    """The owner of a finished phone starts it with the cable in: its preloader is on the bus, and ignored."""
    opens = uevents.NodeOpens(index)
    person = sweep.Person(kernel, index)
    before = kernel.rack.control(index, "state")["transfers"]
    seen = threading.Event()
    watch = uevents.Uevents(lambda action, kind, port: seen.set() if (action, kind, port) ==
                            ("add", "usb_device", kernel.rack.port(index)) else None)
    watch.start()
    person.force_off()
    person.do("plug")
    kernel.expect(seen.wait(SECONDS), "the finished phone's preloader does not come on the bus")
    person.wait_state(lambda state: state["stage"] == "charging", SECONDS)
    after = kernel.rack.control(index, "state")["transfers"]
    kernel.expect(before == after, f"the finished phone's preloader was spoken to: {after - before} transfers")
    kernel.expect(not opens.take(), "somebody opened the node of the finished phone's preloader")


def work(kernel):
    """Everything at once; what goes wrong in a thread is a problem, too."""
    def guarded(what, *arguments):
        try:
            what(kernel, *arguments)
        except Exception as error:  # noqa: BLE001
            kernel.expect(False, f"{what.__name__} {arguments}: {error!r}")
            traceback.print_exc()
    orders = [(fault, index, spec) for index, spec in FAULTS.items()]
    orders += [(swap, SWAPPED, PARTNER), (locked, LOCKED), (cancel, CANCELLED), (attached_by_usbip,)]
    threads = [threading.Thread(target=guarded, args=order) for order in orders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    guarded(finished_phone, FINISHED)


def run(folder):
    start = time.monotonic()
    kernel = Kernel(folder)
    kernel.open()
    opens = uevents.NodeOpens(BYSTANDER)
    sweep.Person(kernel, BYSTANDER).plug_with("vol_up", "vol_down")
    work(kernel)
    left_alone(kernel, BYSTANDER, opens, "brom")
    kernel.expect(sum(kernel.happened.values()) == len(FAULTS), f"only these happened: {dict(kernel.happened)}")
    troubles = restore.complaints(kernel.watch)
    kernel.expect(not troubles, f"portwatch complains: {troubles}")
    if kernel.problems:
        restore.keep_logs(kernel.station.process, kernel.watch)
    kernel.close()
    kernel.watch.stop()
    for problem in kernel.problems:
        say(f"problem: {problem}")
    say(json.dumps({"seconds": round(time.monotonic() - start, 1), "outcomes": dict(kernel.counts),
                    "failures": len(kernel.problems), "kinds": {k: dict(v) for k, v in kernel.by_kind.items()}}))
    return 1 if kernel.problems else 0


if __name__ == "__main__":
    with bench.Workspace("faults") as workspace:
        os.chmod(workspace, 0o755)
        sys.exit(run(workspace))
