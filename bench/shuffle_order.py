#!/usr/bin/env python3
"""Copies the folder of a BERT checkpoint with its neurons and the channels of its heads in a random
order. The model computes the same, and blocks that its weights were pruned in can only be seen in
the old order: what the pass `permute` is for.

    shuffle_order.py pruned/ shuffled/ --seed 1
"""
import argparse
import json
import os
import re
import shutil

import numpy as np

from make_model import write_safetensors


def read_safetensors(path):
    """All f32 tensors of a file, by name."""
    with open(path, "rb") as f:
        header = json.loads(f.read(int.from_bytes(f.read(8), "little")))
        start = f.tell()
        tensors = {}
        for name, t in header.items():
            if name == "__metadata__" or t["dtype"] != "F32":
                continue
            begin, end = t["data_offsets"]
            f.seek(start + begin)
            tensors[name] = np.frombuffer(f.read(end - begin), "<f4").reshape(t["shape"])
    return tensors


def move_rows(tensors, linear, order):
    for part in (".weight", ".bias"):
        tensors[linear + part] = tensors[linear + part][order]


def move_columns(tensors, linear, order):
    tensors[linear + ".weight"] = tensors[linear + ".weight"][:, order]


def shuffle_layer(tensors, layer, heads, r):
    hidden = tensors[layer + "attention.self.query.weight"].shape[0]
    neurons = r.permutation(tensors[layer + "intermediate.dense.weight"].shape[0])
    move_rows(tensors, layer + "intermediate.dense", neurons)
    move_columns(tensors, layer + "output.dense", neurons)
    size = hidden // heads
    inside = lambda: np.concatenate([at + r.permutation(size) for at in range(0, hidden, size)])
    keys, values = inside(), inside()
    move_rows(tensors, layer + "attention.self.query", keys)
    move_rows(tensors, layer + "attention.self.key", keys)
    move_rows(tensors, layer + "attention.self.value", values)
    move_columns(tensors, layer + "attention.output.dense", values)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder")
    parser.add_argument("out")
    parser.add_argument("--seed", type=int, default=1)
    a = parser.parse_args()
    shutil.copytree(a.folder, a.out, dirs_exist_ok=True)
    with open(os.path.join(a.folder, "config.json")) as f:
        heads = json.load(f)["num_attention_heads"]
    tensors = read_safetensors(os.path.join(a.folder, "model.safetensors"))
    layers = {m[1] for name in tensors if (m := re.match(r"(.*\.layer\.\d+\.)", name))}
    r = np.random.default_rng(a.seed)
    for layer in sorted(layers):
        shuffle_layer(tensors, layer, heads, r)
    write_safetensors(os.path.join(a.out, "model.safetensors"), list(tensors.items()))


if __name__ == "__main__":
    main()
