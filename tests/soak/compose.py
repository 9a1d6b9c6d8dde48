#!/usr/bin/python3
"""docker/compose.yaml without a Docker engine: what it says of its services, for container.sh, and one restore by REST
with the two containers that container.sh has started.

  compose.py environment SERVICE      NAME=VALUE lines
  compose.py volumes SERVICE          SOURCE:TARGET[:ro] lines of the named volumes
  compose.py target SERVICE           the stage of the Dockerfile
  compose.py restore URL RACK_ADDRESS RACK_FOLDER"""
import json
import os
import sys
import threading

import yaml

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import rack as bench  # noqa: E402

COMPOSE = os.path.join(bench.ROOT, "docker", "compose.yaml")
IMPORTS = "/import/rack"  # the rack's volume, as the station sees it


def service(name):
    with open(COMPOSE, encoding="utf-8") as f:
        whole = yaml.safe_load(f)
    return whole["services"][name], whole["volumes"]


def environment(name):
    return [f"{key}={value}" for key, value in service(name)[0].get("environment", {}).items()]


def volumes(name):
    of_service, named = service(name)
    return [v for v in of_service["volumes"] if v.split(":")[0] in named]


class ContainerRack(bench.Rack):
    """A rack that runs in a container already; its volume is FOLDER here."""

    def __init__(self, folder, address):  # pylint: disable=super-init-not-called
        self.dir, self.address, self.vhci = folder, address, False
        self.control_path = os.path.join(folder, "ctl")
        self.lock = threading.BoundedSemaphore(1)
        with open(os.path.join(folder, "state", "rack.json"), encoding="utf-8") as f:
            self.labels = json.load(f)
        self.count = len(self.labels)


def restore(url, address, folder):
    rack = ContainerRack(folder, address)
    station = bench.Station(folder)
    station.url = url
    label = rack.labels[0]
    packages = os.listdir(os.path.join(folder, "package"))
    firmware = station.add_firmware(f"{IMPORTS}/package/{packages[0]}")
    backup = station.import_dump(f"{IMPORTS}/dumps/{label['serial']}.bin", label["serial"])
    job = station.restore(rack.port(0), label["serial"], label["imeis"], firmware=firmware["id"], backup=backup["id"])
    acceptor = bench.Acceptor(station, rack, {job["id"]: 0})
    acceptor.start()
    ended = acceptor.finish_job(job["id"], 300)
    if ended["state"] != "succeeded":
        sys.exit(f"the job is {ended['state']} in {ended['step']}: {ended['error']} {ended['prompt']}")


def main():
    what, *rest = sys.argv[1:]
    if what == "restore":
        restore(*rest)
    elif what == "target":
        print(service(*rest)[0]["build"]["target"])
    else:
        print("\n".join({"environment": environment, "volumes": volumes}[what](*rest)))


if __name__ == "__main__":
    main()
