"""Tests `spcc prune` as a command on small folders made here: prune.py SPCC. Standard library alone."""
import json
import os
import random
import struct
import subprocess
import sys
import tempfile
import unittest

SPCC = os.path.abspath(sys.argv[1])
HIDDEN, HEADS, INNER, LAYERS = 8, 2, 16, 2
CONFIG = {
    "architectures": ["BertModel"], "model_type": "bert", "hidden_act": "gelu", "hidden_size": HIDDEN,
    "intermediate_size": INNER, "layer_norm_eps": 1e-12, "max_position_embeddings": 12,
    "num_attention_heads": HEADS, "num_hidden_layers": LAYERS, "type_vocab_size": 2, "vocab_size": 10,
}
WIDTH = {"F32": 4, "F16": 2, "BF16": 2, "I64": 8}


def encode(values, dtype):
    if dtype == "BF16":
        return b"".join(struct.pack("<f", v)[2:] for v in values)
    return struct.pack(f"<{len(values)}{ {'F32': 'f', 'F16': 'e', 'I64': 'q'}[dtype] }", *values)


def decode(data, dtype):
    if dtype == "BF16":
        return [struct.unpack("<f", b"\0\0" + data[i:i + 2])[0] for i in range(0, len(data), 2)]
    return list(struct.unpack(f"<{len(data) // WIDTH[dtype]}{ {'F32': 'f', 'F16': 'e'}[dtype] }", data))


def shapes():
    """All tensors of the model: name to shape."""
    out = {"embeddings.word_embeddings.weight": [10, HIDDEN],
           "embeddings.position_embeddings.weight": [12, HIDDEN],
           "embeddings.token_type_embeddings.weight": [2, HIDDEN],
           "embeddings.LayerNorm.weight": [HIDDEN], "embeddings.LayerNorm.bias": [HIDDEN],
           "pooler.dense.weight": [HIDDEN, HIDDEN], "pooler.dense.bias": [HIDDEN]}
    for i in range(LAYERS):
        linears = {"attention.self.query": (HIDDEN, HIDDEN), "attention.self.key": (HIDDEN, HIDDEN),
                   "attention.self.value": (HIDDEN, HIDDEN),
                   "attention.output.dense": (HIDDEN, HIDDEN), "intermediate.dense": (INNER, HIDDEN),
                   "output.dense": (HIDDEN, INNER)}
        for name, (rows, cols) in linears.items():
            out[f"encoder.layer.{i}.{name}.weight"] = [rows, cols]
            out[f"encoder.layer.{i}.{name}.bias"] = [rows]
        for norm in ("attention.output.LayerNorm", "output.LayerNorm"):
            out[f"encoder.layer.{i}.{norm}.weight"] = [HIDDEN]
            out[f"encoder.layer.{i}.{norm}.bias"] = [HIDDEN]
    return out


LINEARS = sorted(n for n, s in shapes().items() if n.startswith("encoder") and len(s) == 2)


def make_tensors(dtype, seed=1):
    r = random.Random(seed)
    tensors = {name: (dtype, shape, encode([r.choice([r.uniform(-1, 1), 0.5, -0.5, 0.0])
                                            for _ in range(shape[0] * (shape + [1])[1])], dtype))
               for name, shape in shapes().items()}
    tensors["embeddings.position_ids"] = ("I64", [1, 12], encode(list(range(12)), "I64"))
    return tensors


def write_safetensors(path, tensors):
    header, at = {}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(t[2] for t in tensors.values()))


def read_safetensors(path):
    with open(path, "rb") as f:
        data = f.read()
    size = struct.unpack("<Q", data[:8])[0]
    header, body = json.loads(data[8:8 + size]), data[8 + size:]
    metadata = header.pop("__metadata__")
    return metadata, {n: (t["dtype"], t["shape"], body[slice(*t["data_offsets"])])
                      for n, t in header.items()}


def read(path):
    with open(path, "rb") as f:
        return f.read()


def units_of(rows, cols, pattern):
    """The units that compete with each other, as lists of competitions of lists of flat indices."""
    if ":" in pattern:
        m = int(pattern.split(":")[1])
        return [[[r * cols + c] for c in range(g, min(g + m, cols))]
                for r in range(rows) for g in range(0, cols, m)]
    br, bc = (1, 1) if pattern == "unstructured" else map(int, pattern.split("x"))
    return [[[(r + i) * cols + c + j for i in range(br) for j in range(bc)]
             for r in range(0, rows, br) for c in range(0, cols, bc)]]


def expected(tensor, pattern, sparsity):
    """The tensor's bytes after pruning, done naively."""
    dtype, (rows, cols), data = tensor
    values, width, out = decode(data, dtype), WIDTH[dtype], bytearray(data)
    for competition in units_of(rows, cols, pattern):
        n = len(competition)
        keep = min(int(pattern.split(":")[0]), n) if ":" in pattern else n - int(sparsity * n + 1e-6)
        score = [sum(values[i] ** 2 for i in unit) for unit in competition]
        order = sorted(range(n), key=lambda u: (-score[u], u))
        for u in order[keep:]:
            for i in competition[u]:
                out[i * width:(i + 1) * width] = bytes(width)
    return dtype, [rows, cols], bytes(out)


class Prune(unittest.TestCase):
    def setUp(self):
        self.temporary = tempfile.TemporaryDirectory()
        self.dir = self.temporary.name
        self.addCleanup(self.temporary.cleanup)

    def model(self, dtype="F32", tensors=None, shards=1):
        """A folder `model` and a model.yaml beside it; returns the tensors."""
        tensors = tensors or make_tensors(dtype)
        folder = os.path.join(self.dir, "model")
        os.mkdir(folder)
        with open(os.path.join(folder, "config.json"), "w") as f:
            json.dump(CONFIG, f, indent=3)
        for name, text in (("tokenizer.json", "{ }\r\n"), ("vocab.txt", "[PAD]\na\n"),
                           ("notes.md", "not copied"), (".hidden.json", "not copied")):
            with open(os.path.join(folder, name), "w", newline="") as f:
                f.write(text)
        if shards == 1:
            write_safetensors(os.path.join(folder, "model.safetensors"), tensors)
        else:
            self.write_shards(folder, tensors, shards)
        with open(os.path.join(self.dir, "m.yaml"), "w") as f:
            f.write("spcc: 1\nmodel: {huggingface: model}\nmax_batch: 3\nmax_sequence: 9\n")
        return tensors

    def write_shards(self, folder, tensors, shards):
        index = {}
        for s in range(shards):
            file = f"model-{s + 1:05}-of-{shards:05}.safetensors"
            part = dict(list(tensors.items())[s::shards])
            write_safetensors(os.path.join(folder, file), part)
            index.update((name, file) for name in part)
        with open(os.path.join(folder, "model.safetensors.index.json"), "w") as f:
            json.dump({"weight_map": index}, f)

    def spcc(self, *arguments):
        return subprocess.run([SPCC, *arguments], cwd=self.dir, capture_output=True, text=True)

    def prune(self, *arguments, out="new"):
        result = self.spcc("prune", "m.yaml", "-o", out, *arguments)
        self.assertEqual((result.returncode, result.stdout), (0, ""), result.stderr)
        return read_safetensors(os.path.join(self.dir, out, "model.safetensors"))

    def check(self, before, after, names, pattern, sparsity=0.0):
        self.assertEqual(sorted(before), sorted(after))
        for name, tensor in before.items():
            want = expected(tensor, pattern, sparsity) if name in names else tensor
            self.assertEqual(after[name], want, name)

    def test_patterns_and_types(self):
        for dtype in ("F32", "F16", "BF16"):
            for pattern, sparsity in (("unstructured", 0.9), ("4x1", 0.5), ("8x8", 0.5), ("1x4", 0.29),
                                      ("2:4", None), ("1:5", None), ("unstructured", 0), ("2x2", 1)):
                with self.subTest(dtype=dtype, pattern=pattern):
                    self.setUp()
                    before = self.model(dtype)
                    flags = [] if sparsity is None else [f"--sparsity={sparsity}"]
                    metadata, after = self.prune(f"--pattern={pattern}", *flags)
                    self.assertEqual(metadata, {"format": "pt"})
                    self.check(before, after, LINEARS, pattern, sparsity or 0)

    def test_shards_become_one_file(self):
        before = self.model(shards=3)
        _, after = self.prune("--sparsity=0.5")
        self.check(before, after, LINEARS, "unstructured", 0.5)
        self.assertNotIn("model.safetensors.index.json", os.listdir(os.path.join(self.dir, "new")))

    def test_folder_is_whole_and_compiles_again(self):
        self.model()
        self.prune("--sparsity=0.5", "--pattern=4x1")
        new = os.path.join(self.dir, "new")
        self.assertEqual(sorted(os.listdir(new)), ["config.json", "model.safetensors", "model.yaml",
                                                   "tokenizer.json", "vocab.txt"])
        for name in ("config.json", "tokenizer.json", "vocab.txt"):
            self.assertEqual(read(os.path.join(new, name)), read(os.path.join(self.dir, "model", name)))
        text = read(os.path.join(new, "model.yaml")).decode()
        for line in ("spcc: 1", "name: m", "max_batch: 3", "max_sequence: 9",
                     "inputs: [input_ids, attention_mask, token_type_ids]",
                     "outputs: [last_hidden_state, pooler_output]"):
            self.assertIn(line + "\n", text)
        result = self.spcc("new/model.yaml", "-o", "new.o")
        self.assertEqual(result.returncode, 0, result.stderr)

    def test_pruning_again_changes_nothing(self):
        self.model()
        self.prune("--sparsity=0.8")
        result = self.spcc("prune", "new/model.yaml", "--sparsity=0.8", "-o", "again")
        self.assertEqual(result.returncode, 0, result.stderr)
        for name in os.listdir(os.path.join(self.dir, "new")):
            if name != "m.yaml":
                self.assertEqual(read(os.path.join(self.dir, "new", name)),
                                 read(os.path.join(self.dir, "again", name)), name)

    def test_targets_and_ignore(self):
        cases = [
            (["--targets=re:attention"], [n for n in LINEARS if "attention" in n]),
            (["--ignore=re:^encoder[.]layer[.]0"], [n for n in LINEARS if ".1." in n]),
            (["--targets=re:query|key", "--ignore", "encoder.layer.1.attention.self.key"],
             [n for n in LINEARS if "query" in n or ("key" in n and ".0." in n)]),
            (["--targets=encoder.layer.0.output.dense.weight,re:(self){1,2}[.]value"],
             [n for n in LINEARS if n == "encoder.layer.0.output.dense.weight" or "value" in n]),
            (["--targets=re:query", "--targets", "re:key"],
             [n for n in LINEARS if "query" in n or "key" in n]),
            (["--targets=re:query", "--ignore=re:query"], []),
            (["--targets=*.query,encoder.layer.?.output.*", "--ignore=*.1.*.query.weight"],
             [n for n in LINEARS if n.split(".", 3)[3] == "output.dense.weight" or ".0.attention.self.q" in n]),
        ]
        for flags, names in cases:
            with self.subTest(flags=flags):
                self.setUp()
                before = self.model()
                _, after = self.prune("--sparsity=0.5", *flags)
                self.check(before, after, names, "unstructured", 0.5)

    def recipe(self, *entries):
        with open(os.path.join(self.dir, "recipe.yaml"), "w") as f:
            f.write("spcc: 1\nrecipe:\n" + "".join(f"  - {{{e}}}\n" for e in entries))

    def test_recipe(self):
        before = self.model()
        self.recipe('method: magnitude, pattern: 4x1, sparsity: 0.5, targets: re:attention, ignore: "*.key"',
                    "method: magnitude, pattern: 2:4, targets: [encoder.layer.0.output.dense]")
        _, after = self.prune("--recipe=recipe.yaml")
        blocks = [n for n in LINEARS if "attention" in n and "key" not in n]
        groups = ["encoder.layer.0.output.dense.weight"]
        rest = [n for n in before if n not in blocks and n not in groups]
        self.check({n: before[n] for n in blocks}, {n: after[n] for n in blocks}, blocks, "4x1", 0.5)
        self.check({n: before[n] for n in groups}, {n: after[n] for n in groups}, groups, "2:4")
        self.check({n: before[n] for n in rest}, {n: after[n] for n in rest}, [], "2:4")
        text = read(os.path.join(self.dir, "new", "model.yaml")).decode()
        self.assertIn("# method magnitude, pattern 4x1, sparsity 0.5\n"
                      "# method magnitude, pattern 2:4, sparsity 0.5\n", text)
        self.assertEqual(self.spcc("new/model.yaml", "-o", "new.o").returncode, 0)

    def test_recipe_does_what_the_flags_do(self):
        self.model()
        self.recipe("method: magnitude, pattern: 1x4, sparsity: 0.29")
        _, by_recipe = self.prune("--recipe=recipe.yaml")
        _, by_flags = self.prune("--pattern=1x4", "--sparsity=0.29", out="other")
        self.assertEqual(by_recipe, by_flags)

    def test_recipe_is_refused(self):
        self.model()
        cases = [
            ("recipe.yaml:3:14: error: method obert needs gradients; call libspo from a program that has "
             "them [E_CONFIG]", "method: obert, sparsity: 0.5"),
            ("recipe.yaml:3:14: error: method gradual trains the model; call libspo from the program that "
             "trains it [E_CONFIG]", "method: gradual, steps: 10, sparsity: 0.5"),
            ("recipe.yaml:3:49: error: 're:^embeddings' matches none of the 12 weights that can be pruned; "
             "spcc inspect lists them [E_NAME]", "method: magnitude, sparsity: 0.5, targets: re:^embeddings"),
            ("recipe.yaml:3:35: error: sparsity is 1.5; it must be from 0 to 1 [E_SPARSITY]",
             "method: magnitude, sparsity: 1.5"),
        ]
        for message, entry in cases:
            with self.subTest(message=message):
                self.recipe(entry)
                self.refused(1, message, "m.yaml", "-o", "new", "--recipe=recipe.yaml")
        self.refused(2, "spcc: error: --recipe says what to do; leave --sparsity out (see spcc prune --help)",
                     "m.yaml", "-o", "new", "--recipe=recipe.yaml", "--sparsity=0.5")

    def test_verbose_shows_every_tensor(self):
        self.model()
        result = self.spcc("prune", "m.yaml", "-o", "new", "--pattern=2:4", "-v")
        self.assertEqual(result.returncode, 0, result.stderr)
        lines = result.stderr.splitlines()
        for name in LINEARS:
            line, = [x for x in lines if name in x]
            count = 64 if "attention" in name else 128
            self.assertEqual(line.split(name)[1].split(),
                             (f"{16 if 'intermediate' in name else 8} x "
                              f"{8 if count == 64 or 'intermediate' in name else 16} "
                              f"kept {count // 2} of {count} sparsity 0.5000").split())
        self.assertIn("spcc: 512 of 1024 weights kept, sparsity 0.5000", lines)

    def refused(self, code, message, *arguments, out="new"):
        result = self.spcc("prune", *arguments)
        errors = [x for x in result.stderr.splitlines() if ": warning: " not in x]
        self.assertEqual((result.returncode, result.stdout, errors), (code, "", [message]))
        self.assertFalse(os.path.exists(os.path.join(self.dir, out)), "something was written")

    def test_usage_errors(self):
        self.model()
        see = " (see spcc prune --help)"
        cases = [
            ("name the new folder with -o", ["--sparsity=0.5"]),
            ("pattern unstructured needs --sparsity, such as --sparsity=0.9", ["-o", "new"]),
            ("pattern 4x1 needs --sparsity, such as --sparsity=0.9", ["-o", "new", "--pattern=4x1"]),
            ("pattern 2:4 fixes the sparsity at 0.5; leave --sparsity=0.9 out",
             ["-o", "new", "--pattern=2:4", "--sparsity=0.9"]),
            ("'dense' is no pattern to prune to; use unstructured, RxC such as 4x1 or N:M such as 2:4",
             ["-o", "new", "--pattern=dense"]),
            ("'5:4' is no pattern to prune to; use unstructured, RxC such as 4x1 or N:M such as 2:4",
             ["-o", "new", "--pattern=5:4"]),
            ("'re:(' is no regular expression: Unmatched ( or \\(",
             ["-o", "new", "--sparsity=0.5", "--targets=re:("]),
        ]
        for message, flags in cases:
            with self.subTest(message=message):
                self.refused(2, f"spcc: error: {message}{see}", "m.yaml", *flags)

    def test_rejected_input(self):
        self.model()
        shard = "model/model.safetensors"
        cases = [
            ("m.yaml: error: 'encoder.layer.0.attention.self.quer' of --targets matches none of the 12 "
             "weights that can be pruned; spcc inspect lists them; did you mean "
             "'encoder.layer.0.attention.self.query'? [E_NAME]",
             ["--targets=encoder.layer.0.attention.self.quer"]),
            ("m.yaml: error: 're:^embeddings' of --ignore matches none of the 12 weights that can be "
             "pruned; spcc inspect lists them [E_NAME]", ["--ignore=re:^embeddings"]),
            (f"{shard}: error: tensor 'encoder.layer.0.attention.self.query.weight': pattern 16x1 does "
             "not divide its shape [8, 8]; choose another pattern or leave the tensor out [E_PATTERN]",
             ["--pattern=16x1", "--targets=encoder.layer.0.attention.self.query"]),
        ]
        for message, flags in cases:
            with self.subTest(message=message):
                self.refused(1, message, "m.yaml", "-o", "new", "--sparsity=0.5", *flags)

    def test_own_folder_is_refused(self):
        before = self.model()
        result = self.spcc("prune", "m.yaml", "--sparsity=0.5", "-o", "./model")
        self.assertEqual(result.returncode, 1)
        self.assertIn("./model: error: this is the folder of the model itself; write to another one "
                      "[E_SAME]\n", result.stderr)
        with self.assertRaises(KeyError):  # the file made here has no metadata, spcc's has
            read_safetensors(os.path.join(self.dir, "model", "model.safetensors"))
        self.assertEqual(len(before), len(shapes()) + 1)

    def test_inputs_are_not_overwritten(self):
        self.model()
        before = {}
        for name in ("m.yaml", "model/model.safetensors"):
            with open(os.path.join(self.dir, name), "rb") as f:
                before[name] = f.read()
        os.rename(os.path.join(self.dir, "m.yaml"), os.path.join(self.dir, "model.yaml"))
        os.mkdir(os.path.join(self.dir, "linked"))
        os.symlink("../model/model.safetensors", os.path.join(self.dir, "linked/model.safetensors"))
        for folder, output, was in ((".", "./model.yaml", "model.yaml"),
                                    ("linked", "linked/model.safetensors", "model/model.safetensors")):
            result = self.spcc("prune", "model.yaml", "--sparsity=0.5", "-o", folder)
            self.assertEqual(result.returncode, 1)
            self.assertIn(f"{output}: error: this output is also the input '{was}'; choose another folder "
                          "with -o [E_SAME]\n", result.stderr)
        os.rename(os.path.join(self.dir, "model.yaml"), os.path.join(self.dir, "m.yaml"))
        self.recipe("method: magnitude, sparsity: 0.5")
        os.mkdir(os.path.join(self.dir, "ruled"))
        os.rename(os.path.join(self.dir, "recipe.yaml"), os.path.join(self.dir, "ruled/model.yaml"))
        result = self.spcc("prune", "m.yaml", "--recipe=ruled/model.yaml", "-o", "ruled")
        self.assertEqual(result.returncode, 1)
        self.assertIn("ruled/model.yaml: error: this output is also the input 'ruled/model.yaml'; choose "
                      "another folder with -o [E_SAME]\n", result.stderr)
        for name, data in before.items():
            with open(os.path.join(self.dir, name), "rb") as f:
                self.assertEqual(f.read(), data)

    def test_explicit_graph_is_refused(self):
        with open(os.path.join(self.dir, "g.yaml"), "w") as f:
            f.write('spcc: 1\ninputs: [{name: x, type: "f32[B,S,3]"}]\n'
                    "graph:\n  - {name: y, op: relu, in: x}\noutputs: [y]\n")
        self.refused(1, "g.yaml: error: prune works on models that name a Hugging Face folder, such as "
                        "model: {huggingface: ./minilm} [E_CONFIG]",
                     "g.yaml", "--sparsity=0.5", "-o", "new")

    def test_out_that_cannot_be_made(self):
        self.model()
        result = self.spcc("prune", "m.yaml", "--sparsity=0.5", "-o", "missing/new")
        self.assertEqual(result.returncode, 3)
        self.assertIn("missing/new: error: cannot make the folder", result.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
