"""In the guest: the station's picture of controllers, hubs and sockets against what the kernel, lsusb and QEMU's command
line say. Real hubs, one behind the other, are QEMU's (vm.sh --hubs); phones come through virtual controllers, which
have a root hub only."""
import re
import subprocess

from restore import bench

VIRTUAL = "platform-vhci_hcd."
CONTROLLERS, SOCKETS = 8, 15  # of Debian's kernel
XHCI = "pci-0000:00:1d.0"  # where vm.sh plugs it in, and what it plugs into that
OUTER, INNER, KEYBOARD = XHCI + "-usb-0:2", XHCI + "-usb-0:2.3", XHCI + "-usb-0:2.3.1"
HUB_SOCKETS = 8  # of QEMU's hub, which is a USB 1 hub with a power supply
LSUSB_ROOT = re.compile(r"root_hub, Driver=(vhci_hcd|xhci_hcd)/(\d+)p, 480M")


def sockets_of(hub):
    """number -> socket"""
    return {socket["number"]: socket for socket in hub["sockets"]}


def roots_by_lsusb():
    """(driver, sockets) of each high-speed root hub, as lsusb -t prints them."""
    text = subprocess.run(["lsusb", "-t"], capture_output=True, text=True, check=True).stdout
    return sorted((driver, int(ports)) for driver, ports in LSUSB_ROOT.findall(text))


def roots(controllers, expect):
    """Each controller once, though the kernel shows most of them as two root hubs."""
    told = sorted(("xhci_hcd" if c["id"] == XHCI else "vhci_hcd", len(c["sockets"])) for c in controllers.values())
    seen = roots_by_lsusb()
    expect(told == seen, f"controllers: {told} told, lsusb sees {seen}")
    wanted = {f"{VIRTUAL}{n}" for n in range(CONTROLLERS)} | {XHCI}
    expect(set(controllers) == wanted, f"controllers: {sorted(controllers)}")
    for controller in controllers.values():
        expect((controller["kind"], controller["speed"]) == ("controller", "high"), f"controller: {controller}")
    for name in wanted - {XHCI}:
        expect(len(controllers.get(name, {"sockets": ()})["sockets"]) == SOCKETS, f"sockets of {name}")


def hubs(controllers, expect):
    """A hub in a hub in a controller, and what is in the inner one."""
    outer = sockets_of(controllers[XHCI])[2]["hub"]
    inner = sockets_of(outer)[3]["hub"]
    for hub, name in ((outer, OUTER), (inner, INNER)):
        expect((hub["id"], hub["kind"], hub["speed"], hub["self_powered"], len(hub["sockets"])) ==
               (name, "full_speed", "full", True, HUB_SOCKETS), f"hub: {hub}")
        expect("12 Mb/s" in hub["advice"], f"advice about a hub at full speed: {hub['advice']}")
    keyboard = sockets_of(inner)[1]
    expect((keyboard["id"], keyboard["port"] and keyboard["port"]["mode"]) == (KEYBOARD, "other"),
           f"keyboard: {keyboard}")
    expect(sockets_of(inner)[2] == {"id": INNER + ".2", "number": 2, "port": None, "hub": None}, "an empty socket")


def phones(controllers, rack, on_bus, expect):
    """`on_bus`: index -> (mode, speed) of phones that are there now."""
    for index, seen in on_bus.items():
        controller, socket = f"{VIRTUAL}{index % CONTROLLERS}", index // CONTROLLERS + 1
        there = sockets_of(controllers[controller])[socket]
        expect(there["id"] == rack.port(index), f"socket {socket} of {controller}: {there['id']}")
        port = there["port"] or {}
        expect((port.get("mode"), port.get("speed")) == seen, f"phone {index}: {port}, not {seen}")


def tree(station, expect):
    text = subprocess.run([bench.program("flashrack"), "ports", "--topology", "--server", station.url],
                          capture_output=True, text=True, check=True).stdout
    expect(f"{XHCI}: controller, high speed, 4 sockets\n" in text, f"as a tree: {text}")
    expect(re.search(r"\n +2  USB 1 hub, full speed, 8 sockets\n.*\n +3  USB 1 hub, full speed, 8 sockets\n", text,
                     re.DOTALL), f"as a tree: {text}")


def look(station, rack, on_bus, expect):
    """`expect(good, text)` hears of everything that differs."""
    topology = station.get("/ports/topology")
    controllers = {controller["id"]: controller for controller in topology["controllers"]}
    expect(len(controllers) == len(topology["controllers"]), "a controller is told twice")
    expect(not topology["elsewhere"], f"in no hub: {topology['elsewhere']}")
    roots(controllers, expect)
    hubs(controllers, expect)
    phones(controllers, rack, on_bus, expect)
    tree(station, expect)
