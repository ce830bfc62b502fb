#!/usr/bin/env python3
"""Benchmarks the mesh itself with jobs that do nothing, beside Ray and Dask: alternating, on one machine.

Owns the order of the measurements, the clock and the table. A round measures the disk, a mesh of one, a mesh of five
processes, Ray and Dask, one after the other; the best round counts, and the ratio. A job's clock runs from the request on an
open connection to the node's word that the receipt is in its books, signed by a majority. Must never run two contestants
at once.

Usage: mesh.py [--rounds 3] [--python PYTHON] [--binary FORGEMESH] [--dir DIR] [--json FILE] [--only one,cluster,ray,dask]
PYTHON is one with the packages of requirements-mesh.txt.
"""

import argparse
import json
import os
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SIZES = (1_000, 10_000, 100_000)
SMALL_JOBS = 60
STREAM_JOBS = 600
STREAM_CLIENTS = 16
IDLE_S = 30
PATIENCE_S = 120
TICKS = os.sysconf("SC_CLK_TCK")


def envelope(shards):
    """The job: `shards` shards of one leaf each that do nothing; spot checks as usual."""
    return json.dumps({
        "op": {"name": "diag", "version": 1, "profile": "noop.v1"},
        "args": {"shards": shards},
        "artifacts": {"persist": True, "kv_namespace": "bench", "include": ["result_json", "metrics_json"]},
        "ctx": {"job_id": "bench", "billing": {"mode": "test"}},
    })


class Line:
    """One connection to a node's control socket."""

    def __init__(self, folder):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(folder / "control.sock"))
        self.reader = self.socket.makefile("rb")

    def send(self, request):
        self.socket.sendall(json.dumps(request).encode() + b"\n")

    def read(self):
        line = self.reader.readline()
        if not line:
            raise SystemExit("a node hung up")
        return json.loads(line)

    def ask(self, request):
        self.send(request)
        while True:
            answer = self.read()
            if "ok" in answer:
                return answer["ok"]
            if "error" in answer:
                raise SystemExit(f"{request}: {answer['error']}")

    def submit(self, shards):
        return self.ask({"do": "submit", "envelope": envelope(shards)})["job_id"]

    def artifact(self, job, kind):
        self.send({"do": "artifact", "job": job, "kind": kind})
        parts = []
        while True:
            answer = self.read()
            if "part" in answer:
                parts.append(self.reader.read(answer["part"]))
            elif "ok" in answer:
                return json.loads(b"".join(parts))
            elif "error" in answer:
                return None


class Watch:
    """Notes when each job's receipt was complete in the books of one node."""

    def __init__(self, folder):
        self.done, self.changed = {}, threading.Condition()
        line = Line(folder)
        line.send({"do": "watch"})
        threading.Thread(target=self.follow, args=(line,), daemon=True).start()

    def follow(self, line):
        while True:
            try:
                event = line.read().get("event", {})
            except SystemExit:
                return
            if event.get("recorded"):
                now = time.perf_counter()
                with self.changed:
                    self.done[event["job_id"]] = (now, event["state"])
                    self.changed.notify_all()

    def wait(self, job):
        with self.changed:
            if not self.changed.wait_for(lambda: job in self.done, PATIENCE_S):
                raise SystemExit(f"job {job} has not ended after {PATIENCE_S} s")
            ended, state = self.done[job]
        if state != "finalized":
            raise SystemExit(f"job {job} is {state}")
        return ended


def descendants(pid):
    """The process and all that it has started."""
    found = [pid]
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        try:
            children = (task / "children").read_text().split()
        except OSError:
            continue
        for child in children:
            found += descendants(int(child))
    return found


def cpu_s(pids):
    """Processor seconds of these processes and their children so far."""
    ticks = 0
    for pid in (each for top in pids for each in descendants(top)):
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / TICKS


def resident_mib(pid):
    """Resident memory in MiB: of a process and its children, of the process, and with shared pages counted in part."""
    def field(path, name):
        lines = pathlib.Path(path).read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith(name + ":")) / 1024

    all_of = descendants(pid)
    return {"sum": sum(field(f"/proc/{each}/status", "VmRSS") for each in all_of),
            "node": field(f"/proc/{pid}/status", "VmRSS"),
            "proportional": sum(field(f"/proc/{each}/smaps_rollup", "Pss") for each in all_of)}


def median_ms(seconds):
    return statistics.median(seconds) * 1e3


def fsync_ms(folder):
    """The median fsync of an appended 4 KiB, in milliseconds."""
    path, times = folder / "fsync", []
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    for _ in range(500):
        os.write(descriptor, b"x" * 4096)
        start = time.perf_counter()
        os.fsync(descriptor)
        times.append(time.perf_counter() - start)
    os.close(descriptor)
    path.unlink()
    return median_ms(times)


def latency(at, watching, jobs=SMALL_JOBS):
    """Milliseconds from submission to receipt of jobs of one shard, one after the other."""
    line, times = Line(at), []
    for number in range(jobs + 5):
        start = time.perf_counter()
        job = line.submit(1)
        ended = watching.wait(job)
        if number >= 5:
            times.append(ended - start)
    ordered = sorted(times)
    return {"median_ms": median_ms(times), "best_ms": ordered[0] * 1e3, "p95_ms": ordered[len(times) * 95 // 100] * 1e3}


def throughput(at, watching, shards, pids, members):
    """Shards a second of one job, end to end."""
    line, before = Line(at), cpu_s(pids)
    start = time.perf_counter()
    job = line.submit(shards)
    seconds = watching.wait(job) - start
    used = cpu_s(pids) - before
    # A member that was overtaken by the others' votes has no artifacts of its own.
    metrics = next(filter(None, (Line(member).artifact(job, "metrics_json") for member in members)))
    return {"shards": shards, "seconds": seconds, "per_s": shards / seconds, "attestations": metrics["attestations"],
            "batch": shards / metrics["attestations"], "cpu_ms_per_shard": used * 1e3 / shards}


def stream(at, watching):
    """Jobs of one shard a second, several clients at once: each shard has an attestation, a check and a receipt of its own."""
    lines, jobs, lock = [Line(at) for _ in range(STREAM_CLIENTS)], [], threading.Lock()

    def client(line):
        for _ in range(STREAM_JOBS // STREAM_CLIENTS):
            job = line.submit(1)
            with lock:
                jobs.append(job)

    start = time.perf_counter()
    threads = [threading.Thread(target=client, args=(line,)) for line in lines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ended = max(watching.wait(job) for job in jobs)
    return {"jobs": len(jobs), "per_s": len(jobs) / (ended - start)}


def commands(binary, folder, file, count=7):
    """Seconds of whole `job submit --wait` commands, a process each."""
    times = []
    for _ in range(count):
        start = time.perf_counter()
        done = subprocess.run([binary, "--json", "--node", folder, "job", "submit", file, "--wait"], text=True,
                              capture_output=True)
        if done.returncode != 0:
            raise SystemExit(f"`job submit --wait` ended with {done.returncode}: {done.stdout}{done.stderr}")
        times.append(time.perf_counter() - start)
    return median_ms(times)


def run_until(process, condition, what):
    end = time.monotonic() + PATIENCE_S
    while not condition():
        if process.poll() is not None or time.monotonic() > end:
            raise SystemExit(f"{what} does not start")
        time.sleep(0.05)


def leads(folder):
    try:
        status = Line(folder).ask({"do": "status"})
    except OSError:
        return False
    return status["leader"] is not None


def mesh_of_one(binary, base, job_file, sizes):
    folder = base / "one"
    if not folder.exists():
        subprocess.run([binary, "--home", folder, "init", "--name", "bench", "--listen", "/ip4/127.0.0.1/tcp/0"],
                       check=True, stdout=subprocess.DEVNULL)
    with open(base / "one.log", "w") as log:
        process = subprocess.Popen([binary, "--home", folder, "up"], stdout=log, stderr=log)
    try:
        run_until(process, lambda: leads(folder), "the mesh of one")
        watching, pids = Watch(folder), [process.pid]
        time.sleep(0.5)
        found = {"latency": latency(folder, watching),
                 "throughput": [throughput(folder, watching, size, pids, [folder]) for size in sizes],
                 "stream": stream(folder, watching), "command_ms": commands(binary, folder, job_file)}
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
    return found


def announced(process, log):
    """What `dev cluster` says once its nodes run."""
    text = ""
    for line in process.stdout:
        text += line
        try:
            return json.loads(text)["nodes"]
        except ValueError:
            continue
    raise SystemExit(f"the cluster does not start: see {log}")


def idle_for(pids, seconds=IDLE_S):
    """Processor share and memory of each node that has nothing to do."""
    before = [cpu_s([pid]) for pid in pids]
    time.sleep(seconds)
    return [{"cpu_percent": (cpu_s([pid]) - then) / seconds * 100, **resident_mib(pid)} for pid, then in zip(pids, before)]


def cluster(binary, base, job_file, sizes, idle):
    with open(base / "cluster.log", "w") as log:
        process = subprocess.Popen([binary, "--json", "dev", "cluster", "--nodes", "5", "--dir", base / "cluster"],
                                   stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        nodes = announced(process, base / "cluster.log")
        folders = [pathlib.Path(node["folder"]) for node in nodes]
        pids = [node["pid"] for node in nodes]
        hub, agents = range(3), range(3, 5)
        time.sleep(4)
        found = {}
        if idle:
            found["idle_agents"] = idle_for([pids[at] for at in agents])
            found["idle_hub"] = idle_for([pids[at] for at in hub], 10)
        statuses = [Line(folders[at]).ask({"do": "status"}) for at in hub]
        leader = next(at for at in hub if statuses[at]["leads"])
        follower = next(at for at in hub if at != leader)
        watching = Watch(folders[leader])
        found |= {"latency": latency(folders[leader], watching),
                  "latency_follower": latency(folders[follower], Watch(folders[follower])),
                  "throughput": [throughput(folders[leader], watching, size, pids, folders[:3]) for size in sizes],
                  "stream": stream(folders[leader], watching),
                  "command_ms": commands(binary, folders[leader], job_file),
                  "command_agent_ms": commands(binary, folders[4], job_file)}
        # What the hub itself costs: its members execute nothing.
        for at in hub:
            Line(folders[at]).ask({"do": "pause"})
        time.sleep(2)
        hub_pids = [pids[at] for at in hub]
        found["agents_alone"] = [throughput(folders[leader], watching, size, hub_pids, folders[:3]) for size in sizes]
        for at in hub:
            Line(folders[at]).ask({"do": "resume"})
        if idle:
            time.sleep(5)
            found["idle_after"] = idle_for([pids[at] for at in agents])
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()
    return found


def peer(python, name):
    done = subprocess.run([python, HERE / "peers.py", name], check=True, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL)
    return json.loads(done.stdout.strip().splitlines()[-1])


def tell(rounds):
    """The table, from the best of the rounds."""
    def best(values, least=True):
        values = [value for value in values if value is not None]
        return (min if least else max)(values) if values else None

    def of(*path):
        for each in rounds:
            value = each
            for key in path:
                value = value.get(key) if isinstance(value, dict) else None
            yield value

    fsync = best(of("fsync_ms"))
    rows = [("fsync of 4 KiB, F", f"{fsync:.3f} ms")]
    for name, title, bound, factor in (("one", "mesh of one", 3, 6), ("cluster", "five processes", 10, 12)):
        found = [each[name] for each in rounds if name in each]
        if not found:
            continue
        limit = bound + factor * fsync
        lines = [("latency", "submit to receipt, median")]
        lines += [("latency_follower", "the same through a follower")] if name == "cluster" else []
        for key, what in lines:
            rows.append((f"{title}: {what} (bound {limit:.2f})", f"{best(each[key]['median_ms'] for each in found):.2f} ms"))
        for key in ("throughput", "agents_alone"):
            for index, _ in enumerate(found[0].get(key, [])):
                top = max((each[key][index] for each in found), key=lambda value: value["per_s"])
                least = min(each[key][index]["cpu_ms_per_shard"] for each in found)
                who = "the hub's" if key == "agents_alone" else "all nodes'"
                rows.append((f"{title}{', hub executes nothing' if key == 'agents_alone' else ''}: {top['shards']:,} shards",
                             f"{top['per_s']:,.0f}/s, batches of {top['batch']:.0f}; {who} CPU {least:.3f} ms/shard"))
        rows.append((f"{title}: jobs of one shard, {STREAM_CLIENTS} clients (batch 1)",
                     f"{best((each['stream']['per_s'] for each in found), False):,.0f}/s"))
        rows.append((f"{title}: `job submit --wait`, whole process", f"{best(each['command_ms'] for each in found):.0f} ms"))
        if name == "cluster":
            rows.append((f"{title}: the same at an agent", f"{best(each['command_agent_ms'] for each in found):.0f} ms"))
            for kind, what in (("idle_agents", "an agent, idle since its start"), ("idle_hub", "a hub member, likewise"),
                               ("idle_after", "an agent, idle after all these jobs")):
                for idle in (each[kind] for each in found if kind in each):
                    worst = max(idle, key=lambda value: value["sum"])
                    rows.append((f"{what}; the worst", f"{worst['sum']:.1f} MiB resident (the node {worst['node']:.1f}, its "
                                 f"worker the rest), {max(value['cpu_percent'] for value in idle):.2f} % of a core"))
    for name in ("ray", "dask"):
        found = [each[name] for each in rounds if name in each]
        if found:
            plain = max(each["tasks"] / each["plain_s"] for each in found)
            chunked = max(each["chunks"] * each["chunk"] / each["chunked_s"] for each in found)
            rows.append((f"{name} {found[0]['version']}: tasks", f"{plain:,.0f}/s; one alone "
                         f"{min(each['one_task_s'] for each in found) * 1e3:.2f} ms"))
            rows.append((f"{name}: chunks of {found[0]['chunk']}", f"{chunked:,.0f} no-ops/s"))
    print("| what | best |\n| --- | ---: |")
    for what, value in rows:
        print(f"| {what} | {value} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--binary", type=pathlib.Path, default=ROOT / "target/release/forgemesh")
    parser.add_argument("--dir", type=pathlib.Path)
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--only", default="one,cluster,ray,dask")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    options = parser.parse_args()
    chosen = options.only.split(",")
    sizes = [int(size) for size in options.sizes.split(",")]
    # A socket's path has room for some hundred bytes.
    base = options.dir or pathlib.Path(tempfile.mkdtemp(prefix="fmbench-"))
    base.mkdir(parents=True, exist_ok=True)
    job_file = base / "job.json"
    job_file.write_text(envelope(1))
    rounds = []
    try:
        for number in range(options.rounds):
            found = {"load": os.getloadavg()[0], "fsync_ms": fsync_ms(base)}
            rounds.append(found)
            contestants = {
                "one": lambda: mesh_of_one(options.binary, base, job_file, sizes),
                "cluster": lambda first=number == 0: cluster(options.binary, base, job_file, sizes, idle=first),
                "ray": lambda: peer(options.python, "ray"),
                "dask": lambda: peer(options.python, "dask"),
            }
            for name in chosen:
                found[name] = contestants[name]()
                print(json.dumps({name: found[name]}), file=sys.stderr, flush=True)
                if options.json:
                    options.json.write_text(json.dumps(rounds, indent=1))
    finally:
        if options.dir is None:
            shutil.rmtree(base, ignore_errors=True)
    tell(rounds)


if __name__ == "__main__":
    main()
