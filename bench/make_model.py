#!/usr/bin/env python3
"""Makes a Hugging Face folder with a BERT of random weights, and a model.yaml for it.

    make_model.py out/ --size base --pattern 4x1@0.9 --seed 1
    make_model.py out/ --layers 2 --hidden 128 --heads 2 --ffn 512 --vocab 1000 --pattern 2:4

The pattern is that of all encoder linears: dense, unstructured@S, RxC@S (R outputs by C inputs) or
N:M or N:MxR (the same choice shared by R outputs), where S is the share of zeros, exact in every
weight up to one block. Where the zeros are is random, so blocks are never larger than the pattern
says but by chance.
"""
import argparse
import json
import os
import re
import sys

import numpy as np

#         layers, hidden, heads, ffn
SIZES = {"mini": (4, 256, 4, 1024), "minilm": (6, 384, 12, 1536), "base": (12, 768, 12, 3072),
         "large": (24, 1024, 16, 4096)}


def parse_pattern(text):
    """A function from (shape, random generator) to a mask of what is kept."""
    if text == "dense":
        return lambda shape, r: np.ones(shape, bool)
    if m := re.fullmatch(r"(\d+):(\d+)(?:x(\d+))?", text):
        return lambda shape, r: n_of_m_mask(shape, r, int(m[1]), int(m[2]), int(m[3] or 1))
    if m := re.fullmatch(r"(?:unstructured|(\d+)x(\d+))@(0?\.\d+|[01](?:\.0*)?)", text):
        rows, cols = int(m[1] or 1), int(m[2] or 1)
        return lambda shape, r: block_mask(shape, r, rows, cols, float(m[3]))
    raise argparse.ArgumentTypeError(f"'{text}' is not dense, unstructured@S, RxC@S, N:M or N:MxR")


def block_mask(shape, r, rows, cols, sparsity):
    grid = (-(-shape[0] // rows), -(-shape[1] // cols))  # the last blocks may be cut
    keep = np.zeros(grid[0] * grid[1], bool)
    keep[r.permutation(keep.size)[:round(keep.size * (1 - sparsity))]] = True
    return keep.reshape(grid).repeat(rows, 0).repeat(cols, 1)[:shape[0], :shape[1]]


def n_of_m_mask(shape, r, n, m, shared):
    if not 0 < n <= m or shape[1] % m != 0 or shared < 1 or shape[0] % shared != 0:
        sys.exit(f"make_model.py: error: {n}:{m}x{shared} does not fit a weight of {shape}")
    order = r.random((shape[0] // shared, shape[1] // m, m)).argsort(-1)
    return (order < n).reshape(-1, shape[1]).repeat(shared, 0)


def random_weights(a, r):
    """Yields (name, array) in the order of the file."""
    normal = lambda *shape: (0.02 * r.standard_normal(shape)).astype(np.float32)

    def linear(name, outputs, inputs, mask=None):
        weight = normal(outputs, inputs)
        if mask is not None:
            # A zero of chance would change the count: there are no tiny weights.
            weight = np.where(mask((outputs, inputs), r), weight + np.copysign(1e-3, weight), 0)
        yield name + ".weight", weight.astype(np.float32)
        yield name + ".bias", normal(outputs)

    def layer_norm(name):
        yield name + ".weight", 1 + normal(a.hidden)
        yield name + ".bias", normal(a.hidden)

    yield "embeddings.word_embeddings.weight", normal(a.vocab, a.hidden)
    yield "embeddings.position_embeddings.weight", normal(a.positions, a.hidden)
    yield "embeddings.token_type_embeddings.weight", normal(2, a.hidden)
    yield from layer_norm("embeddings.LayerNorm")
    for i in range(a.layers):
        layer = f"encoder.layer.{i}."
        for name in ("query", "key", "value"):
            yield from linear(f"{layer}attention.self.{name}", a.hidden, a.hidden, a.pattern)
        yield from linear(layer + "attention.output.dense", a.hidden, a.hidden, a.pattern)
        yield from layer_norm(layer + "attention.output.LayerNorm")
        yield from linear(layer + "intermediate.dense", a.ffn, a.hidden, a.pattern)
        yield from linear(layer + "output.dense", a.hidden, a.ffn, a.pattern)
        yield from layer_norm(layer + "output.LayerNorm")
    if a.pooler:
        yield from linear("pooler.dense", a.hidden, a.hidden)


def write_safetensors(path, tensors):
    """Writes [(name, f32 array)] as one file."""
    header, at = {}, 0
    for name, array in tensors:
        header[name] = {"dtype": "F32", "shape": list(array.shape),
                        "data_offsets": [at, at + array.nbytes]}
        at += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text)
        for _, array in tensors:
            f.write(array.astype("<f4", copy=False).tobytes())


def config(a):
    return {"architectures": ["BertModel"], "model_type": "bert", "hidden_size": a.hidden,
            "num_hidden_layers": a.layers, "num_attention_heads": a.heads,
            "intermediate_size": a.ffn, "vocab_size": a.vocab,
            "max_position_embeddings": a.positions, "type_vocab_size": 2, "hidden_act": a.activation,
            "layer_norm_eps": 1e-12, "pad_token_id": 0, "position_embedding_type": "absolute"}


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder")
    parser.add_argument("--size", choices=SIZES, default="base")
    for name in ("layers", "hidden", "heads", "ffn"):
        parser.add_argument("--" + name, type=int, help="instead of the size's")
    parser.add_argument("--vocab", type=int, default=30522)
    parser.add_argument("--positions", type=int, default=512)
    parser.add_argument("--activation", choices=["gelu", "gelu_new", "relu"], default="gelu")
    parser.add_argument("--pooler", action="store_true")
    parser.add_argument("--pattern", type=parse_pattern, default="dense")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--max-batch", type=int, default=8)
    a = parser.parse_args()
    for name, value in zip(("layers", "hidden", "heads", "ffn"), SIZES[a.size]):
        if getattr(a, name) is None:
            setattr(a, name, value)
    if min(a.layers, a.hidden, a.heads, a.ffn, a.vocab, a.positions) < 1 or a.hidden % a.heads != 0:
        parser.error("sizes must be positive, and the heads must divide the hidden size")
    return a


def main():
    a = parse_arguments()
    os.makedirs(a.folder, exist_ok=True)
    tensors = list(random_weights(a, np.random.default_rng(a.seed)))
    write_safetensors(os.path.join(a.folder, "model.safetensors"), tensors)
    with open(os.path.join(a.folder, "config.json"), "w") as f:
        json.dump(config(a), f, indent=1)
    with open(os.path.join(a.folder, "model.yaml"), "w") as f:
        f.write(f"spcc: 1\nmodel: {{huggingface: .}}\nmax_batch: {a.max_batch}\n"
                f"max_sequence: {a.positions}\n")
    linears = [t for n, t in tensors if ".layer." in n and t.ndim == 2]
    kept = sum(np.count_nonzero(t) for t in linears) / sum(t.size for t in linears)
    print(f"{a.folder}: {sum(t.size for _, t in tensors):,} parameters, "
          f"{1 - kept:.2%} of the encoder's linears are zero")


if __name__ == "__main__":
    main()
