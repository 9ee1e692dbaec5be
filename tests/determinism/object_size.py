"""What a sparse model takes: object_size.py SPCC MAKE_BERT

The object takes at most 6 bytes for each non-zero weight, the dense rest (embeddings, biases,
LayerNorm) and 2 MB. The two halves of it have closer bounds of their own."""
import array
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


with tempfile.TemporaryDirectory() as work:
    os.chdir(work)
    results = [check_model("blocks of 4x1", 4, 90), check_model("unstructured", 1, 90)]
    os.chdir("/")
sys.exit(not all(results))
