#!/usr/bin/python3
"""./run dry-run: a recipe and a package, tried on an emulated phone by the real station and worker before any real phone
sees them. The phone's layout has to be the package's: tests/phone/README.md says which layouts there are. Prints the plan,
each step as it ends, and what the phone was left as; the exit status is the job's."""
import argparse
import json
import os
import shutil
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import rack as bench  # noqa: E402

SCHEMA = os.path.join(bench.ROOT, "schema")
ENDED = ("succeeded", "failed", "cancelled", "interrupted")


def arguments():
    p = argparse.ArgumentParser(prog="./run dry-run", description=__doc__)
    p.add_argument("--recipe", default="x5-restore", help="name in schema/recipes, or a file (default x5-restore)")
    p.add_argument("--firmware", metavar="DIR", help="the package; default: one that is made for a tiny phone")
    p.add_argument("--finish", choices=("upgrade", "lk"), help="as of a job")
    p.add_argument("--whole", action="store_true", help="the phone has not lost its identity")
    return p.parse_args()


def tool(*args):
    return subprocess.run([bench.program("flashrack"), *args], capture_output=True, text=True)


def layout(package):
    """(name, start, size) of the partitions that a package's scatter places."""
    scatter = next((os.path.join(top, name) for top, _, names in os.walk(package) for name in sorted(names)
                    if name.endswith("_scatter.txt")), None)
    if not scatter:
        sys.exit(f"dry-run: {package} holds no scatter file")
    shown = tool("scatter", "show", scatter, "--json")
    if shown.returncode:
        sys.exit(shown.stderr)
    return [(p["name"], p["linear_start"], p["size"]) for s in json.loads(shown.stdout)["sections"]
            for p in s["partitions"] if p["region"] == "EMMC_USER" and p["name"] != "userdata" and not p["is_reserved"]]


def profile_of(package, work):
    wanted = layout(package)
    for profile in ("tiny", "mini", "full"):
        if layout(bench.make_package(os.path.join(work, profile), "--profile", profile)) == wanted:
            return profile
    sys.exit("dry-run: no emulated phone has this package's layout; see tests/phone/README.md, \"Profiles\".\n"
             "         'flashrack recipe check RECIPE --firmware DIR' proves the plan without a phone.")


def with_recipe(recipe, work):
    """A schema folder that holds the recipe, and the recipe."""
    schema = os.path.join(work, "schema")
    shutil.copytree(SCHEMA, schema)
    path = recipe if os.path.exists(recipe) else os.path.join(SCHEMA, "recipes", recipe + ".json")
    if not os.path.exists(path):
        sys.exit(f"dry-run: no recipe '{recipe}': give a file, or a name of {os.path.join(SCHEMA, 'recipes')}")
    with open(path) as f:
        document = json.load(f)
    shutil.copy(path, os.path.join(schema, "recipes", document["name"] + ".json"))
    return schema, document


def order_of(recipe, rack, station, package, args):
    label, needs = rack.labels[0], recipe.get("needs", {})
    order = {"recipe": recipe["name"], "port": rack.port(0)}
    if "firmware" in needs:
        order["firmware"] = station.add_firmware(package)["id"]
    if any(step["do"] in ("write", "fastboot_flash") for step in recipe["steps"]):
        order.update(serial=label["serial"], imeis=label["imeis"])
    if "backup" in needs:
        order["backup"] = station.import_dump(rack.dump(0), label["serial"])["id"]
    if args.finish:
        order["finish"] = args.finish
    return order


def follow(station, rack, job):
    """Says each step as it ends; does with hands what the emulated person does not do by itself."""
    acceptor = bench.Acceptor(station, rack, {job["id"]: 0})
    acceptor.start()
    told = 0
    while True:
        job = station.job(job["id"])
        for step in [s for s in job["steps"] if s["ended_at"]][told:]:
            told += 1
            print(f"  {step['name']}, attempt {step['attempt']}: {step['state']}"
                  f"{': ' + step['error']['message'] if step.get('error') else ''}", flush=True)
        if job["state"] in ENDED:
            return job
        prompt = job.get("prompt")
        if prompt and "unplug" in prompt["text"].lower() and "download mode" not in prompt["text"]:
            rack.control(0, "unplug")
        time.sleep(0.1)


def run(args, work):
    schema, recipe = with_recipe(args.recipe, work)
    package = os.path.abspath(args.firmware) if args.firmware else \
        bench.make_package(os.path.join(work, "package"), "--profile", "tiny")
    profile = profile_of(package, work)
    lost = not args.whole and "backup" in recipe.get("needs", {})
    with bench.Rack(work, profile=profile, lost=lost) as rack, \
            bench.Station(work, racks=[rack.address], import_dirs=[work, package], extra=["--schema", schema]) as station:
        order = order_of(recipe, rack, station, package, args)
        plan = station.post("/jobs", {**order, "dry_run": True})["plan"]
        print(f"{recipe['name']} version {recipe['version']} on an emulated {profile} phone; it may write "
              f"{len(plan['writes'])} extents:")
        for w in plan["writes"]:
            print(f"  {w['step']:6} {w['partition']:14} {w['size_bytes']:>12} bytes  {w['image']}")
        job = follow(station, rack, station.post("/jobs", order))
        result = job.get("result") or {}
        print(json.dumps({"recipe": recipe["name"], "state": job["state"], "phone_state": result.get("phone_state"),
                          "written": len(result.get("writes", [])),
                          "verified": sum(w["verified"] for w in result.get("writes", [])),
                          "error": (job.get("error") or {}).get("message")}))
        return 0 if job["state"] == "succeeded" else 1


def main():
    args = arguments()
    bench.end_on_signals()
    with bench.Workspace("flashrack-dry-run") as work:
        try:
            return run(args, work)
        except KeyboardInterrupt:
            print("dry-run: stopped", file=sys.stderr)
            return 130
        except bench.ApiError as refused:
            print(f"dry-run: {refused.detail}", file=sys.stderr)
            return 1


if __name__ == "__main__":
    sys.exit(main())
