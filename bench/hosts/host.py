"""The engine's side of the protocol of bench.py: one process per engine, lines on standard input,
each answered by one line of JSON on what was standard output; libraries that print, print to
standard error. A job is a JSON file:

    model, onnx, inputs   paths: Hugging Face folder, ONNX file, .npz with the int32 inputs
    batch, sequence, threads, isa, cores, cache, …

    run N        ->  {"ns": [N times]}
    save PATH    ->  {"saved": PATH}: the last output as .npy, f32 [batch, sequence, hidden]

The first line comes unasked: {"ready": settings} or {"missing": reason}.
"""

import fcntl
import json
import os
import sys
import time


class Missing(Exception):
    """The engine can't do this job, and why."""


def private_stdout():
    """Standard output for us alone: what a library prints goes to standard error."""
    stream = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return stream


def read_inputs(job, dtype):
    """input_ids, attention_mask and token_type_ids, in the order of BERT's arguments."""
    import numpy as np

    with np.load(job["inputs"]) as file:
        return {
            name: file[name].astype(dtype)
            for name in ("input_ids", "attention_mask", "token_type_ids")
        }


def once(path, make):
    """Makes `path` by make(another path) unless it is there; one process at a time."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(path):
            make(path + ".part")
            os.rename(path + ".part", path)
    return path


def timed_runs(run, count):
    """Nanoseconds of each of `count` runs, and the last result."""
    times, result = [], None
    for _ in range(count):
        start = time.perf_counter_ns()
        result = run()
        times.append(time.perf_counter_ns() - start)
    return times, result


def serve(load):
    """load(job) gives (settings, run, to_numpy): run() computes once, to_numpy turns what it gave
    into an array."""
    out = private_stdout()

    def answer(value):
        out.write(json.dumps(value) + "\n")
        out.flush()

    with open(sys.argv[1]) as file:
        job = json.load(file)
    try:
        settings, run, to_numpy = load(job)
    except (Missing, ImportError) as reason:
        answer({"missing": str(reason)})
        return
    answer({"ready": settings})
    result = None
    for line in sys.stdin:
        command, argument = line.split(maxsplit=1)
        if command == "run":
            times, result = timed_runs(run, int(argument))
            answer({"ns": times})
        elif command == "save":
            import numpy as np

            path = argument.rstrip("\n")
            np.save(path, np.asarray(to_numpy(result), dtype=np.float32))
            answer({"saved": path})
        else:
            raise SystemExit(f"unknown command {command}")
