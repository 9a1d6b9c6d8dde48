#!/usr/bin/python3
"""Laws 2 and 7 in front of phones: whoever asks, however often and in whatever order, no phone gets another one's
identity, and no number stands on two phones without a conflict. Usage: identity_test.py [CASE...]"""
import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import time
import unittest
import urllib.request

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from restore_test import Bench, bench  # noqa: E402


class Identity(Bench):
    """Two wiped phones; the second one's dump is imported, too."""

    def two_phones(self, **rack):
        self.package = bench.make_package(os.path.join(self.dir, "tiny"), "--profile", "tiny")
        self.open(phones=2, profile="tiny", **rack)
        self.prepare()
        self.backups = [self.backup]
        label = self.rack.labels[1]
        self.backups.append(self.station.import_dump(self.rack.dump(1), label["serial"]))

    def order_as(self, index, label, imeis=True):
        """A job for the phone at this place with that label."""
        wanted = self.rack.labels[label]
        return self.station.restore(self.rack.port(index), wanted["serial"], wanted["imeis"] if imeis else (),
                                    firmware=self.firmware["id"], backup=self.backups[label]["id"])

    def phone(self, index):
        chip = self.rack.labels[index]["chip_id"]
        return self.station.get(f"/phones?chip_id={chip}")["items"][0]

    def assert_conflict(self, job, *words):
        self.assert_failed(job, "identity_conflict", "conflict", *words)

    def halt_after(self, job, step):
        """The job paused behind this step. A round is one step: it is told to pause as soon as it goes on."""
        done = []
        while step not in done:
            self.station.post(f"/jobs/{job['id']}/resume")
            self.station.post(f"/jobs/{job['id']}/pause")
            found = self.station.wait(job["id"], until=("paused",), seconds=90)
            done = [s["name"].split()[0] for s in found["steps"] if s["state"] == "done"]
        self.assertNotIn("S7", done)  # the first that writes

    def test_known_phone_and_another_label(self):
        """Law 2: a phone that was given a permit under its label is not written under another one's."""
        self.two_phones(hands="none")
        first = self.order_as(0, 0)
        self.station.wait(first["id"], until=("prompt",), step="S3")
        self.download_mode()
        self.halt_after(first, "S5")
        self.station.post(f"/jobs/{first['id']}/cancel")
        self.assertEqual(self.station.wait(first["id"])["state"], "cancelled")
        self.off(0)
        self.station.stop()
        self.station.start()  # what is known of a phone is known after a restart
        before = self.rack.hashes(0)
        wrong = self.order_as(0, 1)
        self.station.wait(wrong["id"], until=("prompt",), step="S3")
        self.download_mode()
        serials = [label["serial"] for label in self.rack.labels]
        self.assert_conflict(self.station.wait(wrong["id"], seconds=60), *serials)
        self.assertEqual(self.rack.hashes(0), before)
        phone = self.phone(0)
        self.assertEqual((phone["identity"], phone["serial"]), ("conflict", serials[0]))
        self.assertEqual(phone["imeis"], self.rack.labels[0]["imeis"])
        self.assertIsNone(self.station.get(f"/backups/{self.backups[1]['id']}")["phone_id"])
        self.decide(phone["conflicts"], keep=serials[0])

    def decide(self, conflicts, keep):
        """No job for the phone until an admin has said what is right, and why."""
        where = f"/conflicts/{conflicts[0]['id']}"
        self.assertEqual([c["id"] for c in self.station.get("/conflicts?state=open")["items"]],
                         [c["id"] for c in conflicts])
        self.assert_refused(lambda: self.order_as(0, 0), f"conflict {conflicts[0]['id']}")
        self.assert_refused(lambda: self.station.post(where + "/resolve", {"keep": keep}), "reason")
        self.assert_refused(lambda: self.station.post(where + "/resolve", {"reason": "x", "keep": "y"}), keep)
        decided = self.station.post(where + "/resolve", {"reason": "the label was scanned wrongly", "keep": keep})
        self.assertEqual((decided["state"], decided["kept"]), ("resolved", keep))
        self.assertNotEqual(self.phone(0)["identity"], "conflict")
        self.station.wait(self.order_as(0, 0)["id"], until=("prompt",), step="S3")

    def test_two_phones_ask_for_one_import_at_once(self):
        """Law 2: exactly one of them gets it, and not a byte goes to the other."""
        self.two_phones(hands="none")
        jobs = [self.order_as(0, 0), self.order_as(1, 0)]
        before = [self.rack.hashes(i) for i in range(2)]
        for job in jobs:
            self.station.wait(job["id"], until=("prompt",), step="S3")
        for index in range(2):
            self.download_mode(index)
        loser = None
        while loser is None:
            time.sleep(0.1)
            found = [self.station.job(job["id"]) for job in jobs]
            loser = next((i for i in range(2) if found[i]["state"] == "failed"), None)
        self.assert_conflict(found[loser], self.rack.labels[0]["serial"])
        self.assertEqual(self.rack.hashes(loser), before[loser])
        winner = 1 - loser
        self.station.wait(jobs[winner]["id"], until=("running", "prompt"), step="S10", seconds=90)
        self.assertNotEqual(self.rack.hashes(winner), before[winner])
        owner = self.station.get(f"/backups/{self.backups[0]['id']}")["phone_id"]
        self.assertEqual(owner, self.phone(winner)["id"])

    def test_same_numbers_read_on_two_screens(self):
        """Law 7: numbers that only the person at the end of the job reads are compared, too."""
        self.two_phones()
        screen = None
        for index in range(2):
            job = self.order_as(index, index, imeis=False)
            job = self.station.wait(job["id"], until=("prompt", "failed"), step="S21", seconds=150)
            screen = screen or self.rack.screen(0)
            self.station.accept(job, {**self.rack.screen(index), "imeis": screen["imeis"]})
            job = self.station.wait(job["id"])
            if index == 0:
                self.assertEqual((job["state"], self.phone(0)["identity"]), ("succeeded", "own"))
        self.assert_conflict(job, "IMEI", screen["imeis"][0])
        self.assertEqual([self.phone(i)["identity"] for i in range(2)], ["conflict"] * 2)
        self.assertEqual(self.phone(1)["imeis"], screen["imeis"])


class Kept(Bench):
    """Backups on the station's disk."""

    def flashrack(self, *args):
        env = dict(os.environ, FLASHRACK_SERVER=self.station.url)
        return subprocess.run([bench.program("flashrack"), *args], env=env, capture_output=True, text=True)

    def damage_chunk(self):
        with contextlib.closing(sqlite3.connect(os.path.join(self.station.data, "backups.db"))) as db, db:
            db.execute("UPDATE chunk SET packed = x'00' WHERE id = 1")

    def backup_until(self, key):
        while not self.station.get(f"/backups/{self.backup['id']}")[key]:
            time.sleep(0.1)
        return self.station.get(f"/backups/{self.backup['id']}")

    def test_export(self):
        """As a tar file, which programs that are not ours can read, and as a folder: the same files."""
        self.open(profile="tiny", hands="none")
        self.backup = self.station.import_dump(self.rack.dump(0), self.rack.labels[0]["serial"])
        folder = os.path.join(self.dir, "out")
        os.mkdir(folder)
        where = f"{self.station.url}/api/v1/backups/{self.backup['id']}/export"
        with urllib.request.urlopen(where) as answer, open(os.path.join(self.dir, "b.tar"), "wb") as out:
            shutil.copyfileobj(answer, out)
            self.assertEqual(out.tell(), int(answer.headers["Content-Length"]))
        subprocess.run(["tar", "-xf", out.name, "-C", folder], check=True)
        subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], check=True, cwd=folder)
        names = {p["name"] + ".img" for p in self.backup["partitions"]}
        self.assertEqual(set(os.listdir(folder)), names | {"SHA256SUMS", "manifest.json"})
        with open(os.path.join(folder, "manifest.json")) as f:
            self.assertEqual(json.load(f)["partitions"], self.backup["partitions"])
        own = os.path.join(self.dir, "own")
        done = self.flashrack("backup", "export", self.backup["id"], "-o", own)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        subprocess.run(["diff", "-r", folder, own], check=True)
        self.assertEqual(self.flashrack("backup", "export", self.backup["id"], "-o", own).returncode, 1)
        self.damage_chunk()
        self.assertEqual(self.flashrack("backup", "export", self.backup["id"], "-o", own + "2").returncode, 1)
        self.assertFalse(os.path.exists(own + "2"))

    def refusal(self, **more):
        """Why POST /jobs says no: status, code and advice."""
        with self.assertRaises(bench.ApiError) as caught:
            self.order(**more)
        problem = caught.exception.problem
        self.assertTrue(problem["advice"])
        return problem["status"], problem["code"], problem["detail"]

    def note_damage(self, backup):
        """As a reading does that found it."""
        with contextlib.closing(sqlite3.connect(os.path.join(self.station.data, "station.db"))) as db, db:
            db.execute("UPDATE backup SET damage = 'nvram: the disk lost it' WHERE id = ?", (backup,))

    def test_order_takes_no_damaged_backup(self):
        self.open(profile="tiny", lost=False)
        label = self.prepare()
        look = self.station.post("/jobs", {"recipe": "x5-backup", "port": self.rack.port(0),
                                           "firmware": self.firmware["id"]})
        self.assertEqual(self.station.wait(look["id"])["state"], "succeeded")
        taken = next(b for b in self.station.get("/backups")["items"] if b["origin"] == "station")
        self.assertRegex(self.flashrack("doctor").stdout, "OK +backups +none is known to be damaged")
        self.note_damage(self.backup["id"])
        self.assertEqual(self.refusal()[:2], (409, "backup_damaged"))
        job = self.order(backup=None)  # an import goes first, but not a damaged one
        self.assertEqual(self.station.job(job["id"])["backup"], taken["id"])
        self.note_damage(taken["id"])
        status, code, detail = self.refusal(backup=None)
        self.assertEqual((status, code), (409, "backup_damaged"))
        self.assertIn("the disk lost it", detail)
        self.assertRegex(self.flashrack("doctor").stdout,
                         f"FAIL +backups +backup {taken['id']} of {label['serial']} is damaged: nvram")
        damaged = self.station.get("/backups?damaged=true")["items"]
        self.assertEqual([b["id"] for b in damaged], [taken["id"], self.backup["id"]])

    def test_order_without_a_backup(self):
        self.open(profile="tiny", hands="none")
        self.firmware, self.backup = self.station.add_firmware(self.package), {"id": None}
        self.assertEqual(self.refusal(backup=None)[:2], (404, "backup_missing"))

    def test_damage_that_shows_at_the_start(self):
        """No cable and no port would help there."""
        self.open(profile="tiny", hands="none")
        self.prepare()
        first = self.station.wait(self.order()["id"], until=("prompt",), step="S3")
        job = self.order()
        with contextlib.closing(sqlite3.connect(os.path.join(self.station.data, "backups.db"))) as db, db:
            db.execute("UPDATE chunk SET packed = x'00'")
        self.station.post(f"/jobs/{first['id']}/cancel")
        self.assert_failed(self.station.wait(job["id"], seconds=30), "backup_damaged")

    def assert_pruned_is_refused(self, backup):
        """As soon as it is ordered, not when the phone is there."""
        with contextlib.closing(sqlite3.connect(os.path.join(self.station.data, "station.db"))) as db, db:
            db.execute("UPDATE backup SET pruned_ms = 1000 WHERE id = ?", (backup,))
        self.assert_refused(lambda: self.order(backup=backup), "retention deleted", "1970-01-01", "another backup")
        self.assertIn("pruned", self.flashrack("backups").stdout)
        done = self.flashrack("backup", "verify", "--all")  # of those that have images
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def key_file(self):
        path = os.path.join(self.dir, "key")
        with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as f:
            f.write(os.urandom(32).hex() + "\n")
        return path

    def assert_nothing_plain(self):
        """What the phone's nvram held before its loss stands neither in the database nor in its log."""
        place = bench.partition(self.rack.dump(0), "nvram")
        with open(self.rack.dump(0), "rb") as dump:
            dump.seek(place["first_lba"] * 512)
            nvram = dump.read(place["size"])
        parts = [nvram[at:at + 32] for at in range(0, len(nvram), 4096)]
        known = [part for part in parts if len(set(part)) > 16]  # no runs of one byte
        self.assertTrue(known)
        for name in ("backups.db", "backups.db-wal"):
            with open(os.path.join(self.station.data, name), "rb") as f:
                stored = f.read()
            self.assertEqual([part for part in known if part in stored], [])

    def assert_no_start_without_key(self):
        keyless = [a for i, a in enumerate(self.station.args) if "--backup-key" not in self.station.args[max(i - 1, 0):i + 1]]
        done = subprocess.run(keyless, capture_output=True, text=True, timeout=100)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn("start with --backup-key", done.stderr)

    def assert_import_refused(self, path, *words, serial=None):
        self.assert_refused(lambda: self.station.import_dump(path, serial or self.rack.labels[0]["serial"]), *words)

    def assert_damage_named(self, folder, packed):
        """One byte, a lost image, a lost list, another phone's serial."""
        with tarfile.open(packed) as members:
            at = members.getmember("nvdata.img").offset_data
        with open(packed, "r+b") as tar:
            tar.seek(at + 100)
            byte = tar.read(1)[0]
            tar.seek(at + 100)
            tar.write(bytes([byte ^ 1]))
        self.assert_import_refused(packed, "nvdata.img", "SHA256SUMS")
        os.truncate(packed, os.path.getsize(packed) // 2)
        self.assert_import_refused(packed, "breaks off")
        self.assert_import_refused(folder, self.rack.labels[0]["serial"], serial=self.rack.labels[1]["serial"])
        os.rename(os.path.join(folder, "elabel.img"), os.path.join(self.dir, "elabel.img"))
        self.assert_import_refused(folder, "elabel.img", "missing")
        os.rename(os.path.join(self.dir, "elabel.img"), os.path.join(folder, "elabel.img"))
        shutil.copy(os.path.join(folder, "elabel.img"), os.path.join(folder, "proinfo.img"))
        self.assert_import_refused(folder, "proinfo.img", "SHA256SUMS")
        os.remove(os.path.join(folder, "SHA256SUMS"))
        self.assert_import_refused(folder, "not whole")

    def test_key_beside_the_backups(self):
        outside = self.key_file()
        self.open(station_extra=["--backup-key", outside])
        self.assertNotIn("lies in the data folder", self.station.process.tail(40))
        self.assertEqual(self.station.stop(), 0)
        self.station.args[self.station.args.index(outside)] = shutil.copy(outside, self.station.data)
        self.station.start()
        self.assertIn("lies in the data folder", self.station.process.tail(40))
        doctor = subprocess.run([bench.program("flashrack"), "doctor", "--server", self.station.url],
                                capture_output=True, text=True)
        self.assertIn("all backups are sealed", doctor.stdout)
        with urllib.request.urlopen(self.station.url + "/metrics", timeout=60) as answer:
            self.assertIn("flashrack_backup_chunks_unsealed 0\n", answer.read().decode())

    def test_import_of_an_export(self):
        """The data folder is lost: what was exported before, as a folder and as a tar file, restores the phone. All of it
        with sealed backups."""
        self.open(phones=2, station_extra=["--backup-key", self.key_file()])
        self.prepare()
        folder, packed = os.path.join(self.dir, "out"), os.path.join(self.dir, "out.tar")
        self.assertEqual(self.flashrack("backup", "export", self.backup["id"], "-o", folder).returncode, 0)
        with urllib.request.urlopen(f"{self.station.url}/api/v1/backups/{self.backup['id']}/export") as answer, \
                open(packed, "wb") as out:
            shutil.copyfileobj(answer, out)
        self.assertEqual(self.station.stop(), 0)
        self.assert_no_start_without_key()
        shutil.rmtree(self.station.data)
        self.station.start()
        serial, was = self.rack.labels[0]["serial"], self.backup["partitions"]
        done = self.flashrack("backup", "import", packed, "--serial", serial, "--json")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        backup = json.loads(done.stdout)
        self.assertEqual((backup["partitions"], backup["origin"], backup["phone_id"]), (was, "import", None))
        self.assertEqual(self.station.import_dump(folder, serial)["id"], backup["id"])
        self.backup, self.firmware = backup, self.station.add_firmware(self.package)
        self.assert_restored(self.restore())
        self.assert_nothing_plain()
        done = self.flashrack("backup", "prune", "--dry-run", "--json")
        own = json.loads(done.stdout)["items"]  # the pre-image; an import is never judged
        self.assertEqual([(i["why"], i["backup_id"] == backup["id"]) for i in own], [("newest", False)])
        self.assertIn("0 of 1 pre-images went", self.flashrack("backup", "prune").stdout)
        for more, pinned in ((), True), (("--off",), False):
            done = self.flashrack("backup", "pin", own[0]["backup_id"], *more, "--json")
            self.assertEqual(json.loads(done.stdout)["pinned"], pinned)
        self.assertEqual(self.flashrack("backup", "pin", "99").returncode, 1)
        self.assert_pruned_is_refused(own[0]["backup_id"])
        self.assert_chip_is_kept(serial)
        self.assert_damage_named(folder, packed)

    def assert_chip_is_kept(self, serial):
        """What is exported of an import that was written to a phone names that phone's chip, and an import of it is bound to
        it before any phone was seen."""
        chip = self.station.get("/phones/1")["chip_id"]
        folder = os.path.join(self.dir, "bound")
        self.assertEqual(self.flashrack("backup", "export", self.backup["id"], "-o", folder).returncode, 0)
        bound = self.station.import_dump(folder, serial)
        self.assertNotEqual(bound["id"], self.backup["id"])
        self.assertEqual((bound["chip_id"], bound["phone_id"], bound["origin"]), (chip, None, "import"))
        path = os.path.join(folder, "manifest.json")
        with open(path) as f:
            manifest = json.load(f)
        with open(path, "w") as f:
            json.dump({**manifest, "chip_id": "none"}, f)
        self.assert_import_refused(folder, "no chip's")

    def test_read_again_on_a_schedule(self):
        self.open(profile="tiny", hands="none", station_extra=["--verify-every", "1"])
        self.backup = self.station.import_dump(self.rack.dump(0), self.rack.labels[0]["serial"])
        self.assertIsNone(self.backup_until("verified_at")["damage"])
        done = self.flashrack("backup", "verify", "--all")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.damage_chunk()
        damage = self.backup_until("damage")["damage"]
        done = self.flashrack("backup", "verify", self.backup["id"])
        self.assertEqual(done.returncode, 1)
        self.assertIn(damage, done.stderr)
        self.assertIn("DAMAGED", self.flashrack("backups").stdout)


if __name__ == "__main__":
    unittest.main(verbosity=2)
