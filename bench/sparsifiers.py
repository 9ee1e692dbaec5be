#!/usr/bin/env python3
"""Speed of libspo's passes over memory, against PyTorch, NumPy and a plain copy, in one run:

    bench/sparsifiers.py build/libspo.a [--threads N] [--weights N] [--rounds N]

All contenders have the same number of threads, take turns round by round, and the medians are
compared. The weights are as many as BERT-base's linears have. Needs torch, numpy and a C compiler.
"""

import argparse
import ctypes
import os
import statistics
import subprocess
import tempfile
import time

import numpy
import torch

COLS = 3072


class Pattern(ctypes.Structure):
    _fields_ = [("kind", ctypes.c_int)] + [(n, ctypes.c_uint32) for n in ("rows", "cols", "n", "m")]


class Goal(ctypes.Structure):
    _fields_ = [("pattern", Pattern), ("sparsity", ctypes.c_double)]


class Span(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("score", ctypes.c_void_p), ("keep", ctypes.c_void_p),
                ("count", ctypes.c_size_t)]


class Optimizer(ctypes.Structure):
    _fields_ = [("rule", ctypes.c_int)] + [
        (n, ctypes.c_double) for n in ("lr", "beta1", "beta2", "epsilon", "decay")
    ] + [("step", ctypes.c_uint64)]


class Tensor(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("rows", ctypes.c_size_t), ("cols", ctypes.c_size_t)]


class Tensors(ctypes.Structure):
    _fields_ = [(n, ctypes.c_void_p) for n in "wgmv"]


class Error(ctypes.Structure):
    _fields_ = [("text", ctypes.c_char * 256)]


class Spo:
    """libspo, linked into a shared object, with a pool of threads."""

    def __init__(self, archive, threads, folder):
        shared = os.path.join(folder, "libspo.so")
        subprocess.run([os.environ.get("CC", "cc"), "-shared", "-o", shared, "-Wl,--whole-archive",
                        archive, "-Wl,--no-whole-archive", "-lm", "-lpthread"]
                       + os.environ.get("LIBS", "").split(), check=True)
        self.lib = ctypes.CDLL(shared)
        self.lib.spo_state_bytes.restype = ctypes.c_size_t
        self.error = Error()
        self.pool = ctypes.c_void_p()
        self("spo_pool_open", threads, ctypes.byref(self.pool))

    def __call__(self, name, *arguments):
        if getattr(self.lib, name)(*arguments, ctypes.byref(self.error)):
            raise RuntimeError(self.error.text.decode())

    def pattern(self, text):
        out = Pattern()
        if not self.lib.spo_pattern_parse(text.encode(), ctypes.byref(out)):
            raise ValueError(text)
        return out


def pointer(tensor):
    return ctypes.c_void_p(tensor.data_ptr())


def median_seconds(contenders, rounds):
    """The contenders' median times, in turns; the first round is not counted."""
    times = {name: [] for name in contenders}
    for turn in range(rounds + 1):
        for name, run in contenders.items():
            start = time.perf_counter()
            run()
            if turn > 0:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def shrinking_step(spo, recipe_bytes, penalty, metric, tensors, rows):
    """A function that makes one fused step of SparseOptimizer."""
    method = ctypes.c_int()
    recipe = ctypes.create_string_buffer(recipe_bytes)
    if not spo.lib.spo_method_named(b"sparse_optimizer", ctypes.byref(method)):
        raise RuntimeError("no sparse_optimizer")
    spo.lib.spo_recipe_init(recipe, method)
    for key, value in {"steps": 1 << 40, "penalty": penalty, "metric": metric, "lambda": 1e-3,
                       "ramp": 0.0, "freeze": 1.0}.items():
        set_option(spo, recipe, key, value)
    context = ctypes.c_void_p()
    tensor = Tensor(b"weights", rows, COLS)
    spo("spo_context_create", recipe, ctypes.byref(tensor), ctypes.byref(context))
    size = spo.lib.spo_state_bytes(context)
    state = numpy.zeros(size // 8 + 1, dtype=numpy.uint64)
    address = state.ctypes.data_as(ctypes.c_void_p)
    spo("spo_begin", context, address, ctypes.c_size_t(size), ctypes.byref(tensors), spo.pool)
    adamw = Optimizer(0, 1e-3, 0.9, 0.999, 1e-8, 0.01, 0)

    def step(_keep=state):
        spo("spo_step", context, address, ctypes.byref(adamw), ctypes.byref(tensors), spo.pool)

    return step


class Option(ctypes.Structure):
    _fields_ = [("key", ctypes.c_char_p), ("kind", ctypes.c_int), ("methods", ctypes.c_uint32),
                ("offset", ctypes.c_size_t), ("least", ctypes.c_double), ("most", ctypes.c_double),
                ("words", ctypes.c_void_p), ("doc", ctypes.c_char_p)]


def options(spo):
    table = (Option * 256).in_dll(spo.lib, "spo_options")
    for row in table:
        if row.key is None:
            return
        yield row


def set_option(spo, recipe, key, value):
    types = (ctypes.c_double, ctypes.c_uint64, ctypes.c_bool, ctypes.c_int)
    for row in options(spo):
        if row.key.decode() == key:
            types[row.kind].from_buffer(recipe, row.offset).value = value
            return
    raise KeyError(key)


def report(name, seconds, bytes_moved, copy_rate):
    rate = bytes_moved / seconds
    print(f"{name:<44} {seconds * 1e3:8.1f} ms  {rate / 1e9:6.1f} GB/s  "
          f"{rate / copy_rate:5.2f} of a copy", flush=True)


def compare_updates(spo, weights, rows, rounds):
    count = weights.numel()
    gradient = torch.randn(count) * 0.1
    ours = {name: torch.zeros(count) for name in "mv"}
    w = weights.clone()
    tensors = Tensors(w.data_ptr(), gradient.data_ptr(), ours["m"].data_ptr(), ours["v"].data_ptr())
    recipe_bytes = max(row.offset for row in options(spo)) + 64
    parameter = torch.nn.Parameter(weights.clone())
    parameter.grad = gradient
    adamw = torch.optim.AdamW([parameter], lr=1e-3, fused=True)
    other = torch.empty(count)

    def torch_step():
        adamw.step()
        with torch.no_grad():
            torch._C._nn.softshrink(parameter.data, 1e-6, out=parameter.data)

    contenders = {"copy": lambda: other.copy_(weights), "PyTorch": torch_step}
    for penalty, name in enumerate(("l1", "reweighted")):
        for metric, of in enumerate(("identity", "adam")):
            contenders[f"{name}, {of}"] = shrinking_step(spo, recipe_bytes, penalty, metric, tensors,
                                                         rows)
    seconds = median_seconds(contenders, rounds)
    copy_rate = 8 * count / seconds["copy"]
    report("copy", seconds["copy"], 8 * count, copy_rate)
    report("PyTorch: fused AdamW, softshrink in place", seconds["PyTorch"], 36 * count, copy_rate)
    for name in list(contenders)[2:]:
        report(f"libspo: AdamW and shrinkage, {name}", seconds[name], 28 * count, copy_rate)
        print(f"{'':<44} {seconds['PyTorch'] / seconds[name]:8.2f} x PyTorch", flush=True)


def compare_projection(spo, weights, rows, rounds):
    count = weights.numel()
    mask = torch.empty(count, dtype=torch.uint8)
    other = torch.empty(count)
    goal = Goal(spo.pattern("2:4"), -1.0)
    seconds = median_seconds({
        "copy": lambda: other.copy_(weights),
        "project": lambda: spo("spo_project", ctypes.byref(goal), b"weights", pointer(weights),
                               ctypes.c_size_t(rows), ctypes.c_size_t(COLS), pointer(mask),
                               spo.pool),
    }, rounds)
    report("libspo: projection to 2:4", seconds["project"], 5 * count, 8 * count / seconds["copy"])


def compare_selection(spo, weights, rounds):
    count = weights.numel()
    keep = torch.empty(count, dtype=torch.uint8)
    k = count // 10
    span = Span(b"weights", weights.data_ptr(), keep.data_ptr(), count)
    as_numpy = weights.numpy()
    seconds = median_seconds({
        "libspo": lambda: spo("spo_select_scores", ctypes.byref(span), ctypes.c_size_t(1),
                              ctypes.c_uint64(k), spo.pool),
        "torch.topk": lambda: torch.topk(weights.abs(), k, sorted=False),
        "numpy.partition": lambda: numpy.partition(numpy.abs(as_numpy), count - k),
    }, rounds)
    for name, value in seconds.items():
        print(f"{'select a tenth: ' + name:<44} {value * 1e3:8.1f} ms  "
              f"{value / seconds['libspo']:6.2f} x libspo's time", flush=True)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("archive")
    arguments.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    arguments.add_argument("--weights", type=int, default=84_934_656)
    arguments.add_argument("--rounds", type=int, default=9)
    arguments.add_argument("--only", choices=("updates", "projection", "selection"))
    options_ = arguments.parse_args()
    torch.set_num_threads(options_.threads)
    torch.manual_seed(0)
    rows = options_.weights // COLS
    weights = torch.randn(rows * COLS) * 0.05
    print(f"{weights.numel()} weights, {options_.threads} threads, medians of {options_.rounds} "
          f"rounds, PyTorch {torch.__version__}, NumPy {numpy.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        spo = Spo(options_.archive, options_.threads, folder)
        if options_.only in (None, "updates"):
            compare_updates(spo, weights, rows, options_.rounds)
        if options_.only in (None, "projection"):
            compare_projection(spo, weights, rows, options_.rounds)
        if options_.only in (None, "selection"):
            compare_selection(spo, weights, max(options_.rounds // 2, 3))


if __name__ == "__main__":
    main()
