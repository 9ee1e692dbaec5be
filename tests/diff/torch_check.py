#!/usr/bin/env python3
"""Compares compiled BERT models with PyTorch, through the command: spcc, then spcc run.

    torch_check.py --spcc build/spcc --random 10        ten random configurations
    torch_check.py --spcc build/spcc --model folder     a Hugging Face folder

The model is written here in plain torch (arXiv 1810.04805), with the parameter names of the
checkpoints; no other package is needed but numpy. Where a token is computed, outputs may differ by
less than 1e-4; after a sequence's last unmasked token they must be 0.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch
from torch import nn

LIMIT = 1e-4
ACTIVATIONS = {
    "gelu": nn.GELU(),
    "gelu_python": nn.GELU(),
    "gelu_new": nn.GELU(approximate="tanh"),
    "gelu_pytorch_tanh": nn.GELU(approximate="tanh"),
    "gelu_fast": nn.GELU(approximate="tanh"),
    "relu": nn.ReLU(),
}
DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


# ---- the model ----


def tree(**modules):
    """A module with children of these names."""
    m = nn.Module()
    for name, child in modules.items():
        m.add_module(name, child)
    return m


class Bert(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c, h = c, c["hidden_size"]
        norm = lambda: nn.LayerNorm(h, eps=c.get("layer_norm_eps", 1e-12))
        self.act = ACTIVATIONS[c.get("hidden_act", "gelu")]
        self.embeddings = tree(
            word_embeddings=nn.Embedding(c["vocab_size"], h),
            position_embeddings=nn.Embedding(c["max_position_embeddings"], h),
            token_type_embeddings=nn.Embedding(c["type_vocab_size"], h),
            LayerNorm=norm(),
        )
        layer = lambda: tree(
            attention=tree(
                self=tree(query=nn.Linear(h, h), key=nn.Linear(h, h), value=nn.Linear(h, h)),
                output=tree(dense=nn.Linear(h, h), LayerNorm=norm()),
            ),
            intermediate=tree(dense=nn.Linear(h, c["intermediate_size"])),
            output=tree(dense=nn.Linear(c["intermediate_size"], h), LayerNorm=norm()),
        )
        self.encoder = tree(layer=nn.ModuleList(layer() for _ in range(c["num_hidden_layers"])))

    def add_heads(self, pooler, labels):
        h = self.c["hidden_size"]
        if pooler:
            self.pooler = tree(dense=nn.Linear(h, h))
        if labels:
            self.classifier = nn.Linear(h, labels)

    def attend(self, m, x, mask):
        """Softmax of the scores over the unmasked keys, as matrices per head."""
        heads = self.c["num_attention_heads"]
        split = lambda y: y.unflatten(-1, (heads, -1)).transpose(1, 2)
        q, k, v = split(m.query(x)), split(m.key(x)), split(m.value(x))
        scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        scores = scores.masked_fill(mask[:, None, None, :] == 0, -torch.inf)
        return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)

    def layer(self, m, x, mask):
        a, attended = m.attention, self.attend(m.attention.get_submodule("self"), x, mask)
        x = a.output.LayerNorm(a.output.dense(attended) + x)
        inner = self.act(m.intermediate.dense(x))
        return m.output.LayerNorm(m.output.dense(inner) + x)

    def forward(self, ids, mask, types):
        e = self.embeddings
        x = e.word_embeddings(ids) + e.token_type_embeddings(types)
        x = e.LayerNorm(x + e.position_embeddings.weight[: ids.shape[1]])
        for m in self.encoder.layer:
            x = self.layer(m, x, mask)
        outputs = {"last_hidden_state": x}
        if hasattr(self, "pooler"):
            outputs["pooler_output"] = torch.tanh(self.pooler.dense(x[:, 0]))
        if hasattr(self, "classifier"):
            tokens = self.c.get("architectures", [""])[0].endswith("ForTokenClassification")
            outputs["logits"] = self.classifier(x if tokens else outputs["pooler_output"])
        return outputs


# ---- safetensors ----


def write_safetensors(path, tensors, dtype):
    """Writes {name: tensor}, stored as `dtype`."""
    header, blobs, at = {"__metadata__": {"format": "pt"}}, [], 0
    for name, t in tensors.items():
        blob = t.to(DTYPES[dtype]).contiguous().flatten().view(torch.uint8).numpy().tobytes()
        header[name] = {"dtype": dtype, "shape": list(t.shape), "data_offsets": [at, at + len(blob)]}
        blobs.append(blob)
        at += len(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text)
        f.writelines(blobs)


def read_safetensors(path):
    """{name: tensor as f32} of the float tensors."""
    with open(path, "rb") as f:
        data = f.read()
    start = 8 + int.from_bytes(data[:8], "little")
    tensors = {}
    for name, entry in json.loads(data[8:start]).items():
        if name != "__metadata__" and entry["dtype"] in DTYPES:
            lo, hi = entry["data_offsets"]
            raw = torch.frombuffer(bytearray(data[start + lo : start + hi]), dtype=torch.uint8)
            t = raw.view(DTYPES[entry["dtype"]]).reshape(entry["shape"])
            tensors[name] = t.to(torch.float32)
    return tensors


def read_folder(folder):
    """The configuration and the tensors, without the prefix bert."""
    with open(os.path.join(folder, "config.json")) as f:
        config = json.load(f)
    tensors = {}
    for name in sorted(os.listdir(folder)):
        if name.endswith(".safetensors"):
            tensors.update(read_safetensors(os.path.join(folder, name)))
    return config, {name.removeprefix("bert."): t for name, t in tensors.items()}


def load(folder):
    """The model of a folder; its heads are those that the folder has weights for."""
    config, tensors = read_folder(folder)
    model = Bert(config)
    labels = tensors["classifier.weight"].shape[0] if "classifier.weight" in tensors else 0
    model.add_heads("pooler.dense.weight" in tensors, labels)
    model.load_state_dict({name: tensors[name] for name in model.state_dict()})
    return model.eval()


# ---- random models ----


def random_config(r):
    heads = int(r.choice([1, 2, 3, 4, 6, 12]))
    size = int(r.choice([1, 5, 8, 16, 17, 32, 33, 64]))
    return {
        "model_type": "bert",
        "hidden_size": max(heads * size, 3),
        "num_hidden_layers": int(r.integers(1, 4)),
        "num_attention_heads": heads if heads * size >= 3 else 1,
        "intermediate_size": int(r.choice([1, 7, 64, 129, 200, 512])),
        "vocab_size": int(r.choice([3, 100, 1000])),
        "max_position_embeddings": int(r.choice([17, 64, 130, 512])),
        "type_vocab_size": int(r.choice([1, 2])),
        "hidden_act": str(r.choice(sorted(ACTIVATIONS))),
        "layer_norm_eps": float(r.choice([1e-12, 1e-6, 1e-5])),
    }


def sparsify(w, r):
    """Sets elements of a weight to zero in one of several patterns."""
    rows, cols = {0: (1, 1), 1: (4, 1), 2: (16, 1), 3: (1, 4), 4: (16, 16)}.get(int(r.integers(6)), (0, 0))
    if rows:
        keep = r.random((-(-w.shape[0] // rows), -(-w.shape[1] // cols))) < r.choice([0, 0.1, 0.5])
        keep = keep.repeat(rows, 0).repeat(cols, 1)[: w.shape[0], : w.shape[1]]
        w *= torch.from_numpy(keep)


def random_model(r, config, pooler, labels):
    """A model whose values neither vanish nor explode."""
    torch.manual_seed(int(r.integers(2**31)))
    model = Bert(config)
    model.add_heads(pooler, labels)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "LayerNorm.weight" in name:
                p.copy_(1 + 0.2 * torch.randn(p.shape))
            elif "LayerNorm" in name or p.ndim == 1:
                p.copy_(0.2 * torch.randn(p.shape))
            elif "embeddings" in name:
                p.copy_(torch.randn(p.shape))
            else:
                p.copy_(torch.randn(p.shape) / p.shape[1] ** 0.5)
                sparsify(p, r)
    return model


def write_model(folder, r, index):
    """Writes a random model with config.json and model.yaml, in one file or in two shards."""
    config = random_config(r)
    labels = int(r.choice([1, 2, 7])) if index % 4 in (1, 2) else 0
    of_tokens = index % 4 == 2
    kind = "TokenClassification" if of_tokens else "SequenceClassification"
    config["architectures"] = [f"BertFor{kind}" if labels else "BertModel"]
    pooler = (labels > 0 and not of_tokens) or bool(r.integers(2))
    model = random_model(r, config, pooler, labels)
    prefix, dtype = "bert." if index % 4 else "", ["F32", "F16", "BF16"][index % 3]
    tensors = {n if n.startswith("classifier") else prefix + n: t for n, t in model.state_dict().items()}
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "config.json"), "w") as f:
        json.dump(config, f)
    with open(os.path.join(folder, "model.yaml"), "w") as f:
        f.write("spcc: 1\nmodel: {huggingface: .}\nmax_batch: 4\n")
    names = sorted(tensors)
    halves = [names[::2], names[1::2]] if index % 5 == 1 else [names]
    files = [f"model-{i + 1:05}-of-{len(halves):05}.safetensors" for i in range(len(halves))]
    if len(halves) == 1:
        files = ["model.safetensors"]
    else:
        with open(os.path.join(folder, "model.safetensors.index.json"), "w") as f:
            weight_map = {n: file for file, half in zip(files, halves) for n in half}
            json.dump({"metadata": {}, "weight_map": weight_map}, f)
    for file, half in zip(files, halves):
        write_safetensors(os.path.join(folder, file), {n: tensors[n].detach() for n in half}, dtype)
    return f"{dtype} {prefix or 'no prefix'} {config}"


# ---- comparing ----


def command(*words):
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(words)}\nfailed with {done.returncode}:\n{done.stderr}")


def random_mask(r, batch, sequence):
    """Full, padded, with holes, or (not the first sequence) all mask."""
    mask = np.ones((batch, sequence), np.int64)
    for b in range(batch):
        kind = int(r.integers(4))
        if kind == 1:
            mask[b, int(r.integers(1, sequence + 1)) :] = 0
        elif kind == 2:
            mask[b] = r.random(sequence) < 0.7
            mask[b, int(r.integers(sequence))] = 1
        elif kind == 3 and b > 0:
            mask[b] = 0
    return mask


def random_inputs(r, config, batch, sequence):
    """Inputs by name; optional ones may be missing."""
    shape, dtype = (batch, sequence), r.choice([np.int32, np.int64])
    inputs = {"input_ids": r.integers(0, config["vocab_size"], shape)}
    if r.random() < 0.8:
        inputs["attention_mask"] = random_mask(r, batch, sequence)
    if r.random() < 0.7:
        inputs["token_type_ids"] = r.integers(0, config["type_vocab_size"], shape)
    return {name: x.astype(dtype) for name, x in inputs.items()}


def run_torch(model, inputs):
    """The outputs, and the mask of computed tokens [batch, sequence]."""
    get = lambda name, absent: torch.from_numpy(inputs.get(name, absent).astype(np.int64))
    ids = inputs["input_ids"]
    mask = get("attention_mask", np.ones_like(ids))
    with torch.inference_mode():
        outputs = model(get("input_ids", ids), mask, get("token_type_ids", np.zeros_like(ids)))
    computed = mask.flip(1).cumsum(1).flip(1) > 0
    return {name: y.numpy() for name, y in outputs.items()}, computed.numpy()


def run_spcc(spcc, object_path, work, inputs, names, threads):
    words = [spcc, "run", object_path, "-j", str(threads)]
    for name, x in inputs.items():
        path = os.path.join(work, f"in-{name}.npy")
        np.save(path, x)
        words += ["-i", f"{name}={path}"]
    paths = {name: os.path.join(work, f"out-{name}.npy") for name in names}
    for name, path in paths.items():
        words += ["-o", f"{name}={path}"]
    command(*words)
    return {name: np.load(path) for name, path in paths.items()}


def compare(name, got, want, computed):
    """The largest difference where tokens are computed; elsewhere `got` must be 0."""
    if got.shape != want.shape:
        sys.exit(f"{name}: shape {got.shape}, not {want.shape}")
    if want.ndim == 2:  # a row per sequence; what an empty one gives is no output of PyTorch's
        computed = computed[:, 0]
    elif np.any(got[~computed]):
        sys.exit(f"{name}: not 0 where nothing is computed")
    difference = np.abs(got - want)[computed].max(initial=0)
    if not difference < LIMIT:
        sys.exit(f"{name}: differs from PyTorch by {difference:.3g}, the limit is {LIMIT:g}")
    return difference


def check_model(spcc, folder, yaml, work, seed, shapes):
    """Compiles a model and compares one call of each shape; returns the largest difference."""
    r, model = np.random.default_rng(seed), load(folder)
    object_path = os.path.join(work, "model.so")
    most = max(batch for batch, _ in shapes)
    command(spcc, yaml, "--emit=shared", f"--max-batch={most}", "-o", object_path)
    worst = 0
    for i, (batch, sequence) in enumerate(shapes):
        inputs = random_inputs(r, model.c, batch, sequence)
        want, computed = run_torch(model, inputs)
        got = run_spcc(spcc, object_path, work, inputs, want, 1 + i % 3)
        for name in want:
            worst = max(worst, compare(name, got[name], want[name], computed))
    return worst


def check_random(spcc, work, count, seed):
    for index in range(count):
        r = np.random.default_rng([seed, index])
        folder = os.path.join(work, f"random-{index}")
        text = write_model(folder, r, index)
        print(f"[{index + 1}/{count}] {text}", flush=True)
        with open(os.path.join(folder, "config.json")) as f:
            most = json.load(f)["max_position_embeddings"]
        shapes = [(1, most), (3, min(most, 17)), (2, 1), (4, max(1, most - 1))]
        yaml = os.path.join(folder, "model.yaml")
        worst = check_model(spcc, folder, yaml, work, index, shapes)
        print(f"    largest difference {worst:.2g}", flush=True)


def check_folder(spcc, work, folder, seed):
    """A model.yaml in the folder may leave outputs out; all of them are compared."""
    yaml = os.path.join(work, "model.yaml")
    with open(yaml, "w") as f:
        f.write(f"spcc: 1\nmodel: {{huggingface: {json.dumps(os.path.abspath(folder))}}}\n")
    worst = check_model(spcc, folder, yaml, work, seed, [(1, 128), (3, 17), (2, 1), (2, 64)])
    print(f"{folder}: largest difference from PyTorch {worst:.2g} on computed positions")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--spcc", required=True, help="path of the command")
    parser.add_argument("--random", type=int, default=0, metavar="N", help="random configurations")
    parser.add_argument("--model", action="append", default=[], help="a Hugging Face folder")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", help="folder for what is made (default: a temporary one)")
    a = parser.parse_args()
    if not a.random and not a.model:
        parser.error("give --random N or --model FOLDER")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        work = a.work or temporary
        os.makedirs(work, exist_ok=True)
        if a.random:
            check_random(a.spcc, work, a.random, a.seed)
        for folder in a.model:
            check_folder(a.spcc, work, folder, a.seed)


if __name__ == "__main__":
    main()
