"""spcc: the model compiled to an object and linked with the runtime into one shared object, called
through the C interface of runtime/spcc_rt.h."""

import ctypes as c
import json
import os
import shutil
import subprocess
import time

import host


class Tensor(c.Structure):
    _fields_ = [("name", c.c_char_p), ("dtype", c.c_uint32), ("rank", c.c_uint32),
                ("dim", c.c_int64 * 4), ("optional", c.c_uint32), ("absent", c.c_int32)]


class Info(c.Structure):  # as far as it is read here
    _fields_ = [("size", c.c_uint32), ("abi", c.c_uint32), ("name", c.c_char_p),
                ("digest", c.c_uint64), ("inputs", c.POINTER(Tensor)),
                ("outputs", c.POINTER(Tensor)), ("input_count", c.c_uint32),
                ("output_count", c.c_uint32)]


class Call(c.Structure):
    _fields_ = [("size", c.c_uint32), ("cpu", c.c_uint32), ("model", c.c_uint64),
                ("batch", c.c_int32), ("sequence", c.c_int32), ("lengths", c.c_void_p),
                ("in_", c.c_void_p), ("out", c.c_void_p), ("state", c.c_void_p),
                ("in_bytes", c.c_void_p), ("out_bytes", c.c_void_p), ("weights", c.c_void_p),
                ("weights_bytes", c.c_size_t), ("workspace", c.c_void_p),
                ("workspace_bytes", c.c_size_t), ("exec", c.c_void_p)]


def build(job):
    """The folder with model.so and build.json, made where it is missing."""

    def make(folder):
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        compiled, linked = os.path.join(folder, "model.o"), os.path.join(folder, "model.so")
        start = time.monotonic()
        subprocess.run([job["spcc"], os.path.join(job["model"], "model.yaml"), "-o", compiled,
                        "--name=model", *job["flags"]], check=True)
        seconds = time.monotonic() - start
        # The runtime brings the pool of threads.
        subprocess.run(["cc", "-shared", "-o", linked, compiled, "-Wl,--whole-archive",
                        job["runtime"], "-Wl,--no-whole-archive", "-pthread"], check=True)
        with open(os.path.join(folder, "build.json"), "w") as file:
            json.dump({"object_bytes": os.path.getsize(compiled),
                       "compile_seconds": round(seconds, 2)}, file)
        os.remove(compiled)

    return host.once(job["object"], make)


def functions(path):
    lib = c.CDLL(path)
    for name, result, arguments in (
        ("model_run", c.c_int, [c.c_void_p]),
        ("model_workspace", c.c_size_t, [c.c_int32, c.c_int32, c.c_uint32]),
        ("model_info", c.POINTER(Info), []),
        ("spcc_alloc", c.c_void_p, [c.c_size_t]),
        ("spcc_cpu", c.c_uint32, []),
        ("spcc_cpu_name", c.c_char_p, [c.c_uint32]),
        ("spcc_pool_new", c.c_void_p, [c.c_uint32]),
        ("spcc_pool_exec", c.c_void_p, [c.c_void_p]),
        ("spcc_status_text", c.c_char_p, [c.c_int]),
    ):
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    return lib


def load(job):
    import numpy as np

    folder = build(job)
    lib = functions(os.path.join(folder, "model.so"))
    info = lib.model_info().contents
    batch, sequence, threads = job["batch"], job["sequence"], job["threads"]
    given = host.read_inputs(job, "int32")
    inputs = [given[info.inputs[i].name.decode()] for i in range(info.input_count)]
    out = info.outputs[0]
    symbols = {-1: batch, -2: sequence}
    shape = [symbols.get(d, d) for d in out.dim[: out.rank]]
    result = np.empty(shape, np.float32)

    def pointers(arrays):
        return (c.c_void_p * len(arrays))(*[a.ctypes.data for a in arrays])

    def sizes(arrays):
        return (c.c_size_t * len(arrays))(*[a.nbytes for a in arrays])

    level = lib.spcc_cpu()
    keep = pointers(inputs), sizes(inputs), pointers([result]), sizes([result])
    call = Call(size=c.sizeof(Call), cpu=level, batch=batch, sequence=sequence)
    call.in_, call.in_bytes, call.out, call.out_bytes = (c.addressof(k) for k in keep)
    call.workspace_bytes = lib.model_workspace(batch, sequence, threads)
    call.workspace = lib.spcc_alloc(call.workspace_bytes)
    if threads > 1:
        call.exec = lib.spcc_pool_exec(lib.spcc_pool_new(threads))
    address = c.addressof(call)

    def run(_keep=(inputs, keep, call)):
        status = lib.model_run(address)
        if status != 0:
            raise RuntimeError(lib.spcc_status_text(status).decode())
        return result

    with open(os.path.join(folder, "build.json")) as file:
        built = json.load(file)
    settings = {
        **built,
        "version": job["version"],
        "isa_used": lib.spcc_cpu_name(level).decode(),
        "settings": " ".join(job["flags"]) or "defaults",
        "workspace_bytes": call.workspace_bytes,
    }
    return settings, run, lambda y: y


if __name__ == "__main__":
    host.serve(load)
