"""In the guest: phones attached and detached, cycle after cycle, a random half of them at a time. Each must be seen
by the station under its own port id and under no other, and nothing may pile up in portwatch. Prints one JSON line."""
import argparse
import json
import os
import random
import sys
import time

import restore
from restore import bench

SHOWS_UP_S = 60


def modes(station):
    return {p["id"]: p["mode"] for p in station.get("/ports")["items"]}


def seen_as(station, expected):
    """Waits until the station sees just this; what differs in the end."""
    end = time.monotonic() + SHOWS_UP_S
    while True:
        now = modes(station)
        wrong = {port: (mode, now.get(port)) for port, mode in expected.items() if now.get(port, "none") != mode}
        wrong |= {port: ("no such port", mode) for port, mode in now.items() if port not in expected}
        if not wrong or time.monotonic() > end:
            return wrong
        time.sleep(0.05)


def descriptors(process):
    return len(os.listdir(f"/proc/{process.child.pid}/fd"))


def cycle(rack, station, rng):
    """Some phones in, all of them out."""
    chosen = set(rng.sample(range(rack.count), (rack.count + 1) // 2))
    ports = {rack.port(i): "brom" if i in chosen else "none" for i in range(rack.count)}
    for i in chosen:
        rack.control(i, "plug")
    wrong = seen_as(station, ports)
    for i in chosen:
        rack.control(i, "unplug")
    return wrong | seen_as(station, dict.fromkeys(ports, "none"))


def storm(args, folder):
    rng = random.Random(args.seed)
    rack = bench.Rack(folder, phones=args.phones, profile="tiny", hands="none", vhci=True,
                      settings=["brom_window_ms=600000"])
    path, watch = restore.start_portwatch(folder)
    station = bench.Station(restore.open_up(folder), usb=True, time_scale=args.scale, extra=["--portwatch", path],
                            as_user=restore.UNPRIVILEGED)
    failures = 0
    with rack, station:
        for i in range(args.phones):
            rack.control(i, "unplug")
            rack.control(i, "hold", keys=["vol_up", "vol_down"])
        before = descriptors(watch)
        start = time.monotonic()
        for n in range(args.cycles):
            wrong = cycle(rack, station, rng)
            if wrong:
                failures += 1
                print(f"cycle {n}: expected and seen: {wrong}", file=sys.stderr, flush=True)
        seconds = time.monotonic() - start
        leaked = descriptors(watch) - before
        complaints = restore.complaints(watch)
    watch.stop()
    print("\n".join(complaints), file=sys.stderr)
    print(json.dumps({"phones": args.phones, "cycles": args.cycles, "seconds": round(seconds, 1), "failures": failures,
                      "descriptors_leaked": leaked, "complaints": len(complaints)}), flush=True)
    return 1 if failures or leaked or complaints else 0


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--phones", type=int, default=4)
    p.add_argument("--cycles", type=int, default=100)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--scale", type=float, default=3)
    args = p.parse_args()
    with bench.Workspace("storm") as folder:
        os.chmod(folder, 0o755)
        return storm(args, folder)


if __name__ == "__main__":
    sys.exit(main())
