#!/usr/bin/python3
"""./run demo: a rack of phones whose identity was lost, restored side by side by one station. --once: no browser
needed; ends when all jobs ended, and an independent checker decides the exit status."""
import argparse
import json
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import rack as bench  # noqa: E402


def arguments():
    p = argparse.ArgumentParser(prog="./run demo", description=__doc__)
    p.add_argument("--phones", type=int, default=8, metavar="N", help="phones in the rack (default 8)")
    p.add_argument("--listen", default=None, metavar="HOST:PORT",
                   help="address of the dashboard (default 127.0.0.1:8080; with --once any free port)")
    p.add_argument("--once", action="store_true",
                   help="end when all jobs ended; last line on stdout is one JSON object")
    p.add_argument("--finish", choices=("upgrade", "lk"), default="upgrade",
                   help="how a job ends: the whole package (default), or the commercial bootloader only")
    p.add_argument("--profile", choices=("tiny", "mini", "full"), default="mini", help="size of the phones")
    p.add_argument("--hands-speed", type=float, default=None, metavar="X",
                   help="the person at the bench is X times as fast (default 1; with --once 10)")
    p.add_argument("--time-scale", type=float, default=1, metavar="X", help="stretch every window and deadline")
    # For the test of the checker itself: flips one byte of a phone's flash before the checker looks.
    p.add_argument("--tamper", metavar="INDEX:OFFSET", help=argparse.SUPPRESS)
    args = p.parse_args()
    if not 1 <= args.phones <= 64:
        p.error("--phones takes 1 to 64")
    return args


def say(text):
    print(text, file=sys.stderr, flush=True)


def tamper(rack, where):
    index, offset = (int(x, 0) for x in where.split(":"))
    with open(os.path.join(rack.phone_dir(index), "user.img"), "r+b") as f:
        f.seek(offset)
        byte = f.read(1)
        f.seek(offset)
        f.write(bytes([byte[0] ^ 1]))


def order_all(station, rack, package, finish):
    firmware = station.add_firmware(package)
    jobs = {}
    for i, label in enumerate(rack.labels):
        backup = station.import_dump(rack.dump(i), label["serial"])
        job = station.restore(rack.port(i), label["serial"], label["imeis"], firmware=firmware["id"],
                              backup=backup["id"], finish=finish)
        station.change_port(rack.port(i), label=f"A{i + 1}")
        jobs[job["id"]] = i
    return jobs


def judge(rack, package, finish, ended, jobs):
    """The checker knows the dump, the package and the phones' flash, nothing of the station."""
    succeeded = 0
    for job_id, index in jobs.items():
        job = ended.get(job_id)
        serial = rack.labels[index]["serial"]
        passed, text = rack.check(index, package, finish)
        if job is None or job["state"] != "succeeded":
            error = (job or {}).get("error") or {}
            say(f"{serial}: {(job or {}).get('state', 'not ended')}: {error.get('message')} {error.get('advice', '')}")
        elif not passed:
            say(f"{serial}: the flash is not as it must be:\n{text}")
        else:
            succeeded += 1
    return succeeded


def run(args, folder):
    package = bench.make_package(os.path.join(folder, "package"), "--profile", args.profile)
    say(f"making {args.phones} phones and erasing their identity ...")
    speed = args.hands_speed or (10 if args.once else 1)
    rack = bench.Rack(folder, phones=args.phones, profile=args.profile, hands_speed=speed,
                      time_scale=args.time_scale)
    listen = args.listen or ("127.0.0.1:0" if args.once else "127.0.0.1:8080")
    with rack, bench.Station(folder, racks=[rack.address], import_dirs=[folder], listen=listen,
                             time_scale=args.time_scale) as station:
        say(f"\n  Flashrack is at {station.url}\n")
        start = time.monotonic()
        jobs = order_all(station, rack, package, args.finish)
        acceptor = bench.Acceptor(station, rack, jobs)
        acceptor.start()
        limit = (600 + 60 * args.phones) * max(1.0, args.time_scale)
        ended = acceptor.finish(limit)
        seconds = time.monotonic() - start
        written = rack.bytes_written()
        violations = rack.violations()
        if violations:
            say(f"host mistakes that the phones counted: {violations}")
        if args.tamper:
            tamper(rack, args.tamper)
        succeeded = judge(rack, package, args.finish, ended, jobs)
        summary = {"jobs": len(jobs), "succeeded": succeeded, "failed": len(jobs) - succeeded,
                   "seconds": round(seconds, 1), "bytes_written": written}
        line = json.dumps(summary, separators=(",", ":"))
        if not args.once:
            say(line)
            say(f"All jobs ended. The dashboard stays at {station.url} until Ctrl-C.")
            try:
                while True:
                    time.sleep(3600)
            except KeyboardInterrupt:
                pass
    print(line, flush=True)
    return 0 if succeeded == len(jobs) else 1


def main():
    args = arguments()
    bench.end_on_signals()
    with bench.Workspace("flashrack-demo") as folder:
        return run(args, folder)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        say("stopped")
        sys.exit(130)
    except (RuntimeError, bench.ApiError, OSError) as error:
        say(f"demo: {error}")
        sys.exit(1)
