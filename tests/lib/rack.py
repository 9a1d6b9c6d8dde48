"""A rack of emulated phones and a station, for the demo and for tests: real processes, real sockets, own folder,
free ports. Standard library only."""
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
VERSION = "PDA-1100-0-00WW-B01"


def build_dir():
    """build/<preset>: FLASHRACK_BUILD, or the release build of this checkout."""
    return os.path.abspath(os.environ.get("FLASHRACK_BUILD", os.path.join(ROOT, "build", "release")))


def program(name):
    path = os.path.join(build_dir(), name)
    if not os.path.exists(path):
        sys.exit(f"{path} is not built; ./run builds it")
    return path


def end_on_signals():
    """A signal that ends this program raises KeyboardInterrupt, so that what it started ends with it. SIGINT, too: a shell
    without job control starts programs in the background with it ignored."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)


if os.environ.get("FLASHRACK_LEAKS"):
    os.environ["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=1"


def without_leak_search():
    """Environment of the programs that make and check fixtures: their leaks are looked for in tests of their own, and
    under ASan the search takes longer than the work."""
    return {**os.environ, "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"}


def sparse_sha256(path):
    """Hash of a file's contents in which blocks of zeros are named, not read: equal exactly when the contents
    are, whether zeros are holes or written."""
    block = 65536
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        size = os.fstat(f.fileno()).st_size
        digest.update(b"%d" % size)
        at = 0
        while at < size:
            try:
                at = os.lseek(f.fileno(), at, os.SEEK_DATA) // block * block
            except OSError:
                break  # only a hole is left
            data = os.pread(f.fileno(), block, at)
            if data.strip(b"\0"):
                digest.update(b"%d:" % at + data)
            at += block
    return digest.hexdigest()


class ApiError(Exception):
    """A problem document."""

    def __init__(self, status, problem):
        super().__init__(f"{status}: {problem.get('detail')} ({problem.get('code')})")
        self.status = status
        self.problem = problem
        self.detail = problem.get("detail", "")


class Process:
    """A program whose output goes to a file; `ready` waits for a line that matches."""

    def __init__(self, args, log, env=None):
        self.log = log
        self.file = open(log, "wb")
        self.child = subprocess.Popen(args, stdout=self.file, stderr=subprocess.STDOUT,
                                      stdin=subprocess.DEVNULL, env=env)

    def ready(self, pattern, seconds=60):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with open(self.log, "r", errors="replace") as f:
                match = re.search(pattern, f.read())
            if match:
                return match
            if self.child.poll() is not None:
                break
            time.sleep(0.02)
        raise RuntimeError(f"{self.child.args[0]} did not say '{pattern}':\n{self.tail()}")

    def tail(self, count=20):
        with open(self.log, "r", errors="replace") as f:
            return "".join(f.readlines()[-count:])

    def stop(self, seconds=15):
        """Ends it; returns its exit status, None when it had to be killed. What a sanitizer said of it, or of a child that
        writes to the same log, is an error."""
        killed = False
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.wait(seconds)
            except subprocess.TimeoutExpired:
                killed = True
                self.child.kill()
                self.child.wait()
        self.file.close()
        with open(self.log, "r", errors="replace") as f:
            found = re.search(r"(ERROR: \w+Sanitizer|: runtime error: )(?s:.{0,3000})", f.read())
        if found:
            raise AssertionError(found.group())
        return None if killed else self.child.returncode


def patient_boot_rom(time_scale):
    """Setting of phones whose boot ROM waits 20 real seconds: the machine that tests may be slower than any phone."""
    return f"brom_window_ms={int(20000 / time_scale)}"


class Started:
    """What has a program that its start() starts, also for `with`."""
    process = None

    def stop(self):
        return self.process.stop() if self.process else 0

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.stop()  # what is interrupted while it starts does not stay behind
            raise

    def __exit__(self, *_):
        self.stop()


class Rack(Started):
    """Phones on USB/IP. `with Rack(...) as rack:`; labels: what stands on each phone's label."""

    def __init__(self, dir_, phones=1, profile="mini", hands="auto", hands_speed=20, lost=True, slot="a",
                 time_scale=1, faults=(), settings=(), extra=(), version=VERSION, seed=1, dump_bytes=None,
                 vhci=False):
        self.dir = dir_
        self.vhci = vhci
        self.count = phones
        self.state = os.path.join(dir_, "phones")
        self.dumps = os.path.join(dir_, "dumps")
        self.control_path = os.path.join(dir_, "ctl")
        make = [program("x5-factory"), "rack", "--state", self.state, "--phones", str(phones), "--dumps",
                self.dumps, "--profile", profile, "--slot", slot, "--version", version, "--seed", str(seed)]
        if lost:
            make.append("--lost")
        if dump_bytes:
            make += ["--dump-bytes", str(dump_bytes)]
        subprocess.run(make, check=True, stdout=subprocess.DEVNULL, env=without_leak_search())
        with open(os.path.join(self.state, "rack.json")) as f:
            self.labels = json.load(f)
        self.args = [program("emulated-x5"), "--listen", "127.0.0.1:0", "--phones", str(phones), "--state",
                     self.state, "--profile", profile, "--hands", hands, "--hands-speed", str(hands_speed),
                     "--time-scale", str(time_scale), "--control", self.control_path, "--seed", str(seed)]
        for fault in faults:
            self.args += ["--fault", fault]
        # Over USB/IP nobody configures a preloader that no job waits for; a kernel does, at once.
        for setting in (() if vhci else ("preloader_configure_ms=600",)) + tuple(settings):
            self.args += ["--set", setting]
        if vhci:
            self.args.append("--vhci")
        self.args += list(extra)
        self.address = None
        self.lock = threading.BoundedSemaphore(24)  # many threads, one socket to accept them

    def start(self):
        self.process = Process(self.args, os.path.join(self.dir, "phones.log"))
        self.address = self.process.ready(r"ready: \d+ phones on (\S+)").group(1)
        return self

    def port(self, index):
        """Port id of the phone with this index, from 0."""
        if self.vhci:  # neighbours are on different controllers, tests/phone/vhci.c
            return f"platform-vhci_hcd.{index % 8}-usb-0:{index // 8 + 1}"
        return f"usbip-{self.address}-{self.labels[index]['bus_id']}"

    def dump(self, index):
        return os.path.join(self.dumps, self.labels[index]["serial"] + ".bin")

    def phone_dir(self, index):
        return os.path.join(self.state, self.labels[index]["bus_id"])

    def control(self, index, do, **more):
        """One command of the control socket; index None for the whole rack."""
        order = {"do": do, **more}
        if index is not None:
            order["phone"] = self.labels[index]["bus_id"]
        with self.lock, socket.socket(socket.AF_UNIX) as s:
            s.connect(self.control_path)
            s.sendall((json.dumps(order) + "\n").encode())
            answer = json.loads(s.makefile().readline())
        if not answer.get("ok"):
            raise RuntimeError(f"control {order}: {answer}")
        return answer

    def screen(self, index):
        return self.control(index, "screen")["screen"]

    def bytes_written(self):
        return sum(self.control(i, "bytes_written")["bytes_written"] for i in range(self.count))

    def violations(self):
        found = {}
        for i in range(self.count):
            for name, count in self.control(i, "violations")["violations"].items():
                found[name] = found.get(name, 0) + count
        return found

    def hashes(self, index):
        """SHA-256 of the contents of every area of a phone's flash, for "nothing was written"."""
        return {area: sparse_sha256(os.path.join(self.phone_dir(index), area))
                for area in ("user.img", "boot1.img", "boot2.img", "rpmb.img")}

    def check(self, index, package, finish, loss="format"):
        """The independent checker; (passed, what it printed). loss identity: all else is as in the dump."""
        done = subprocess.run([program("x5-check"), "--dump", self.dump(index), "--package", package,
                               "--state", self.phone_dir(index), "--finish", finish, "--loss", loss],
                              capture_output=True, text=True, env=without_leak_search())
        return done.returncode == 0, done.stdout + done.stderr


def make_package(dir_, *more):
    """A vendor's package as x5-factory makes it; its folder."""
    done = subprocess.run([program("x5-factory"), "package", dir_, *more], check=True,
                          capture_output=True, text=True, env=without_leak_search())
    return done.stdout.strip().splitlines()[-1]


def partition(dump, name):
    """Where a partition lies in a dump, by the table in it: {"first_lba", "size", ...}."""
    done = subprocess.run([program("flashrack"), "dump", "list", dump, "--json"], check=True, capture_output=True,
                          text=True, env=without_leak_search())
    return next(p for p in json.loads(done.stdout)["partitions"] if p["name"] == name)


class Station(Started):
    """flashrackd with a data folder of its own."""

    def __init__(self, dir_, racks=(), import_dirs=(), listen="127.0.0.1:0", usb=False, time_scale=1, extra=(),
                 as_user=(), daemon="flashrackd", retries=0):
        """retries: a test that looks at one failure does not want to wait for three more."""
        self.dir = dir_
        self.data = os.path.join(dir_, "data")
        self.args = [*as_user, program(daemon), "--listen", listen, "--data", self.data, "--time-scale",
                     str(time_scale), "--retries", str(retries)]
        for rack in racks:
            self.args += ["--usbip", rack]
        for folder in import_dirs:
            self.args += ["--import-dir", folder]
        if not usb:
            self.args.append("--no-usb")
        self.args += list(extra)
        self.url = None

    def start(self):
        self.process = Process(self.args, os.path.join(self.dir, "station.log"))
        self.url = self.process.ready(r"Flashrack is at (\S+)").group(1)
        return self

    def call(self, method, path, body=None, headers=None, seconds=300):
        request = urllib.request.Request(self.url + path, method=method)
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        for name, value in (headers or {}).items():
            request.add_header(name, value)
        try:
            with urllib.request.urlopen(request, data, timeout=seconds) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            text = error.read()
            try:
                problem = json.loads(text)
            except ValueError:
                problem = {"detail": text.decode(errors="replace")}
            raise ApiError(error.code, problem) from None

    def get(self, path):
        return self.call("GET", "/api/v1" + path)

    def post(self, path, body=None, headers=None):
        return self.call("POST", "/api/v1" + path, {} if body is None else body, headers)

    def change_port(self, port, seconds=30, **change):
        """Changes a port, once the station knows it: it answers before its portwatch has told of the phones."""
        end = time.monotonic() + seconds
        while True:
            try:
                return self.call("PATCH", f"/api/v1/ports/{port}", change)
            except ApiError as error:
                if error.status != 404 or time.monotonic() > end:
                    raise
            time.sleep(0.05)

    def add_firmware(self, path):
        return self.post("/firmware", {"path": path})

    def import_dump(self, path, serial, **more):
        return self.post("/backups", {"path": path, "serial": serial, **more})

    def restore(self, port, serial, imeis=(), **more):
        order = {"recipe": "x5-restore", "port": port, "serial": serial, **more}
        if imeis:
            order["imeis"] = list(imeis)
        return self.post("/jobs", order)

    def job(self, job_id):
        return self.get(f"/jobs/{job_id}")

    def wait(self, job_id, until=("succeeded", "failed", "cancelled", "interrupted"), seconds=180, step=None):
        """Waits for a state (or a step) of a job; returns the job."""
        end = time.monotonic() + seconds
        while True:
            job = self.job(job_id)
            if job["state"] in until and (step is None or (job["step"] or "").startswith(step)):
                return job
            if step is not None and job["state"] in ("succeeded", "failed", "cancelled", "interrupted"):
                return job
            if time.monotonic() > end:
                raise TimeoutError(f"job {job_id} is {job['state']} in step {job['step']}: {job.get('prompt')}")
            time.sleep(0.1)

    def accept(self, job, screen):
        """Answers the acceptance prompt with what a person reads on the phone's screen."""
        values = {"serial": screen["serial"], "imeis": screen["imeis"], "wlan_mac": screen["wlan_mac"],
                  "bt_mac": screen["bt_mac"]}
        return self.post(f"/jobs/{job['id']}/answer",
                         {"prompt_id": job["prompt"]["id"], "answer": "ok", "values": values})


class Acceptor(threading.Thread):
    """The person who reads *#06# and About on each finished phone and enters it. Knows the phones' screens and
    the station's API, nothing else."""

    def __init__(self, station, rack, jobs, look_s=0.2):
        """look_s: seconds between two looks; each costs a slow processor more than the phone's next step."""
        super().__init__(daemon=True)
        self.station, self.rack, self.jobs = station, rack, dict(jobs)  # job id -> phone index
        self.look_s = look_s
        self.ended = {}
        self.stopping = threading.Event()

    def run(self):
        while self.jobs and not self.stopping.is_set():
            for job_id, index in list(self.jobs.items()):
                try:
                    self.look(job_id, index)
                except (ApiError, OSError, RuntimeError, KeyError):
                    continue  # the prompt went, or the phone's screen is dark: look again
            time.sleep(self.look_s)

    def look(self, job_id, index):
        job = self.station.job(job_id)
        if job["state"] in ("succeeded", "failed", "cancelled", "interrupted"):
            self.ended[job_id] = job
            del self.jobs[job_id]
            return
        prompt = job.get("prompt")
        if job["state"] == "prompt" and prompt and prompt["answered_by"] == "person":
            screen = self.rack.screen(index)
            if screen.get("state") == "android":
                self.station.accept(job, screen)

    def finish(self, seconds):
        """Ended jobs by id: those that ended in time."""
        self.join(seconds)
        self.stopping.set()
        return self.ended

    def finish_job(self, job_id, seconds=150):
        """The only job, ended, or as far as it has come in time."""
        return self.finish(seconds).get(job_id) or self.station.job(job_id)


class Workspace:
    """A temporary folder that goes away, unless FLASHRACK_KEEP is set."""

    def __init__(self, name="flashrack"):
        self.path = tempfile.mkdtemp(prefix=name + "-", dir=os.environ.get("FLASHRACK_TMP"))

    def __enter__(self):
        return self.path

    def __exit__(self, *_):
        if os.environ.get("FLASHRACK_KEEP"):
            print("kept:", self.path, file=sys.stderr)
        else:
            shutil.rmtree(self.path, ignore_errors=True)
