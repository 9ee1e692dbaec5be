"""BERT in eager PyTorch, for `spcc bench --engine torch`.

    python3 torch_engine.py FOLDER THREADS

FOLDER is a Hugging Face folder of a BERT checkpoint. The model is written with the operators that
the transformers package uses in its fastest eager form (linear, scaled_dot_product_attention, gelu,
layer_norm), so that neither that package nor its overhead is needed. Commands are lines on standard
input, each answered by a line on standard output:

    input B S NAME COUNT v v … NAME COUNT v v …   ->  ready ISA BYTES
    run K                                         ->  K latencies in milliseconds
    output NAME                                   ->  the elements of an output of the last run
"""

import json
import os
import sys
import time

import torch
import torch.nn.functional as F

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
ACTIVATIONS = {
    "gelu": F.gelu,
    "gelu_python": F.gelu,
    "gelu_new": lambda x: F.gelu(x, approximate="tanh"),
    "gelu_pytorch_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "gelu_fast": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
}


def read_safetensors(path):
    """The float tensors of one file, as f32."""
    with open(path, "rb") as f:
        data = bytearray(f.read())
    start = 8 + int.from_bytes(data[:8], "little")
    tensors = {}
    for name, entry in json.loads(data[8:start]).items():
        if name == "__metadata__" or entry["dtype"] not in DTYPES:
            continue
        dtype = DTYPES[entry["dtype"]]
        begin, end = entry["data_offsets"]
        size = torch.empty(0, dtype=dtype).element_size()
        flat = torch.frombuffer(data, dtype=dtype, count=(end - begin) // size, offset=start + begin)
        tensors[name] = flat.reshape(entry["shape"]).to(torch.float32, copy=True)
    return tensors


def read_folder(folder):
    """All tensors without the prefix `bert.`, and the bytes of their files."""
    names = sorted(n for n in os.listdir(folder) if n.endswith(".safetensors"))
    index = os.path.join(folder, "model.safetensors.index.json")
    if "model.safetensors" in names:
        names = ["model.safetensors"]
    elif os.path.exists(index):
        with open(index) as f:
            names = sorted(set(json.load(f)["weight_map"].values()))
    tensors, size = {}, 0
    for name in names:
        path = os.path.join(folder, name)
        size += os.path.getsize(path)
        for key, value in read_safetensors(path).items():
            tensors[key.removeprefix("bert.")] = value
    return tensors, size


class Bert:
    def __init__(self, folder):
        with open(os.path.join(folder, "config.json")) as f:
            config = json.load(f)
        self.t, self.size = read_folder(folder)
        self.heads = config["num_attention_heads"]
        self.layers = config["num_hidden_layers"]
        self.eps = config.get("layer_norm_eps", 1e-12)
        self.act = ACTIVATIONS[config.get("hidden_act", "gelu")]

    def linear(self, x, name):
        return F.linear(x, self.t[name + ".weight"], self.t[name + ".bias"])

    def norm(self, x, name):
        weight, bias = self.t[name + ".weight"], self.t[name + ".bias"]
        return F.layer_norm(x, weight.shape, weight, bias, self.eps)

    def embed(self, ids, types):
        e = "embeddings."
        x = F.embedding(ids, self.t[e + "word_embeddings.weight"])
        x = x + F.embedding(types, self.t[e + "token_type_embeddings.weight"])
        x = x + self.t[e + "position_embeddings.weight"][: ids.shape[1]]
        return self.norm(x, e + "LayerNorm")

    def attention(self, x, mask, name):
        batch, sequence, hidden = x.shape

        def split(part):
            y = self.linear(x, name + "self." + part)
            return y.view(batch, sequence, self.heads, -1).transpose(1, 2)

        y = F.scaled_dot_product_attention(
            split("query"), split("key"), split("value"), attn_mask=mask
        )
        y = y.transpose(1, 2).reshape(batch, sequence, hidden)
        return self.norm(self.linear(y, name + "output.dense") + x, name + "output.LayerNorm")

    def feed_forward(self, x, name):
        y = self.act(self.linear(x, name + "intermediate.dense"))
        return self.norm(self.linear(y, name + "output.dense") + x, name + "output.LayerNorm")

    def __call__(self, ids, mask, types):
        x = self.embed(ids, types)
        for i in range(self.layers):
            name = f"encoder.layer.{i}."
            x = self.feed_forward(self.attention(x, mask, name + "attention."), name)
        outputs = {"last_hidden_state": x}
        if "pooler.dense.weight" in self.t:
            pooled = torch.tanh(self.linear(x[:, 0], "pooler.dense"))
            outputs["pooler_output"] = pooled
            if "classifier.weight" in self.t:
                outputs["logits"] = self.linear(pooled, "classifier")
        return outputs


def parse_inputs(words):
    """The words after `input`: ids, a mask for scaled_dot_product_attention or None, types."""
    batch, sequence, at = int(words[0]), int(words[1]), 2
    given = {}
    while at < len(words):
        name, count = words[at], int(words[at + 1])
        values = [int(w) for w in words[at + 2 : at + 2 + count]]
        given[name] = torch.tensor(values).view(batch, sequence)
        at += 2 + count
    ids = given["input_ids"]
    types = given.get("token_type_ids", torch.zeros_like(ids))
    mask = given.get("attention_mask")
    if mask is not None:
        mask = (mask != 0)[:, None, None, :]
    return ids, mask, types


def answer(text):
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main():
    folder, threads = sys.argv[1], int(sys.argv[2])
    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)
    model, inputs, outputs = Bert(folder), None, None
    with torch.inference_mode():
        for line in sys.stdin:
            command, *words = line.split()
            if command == "input":
                inputs = parse_inputs(words)
                answer(f"ready {torch.backends.cpu.get_cpu_capability()} {model.size}")
            elif command == "run":
                times = []
                for _ in range(int(words[0])):
                    start = time.perf_counter()
                    outputs = model(*inputs)
                    times.append(1e3 * (time.perf_counter() - start))
                answer(" ".join(f"{t:.6f}" for t in times))
            elif command == "output":
                answer(" ".join(f"{v:.9g}" for v in outputs[words[0]].flatten().tolist()))
            else:
                raise SystemExit(f"unknown command {command}")


if __name__ == "__main__":
    main()
