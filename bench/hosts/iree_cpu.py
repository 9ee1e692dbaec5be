"""IREE's llvm-cpu backend, compiled for this machine from the ONNX file; weights as parameters, so
that one compilation serves all weights of a shape."""

import hashlib
import importlib.metadata
import os
import subprocess
import sys

import host

TARGET = [
    "--iree-hal-target-device=local",
    "--iree-hal-local-target-device-backends=llvm-cpu",
    # LayerNorm's dispatch needs 72 KB of stack: the default limit makes it an error.
    "--iree-llvmcpu-stack-allocation-limit=1048576",
]


def tool(name, *arguments):
    path = os.path.join(os.path.dirname(sys.executable), name)
    done = subprocess.run([path, *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if "error" in line] or ["no message"]
        raise host.Missing(f"{name} failed: {lines[0][:200]}")


def target_cpu(job):
    return "host" if job["isa"] == "native" else job["isa"]


def compile_onnx(job):
    """The paths of the module and of its parameters, made where they are missing."""
    base = os.path.splitext(job["onnx"])[0]
    parameters = base + ".irpa"
    mlir = host.once(base + ".mlir", lambda path: tool(
        "iree-import-onnx", job["onnx"], "--opset-version", "17", "--externalize-params",
        "--save-params-to", parameters, "-o", path))
    flags = [*TARGET, *job["flags"], "--iree-llvmcpu-target-cpu=" + target_cpu(job)]
    with open(mlir, "rb") as file:
        digest = hashlib.sha256(file.read() + " ".join(flags).encode()).hexdigest()
    module = os.path.join(job["cache"], "iree", digest[:16] + ".vmfb")
    host.once(module, lambda path: tool("iree-compile", mlir, "-o", path, *flags))
    return module, parameters


def load(job):
    import iree.runtime as rt

    module, parameters = compile_onnx(job)
    index = rt.ParameterIndex()
    index.load(parameters)
    rt.flags.parse_flags(f"--task_topology_group_count={job['threads']}")
    config = rt.Config("local-sync" if job["threads"] == 1 else "local-task")
    modules = rt.load_vm_modules(
        rt.create_io_parameters_module(config.vm_instance, index.create_provider("model")),
        rt.create_hal_module(config.vm_instance, config.device),
        rt.VmModule.mmap(config.vm_instance, module),
        config=config,
    )
    names = modules[-1].vm_module.function_names
    # Beside the model there are its initializer and its asynchronous form.
    function = modules[-1][next(n for n in names if not n.startswith("__") and "$" not in n)]
    inputs = [
        rt.asdevicearray(config.device, v) for v in host.read_inputs(job, "int64").values()
    ]
    settings = {
        "version": importlib.metadata.version("iree-base-runtime"),
        "settings": " ".join([*job["flags"], "target CPU " + target_cpu(job)]),
    }
    return settings, lambda: function(*inputs).to_host(), lambda y: y


if __name__ == "__main__":
    host.serve(load)
