#!/usr/bin/python3
"""Recipes and what is proven about jobs, against emulated phones. Usage: recipes_test.py [CASE...]; without one all
cases run."""
import json
import os
import shutil
import signal
import subprocess
import sys
import unittest
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import rack as bench  # noqa: E402
from restore_test import Bench  # noqa: E402
from resume_test import Runs  # noqa: E402

HOSTILE = "<script>alert(1)</script> & \"O'Neil\""


class Tiny(Bench):
    def setUp(self):
        super().setUp()
        self.package = bench.make_package(os.path.join(self.dir, "tiny"), "--profile", "tiny")


class Reports(Tiny):
    def tool(self, *args, status=0):
        """The command line's client; what it printed."""
        done = subprocess.run([bench.program("flashrack"), *args], capture_output=True, text=True,
                              env={**os.environ, "FLASHRACK_SERVER": self.station.url})
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def page(self, job_id):
        with urllib.request.urlopen(f"{self.station.url}/api/v1/jobs/{job_id}/report", timeout=60) as answer:
            self.assertEqual(answer.headers.get_content_type(), "text/html")
            self.assertIn("default-src 'none'", answer.headers["Content-Security-Policy"])
            return answer.read().decode()

    def check_by_openssl(self, report):
        """Another program, and another way to sort and print, agree about the signature."""
        paths = {name: os.path.join(self.dir, name) for name in ("message", "signature", "key")}
        message = json.dumps(report["manifest"], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        contents = {"message": message.encode(), "signature": bytes.fromhex(report["signature"]),
                    # SubjectPublicKeyInfo of Ed25519, RFC 8410
                    "key": bytes.fromhex("302a300506032b6570032100" + report["public_key"])}
        for name, path in paths.items():
            with open(path, "wb") as f:
                f.write(contents[name])
        done = subprocess.run(["openssl", "pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-inkey", paths["key"],
                               "-rawin", "-in", paths["message"], "-sigfile", paths["signature"]],
                              capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def chain_across_a_lost_key(self, folder, old):
        """Both keys given in their order make it one chain; with one of them the tool says what to give."""
        self.assertEqual(self.station.stop(), 0)
        os.unlink(os.path.join(self.station.data, "station.key"))
        self.station.args.append("--new-station-key")
        self.station.start()
        job = self.order()
        self.station.post(f"/jobs/{job['id']}/cancel")
        self.station.wait(job["id"])
        new = os.path.join(self.dir, "new.pub")
        self.tool("report", "key", "-o", new)
        self.tool("report", "get", "--all", "-o", folder)
        chain = [os.path.join(folder, name) for name in sorted(os.listdir(folder))]
        said = self.tool("report", "verify", "--chain", "--key", old, "--key", new, *chain)
        self.assertIn("next key\njob 3", said)
        self.assertIn("chain of 3 reports is whole", said)
        with open(old) as first, open(new) as second:
            command = f"report verify --key {first.read()} --key {second.read()} --chain FILE..."
        for keys in ((), ("--key", old)):
            self.assertIn(command, self.tool("report", "verify", "--chain", *keys, *chain, status=1))
        for keys in (("--key", new), ("--key", new, "--key", old)):
            self.assertNotIn(command, self.tool("report", "verify", "--chain", *keys, *chain, status=1))

    def test_reports_of_closed_jobs(self):
        self.open(profile="tiny")
        label = self.prepare()
        job = self.order()
        waiting = self.order(owner_ref=HOSTILE)  # behind it on the same port
        self.assert_refused(lambda: self.station.get(f"/jobs/{waiting['id']}/report.json"), "made when it ends")
        self.station.post(f"/jobs/{waiting['id']}/cancel")
        acceptor = bench.Acceptor(self.station, self.rack, {job["id"]: 0})
        acceptor.start()
        job = acceptor.finish_job(job["id"], 150)
        self.assertEqual(job["state"], "succeeded", job.get("error"))

        text = self.page(waiting["id"])
        self.assertNotIn("<script>", text)
        self.assertIn("&lt;script&gt;alert(1)&lt;/script&gt; &amp; &quot;O'Neil&quot;", text)
        text = self.page(job["id"])
        for word in (label["serial"], label["chip_id"], "Android was seen starting", "Saved before", "Verified"):
            self.assertIn(word, text)
        self.assertNotIn("http", text)  # nothing from elsewhere

        files = [os.path.join(self.dir, f"{i}.json") for i in (waiting["id"], job["id"])]
        key = os.path.join(self.dir, "station.pub")
        self.tool("report", "key", "-o", key)
        for path, closed in zip(files, (waiting, job)):
            self.tool("report", "get", closed["id"], "-o", path)
        self.assertIn("whole", self.tool("report", "verify", "--key", key, "--chain", *files))
        self.assertIn("missing", self.tool("report", "verify", "--chain", *reversed(files), status=1))
        folder = os.path.join(self.dir, "reports")
        self.assertIn("2 reports", self.tool("report", "get", "--all", "-o", folder))
        chain = [os.path.join(folder, name) for name in sorted(os.listdir(folder))]
        self.assertIn("chain of 2 reports is whole", self.tool("report", "verify", "--key", key, "--chain", *chain))
        self.assertIn("another key", self.tool("report", "verify", "--key", "00" * 32, files[0], status=1))

        self.chain_across_a_lost_key(folder, key)

        with open(files[1]) as f:
            report = json.load(f)
        self.check_by_openssl(report)
        manifest = report["manifest"]
        self.assertEqual(manifest["recipe"]["sha256"], job["recipe_sha256"])
        self.assertEqual(manifest["phone"]["chip_id"], label["chip_id"])
        self.assertEqual(len(manifest["permits"]), 1)
        self.assertEqual([run["outcome"] for run in manifest["runs"]], ["succeeded"])
        self.assertNotIn("journal", manifest)  # the worker told how it ended
        self.assertEqual({w["partition"] for w in manifest["written"] if w["verified"]},
                         {w["partition"] for w in job["result"]["writes"]})
        saved = {p["name"] for p in manifest["pre_images"][0]["partitions"]}
        self.assertLessEqual({"nvram", "proinfo", "pgpt", "boot1"}, saved)
        report["manifest"]["written"][0]["verified"] = False
        with open(files[1], "w") as f:
            json.dump(report, f)
        self.assertIn("changed after it was signed", self.tool("report", "verify", files[1], status=1))


class Looking(Tiny):
    """Recipes that only look, on a phone whose identity is whole and whose flash must stay as it was."""

    def look(self, recipe, let_go=None, **order):
        before = self.rack.hashes(0)
        job = self.station.post("/jobs", {"recipe": recipe, "port": self.rack.port(0), **order})
        self.station.wait(job["id"], until=("prompt",), step="S3")
        self.download_mode()
        if let_go:  # a boot ROM that was spoken to holds the phone until its cable is out
            job = self.station.wait(job["id"], until=("prompt",), step=let_go)
            self.assertEqual(job["state"], "prompt", job.get("error"))
            self.rack.control(0, "unplug")
        job = self.station.wait(job["id"])
        self.assertEqual(job["state"], "succeeded", job.get("error"))
        self.assertEqual(job["result"]["phone_state"], "untouched")
        self.assertEqual(job["result"]["writes"], [])
        self.assertEqual(self.rack.hashes(0), before)
        self.assertEqual(self.station.get("/phones")["items"][0]["chip_id"], self.rack.labels[0]["chip_id"])
        report = self.station.get(f"/jobs/{job['id']}/report.json")["manifest"]
        self.assertEqual((report["written"], report["permits"], report["phone_state"]), ([], [], "untouched"))
        return job

    def test_identify_then_backup(self):
        self.open(hands="none", lost=False)
        # a recipe that needs no package takes none, and works on a station that has none
        with self.assertRaises(bench.ApiError) as caught:
            self.station.post("/jobs", {"recipe": "x5-identify", "port": self.rack.port(0), "firmware": "1"})
        self.assertEqual(caught.exception.status, 422)
        job = self.look("x5-identify", "I2")
        self.assertEqual(job["result"]["chip_id"], self.rack.labels[0]["chip_id"])
        self.assertEqual(self.station.get("/backups")["items"], [])

        self.station.add_firmware(self.package)
        job = self.look("x5-backup")
        backup = self.station.get("/backups")["items"][0]
        self.assertEqual((backup["origin"], backup["verdict"], backup["complete"]), ("station", "usable", True))
        self.assertEqual(backup["serial"], self.rack.labels[0]["serial"])
        self.assertEqual(self.station.get(f"/phones/{job['phone_id']}")["serial"], self.rack.labels[0]["serial"])


class Versions(Tiny):
    def schema(self, name, **change):
        """A schema folder in which x5-identify is changed."""
        folder = os.path.join(self.dir, name)
        shutil.copytree(os.path.join(bench.ROOT, "schema"), folder)
        path = os.path.join(folder, "recipes", "x5-identify.json")
        with open(path) as f:
            recipe = json.load(f)
        recipe.update(change)
        with open(path, "w") as f:
            json.dump(recipe, f)
        return folder

    def restart(self, schema):
        self.stop_station()
        self.station.args = [arg for arg in self.station.args if not arg.startswith("--schema=")] + \
            ["--schema=" + schema]
        self.station.start()

    def test_a_used_version_is_one_document(self):
        self.open(hands="none")
        order = {"recipe": "x5-identify", "port": self.rack.port(0)}
        first, waiting = (self.station.post("/jobs", order) for _ in range(2))
        self.assertEqual((waiting["recipe_version"], len(waiting["recipe_sha256"])), (1, 64))
        self.restart(self.schema("other", title="Another title"))
        # what was ordered with the former document runs with that one
        self.station.post(f"/jobs/{first['id']}/cancel", {})
        job = self.station.wait(waiting["id"], until=("prompt",), step="S3")
        self.assertEqual(job["recipe_sha256"], waiting["recipe_sha256"])
        self.assert_refused(lambda: self.station.post("/jobs", order), "version 1 was used before", "higher version")
        with open(self.station.process.log) as f:
            self.assertIn("x5-identify version 1 was used before", f.read())
        self.restart(self.schema("higher", title="Another title", version=2))
        self.assertEqual(self.station.post("/jobs", order)["recipe_version"], 2)
        self.restart(os.path.join(bench.ROOT, "schema"))  # the first version is still what it was
        self.assertEqual(self.station.post("/jobs", order)["recipe_version"], 1)


class Upgrade(Runs):
    def partition(self, name):
        """Its bytes on the phone's flash."""
        path = os.path.join(self.rack.phone_dir(0), "user.img")
        listed = subprocess.run([bench.program("flashrack"), "dump", "list", path, "--json"], check=True,
                                capture_output=True, text=True)
        entry = next(p for p in json.loads(listed.stdout)["partitions"] if p["name"] == name)
        with open(path, "rb") as f:
            f.seek(entry["first_lba"] * 512)
            return f.read(entry["size"])

    def order_upgrade(self, **more):
        self.station.add_firmware(self.package)
        label = self.rack.labels[0]
        return self.station.post("/jobs", {"recipe": "x5-upgrade", "port": self.rack.port(0), "serial": label["serial"],
                                           "imeis": label["imeis"], **more})

    def test_whole_phone(self):
        """Also when its worker dies in the middle: the next run reads what is there."""
        self.open(lost=False, station_extra=["--retries", "3"], settings=["emmc_write_bytes_per_s=1000000"])
        before = {name: self.partition(name) for name in ("nvram", "proinfo")}
        self.assert_refused(lambda: self.order_upgrade(finish="lk"), "always has finish 'upgrade'")
        job = self.meet(self.order_upgrade(accept="usb"), "S18w")
        os.kill(self.worker(job), signal.SIGKILL)
        self.plug_again(job)
        acceptor = bench.Acceptor(self.station, self.rack, {job["id"]: 0})
        acceptor.start()
        job = acceptor.finish_job(job["id"], 150)
        self.assertEqual(job["state"], "succeeded", job.get("error"))
        self.assertEqual([s["state"] for s in self.attempts(job, "S18w")], ["interrupted", "done"])
        self.assertEqual([s["run"] for s in self.attempts(job, "S6s")], [2])
        self.assertEqual(self.rack.violations(), {})
        self.assertEqual({name: self.partition(name) for name in before}, before)
        with open(os.path.join(self.package, "lk.img"), "rb") as f:
            commercial = f.read()
        for name in ("lk_a", "lk_b"):
            self.assertEqual(self.partition(name).rstrip(b"\0"), commercial.rstrip(b"\0"))
        written = {w["partition"] for w in job["result"]["writes"]}
        self.assertLessEqual({"lk_a", "lk_b", "boot_a", "system_a"}, written)
        self.assertFalse(written & {"nvram", "proinfo", "nvcfg", "protect1", "protect2", "elabel", "preloader"})

    def test_lost_identity_is_restored_first(self):
        self.open(hands="none")
        before = self.rack.hashes(0)
        planned = self.order_upgrade(dry_run=True)["plan"]["writes"]
        self.assertIn(("lk_b", "firmware/lk.img"), {(w["partition"], w["image"]) for w in planned})
        self.assertEqual({w["class"] for w in planned}, {"commercial"})
        self.assertEqual(self.station.get("/jobs")["items"], [])
        job = self.order_upgrade()
        self.station.wait(job["id"], until=("prompt",), step="S3")
        self.download_mode()
        self.assert_failed(self.station.wait(job["id"]), "backup_missing", "restore it first")
        self.assertEqual(self.rack.hashes(0), before)


if __name__ == "__main__":
    unittest.main()
