"""What the processes of a station take: memory of their own, processor time, descriptors. From /proc."""
import os

TICKS = os.sysconf("SC_CLK_TCK")
NAMES = {"flashrackd": "flashrackd", "flashrack-worke": "worker", "flashrack-portw": "portwatch"}  # 15 characters


def name_of(pid):
    try:
        with open(f"/proc/{pid}/comm", encoding="ascii") as f:
            return NAMES.get(f.read().strip())
    except OSError:
        return None


def of_station(station):
    """pid -> flashrackd, worker or portwatch."""
    server = station.process.child.pid
    try:
        with open(f"/proc/{server}/task/{server}/children", encoding="ascii") as f:
            pids = [server] + [int(pid) for pid in f.read().split()]
    except OSError:
        return {}
    found = {pid: name_of(pid) for pid in pids}
    return {pid: name for pid, name in found.items() if name}


def workers(station):
    return [pid for pid, name in of_station(station).items() if name == "worker"]


def private_dirty(pid):
    """Bytes; 0 for a process that went."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
            for line in f:
                if line.startswith("Private_Dirty:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def descriptors(pid):
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0


def cpu_seconds(pid, reaped=True):
    """User and system time; with that of the children it has waited for."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as f:
            fields = f.read().rpartition(")")[2].split()
    except OSError:
        return 0
    return sum(int(ticks) for ticks in fields[11:15 if reaped else 13]) / TICKS


def worker_of_job(station, job_id):
    """The worker that writes this job's record; None: there is none just now."""
    for pid in workers(station):
        try:
            targets = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
        except OSError:
            continue
        if any(target.endswith(f"/job-{job_id}.pcapng") for target in targets):
            return pid
    return None


def slope(values):
    """By how much a value rises from one sample to the next, least squares."""
    count = len(values)
    if count < 2:
        return 0.0
    mean_x, mean_y = (count - 1) / 2, sum(values) / count
    above = sum((x - mean_x) * (y - mean_y) for x, y in enumerate(values))
    return above / sum((x - mean_x) ** 2 for x in range(count))
