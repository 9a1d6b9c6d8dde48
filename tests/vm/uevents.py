"""What the kernel announces about USB devices (netlink, as udevd and portwatch hear it): which driver had an interface
before ours, and the moment at which something can be done to a device; and who opens device nodes. Used in the guest
only."""
import collections
import ctypes
import glob
import os
import re
import socket
import threading

NETLINK_KOBJECT_UEVENT = 15
SO_RCVBUFFORCE = 33
RECEIVE_BYTES = 4 << 20
DEVICE = re.compile(r"/platform/(vhci_hcd\.\d+)/usb\d+/\d+-([\d.]+)(?:/[^/]+:\d+\.\d+)?$")


def port_id(devpath):
    """The station's name of the port that a device or interface path of sysfs is on; None for hubs."""
    match = DEVICE.search(devpath)
    return f"platform-{match.group(1)}-usb-0:{match.group(2)}" if match else None


class Uevents(threading.Thread):
    """Counts. `on_event(action, kind, port)` is called for each one; kind is usb_device or usb_interface."""

    def __init__(self, on_event=None):
        super().__init__(daemon=True)
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, NETLINK_KOBJECT_UEVENT)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BYTES)
        self.socket.bind((0, 1))
        self.on_event = on_event
        self.lost = {}  # path of an interface that cdc_acm had -> how often its driver went since then
        self.taken_over = collections.Counter()  # port -> how often usbfs came after cdc_acm

    def run(self):
        while True:
            text = self.socket.recv(8192).decode(errors="replace")
            event = dict(line.split("=", 1) for line in text.split("\0") if "=" in line)
            if event.get("SUBSYSTEM") == "usb":
                self.take(event)

    def take(self, event):
        action, path, kind = event["ACTION"], event["DEVPATH"], event.get("DEVTYPE")
        port = port_id(path)
        if not port:
            return
        if kind == "usb_interface":
            self.take_interface(action, path, port, event.get("DRIVER"))
        if self.on_event:
            self.on_event(action, kind, port)

    def take_interface(self, action, path, port, driver):
        """usbfs binds in silence (the kernel suppresses that event), but its end is announced: an interface that lost
        a driver twice in one life had another one after cdc_acm."""
        if action == "add":
            self.lost.pop(path, None)
        elif action == "bind" and driver == "cdc_acm":
            self.lost[path] = 0
        elif action == "unbind" and path in self.lost:
            self.lost[path] += 1
            if self.lost[path] == 2:
                self.taken_over[port] += 1


class NodeOpens:
    """Counts how often a device node of a virtual controller's high-speed bus was opened, by inotify on the bus's
    folder. A udevd would be counted, too: for tests without one."""
    IN_OPEN, NONBLOCK, EVENT_BYTES = 0x20, os.O_NONBLOCK, 16

    def __init__(self, controller):
        bus = next(path for path in glob.glob(f"/sys/devices/platform/vhci_hcd.{controller}/usb[0-9]*")
                   if self.read(os.path.join(path, "speed")) == "480")
        folder = f"/dev/bus/usb/{int(self.read(os.path.join(bus, 'busnum'))):03}"
        libc = ctypes.CDLL(None, use_errno=True)
        self.fd = libc.inotify_init1(self.NONBLOCK)
        if self.fd < 0 or libc.inotify_add_watch(self.fd, folder.encode(), self.IN_OPEN) < 0:
            raise OSError(ctypes.get_errno(), f"inotify on {folder}")

    @staticmethod
    def read(path):
        with open(path, encoding="ascii") as f:
            return f.read().strip()

    def take(self):
        """Names of the nodes that were opened since the last call, one for each time."""
        try:
            data = os.read(self.fd, 65536)
        except BlockingIOError:
            return []
        names, at = [], 0
        while at < len(data):
            size = int.from_bytes(data[at + 12:at + 16], "little")
            names.append(data[at + self.EVENT_BYTES:at + self.EVENT_BYTES + size].rstrip(b"\0").decode())
            at += self.EVENT_BYTES + size
        return [name for name in names if name]


class MemoryRefusals:
    """Counts the USB requests that the kernel refused with ENOMEM, by a probe on usbfs's ioctl."""
    TRACING = "/sys/kernel/debug/tracing"

    def __init__(self):
        self.write("kprobe_events", "r:flashrack/refused usbcore:usbdev_ioctl ret=$retval:s64")
        self.write("events/flashrack/refused/filter", "ret == -12")
        self.write("events/flashrack/refused/enable", "1")

    def write(self, name, text):
        with open(os.path.join(self.TRACING, name), "w", encoding="ascii") as f:
            f.write(text)

    def count(self):
        with open(os.path.join(self.TRACING, "trace"), encoding="ascii", errors="replace") as f:
            return sum("refused:" in line for line in f)
