"""What a sparse model takes: object_size.py SPCC MAKE_BERT

The object takes at most 6 bytes for each non-zero weight, the dense rest (embeddings, biases,
LayerNorm) and 2 MB. The two halves of it have closer bounds of their own. A call of BERT-base with
128 tokens takes at most 8 MB of workspace."""
import array
import ctypes
import json
import os
import struct
import subprocess
import sys
import tempfile

SPCC, MAKE_BERT = sys.argv[1:3]
#         layers hidden heads ffn vocab positions
SIZES = ["2", "256", "4", "1024", "100", "512"]
ROUNDING = 64 << 10  # of the weights' records
CODE = 1 << 20
#        BERT-base; the workspace does not grow with its layers
BASE = ["2", "768", "12", "3072", "100", "512"]
WORKSPACE = 8_000_000


def contents(folder):
    """Non-zeros of the linears' weights, and bytes of all other tensors."""
    with open(os.path.join(folder, "model.safetensors"), "rb") as f:
        header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        data = f.read()
    nonzeros = rest = 0
    for name, tensor in header.items():
        if name == "__metadata__":
            continue
        lo, hi = tensor["data_offsets"]
        if len(tensor["shape"]) == 2 and "embeddings" not in name:
            weights = array.array("f", data[lo:hi])
            nonzeros += len(weights) - weights.count(0.0)
        else:
            rest += hi - lo
    return nonzeros, rest


def compiled(folder, *flags):
    subprocess.run([SPCC, os.path.join(folder, "model.yaml"), "-o", "out.o", *flags], check=True)
    return os.path.getsize("out.o")


def check(what, size, most):
    print(f"{what}: {size} bytes, at most {most}")
    return size <= most


def check_model(name, block_rows, percent):
    subprocess.run([MAKE_BERT, name, *SIZES, str(block_rows), str(percent), "1"], check=True)
    nonzeros, rest = contents(name)
    streams = 6 * nonzeros + rest
    print(f"{name}: {nonzeros} non-zeros, {rest} bytes besides")
    ok = check("object", compiled(name), streams + (2 << 20))
    ok &= check("object without weights", compiled(name, "--weights=file"), CODE)
    return ok & check("weights", os.path.getsize("out.weights"), streams + ROUNDING)


def check_workspace(threads):
    function = ctypes.CDLL(os.path.abspath("base.so")).base_workspace
    function.restype = ctypes.c_size_t
    size = function(ctypes.c_int32(1), ctypes.c_int32(128), ctypes.c_uint32(threads))
    return size > 0 and check(f"workspace on {threads} threads", size, WORKSPACE)


def check_base():
    subprocess.run([MAKE_BERT, "base", *BASE, "4", "90", "1"], check=True)
    flags = ["--name=base", "--emit=shared", "-o", "base.so"]
    subprocess.run([SPCC, os.path.join("base", "model.yaml"), *flags], check=True)
    return all([check_workspace(1), check_workspace(16)])


with tempfile.TemporaryDirectory() as work:
    os.chdir(work)
    results = [check_model("blocks of 4x1", 4, 90), check_model("unstructured", 1, 90), check_base()]
    os.chdir("/")
sys.exit(not all(results))
