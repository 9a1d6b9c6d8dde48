#!/usr/bin/python3
"""cli.py FLASHRACK SAMPLES: the offline commands as scripts use them: JSON fields, exit status, messages."""
import hashlib
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
import unittest

FLASHRACK, SAMPLES = sys.argv[1], sys.argv[2]


def run(*args, cwd=None):
    p = subprocess.run([FLASHRACK, *args], cwd=cwd, capture_output=True, text=True, timeout=60)
    return p.returncode, p.stdout, p.stderr


def sample(name):
    return os.path.join(SAMPLES, name)


class Base(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.dir = folder.name

    def path(self, name, data=None):
        path = os.path.join(self.dir, name)
        if data is not None:
            with open(path, "wb") as f:
                f.write(data)
        return path

    def json(self, *args, status=0):
        code, out, err = run(*args, "--json")
        self.assertEqual(code, status, err)
        return json.loads(out)

    def fails(self, status, text, *args):
        code, out, err = run(*args)
        self.assertEqual(code, status, err)
        self.assertIn(text, err)
        return out


class Program(Base):
    def test_help_and_version(self):
        code, out, _ = run("--help")
        self.assertEqual(code, 0)
        for command in ("scatter show", "scatter derive", "dump list", "dump extract", "serial",
                        "da show", "firmware check"):
            self.assertIn(command, out)
            code, text, _ = run(*command.split(), "--help")
            self.assertEqual(code, 0)
            self.assertIn("usage: flashrack " + command, text)
        code, out, _ = run("--version")
        self.assertEqual((code, out.split()[0]), (0, "flashrack"))

    def test_every_line_of_the_list_is_a_whole_sentence(self):
        lines = [line for line in run("--help")[1].splitlines() if re.match(r" {6}[^ \[]", line)]
        self.assertGreater(len(lines), 30)
        self.assertEqual([line for line in lines if line[-1] not in ".?"], [])

    def test_half_a_command_lists_the_others(self):
        for args, status in ((("backup", "--help"), 0), (("backup",), 2), (("backup", "verfiy", "1"), 2)):
            code, out, err = run(*args)
            self.assertEqual(code, status, args)
            text = err if status else out
            self.assertIn("backup verify ID|--all", text)
            self.assertNotIn("backups [", text)
            self.assertNotIn("no command", text)

    def test_the_station_may_be_named_before_the_command(self):
        for args in (["--server", "http://127.0.0.1:1", "--json", "backup", "verify", "1"],
                     ["--server=http://127.0.0.1:1", "backup", "verify", "1"]):
            self.fails(1, "127.0.0.1:1", *args)
        self.fails(2, "no command 'nonsense'", "--server", "http://127.0.0.1:1", "nonsense")
        self.fails(2, "no command '--server'", "--server")

    def test_usage_is_2(self):
        self.fails(2, "usage")
        self.fails(2, "no command 'format'", "format")
        self.fails(2, "usage: flashrack scatter show", "scatter", "show")
        self.fails(2, "unrecognized option", "serial", "--sparkle", "x")
        self.fails(2, "-o are needed", "dump", "extract", "x")
        self.fails(2, "--only wants", "scatter", "derive", sample("v1-emmc-crlf.txt"), "--only", "a,,b",
                   "-o", self.path("x"))
        self.fails(2, "not a number", "dump", "list", sample("v1-emmc-crlf.txt"), "--offset", "many")


class Scatter(Base):
    def test_show_has_every_field(self):
        d = self.json("scatter", "show", sample("v2-emmc-ufs.txt"))
        self.assertEqual((d["config_version"], d["platform"], d["project"]), ("V2.1.0", "MT6771", "v965"))
        self.assertEqual([s["storage"] for s in d["sections"]], ["EMMC", "UFS"])
        self.assertEqual([s["block_size"] for s in d["sections"]], [0x20000, 0x80000])
        entry = {p["name"]: p for p in d["sections"][0]["partitions"]}["protect2"]
        expected = {"index": 11, "name": "protect2", "file_name": None, "is_download": False,
                    "type": "NORMAL_ROM", "region": "EMMC_USER", "storage": "HW_STORAGE_EMMC",
                    "boundary_check": True, "is_reserved": False, "operation_type": "PROTECTED"}
        self.assertEqual({k: entry[k] for k in expected}, expected)
        self.assertEqual(entry["linear_start"], entry["physical_start"])
        self.assertGreater(entry["size"], 0x800000)  # absorbs the gap before seccfg

    def test_broken_file_names_line_and_field(self):
        with open(sample("v1-emmc-crlf.txt"), "rb") as f:
            text = f.read().replace(b"partition_size: 0x300000\r", b"partition_size: 3 MB\r")
        out = self.fails(1, "partition_size: '3 MB'", "scatter", "show", self.path("s.txt", text), "--json")
        self.assertEqual(out, "")
        self.fails(1, "No such file", "scatter", "show", self.path("missing"))
        self.fails(1, "larger than", "scatter", "show", self.path("big", b"#" * (5 << 20)))

    def test_derive_changes_only_what_was_asked(self):
        source, copy = sample("v2-emmc-ufs.txt"), self.path("copy.txt")
        code, out, err = run("scatter", "derive", source, "--only", "proinfo,lk=lk_service.img", "-o", copy)
        self.assertEqual((code, out, err), (0, "", ""))
        with open(source, "rb") as a, open(copy, "rb") as b:
            before, after = a.read().split(b"\n"), b.read().split(b"\n")
        self.assertEqual(len(before), len(after))
        changed = [(x.strip(), y.strip()) for x, y in zip(before, after) if x != y]
        self.assertEqual([c for c in changed if c[0].startswith(b"file_name")],
                         [(b"file_name: NONE", b"file_name: proinfo.img"),
                          (b"file_name: lk.img", b"file_name: lk_service.img")])
        self.assertTrue(all(c[0].startswith((b"file_name", b"is_download")) for c in changed))
        half = before.index(b"- storage_type: UFS")
        self.assertEqual(before[half:], after[half:])
        d = self.json("scatter", "show", copy)
        self.assertEqual([p["name"] for p in d["sections"][0]["partitions"] if p["is_download"]],
                         ["proinfo", "lk"])

    def test_derive_leaves_nothing_when_it_fails(self):
        copy = self.path("copy.txt", b"old")
        self.fails(1, "no partition 'SYS15'", "scatter", "derive", sample("v1-emmc-crlf.txt"), "--only",
                   "SYS15", "-o", copy)
        self.fails(1, "no section for storage UFS", "scatter", "derive", sample("v1-emmc-crlf.txt"), "--only",
                   "proinfo", "--section", "UFS", "-o", copy)
        self.assertEqual(sorted(os.listdir(self.dir)), ["copy.txt"])
        with open(copy, "rb") as f:
            self.assertEqual(f.read(), b"old")


class Serial(Base):
    def test_code(self):
        d = self.json("serial", "PDAGATEST0000001")
        self.assertEqual(d, {"valid": True, "serial": "PDAGATEST0000001", "reason": None,
                             "dm_verity_code": hashlib.md5(b"PDAGATEST0000001").hexdigest().upper()})

    def test_refusals(self):
        for serial, text in (("490154203237518", "IMEI"), ("0123456789ABCDEF", "placeholder"),
                             ("", "No serial"), ("pdagatest0000001", "capital"), ("PDA\x1b[2J", "16 char"),
                             ("PDA\udcff", "16 char")):
            d = self.json("serial", serial, status=1)
            self.assertFalse(d["valid"])
            self.assertIsNone(d["dm_verity_code"])
            self.assertIn(text, d["reason"])
            self.fails(1, text, "serial", serial)


class Imei(Base):
    def test_verdicts(self):
        self.assertEqual(self.json("imei", "490154203237518"), {"valid": True, "imei": "490154203237518", "reason": None})
        for imei in ("490154203237519", "004400152020002", "49015420323751", "PDAGATEST0000001", ""):
            d = self.json("imei", imei, status=1)
            self.assertFalse(d["valid"])
            self.assertTrue(d["reason"])
            self.fails(1, d["reason"], "imei", imei)


class Dump(Base):
    def disk(self, sector, names=("proinfo", "nvcfg", "system_a", "../evil")):
        """Four partitions on a tiny disk with sectors of 512 or 4096 bytes."""
        import zlib
        table = 16384 // sector
        first = 2 + table
        places = zip(names, (first, first + 4, first + 10, first + 11), (first + 3, first + 9, first + 10, first + 11))
        total = first + 12 + 1 + table
        entries = b"".join(bytes.fromhex("a2a0d0ebe5b9334487c068b6b72699c7") + bytes([i + 1] * 16) +
                           struct.pack("<QQQ", a, b, 0) + n.encode("utf-16le").ljust(72, b"\0")
                           for i, (n, a, b) in enumerate(places)).ljust(16384, b"\0")

        def header(mine, other, at):
            h = b"EFI PART" + struct.pack("<IIIIQQQQ", 0x10000, 92, 0, 0, mine, other, first, total - table - 2) + \
                b"\1" * 16 + struct.pack("<QIII", at, 128, 128, zlib.crc32(entries))
            return (h[:16] + struct.pack("<I", zlib.crc32(h)) + h[20:]).ljust(sector, b"\0")

        disk = bytearray(total * sector)
        disk[sector:2 * sector] = header(1, total - 1, 2)
        disk[2 * sector:first * sector] = entries
        disk[(total - 1) * sector:] = header(total - 1, 1, total - 1 - table)
        disk[(total - 1 - table) * sector:(total - 1) * sector] = entries
        disk[first * sector:first * sector + 16] = b"PDAGATEST0000001"
        return bytes(disk), first

    def test_list(self):
        for sector in (512, 4096):
            disk, first = self.disk(sector)
            d = self.json("dump", "list", self.path("d.img", disk))
            self.assertEqual((d["sector_size"], d["table"], d["warnings"]), (sector, "primary", []))
            self.assertEqual([p["name"] for p in d["partitions"]], ["proinfo", "nvcfg", "system_a", "../evil"])
            self.assertEqual(d["partitions"][0],
                             {"number": 1, "name": "proinfo", "first_lba": first, "last_lba": first + 3,
                              "size": 4 * sector, "complete": True, "plausible": "yes",
                              "reason": "serial PDAGATEST0000001"})
            self.assertEqual([p["plausible"] for p in d["partitions"]], ["yes", "no", "unknown", "unknown"])
            self.assertEqual((d["identity"]["verdict"], d["identity"]["serial"]),
                             ("taken_after_the_loss", "PDAGATEST0000001"))  # nvcfg is empty

    def test_backup_table(self):
        for sector in (512, 4096):
            disk = bytearray(self.disk(sector)[0])
            disk[sector + 20 * 1] ^= 1
            d = self.json("dump", "list", self.path("d.img", bytes(disk)))
            self.assertEqual((d["sector_size"], d["table"], len(d["warnings"])), (sector, "backup", 1))

    def test_extract(self):
        disk, first = self.disk(512)
        out = self.path("out")
        code, _, err = run("dump", "extract", self.path("d.img", disk), "-o", out, "--only", "proinfo,nvcfg")
        self.assertEqual(code, 0, err)
        self.assertEqual(sorted(os.listdir(out)), ["SHA256SUMS", "nvcfg.img", "proinfo.img"])
        with open(os.path.join(out, "proinfo.img"), "rb") as f:
            image = f.read()
        self.assertEqual(image, disk[first * 512:(first + 4) * 512])
        with open(os.path.join(out, "SHA256SUMS")) as f:
            self.assertIn(hashlib.sha256(image).hexdigest() + "  proinfo.img\n", f.readlines())

    def test_hostile_names_do_not_leave_the_folder(self):
        disk, _ = self.disk(512)
        dump, out = self.path("d.img", disk), self.path("out")
        self.fails(1, "cannot be a file name", "dump", "extract", dump, "-o", out, "--only", "../evil")
        self.assertEqual(sorted(os.listdir(self.dir)), ["d.img"])
        code, _, err = run("dump", "extract", dump, "-o", out)
        self.assertEqual(code, 0, err)
        self.assertIn("'../evil' cannot be a file name: not extracted", err)
        self.assertEqual(sorted(os.listdir(self.dir)), ["d.img", "out"])
        self.assertEqual(sorted(os.listdir(out)), ["SHA256SUMS", "nvcfg.img", "proinfo.img", "system_a.img"])

    def test_a_second_extraction_keeps_the_sums_of_the_first(self):
        disk, _ = self.disk(512)
        dump, out = self.path("d.img", disk), self.path("out")
        for names in ("proinfo,nvcfg", "nvcfg,system_a"):
            self.assertEqual(run("dump", "extract", dump, "-o", out, "--only", names)[0], 0)
        with open(os.path.join(out, "SHA256SUMS")) as f:
            self.assertEqual(sorted(line.split("  ")[1] for line in f), ["nvcfg.img\n", "proinfo.img\n", "system_a.img\n"])

    def test_a_name_twice(self):
        disk, first = self.disk(512, ("proinfo", "nvcfg", "nvcfg", "system_a"))
        dump, out = self.path("d.img", disk), self.path("out")
        d = self.json("dump", "list", dump)
        self.assertEqual(len(d["partitions"]), 4)
        self.assertIn("'nvcfg' twice", d["warnings"][0])
        self.assertEqual(run("dump", "extract", dump, "-o", out)[0], 0)
        self.assertEqual(os.path.getsize(os.path.join(out, "nvcfg.img")), 6 * 512)  # the first one

    def test_a_header_of_any_length_in_front(self):
        disk, first = self.disk(512)
        dump = self.path("d.img", b"x" * 333 + disk[:-512])  # and no backup table
        d = self.json("dump", "list", dump)
        self.assertEqual((d["table"], d["partitions"][0]["plausible"]), ("primary", "yes"))
        self.assertIn("begins at byte 333 of the dump", d["warnings"][0])

    def test_extract_refuses(self):
        disk, _ = self.disk(512)
        dump, out = self.path("d.img", disk), self.path("out")
        self.fails(1, "no partition 'nvram'", "dump", "extract", dump, "-o", out, "--only", "proinfo,nvram")
        self.fails(1, "no partition table", "dump", "list", self.path("zeros", b"\0" * 100000))
        self.fails(1, "no files named like", "dump", "list", self.dir)
        self.fails(1, "No such file", "dump", "list", self.path("missing"))
        self.fails(1, "not a file", "dump", "list", "/dev/null")


class Agent(Base):
    def test_show(self):
        entry = struct.pack("<10H", 0xdada, 0x6771, 0x8a00, 0xca00, 0, 0, 0x1000, 0, 0, 3)
        regions = b"".join(struct.pack("<5I", *r) for r in ((0x148, 16, 0x50000000, 0, 0),
                                                           (0x158, 32, 0x200000, 16, 16),
                                                           (0x178, 32, 0x40000000, 16, 16)))
        da = b"MTK_DOWNLOAD_AGENT".ljust(32, b"\0") + b"build".ljust(64, b"\0") + \
            struct.pack("<III", 4, 0x22668899, 1) + (entry + regions).ljust(0xdc, b"\0") + b"x" * 80
        d = self.json("da", "show", self.path("da.bin", da))
        self.assertEqual((d["version"], d["build_id"], len(d["entries"])), (4, "build", 1))
        e = d["entries"][0]
        self.assertEqual([e[k] for k in ("hw_code", "hw_sub_code", "hw_version", "sw_version")],
                         [0x6771, 0x8a00, 0xca00, 0])
        self.assertEqual(e["regions"][1], {"load_address": 0x200000, "offset": 0x158, "length": 32,
                                           "signature_length": 16})
        self.fails(1, "past the end", "da", "show", self.path("cut.bin", da[:-1]))
        self.fails(1, "MTK_DOWNLOAD_AGENT", "da", "show", self.path("other.bin", b"x" * 1000))


class Preloader(Base):
    def test_show_and_cut(self):
        block = b"MTK_BLOADER_INFO_v36".ljust(0x1b, b"\0") + b"preloader_pda.bin".ljust(0x3d, b"\0") + b"V116" + \
            struct.pack("<II", 0x33448822, 0x700090) + b"MTK_BIN\0" + struct.pack("<I", 1) + b"\1" * 0xa0
        rest = b"code" * 8 + block + struct.pack("<I", len(block)) + b"signature"
        head = b"MMM\1\x38\0\0\0FILE_INFO".ljust(0x1c, b"\0") + \
            struct.pack("<5I", 0x200f10, 0x38 + len(rest), 0x40000, 0x38, 9).ljust(0x1c, b"\0")
        path, out = self.path("preloader.bin", head + rest), self.path("emi")
        d = self.json("preloader", "show", path, "-o", out)
        self.assertEqual((d["version"], d["preloader"], d["memory_entries"], d["offset"], d["length"]),
                         (36, "preloader_pda.bin", 1, 0x38 + 32, len(block)))
        self.assertEqual(d["sha256"], hashlib.sha256(block).hexdigest())
        with open(out, "rb") as f:
            self.assertEqual(f.read(), block)
        self.fails(1, "cut off", "preloader", "show", self.path("cut.bin", (head + rest)[:-1]))


class Firmware(Base):
    def test_check_finds_everything_wrong(self):
        with open(sample("v1-emmc-crlf.txt"), "rb") as f:
            self.path("MT6771_Android_scatter.txt", f.read())
        self.path("system.img", b"")
        os.symlink("/etc/passwd", self.path("lk.img"))
        d = self.json("firmware", "check", self.dir, status=1)
        self.assertFalse(d["usable"])
        self.assertEqual((d["platform"], d["project"], d["version"]), ("MT6771", "k71v1_64_bsp", None))
        codes = {p["code"] for p in d["problems"]}
        self.assertLessEqual({"wrong_project", "da_missing", "preloader_missing", "lk_missing", "service_lk_missing",
                              "image_missing", "image_empty", "version_unknown"}, codes)
        self.assertTrue(all(p["what"] and p["advice"] for p in d["problems"]))
        self.assertEqual([f["name"] for f in d["files"]], ["MT6771_Android_scatter.txt", "system.img"])
        self.assertEqual(d["files"][1]["sha256"], hashlib.sha256(b"").hexdigest())
        keep = {k["partition"]: k["reason"] for k in d["plans"]["firmware_upgrade"]["keep"]}
        for name in ("proinfo", "nvram", "nvcfg", "protect1", "userdata", "seccfg"):
            self.assertTrue(keep[name])

    def test_names_that_are_no_utf8_are_told(self):
        self.path("MT6771_Android_scatter.txt", b"")
        with open(os.path.join(os.fsencode(self.dir), b"lk\xff.img"), "wb"):
            pass
        d = self.json("firmware", "check", self.dir, status=1)
        told = [p for p in d["problems"] if p["code"] == "name_not_utf8"]
        self.assertEqual([(p["severity"], p["where"]) for p in told], [("warning", "lk%ff.img")])
        self.assertEqual([f["name"] for f in d["files"]], ["MT6771_Android_scatter.txt"])

    def test_gates(self):
        with open(sample("v1-emmc-crlf.txt"), "rb") as f:
            self.path("MT6771_Android_scatter.txt", f.read())
        self.path("PDA-2010-0-00WW-B01.mlf", b"")

        def gates(*more):
            d = self.json("firmware", "check", self.dir, *more, status=1)  # the package is bad anyway
            return {g["id"]: g["action"] for g in d["gates"]}
        self.assertIsNone(self.json("firmware", "check", self.dir, status=1)["gates"])
        fine = dict.fromkeys(("V1", "V2", "V3", "V4", "V5", "V6"), "pass")
        self.assertEqual(gates("--phone-version", "PDA-2010-0-00WW-B01"), fine)
        self.assertEqual(gates("--phone-version", "PDA-3010-0-00WW-B01"), {**fine, "V2": "refuse"})
        self.assertEqual(gates("--phone-version", "PDA-2010-0-00CN-B01", "--battery", "3500"),
                         {**fine, "V4": "confirm", "V5": "refuse"})
        self.assertEqual(gates("--serial", "PDAGATEST0000001", "--battery", "41"), {**fine, "V6": "confirm"})
        self.fails(1, "--phone-version", "firmware", "check", self.dir, "--phone-version", "2010")
        self.fails(1, "--serial", "firmware", "check", self.dir, "--serial", "490154203237518")
        self.fails(1, "millivolts", "firmware", "check", self.dir, "--battery", "full")

    def test_an_archive_is_no_folder(self):
        self.fails(1, "unpack it first", "firmware", "check", self.path("p.zip", b"PK\3\4" + b"\0" * 600))
        self.fails(1, "No such file", "firmware", "check", self.path("missing"))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=1)
