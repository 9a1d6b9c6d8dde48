"""What the kernel announces about USB devices (netlink, as udevd and portwatch hear it): which driver had an interface
before ours, and the moment at which something can be done to a device. Used in the guest only."""
import collections
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
    """Counts until stopped. `on_event(action, kind, port, driver)` is called for each one; kind is usb_device or
    usb_interface."""

    def __init__(self, on_event=None):
        super().__init__(daemon=True)
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, NETLINK_KOBJECT_UEVENT)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BYTES)
        self.socket.bind((0, 1))
        self.on_event = on_event
        self.devices = collections.Counter()  # port -> how often a device came
        self.drivers = {}  # interface path -> drivers it had, one after another
        self.taken_over = collections.Counter()  # port -> how often usbfs followed cdc_acm

    def run(self):
        while True:
            text = self.socket.recv(8192).decode(errors="replace")
            event = dict(line.split("=", 1) for line in text.split("\0") if "=" in line)
            if event.get("SUBSYSTEM") == "usb":
                self.take(event)

    def take(self, event):
        action, path, kind = event["ACTION"], event["DEVPATH"], event.get("DEVTYPE")
        port, driver = port_id(path), event.get("DRIVER")
        if not port:
            return
        if action == "add" and kind == "usb_device":
            self.devices[port] += 1
        if kind == "usb_interface":
            if action == "add":
                self.drivers[path] = []
            elif action == "bind":
                before = self.drivers.setdefault(path, [])
                if driver == "usbfs" and "cdc_acm" in before:
                    self.taken_over[port] += 1
                before.append(driver)
        if self.on_event:
            self.on_event(action, kind, port, driver)


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
