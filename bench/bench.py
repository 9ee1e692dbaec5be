"""Measures every engine on the same weights and inputs, in turns, and writes what came out.

Run it through scripts/bench.sh, which builds spcc and makes the environments. docs/benchmarks.md
says how the measurement works."""

import argparse
import concurrent.futures
import dataclasses
import datetime
import fcntl
import json
import os
import platform
import signal
import subprocess
import sys
import time

import cells
import engines
import measure
import report
import stats
import store

ROOT = store.ROOT


def words(known=None, kind=str):
    """A parser of lists with commas."""

    def parse(text):
        values = [kind(word) for word in text.split(",") if word]
        for value in values:
            if known is not None and value not in known:
                raise argparse.ArgumentTypeError(f"'{value}' is none of {', '.join(known)}")
        return values

    return parse


def parse_arguments(arguments):
    parser = argparse.ArgumentParser(prog="scripts/bench.sh", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--quick", action="store_true",
        help="BERT-base, sequence 128, batch 1, one thread; all engines and patterns")
    add("--models", type=words(cells.MODELS), default=cells.MODELS)
    add("--patterns", type=words(), default=cells.PATTERNS,
        help="dense, unstructured@S, RxC@S, N:M, N:MxR")
    add("--sequences", type=words(kind=int),
        help="default 32,128,384, and 512 for spcc")
    add("--batches", type=words(kind=int), default=[1, 8, 32])
    add("--threads", type=words(kind=int), default=[1, 2])
    names = list(engines.BY_NAME)
    add("--engines", type=words(names), default=names, help=f"some of {','.join(names)}")
    add("--isa", choices=["native", *engines.ISA_ENVIRONMENT], default="native",
        help="keep every engine that can be kept to this level")
    add("--sweeps", type=words(["density", "threads", "length"]), default=[],
        help="density,threads,length: those of the figures; without a matrix unless --quick or "
        "--matrix is given")
    add("--axes", action="store_true",
        help="of the matrix, the cells that differ from sequence 128, batch 1, one thread in one "
             "thing at most")
    add("--matrix", action="store_true", help="the matrix as well as the sweeps")
    add("--rounds", type=int, default=5, help="turns of each engine in a cell (default 5)")
    add("--turn-ms", type=float, default=100, help="about how long a turn is (default 100)")
    add("--realtime", action="store_true",
        help="real-time priority, for a machine that does other work too (needs the right to it)")
    add("--name", help="of the results: docs/benchmarks/NAME.json … (default quick or full)")
    add("--out", default=os.path.join(ROOT, "docs/benchmarks"))
    add("--resume", action="store_true", help="keep the cells that the results have already")
    add("--prepare", action="store_true", help="only make everything that is kept for later runs")
    add("--report", action="store_true", help="only write tables and figures again")
    add("--cache-gb", type=float, default=40, help="room for models and what is made of them")
    for name in ("spcc", "runtime", "probe", "venvs", "cache"):
        add("--" + name + "-path", required=True, help=argparse.SUPPRESS)
    a = parser.parse_args(arguments)
    if a.quick:
        a.models, a.sequences, a.batches, a.threads = ["base"], [128], [1], [1]
    a.name = a.name or ("quick" if a.quick else "full") + ("" if a.isa == "native" else "-" + a.isa)
    return a


def list_matrix(a):
    def matrix(names, sequences):
        return cells.matrix(names, a.models, a.patterns, sequences, a.batches, a.threads, a.isa)

    ours = [name for name in a.engines if name in engines.OURS]
    if a.sequences or not ours:
        return matrix(a.engines, a.sequences or cells.SEQUENCES)
    return matrix(a.engines, cells.SEQUENCES) + matrix(ours, [cells.LONGEST])


def list_cells(a):
    chosen = []
    if a.quick or a.matrix or not a.sweeps:
        matrix = list_matrix(a)
        chosen += cells.axes(matrix) if a.axes else matrix
    if "density" in a.sweeps:
        chosen += cells.density_sweep(a.engines, a.isa)
    if "threads" in a.sweeps:
        chosen += cells.threads_sweep(a.engines, a.isa, len(os.sched_getaffinity(0)))
    if "length" in a.sweeps:
        chosen += cells.length_sweep(a.isa)
    return chosen


# ---- what the results say of their origin ----

def describe_machine():
    fields = {}
    with open("/proc/cpuinfo") as file:
        for line in file:
            key, _, value = line.partition(":")
            fields.setdefault(key.strip(), value.strip())
    with open("/proc/meminfo") as file:
        kilobytes = int(file.readline().split()[1])
    return {
        "cpu": fields.get("model name", "unknown"),
        "family_model_stepping": [fields.get(k) for k in ("cpu family", "model", "stepping")],
        "flags": fields.get("flags", "").split(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(kilobytes / 1e6, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def tool_output(*command):
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else "unknown"


def new_results(a):
    return {
        "spcc": tool_output(a.spcc_path, "--version").splitlines()[0],
        "commit": tool_output("git", "rev-parse", "--short=12", "HEAD"),
        "started": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "command": ["sh", "scripts/bench.sh", *a.words],
        "machine": describe_machine(),
        "settings": {"rounds": a.rounds, "turn_ms": a.turn_ms, "realtime": a.realtime},
        "cells": [],
    }


def earlier_results(path, now):
    """Those of path, to be gone on with on the machine of now."""
    with open(path) as file:
        results = json.load(file)
    before = results["machine"]
    for fact in ("cpu", "family_model_stepping"):
        if before[fact] != now["machine"][fact]:
            sys.exit(f"error: {path} is of another machine ({before['cpu']}): give another --name")
    before["cores"] = max(before["cores"], now["machine"]["cores"])
    return results


# ---- one cell ----

class Runner:
    def __init__(self, a, commit):
        self.a = a
        self.commit = commit  # that spcc was built from, whatever is committed meanwhile
        self.version = tool_output(a.spcc_path, "--version").splitlines()[0]
        self.store = store.Store(os.path.join(a.cache_path, "store"), a.spcc_path,
                                 1e9 * a.cache_gb)
        self.probe = measure.Probe(a.probe_path, a.realtime)
        self.processes = []  # of the cell
        self.logs = os.path.join(a.cache_path, "logs")
        os.makedirs(self.logs, exist_ok=True)

    def python(self, venv):
        """The environment's interpreter; raises EngineFailed when it could not be made."""
        folder = os.path.join(self.a.venvs_path, venv)
        reason = os.path.join(folder, "missing.txt")
        if os.path.exists(reason):
            with open(reason) as file:
                raise measure.EngineFailed("not installed: " + file.read().strip()[-300:])
        return os.path.join(folder, "bin/python")

    def job(self, c, engine):
        folder = self.store.model(c.model, c.pattern)
        job = {
            **dataclasses.asdict(c),
            "model": folder,
            "inputs": self.store.inputs(folder, c.batch, c.sequence),
            "cache": self.a.cache_path,
            "flags": list(engine.flags),
        }
        if engine.onnx:
            job["onnx"] = self.store.onnx(folder, c.batch, c.sequence, self.python("torch"))
        if engine.host == "spcc_object":
            flags = [*engine.flags, *([] if c.isa == "native" else [f"-march={c.isa}"])]
            job.update(spcc=self.a.spcc_path, runtime=self.a.runtime_path, version=self.version,
                       flags=flags, object=self.store.object(folder, flags))
        return job

    def load(self, c, number):
        """Starts a contestant and waits until it is ready: (record, process or None)."""
        record = {**dataclasses.asdict(c), "key": c.key,
                  "restricted": engines.is_restricted(c)}
        engine = engines.BY_NAME[c.engine]
        process, start = None, time.monotonic()
        try:
            python = self.python(engine.venv)
            log = os.path.join(self.logs, f"{number}-{c.engine}.log")
            process = measure.start(c, python, self.job(c, engine), log)
            self.processes.append(process)
            answer = process.read()
            if "missing" in answer:
                raise measure.EngineFailed(answer["missing"])
            process.pause()
            record.update(answer["ready"], status="ok",
                          load_seconds=round(time.monotonic() - start, 2))
            return record, process
        except (measure.EngineFailed, RuntimeError) as error:
            if process:
                process.close()
            record.update(status="missing", reason=str(error))
            return record, None

    def load_all(self, contestants):
        """Records of all, and {key: (contestant, process)} of those that are ready."""
        # What several engines read is made first, once.
        for c in contestants:
            try:
                self.job(c, engines.BY_NAME[c.engine])
            except (measure.EngineFailed, RuntimeError):
                pass  # load() says it for this contestant
        with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            loaded = list(pool.map(self.load, contestants, range(len(contestants))))
        ready = {c.key: (c, p) for c, (_, p) in zip(contestants, loaded) if p}
        return [record for record, _ in loaded], ready

    def compare(self, records, turns):
        """Puts the largest difference from the first contestant of the same case into records."""
        import numpy as np

        outputs, reference = {}, {}
        for record in records:
            key = record["key"]
            if key not in turns.ready or key in turns.first:
                continue
            path = os.path.join(self.logs, "output.npy")
            turns.attempt(key, lambda process, cores: process.ask(f"save {path}"))
            if key not in turns.ready:
                continue
            case = key.split(" ", 1)[1]
            outputs[key] = np.load(path)
            first = outputs[reference.setdefault(case, key)]
            same = first.size == outputs[key].size
            difference = (float(np.abs(first.ravel() - outputs[key].ravel()).max()) if same
                          else float("inf"))
            record["largest_difference"] = difference if difference == difference else float("inf")
            record["differs"] = not difference <= stats.LARGEST_DIFFERENCE

    def measure(self, cell):
        """The cell's results."""
        try:
            records, ready = self.load_all(cell.contestants)
            turns = measure.Turns(ready, self.probe, self.a.turn_ms, self.a.realtime)
            rounds = [] if self.a.prepare else self.rounds(records, turns)
        finally:
            self.close_processes()
        self.store.evict()
        for record in records:
            key = record["key"]
            if key in turns.failed:
                record.update(status="failed", reason=turns.failed[key])
            if key in turns.first:
                record.update(status="slow", reason="one run alone: it takes too long",
                              ns=turns.first[key])
        rate = stats.mark_slow(rounds)
        return {"kind": cell.kind, "name": cell.name, "commit": self.commit,
                "probe_median": rate, "contestants": records, "rounds": rounds}

    def rounds(self, records, turns):
        with measure.above_engines(self.a.realtime):
            for key in list(turns.ready):
                turns.warm_up(key)
            self.compare(records, turns)
            return [turns.round() for _ in range(self.a.rounds)]

    def close_processes(self):
        """Stopped processes would stay for ever, so they end however the cell ends."""
        while self.processes:
            self.processes.pop().close()


# ---- all cells ----

def summarize(cell):
    """One line a contestant, as it is done."""
    ours = next((r["key"] for r in cell["contestants"] if r["engine"] == "spcc"), None)
    for r in cell["contestants"]:
        at = stats.latency(cell["rounds"], r["key"])
        what = f"{at['median']:9.2f} ms" if at else f"{r['status']}: {r.get('reason', '')}"[:90]
        times = ours and at and stats.ratio(cell["rounds"], r["key"], ours)
        flag = "  DIFFERS" if r.get("differs") else ""
        name = r["engine"] if cell["kind"] == "matrix" else r["key"]
        print(f"   {name:14s} {what}" + (f"  {times:6.2f}x" if times else "") + flag)


def write_results(path, results):
    """One line a cell, so that a change of one cell is a change of one line."""
    head = {k: v for k, v in results.items() if k != "cells"}
    with open(path + ".part", "w") as file:
        file.write(json.dumps(head)[:-1] + ', "cells": [\n')
        file.write(",\n".join(json.dumps(cell) for cell in results["cells"]))
        file.write("\n]}\n")
    os.rename(path + ".part", path)


def measure_all(a, path):
    chosen = list_cells(a)
    results = new_results(a)
    runner, start = Runner(a, results["commit"]), time.monotonic()
    if a.resume and os.path.exists(path):
        results = earlier_results(path, results)
    done = {cell["name"] for cell in results["cells"]}
    # A request to end is an exception, so that it ends the engines too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("error: ended by a signal"))
    for number, cell in enumerate(chosen):
        if cell.name in done:
            continue
        print(f"[{number + 1}/{len(chosen)}] {cell.name}  ({time.monotonic() - start:.0f} s)")
        results["cells"].append(runner.measure(cell))
        if not a.prepare:
            summarize(results["cells"][-1])
            write_results(path, results)
    runner.probe.close()
    print(f"{time.monotonic() - start:.0f} s")
    return results


def main():
    a = parse_arguments(sys.argv[1:])
    a.words = [w for w in sys.argv[1:] if not w.split("=")[0].endswith("-path")]
    os.makedirs(a.out, exist_ok=True)
    path = os.path.join(a.out, a.name + ".json")
    if not a.report:
        with open(os.path.join(a.cache_path, "lock"), "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                sys.exit("error: another benchmark runs; two would disturb each other")
            measure_all(a, path)
    if a.prepare:
        return
    with open(path) as file:
        results = json.load(file)
    for written in [path, *report.write(results, a.out, a.name)]:
        print("wrote", os.path.relpath(written, ROOT))


if __name__ == "__main__":
    main()
