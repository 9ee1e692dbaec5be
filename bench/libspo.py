"""libspo by ctypes, as bench/sparsifiers.py needs it."""

import ctypes
import os
import subprocess

import numpy


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


def link(archive, folder):
    """libspo.a as a loaded shared object."""
    shared = os.path.join(folder, "libspo.so")
    subprocess.run([os.environ.get("CC", "cc"), "-shared", "-o", shared, "-Wl,--whole-archive",
                    archive, "-Wl,--no-whole-archive", "-lm", "-lpthread"], check=True)
    lib = ctypes.CDLL(shared)
    lib.spo_state_bytes.restype = ctypes.c_size_t
    return lib


class Spo:
    """libspo with a pool of threads."""

    def __init__(self, lib, threads):
        self.lib = lib
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


def shrinking_step(spo, penalty, metric, tensors, rows, cols):
    """A function that makes one fused step of SparseOptimizer on a tensor [rows, cols]; the addresses
    of w, g, m and v are in `tensors`, the numbers of penalty and metric in spo_recipe.h."""
    method = ctypes.c_int()
    recipe = ctypes.create_string_buffer(max(row.offset for row in options(spo)) + 64)
    if not spo.lib.spo_method_named(b"sparse_optimizer", ctypes.byref(method)):
        raise RuntimeError("no sparse_optimizer")
    spo.lib.spo_recipe_init(recipe, method)
    for key, value in {"steps": 1 << 40, "penalty": penalty, "metric": metric, "lambda": 1e-3,
                       "ramp": 0.0, "freeze": 1.0}.items():
        set_option(spo, recipe, key, value)
    context = ctypes.c_void_p()
    tensor = Tensor(b"weights", rows, cols)
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
