#!/usr/bin/python3
"""A demo that is told to end (Ctrl-C, kill, a closed terminal) takes its phones, its station and its folder with it."""
import glob
import os
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))


def of_demo(folder):
    """Processes that have this folder on their command line."""
    found = []
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path, "rb") as f:
                if folder.encode() in f.read():
                    found.append(int(path.split("/")[2]))
        except OSError:
            pass  # it ended meanwhile
    return found


def starts(folder):
    return bool(glob.glob(folder + "/flashrack-demo-*/data"))  # flashrackd has made it


def works(folder):
    for path in glob.glob(folder + "/flashrack-demo-*/station.log"):
        with open(path, encoding="utf-8") as f:
            return "Flashrack is at" in f.read()
    return False


def try_one(number, when, folder):
    """Ends a demo whose station is so far."""
    demo = subprocess.Popen([sys.executable, HERE + "/demo.py", "--phones", "1", "--profile", "tiny", "--listen",
                             "127.0.0.1:0"], env={**os.environ, "FLASHRACK_TMP": folder}, stderr=subprocess.PIPE, text=True)
    while not when(folder) and demo.poll() is None:
        time.sleep(0.05)
    children = of_demo(folder)
    demo.send_signal(number)
    told = demo.communicate()[1]
    left = [f"process {pid}" for pid in of_demo(folder)] + os.listdir(folder)
    fine = len(children) >= 2 and demo.returncode == 130 and not left and "Traceback" not in told
    print(f"{number.name}: {len(children)} processes, exit status {demo.returncode}, left: {left}", "" if fine else told)
    return fine


def main():
    with tempfile.TemporaryDirectory() as folder:
        results = [try_one(number, when, folder) for when in (starts, works)
                   for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
        for pid in of_demo(folder):
            os.kill(pid, signal.SIGKILL)
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
