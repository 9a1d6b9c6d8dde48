#!/usr/bin/python3
"""The station against emulated phones over the direct transport: whole restores, and every bad input with the proof
that nothing was written. Usage: restore_test.py [CASE...]; without one all cases run."""
import gzip
import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import sys
import time
import unittest
import zipfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import rack as bench  # noqa: E402

QUICK = 0.2  # the phones' own waits (windows, restarts) run five times as fast; the station's do not


def descriptors(pid):
    """fd -> what it is, of another process; of one that went, none."""
    found = {}
    try:
        fds = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return found
    for fd in fds:
        try:
            found[int(fd)] = os.readlink(f"/proc/{pid}/fd/{fd}")
        except OSError:
            continue
    return found


class Bench(unittest.TestCase):
    """One rack, one station, one package, all of this test alone. Phones are small (profile tiny): what is tried here
    does not depend on size, and the demo, the guest and the memory test restore larger ones."""
    profile = "tiny"

    def setUp(self):
        self.workspace = bench.Workspace("flashrack-test")
        self.dir = self.workspace.__enter__()
        self.addCleanup(self.workspace.__exit__)
        self.package = self.make_package("package")

    def make_package(self, name, *more):
        return bench.make_package(os.path.join(self.dir, name), "--profile", self.profile, *more)

    def open(self, station_extra=(), **rack):
        rack.setdefault("time_scale", QUICK)
        rack.setdefault("profile", self.profile)
        rack["settings"] = (bench.patient_boot_rom(rack["time_scale"]), *rack.get("settings", ()))
        self.rack = bench.Rack(self.dir, **rack)
        self.rack.start()
        self.addCleanup(self.rack.stop)
        self.station = bench.Station(self.dir, racks=[self.rack.address], import_dirs=[self.dir],
                                     extra=station_extra)
        self.station.start()
        self.addCleanup(self.stop_station)

    def stop_station(self):
        self.assertEqual(self.station.stop(), 0, self.station.process.tail(40))

    def prepare(self, index=0, package=None):
        self.firmware = self.station.add_firmware(package or self.package)
        label = self.rack.labels[index]
        self.backup = self.station.import_dump(self.rack.dump(index), label["serial"])
        return label

    def order(self, index=0, **more):
        label = self.rack.labels[index]
        more.setdefault("firmware", self.firmware["id"])
        more.setdefault("backup", self.backup["id"])
        return self.station.restore(self.rack.port(index), label["serial"], label["imeis"], **more)

    def restore(self, index=0, seconds=150, **more):
        job = self.order(index, **more)
        acceptor = bench.Acceptor(self.station, self.rack, {job["id"]: index})
        acceptor.start()
        return acceptor.finish_job(job["id"], seconds)

    def assert_restored(self, job, index=0, finish="lk"):
        self.assertEqual(job["state"], "succeeded", job.get("error"))
        passed, text = self.rack.check(index, self.package, finish)
        self.assertTrue(passed, text)
        self.assertEqual(self.rack.violations(), {})
        self.assertEqual(self.rack.control(index, "state")["last_shutdown"], "reboot: home screen")
        label, screen = self.rack.labels[index], self.rack.screen(index)
        for name in ("serial", "imeis", "wlan_mac", "bt_mac"):
            self.assertEqual(screen[name], label[name])
        self.assertTrue(screen["baseband"])
        self.assertFalse(screen["wifi_warning"])

    def download_mode(self, index=0):
        """By hand, so that nobody starts the phone afterwards: a start writes to its flash."""
        self.rack.control(index, "hold", keys=["vol_up", "vol_down"])
        self.rack.control(index, "plug")

    def off(self, index=0):
        """Unplugged and off, whatever it was."""
        for what in ("release", "unplug", "force_off"):
            self.rack.control(index, what)

    def put(self, partition, image, cut):
        """The beginning of an image into the flash of the phone, which is off."""
        with open(os.path.join(self.package, image), "rb") as source, \
                open(os.path.join(self.rack.phone_dir(0), "user.img"), "r+b") as flash:
            flash.seek(partition["first_lba"] * 512)
            flash.write(source.read()[:cut])

    def assert_commercial(self, partition):
        with open(os.path.join(self.package, "lk.img"), "rb") as image, \
                open(os.path.join(self.rack.phone_dir(0), "user.img"), "rb") as flash:
            flash.seek(partition["first_lba"] * 512)
            self.assertEqual(flash.read(partition["size"]), image.read().ljust(partition["size"], b"\0"))

    def assert_refused(self, call, *words):
        """The call is answered with a problem that names each of the words."""
        with self.assertRaises(bench.ApiError) as caught:
            call()
        self.assertIn(caught.exception.status, (404, 409, 413, 422), caught.exception)
        for word in words:
            self.assertIn(word.lower(), caught.exception.detail.lower())

    def assert_failed(self, job, code, *words):
        self.assertEqual(job["state"], "failed", job)
        self.assertEqual(job["error"]["code"], code, job["error"])
        self.assertTrue(job["error"]["cause"])
        self.assertTrue(job["error"]["advice"])
        for word in words:
            self.assertIn(word.lower(), job["error"]["message"].lower())


class Restore(Bench):
    def test_finish_lk(self):
        self.open()
        self.prepare()
        self.assert_restored(self.restore(finish="lk"))
        phone = self.station.get("/phones")["items"][0]
        self.assertEqual(phone["identity"], "own")
        self.assertEqual(self.rack.screen(0)["android"], "8.1")
        self.assertEqual(phone["serial"], self.rack.labels[0]["serial"])
        self.assertEqual(phone["chip_id"], self.rack.labels[0]["chip_id"])

    def test_black_box_in_wireshark(self):
        # a program that is not ours reads the whole record, and every step is named in it
        self.open()
        self.prepare()
        job = self.restore()
        self.assertEqual(job["state"], "succeeded", job.get("error"))
        path = os.path.join(self.station.data, "record", f"job-{job['id']}.pcapng")
        self.assertLess(os.path.getsize(path), 64 << 20)
        fields = ["usb.urb_type", "usb.transfer_type", "usb.endpoint_address", "usb.urb_len", "frame.comment",
                  "_ws.malformed"]
        done = subprocess.run(["tshark", "-r", path, "-T", "fields", "-E", "separator=|"] +
                              [word for field in fields for word in ("-e", field)], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        rows = [line.split("|") for line in done.stdout.splitlines()]
        self.assertGreater(len(rows), 2000)
        self.assertEqual({row[0] for row in rows}, {"'S'", "'C'"})
        self.assertEqual({row[1] for row in rows}, {"0x02", "0x03"})
        self.assertEqual([row for row in rows if row[5]], [])
        spoken = [row[4] for row in rows if row[4]]
        for step in job["steps"]:
            if step["name"].split()[0] in ("S4", "S5", "S7", "S13", "S19"):
                self.assertIn(step["name"], spoken)

    def take_run(self, job):
        """What the worker of a job was given, out of its descriptors: plan, and a folder of inputs as x5-replay wants
        it. Images are told by their hash, which the plan knows; the two that it does not list by their name."""
        record = os.path.join(self.station.data, "record", f"job-{job['id']}.pcapng")
        worker = next(pid for pid in map(int, filter(str.isdigit, os.listdir("/proc")))
                      if record in descriptors(pid).values())
        held = {fd: target for fd, target in descriptors(worker).items() if fd > 4}
        plan_path, folder = os.path.join(self.dir, "plan"), os.path.join(self.dir, "inputs")
        os.mkdir(folder)
        plan_fd = next(fd for fd, target in held.items() if "memfd:plan" in target)
        shutil.copyfile(f"/proc/{worker}/fd/{plan_fd}", plan_path)
        with open(plan_path, encoding="utf-8") as f:
            names = {write["sha256"]: write["image"] for write in json.load(f)["writes"]}
        for fd, target in held.items():
            if "/record/" in target or "/spool/" in target or "memfd" in target or not target.startswith("/"):
                continue
            with open(f"/proc/{worker}/fd/{fd}", "rb") as f:
                data = f.read()
            name = names.get(hashlib.sha256(data).hexdigest())
            if os.path.basename(target).startswith("MTK_AllInOne_DA"):
                name = "da"
            elif os.path.basename(target).startswith("preloader_"):
                name = "preloader"
            if name:
                with open(os.path.join(folder, name.replace("/", "+")), "wb") as f:
                    f.write(data)
        return plan_path, folder

    def test_black_box_plays_the_job_again(self):
        # the whole record, nothing cut, drives the host's code without a phone: same transfers, same result
        self.package = bench.make_package(os.path.join(self.dir, "tiny"), "--profile", "tiny")
        self.open(profile="tiny", hands_speed=5, station_extra=["--record-keep", str(4 << 20)])
        self.prepare()
        job = self.station.wait(self.order()["id"], until=("running", "prompt"), step="S")
        self.station.post(f"/jobs/{job['id']}/pause")  # so that there is a worker to look at, however quick the hands are
        plan, inputs = self.take_run(self.station.wait(job["id"], until=("paused",)))
        self.station.post(f"/jobs/{job['id']}/resume")
        acceptor = bench.Acceptor(self.station, self.rack, {job["id"]: 0})
        acceptor.start()
        job = acceptor.finish_job(job["id"], 150)
        self.assertEqual(job["state"], "succeeded", job.get("error"))
        record = os.path.join(self.station.data, "record", f"job-{job['id']}.pcapng")

        def play():
            done = subprocess.run([bench.program("x5-replay"), record, plan, inputs], capture_output=True, text=True,
                                  timeout=100)
            return done.returncode, json.loads(done.stdout), done.stderr
        status, played, log = play()
        self.assertEqual((status, played["code"], played["transfers_left"]), (0, "ok", 0), f"{played} {log}")
        for name in ("serial", "chip_id", "slot", "phone_version", "writes", "phone_state"):
            self.assertEqual(played["result"][name], job["result"][name])
        # another host would be noticed: this one has an agent with one bit changed
        with open(os.path.join(inputs, "da"), "r+b") as f:
            middle = os.fstat(f.fileno()).st_size // 2
            byte = os.pread(f.fileno(), 1, middle)
            os.pwrite(f.fileno(), bytes([byte[0] ^ 1]), middle)
        status, played, log = play()
        self.assertEqual(status, 1, played)
        self.assertIn("is not what was recorded", log + played["text"])

    def test_finish_upgrade(self):
        self.open()
        self.prepare()
        self.assert_restored(self.restore(finish="upgrade"), finish="upgrade")

    def with_android(self, version, android, *settings):
        self.package = self.make_package("later", "--version", version)
        self.open(version=version, settings=settings)
        self.prepare()
        self.assert_restored(self.restore())
        screen = self.rack.screen(0)
        self.assertEqual((screen["version"], screen["android"]), (version, android))

    def test_android_9(self):
        # and a bootloader that tells little, in other words
        self.with_android("PDA-2150-0-00WW-B02", "9", "oem_reply=named", "text_style=newmtk",
                          "vars_absent=has-slot,max-download-size,battery-voltage,product,unlocked,current-slot,serialno")

    def test_android_10(self):
        # and a service bootloader that wants no permission
        self.with_android("PDA-3260-0-00WW-B01", "10", "auth=none", "set_active=unknown")

    def test_bootloader_that_does_not_tell_its_serial(self):
        self.open(settings=["vars_absent=serialno"], faults=["1-1:no_serial_string"])
        self.prepare()
        job = self.restore()
        self.assert_failed(job, "serial_not_told", "neither when asked nor")
        self.assertEqual((job["step"] or "").split(" ")[0], "S11")

    def test_challenge_instead_of_a_code(self):
        """A bootloader of a newer security version does not know the command and asks a question of its own."""
        self.open(settings=["auth=challenge"])
        self.prepare()
        job = self.restore()
        self.assert_failed(job, "challenge_needed", "only the vendor")
        self.assertEqual((job["step"] or "").split(" ")[0], "S12")
        self.assertEqual(self.rack.violations(), {})

    def test_larger_storage(self):
        # the model's other eMMC: the same partitions, a longer userdata, the backup table somewhere else
        self.profile = "mini64"
        self.package = self.make_package("larger")
        self.open()
        self.prepare()
        self.assert_restored(self.restore())
        self.assertEqual(os.path.getsize(os.path.join(self.rack.phone_dir(0), "user.img")), 671088640)

    def test_slot_b_is_active(self):
        # a phone that is whole: its para says that slot b is active (the accident would have erased that, too)
        self.open(slot="b", lost=False)
        self.prepare()
        before = self.rack.hashes(0)
        job = self.restore(finish="upgrade")  # the package renews slot a: slot b would be left of two versions
        self.assert_failed(job, "upgrade_refused")
        self.assertIn("md1img_b", job["error"]["message"])
        self.assertEqual(self.rack.hashes(0), before)
        self.rack.control(0, "unplug")
        job = self.restore(finish="lk")
        self.assertEqual(job["state"], "succeeded", job.get("error"))
        self.assertEqual(job["result"]["slot"], "b")
        self.assertEqual({w["partition"] for w in job["result"]["writes"] if w["step"] in ("S8", "S18w")}, {"lk_b"})
        passed, text = self.rack.check(0, self.package, "lk", loss="identity")
        self.assertTrue(passed, text)

    def test_usb_model_buffered_build_2017(self):
        # and a bootloader that cuts its answers in two, as the agent does
        self.open(settings=["usb_model=buffered", "da_build=2017", "split_response=1", "oem_reply=okay"])
        self.prepare()
        self.assert_restored(self.restore())

    def test_usb_model_exact_build_2019(self):
        # and an LK that takes 64 KiB at once (nvram goes in sparse pieces) and has other words than the usual one
        self.open(settings=["usb_model=exact", "da_build=2019", "max_download=0x10000", "size_prefix=1",
                            "verity_digest=lower"])
        self.prepare()
        self.assert_restored(self.restore())

    def test_secure_boot(self):
        # locked partitions stay as they are; what a restore writes is not among them, and signed where that is verified
        self.open(settings=["target_config=1", "sbc_locked=tee_a,tee_b"])
        self.prepare()
        self.assert_restored(self.restore())

    def test_secure_boot_and_a_whole_package(self):
        self.open(settings=["target_config=1", "sbc_bound=md1img"])
        self.prepare()
        self.assert_restored(self.restore(finish="upgrade"), finish="upgrade")

    def spoilt_service_lk(self):
        """One bit of its signature, and its line in the package's list of checksums."""
        def change(name, before, after):
            with open(os.path.join(self.package, name), "r+b") as f:
                whole = f.read()
                self.assertIn(before, whole)
                f.seek(0)
                f.write(whole.replace(before, after))
        with open(os.path.join(self.package, "lk_service.img"), "rb") as f:
            image = f.read()
        spoilt = image[:-1] + bytes([image[-1] ^ 1])
        change("lk_service.img", image, spoilt)
        change("Checksum.ini", *(hashlib.md5(x).hexdigest().upper().encode() for x in (image, spoilt)))

    def test_through_the_preloader(self):
        # nobody holds the keys: what SLA and DAA ask for is a matter of the boot ROM, the preloader wants a signed agent
        self.open(hands="none", settings=["target_config=7"])
        self.prepare()
        job = self.order()
        acceptor = bench.Acceptor(self.station, self.rack, {job["id"]: 0})
        acceptor.start()
        for step in ("S3", "S17"):
            self.station.wait(job["id"], until=("prompt",), step=step)
            self.rack.control(0, "unplug")
            end = time.monotonic() + 20
            while self.rack.control(0, "state")["stage"] != "off" and time.monotonic() < end:
                time.sleep(0.05)
            self.rack.control(0, "plug")
        self.assert_restored(acceptor.finish_job(job["id"], 100))

    def test_secure_boot_wants_signatures(self):
        self.spoilt_service_lk()
        self.open(settings=["target_config=1"])
        self.prepare()
        self.assert_failed(self.restore(), "security_refused", "lk_a", "signature")
        self.assertEqual(self.rack.violations(), {})

    def test_without_secure_boot_nobody_asks_for_signatures(self):
        self.spoilt_service_lk()
        self.open()
        self.prepare()
        self.assert_restored(self.restore())

    def test_secure_boot_bound_to_other_images(self):
        self.spoilt_service_lk()
        self.open(settings=["target_config=1", "sbc_verified=", "sbc_bound=lk"])
        self.prepare()
        self.assert_failed(self.restore(), "security_refused", "lk_a", "bound")

    def test_secure_boot_locks_what_must_be_written(self):
        self.open(settings=["target_config=1", "sbc_locked=lk_a"])
        self.prepare()
        self.assert_failed(self.restore(), "security_refused", "lk_a", "locked against download")

    def test_a_name_that_was_spoilt_is_no_refusal(self):
        # the first DOWNLOAD of S7 (transfers 716 to 735): the agent says that it has no partition of that name
        self.open(faults=["1-1:da_status@step=2@transfer=719@status=0xc0040006"])
        self.prepare()
        self.assert_failed(self.restore(), "request_refused", "DOWNLOAD", "PARTITION_NOT_FOUND")

    def test_a_range_that_was_spoilt_is_asked_for_again(self):
        # a chunk of S5: what was asked for lies inside what the phone says of itself
        self.open(faults=["1-1:da_status@step=2@transfer=400@status=0xc004000b"])
        self.prepare()
        job = self.order()
        end = time.monotonic() + 60
        while not any(s["attempt"] > 1 for s in job["steps"]) and time.monotonic() < end:
            time.sleep(0.1)
            job = self.station.job(job["id"])
            self.assertIn(job["state"], ("queued", "waiting", "running", "prompt"), job["error"])
        log = [line["message"] for line in self.station.get(f"/jobs/{job['id']}/log?limit=1000")["items"]]
        self.assertTrue(any("EXCEED_AVAILABLE_RANGE" in line and "trying again" in line for line in log), log)

    def test_an_agent_that_never_arrives_whole(self):
        # the phone's sum of DA1 differs, each time: that is the cable, nobody asks for a signature
        self.open(faults=["1-1:da_checksum"] * 4)
        self.prepare()
        job, pulled = self.order(), 1
        end = time.monotonic() + 120
        while job["state"] != "failed" and time.monotonic() < end:
            time.sleep(0.1)
            job = self.station.job(job["id"])
            attempt = max([s["attempt"] for s in job["steps"]], default=1)
            if attempt > pulled:  # sooner than the person would, who waits for something to happen
                self.rack.control(0, "unplug")
                pulled = attempt
        self.assert_failed(job, "link_error", "checksum")
        self.assertEqual(pulled, 4)

    def test_cable_pulled_while_writing(self):
        # the link breaks in the middle of S7; the person plugs the phone in again and the job goes on
        self.open(faults=["1-1:unplug@byte=5800000"])
        self.prepare()
        job = self.restore()
        self.assert_restored(job)
        self.assertTrue(any(s["attempt"] > 1 for s in job["steps"]), job["steps"])

    def test_phone_deaf_on_the_bus(self):
        # a lost transfer leaves the agent out of step and on the bus: it is not taken again before it was off
        self.open(faults=["1-1:lie@step=brom@transfer=400"])
        self.prepare()
        job = self.restore()
        self.assert_restored(job)
        connects = [s for s in job["steps"] if s["name"].startswith("S3 ")]
        self.assertEqual([s["state"] for s in connects], ["done", "done"], job["steps"])

    def test_acceptance_refuses_other_numbers(self):
        self.open()
        label = self.prepare()
        job = self.station.wait(self.order()["id"], until=("prompt",), step="S21")
        wrong = dict(self.rack.screen(0), imeis=[label["imeis"][0], "490154203237518"])
        self.station.accept(job, wrong)
        time.sleep(0.5)
        job = self.station.wait(job["id"], until=("prompt",), step="S21")
        self.assertIn("490154203237518", job["prompt"]["text"])
        self.station.post(f"/jobs/{job['id']}/answer", {"prompt_id": job["prompt"]["id"], "answer": "abort"})
        self.assert_failed(self.station.wait(job["id"]), "numbers_differ")

    def test_order_names_one_imei_of_two(self):
        self.open()
        label = self.prepare()
        job = self.station.restore(self.rack.port(0), label["serial"], label["imeis"][1:],
                                   firmware=self.firmware["id"])
        job = self.station.wait(job["id"], until=("prompt",), step="S21")
        screen = self.rack.screen(0)
        self.station.accept(job, dict(screen, imeis=[label["imeis"][0], "490154203237518"]))
        end = time.monotonic() + 30
        while "none of the 2" not in (job["prompt"] or {}).get("text", "") and time.monotonic() < end:
            time.sleep(0.05)
            job = self.station.job(job["id"])
        self.assertIn("none of the 2", job["prompt"]["text"])
        self.station.accept(job, screen)
        self.assert_restored(self.station.wait(job["id"]))
        log = [line["message"] for line in self.station.get(f"/jobs/{job['id']}/log?limit=1000")["items"]]
        self.assertTrue(any("names 1 of the 2 IMEIs" in line for line in log), log)

    def test_cancel_while_waiting_for_the_phone(self):
        self.open(hands="none")
        self.prepare()
        before = self.rack.hashes(0)
        job = self.station.wait(self.order()["id"], until=("prompt",))
        self.station.post(f"/jobs/{job['id']}/cancel")
        self.assertEqual(self.station.wait(job["id"], seconds=15)["state"], "cancelled")
        self.assertEqual(self.rack.hashes(0), before)
        for number, status in ((job["id"], 409), ("4711", 404)):
            with self.assertRaises(bench.ApiError) as caught:
                self.station.post(f"/jobs/{number}/cancel")
            self.assertEqual(caught.exception.status, status)

    def test_idempotency_key(self):
        self.open(hands="none")
        label = self.prepare()
        order = {"recipe": "x5-restore", "port": self.rack.port(0), "serial": label["serial"]}
        key = {"Idempotency-Key": "order-4711"}
        first = self.station.post("/jobs", order, key)
        self.assertEqual(self.station.post("/jobs", order, key)["id"], first["id"])
        with self.assertRaises(bench.ApiError) as caught:
            self.station.post("/jobs", dict(order, priority=3), key)
        self.assertEqual(caught.exception.status, 409)
        self.assertEqual(len(self.station.get("/jobs")["items"]), 1)


class Packed(Bench):
    """Packages and dumps as they travel: in archives."""

    def test_package_and_dump_out_of_archives(self):
        self.open(hands="none")
        archive = shutil.make_archive(os.path.join(self.dir, "vendor"), "zip", os.path.dirname(self.package),
                                      os.path.basename(self.package))
        firmware = self.station.add_firmware(archive)
        self.assertEqual(firmware["version"], bench.VERSION)
        self.assertEqual([p for p in firmware["problems"] if p["severity"] == "error"], [])
        self.assertTrue(firmware["path"].startswith(os.path.realpath(self.station.data)), firmware["path"])
        self.assertEqual(self.station.add_firmware(archive)["id"], firmware["id"])
        label = self.rack.labels[0]
        packed = os.path.join(self.dir, "dump.gz")
        with open(self.rack.dump(0), "rb") as plain, gzip.open(packed, "wb", 1) as out:
            shutil.copyfileobj(plain, out, 1 << 20)
        one = self.station.import_dump(self.rack.dump(0), label["serial"])
        two = self.station.import_dump(packed, label["serial"])
        self.assertEqual({p["name"]: p["sha256"] for p in one["partitions"]},
                         {p["name"]: p["sha256"] for p in two["partitions"]})

    def test_package_beside_other_files(self):
        """A text beside the folder, a file in a folder of its own: as `flashrack firmware check` walks it."""
        self.open(hands="none")
        around = os.path.join(self.dir, "around")
        os.makedirs(os.path.join(around, "docs"))
        shutil.copytree(self.package, os.path.join(around, "vendor"))
        for name in ("readme.txt", "docs/howto.txt"):
            with open(os.path.join(around, name), "w") as f:
                f.write("read me")
        with open(os.path.join(os.fsencode(around), b"gel\xf6scht.txt"), "wb"):
            pass  # a name of another system: told, not taken
        told = [p["where"] for p in self.station.add_firmware(around)["problems"] if p["code"] == "name_not_utf8"]
        self.assertEqual(told, ["gel%f6scht.txt"])
        os.unlink(os.path.join(os.fsencode(around), b"gel\xf6scht.txt"))
        firmware = self.station.add_firmware(shutil.make_archive(os.path.join(self.dir, "beside"), "zip", around))
        self.assertEqual([p for p in firmware["problems"] if p["severity"] == "error"], [])
        names = {f["name"] for f in firmware["files"]}
        self.assertLessEqual({"readme.txt", "docs/howto.txt", "vendor/lk.img", "vendor/lk_service.img"}, names)
        plan = firmware["plan"]
        self.assertNotIn("plan", firmware["detail"])
        offline = json.loads(subprocess.run([bench.program("flashrack"), "firmware", "check", "--json", around],
                                            stdout=subprocess.PIPE, check=True).stdout)["plans"]
        self.assertEqual(plan, offline)
        for mode in ("download_only", "firmware_upgrade"):
            kept = {k["partition"]: k["reason"] for k in plan[mode]["keep"]}
            self.assertTrue(kept["preloader"] and kept["proinfo"] and kept["nvram"])
            self.assertIn("vendor/lk.img", [w["file"] for w in plan[mode]["write"]])
        self.assertEqual(self.station.get("/firmware/" + firmware["id"])["plan"], plan)
        label = self.rack.labels[0]
        self.station.import_dump(self.rack.dump(0), label["serial"])
        job = self.station.restore(self.rack.port(0), label["serial"], label["imeis"], firmware=firmware["id"])
        job = self.station.wait(job["id"], until=("prompt", "failed"))
        self.assertEqual((job["state"], job["error"]), ("prompt", None))  # the plan found both bootloaders

    def test_folder_of_images_with_a_scatter(self):
        self.open(hands="none")
        label = self.rack.labels[0]
        folder = os.path.join(self.dir, "images")
        subprocess.run([bench.program("flashrack"), "dump", "extract", self.rack.dump(0), "-o", folder, "--identity"],
                       stderr=subprocess.DEVNULL, check=True)
        os.rename(os.path.join(folder, "proinfo.img"), os.path.join(folder, "13.PROINFO.IMG"))
        sums = {p["name"]: p["sha256"] for p in self.station.import_dump(self.rack.dump(0), label["serial"])["partitions"]}
        firmware = self.station.add_firmware(self.package)
        scatter = os.path.join(self.package, firmware["detail"]["scatter"])
        for more in ({}, {"scatter": firmware["id"]}, {"scatter": scatter}):
            backup = self.station.import_dump(folder, label["serial"], **more)
            self.assertEqual({p["name"]: p["sha256"] for p in backup["partitions"]}, sums)
        packed = shutil.make_archive(os.path.join(self.dir, "images"), "zip", self.dir, "images")
        backup = self.station.import_dump(packed, label["serial"], scatter=firmware["id"])
        self.assertEqual({p["name"]: p["sha256"] for p in backup["partitions"]}, sums)
        with zipfile.ZipFile(packed, "a") as z:
            z.write(os.path.join(folder, "nvram.img"), "older/26.nvram.img")
        self.assert_refused(lambda: self.station.import_dump(packed, label["serial"]), "older/26.nvram.img")
        without = os.path.join(self.dir, "without.zip")
        with zipfile.ZipFile(without, "w") as z:
            z.write(os.path.join(folder, "nvram.img"), "nvram.img")
        self.assert_refused(lambda: self.station.import_dump(without, label["serial"]), "proinfo is not in the dump")
        both = os.path.join(self.dir, "both.tar")  # a dump with an image in front: the largest file decides
        with tarfile.open(both, "w") as tar:
            tar.add(os.path.join(folder, "elabel.img"), "elabel.img")
            tar.add(self.rack.dump(0), "Backup_0")
        backup = self.station.import_dump(both, label["serial"])
        self.assertEqual({p["name"]: p["sha256"] for p in backup["partitions"]}, sums)
        late = os.path.join(self.dir, "late")  # from the first partition on, without both tables
        with open(self.rack.dump(0), "rb") as dump, open(late, "wb") as out:
            dump.seek(0x8000)
            shutil.copyfileobj(dump, out, 1 << 20)
            out.truncate(os.path.getsize(late) - 0x4400)
        backup = self.station.import_dump(late, label["serial"], scatter=firmware["id"], offset=0x8000)
        self.assertEqual({p["name"]: p["sha256"] for p in backup["partitions"]}, sums)
        os.truncate(os.path.join(folder, "nvram.img"), 4096)
        self.assert_refused(lambda: self.station.import_dump(folder, label["serial"], scatter=firmware["id"]), "nvram")
        self.assert_refused(lambda: self.station.import_dump(folder, label["serial"], scatter="no such"), "scatter")
        self.assert_refused(lambda: self.station.import_dump(folder, label["serial"], scatter="999"), "999")

    def test_archive_that_leads_out(self):
        self.open(hands="none")
        archive = os.path.join(self.dir, "evil.zip")
        with zipfile.ZipFile(archive, "w") as z:
            z.writestr("lk.img", b"x")
            z.writestr("../../escaped", b"x")
        self.assert_refused(lambda: self.station.add_firmware(archive), "escaped")
        self.assertFalse(os.path.exists(os.path.join(self.station.data, "escaped")))

    def test_archive_cut_short(self):
        self.open(hands="none")
        archive = shutil.make_archive(os.path.join(self.dir, "vendor"), "gztar", os.path.dirname(self.package),
                                      os.path.basename(self.package))
        os.truncate(archive, os.path.getsize(archive) // 2)
        self.assert_refused(lambda: self.station.add_firmware(archive))


class LeftAlone(Bench):
    def test_phone_that_nobody_asked_about(self):
        self.open(hands="none")
        self.download_mode()
        end = time.monotonic() + 20
        while self.station.get("/ports")["items"] == [] and time.monotonic() < end:
            time.sleep(0.05)
        port = self.station.get("/ports")["items"][0]
        self.assertEqual(port["mode"], "brom")
        time.sleep(0.5)
        state = self.rack.control(0, "state")
        self.assertEqual(state["transfers"], 0, state)
        self.assertFalse(state["imported"], state)


class BadInput(Bench):
    """Each a clear error, and the phone's flash is as it was."""

    def setUp(self):
        super().setUp()
        self.before = None

    def open(self, **rack):
        super().open(**rack)
        self.before = [self.rack.hashes(i) for i in range(self.rack.count)]

    def tearDown(self):
        self.assertEqual([self.rack.hashes(i) for i in range(self.rack.count)], self.before)

    def bad_package(self, *more, words):
        self.open(hands="none")
        self.prepare(package=self.make_package("other", *more))
        self.assert_refused(self.order, *words)

    def test_package_of_another_platform(self):
        self.bad_package("--platform", "MT6765", words=["MT6765", "MT6771"])

    def test_package_of_another_project(self):
        self.bad_package("--version", "CTL-1100-0-00WW-B01", words=["CTL", "PDA"])

    def test_package_without_service_lk(self):
        self.bad_package("--without", "lk_service.img", words=["lk_service.img"])

    def test_serial_that_is_an_imei(self):
        self.open(hands="none")
        self.prepare()
        self.assert_refused(lambda: self.station.restore(self.rack.port(0), "490154203237518"), "IMEI", "serial")

    def test_dump_of_another_phone(self):
        self.open(phones=2, hands="none")
        self.assert_refused(lambda: self.station.import_dump(self.rack.dump(1), self.rack.labels[0]["serial"]),
                            self.rack.labels[1]["serial"])

    def test_backup_of_another_phone(self):
        self.open(phones=2, hands="none")
        self.prepare(0)
        other = self.station.import_dump(self.rack.dump(1), self.rack.labels[1]["serial"])
        self.assert_refused(lambda: self.order(0, backup=other["id"]), self.rack.labels[1]["serial"])

    def test_backup_copied_from_another_phone(self):
        # the forum's "same for all phones": another phone's nvram beneath this phone's serial
        self.open(phones=2, hands="none")
        donor, label = self.rack.dump(1), self.rack.labels[0]
        copy = os.path.join(self.dir, "copied.bin")
        shutil.copy(donor, copy)
        with open(self.rack.dump(0), "rb") as own, open(copy, "r+b") as f:
            proinfo = bench.partition(donor, "proinfo")
            own.seek(proinfo["first_lba"] * 512)
            f.seek(proinfo["first_lba"] * 512)
            f.write(own.read(proinfo["size"]))
        self.station.import_dump(donor, self.rack.labels[1]["serial"])
        self.firmware = self.station.add_firmware(self.package)
        self.backup = self.station.import_dump(copy, label["serial"])
        self.assert_refused(self.order, "same", self.rack.labels[1]["serial"])

    def test_dump_taken_after_the_loss(self):
        self.open(hands="none")
        lost = os.path.join(self.dir, "lost.bin")
        shutil.copy(os.path.join(self.rack.phone_dir(0), "user.img"), lost)
        self.assert_refused(lambda: self.station.import_dump(lost, self.rack.labels[0]["serial"]), "older dump")

    def test_dump_cut_short_inside_nvram(self):
        self.open(hands="none")
        short = os.path.join(self.dir, "short.bin")
        shutil.copy(self.rack.dump(0), short)
        nvram = bench.partition(short, "nvram")
        os.truncate(short, nvram["first_lba"] * 512 + nvram["size"] // 3)
        self.assert_refused(lambda: self.station.import_dump(short, self.rack.labels[0]["serial"]), "nvram")

    def test_path_outside_the_import_folders(self):
        self.open(hands="none")
        self.assert_refused(lambda: self.station.add_firmware("/etc"), "import-dir")

    def stopped_before_writing(self, code, **rack):
        self.open(hands="none", **rack)
        self.prepare()
        job = self.station.wait(self.order()["id"], until=("prompt",), step="S3")
        self.download_mode()
        self.assert_failed(self.station.wait(job["id"], seconds=90), code)

    def authentication(self, bits):
        self.stopped_before_writing("authentication_needed", settings=[f"target_config={bits}"])

    def test_phone_with_sla(self):
        self.authentication(2)

    def test_phone_with_daa(self):
        self.authentication(4)

    def test_package_of_an_older_generation(self):
        self.stopped_before_writing("downgrade", version="PDA-3260-0-00WW-B01")

    def test_flat_battery(self):
        self.stopped_before_writing("battery_low", settings=["battery_mv=3400"])


class Swap(Bench):
    def test_second_phone_on_the_port(self):
        """After the first half another phone comes back on the port: not one byte of it changes."""
        self.open(phones=2, hands="none")
        self.prepare()
        job = self.order()
        self.station.wait(job["id"], until=("prompt",), step="S3")
        self.download_mode()
        self.station.wait(job["id"], until=("running",), step="S4")
        self.rack.control(0, "release", keys=["vol_up", "vol_down"])
        self.station.wait(job["id"], until=("prompt",), step="S17", seconds=90)
        self.rack.control(0, "unplug")
        before = self.rack.hashes(1)
        self.rack.control(0, "swap", **{"with": self.rack.labels[1]["bus_id"]})
        self.download_mode()
        self.assert_failed(self.station.wait(job["id"], seconds=60), "another_phone")
        self.assertEqual(self.rack.hashes(1), before)


if __name__ == "__main__":
    unittest.main(verbosity=2)
