"""Tests `spcc prune` as a command on small folders made here: prune.py SPCC. Standard library alone."""
import hashlib
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


def shapes(hidden=HIDDEN, inner=INNER):
    """All tensors of the model: name to shape."""
    out = {"embeddings.word_embeddings.weight": [10, hidden],
           "embeddings.position_embeddings.weight": [12, hidden],
           "embeddings.token_type_embeddings.weight": [2, hidden],
           "embeddings.LayerNorm.weight": [hidden], "embeddings.LayerNorm.bias": [hidden],
           "pooler.dense.weight": [hidden, hidden], "pooler.dense.bias": [hidden]}
    for i in range(LAYERS):
        linears = {"attention.self.query": (hidden, hidden), "attention.self.key": (hidden, hidden),
                   "attention.self.value": (hidden, hidden),
                   "attention.output.dense": (hidden, hidden), "intermediate.dense": (inner, hidden),
                   "output.dense": (hidden, inner)}
        for name, (rows, cols) in linears.items():
            out[f"encoder.layer.{i}.{name}.weight"] = [rows, cols]
            out[f"encoder.layer.{i}.{name}.bias"] = [rows]
        for norm in ("attention.output.LayerNorm", "output.LayerNorm"):
            out[f"encoder.layer.{i}.{norm}.weight"] = [hidden]
            out[f"encoder.layer.{i}.{norm}.bias"] = [hidden]
    return out


LINEARS = sorted(n for n, s in shapes().items() if n.startswith("encoder") and len(s) == 2)


def make_tensors(dtype, seed=1, ties=(0.5, -0.5, 0.0), **sizes):
    r = random.Random(seed)
    tensors = {name: (dtype, shape, encode([r.choice([r.uniform(-1, 1), *ties])
                                            for _ in range(shape[0] * (shape + [1])[1])], dtype))
               for name, shape in shapes(**sizes).items()}
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


def expected_together(tensors, names, pattern, sparsity):
    """The same for tensors without ties that are ranked together: name to tensor."""
    units = []  # (score, name, flat indices)
    for name in names:
        dtype, (rows, cols), data = tensors[name]
        values = decode(data, dtype)
        (competition,) = units_of(rows, cols, pattern)
        units += [(sum(values[i] ** 2 for i in unit), name, unit) for unit in competition]
    units.sort(key=lambda u: u[0])
    out = {name: bytearray(tensors[name][2]) for name in names}
    for _, name, unit in units[:int(sparsity * len(units) + 1e-6)]:
        for i in unit:
            width = WIDTH[tensors[name][0]]
            out[name][i * width:(i + 1) * width] = bytes(width)
    return {name: (*tensors[name][:2], bytes(out[name])) for name in names}


class Folder(unittest.TestCase):
    """A folder for each test, with a model in it."""
    def setUp(self):
        self.temporary = tempfile.TemporaryDirectory()
        self.dir = self.temporary.name
        self.addCleanup(self.temporary.cleanup)

    def model(self, dtype="F32", tensors=None, shards=1, config=CONFIG):
        """A folder `model` and a model.yaml beside it; returns the tensors."""
        tensors = tensors or make_tensors(dtype)
        folder = os.path.join(self.dir, "model")
        os.mkdir(folder)
        with open(os.path.join(folder, "config.json"), "w") as f:
            json.dump(config, f, indent=3)
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

    def recipe(self, *entries):
        with open(os.path.join(self.dir, "recipe.yaml"), "w") as f:
            f.write("spcc: 1\nrecipe:\n" + "".join(f"  - {{{e}}}\n" for e in entries))

    def spcc(self, *arguments):
        return subprocess.run([SPCC, *arguments], cwd=self.dir, capture_output=True, text=True, timeout=600)

    def prune(self, *arguments, out="new"):
        result = self.spcc("prune", "m.yaml", "-o", out, *arguments)
        self.assertEqual((result.returncode, result.stdout), (0, ""), result.stderr)
        return read_safetensors(os.path.join(self.dir, out, "model.safetensors"))

    def check(self, before, after, names, pattern, sparsity=0.0):
        self.assertEqual(sorted(before), sorted(after))
        for name, tensor in before.items():
            want = expected(tensor, pattern, sparsity) if name in names else tensor
            self.assertEqual(after[name], want, name)

    def refused(self, code, message, *arguments, out="new"):
        result = self.spcc("prune", *arguments)
        errors = [x for x in result.stderr.splitlines() if ": warning: " not in x]
        self.assertEqual((result.returncode, result.stdout, errors), (code, "", [message]))
        self.assertFalse(os.path.exists(os.path.join(self.dir, out)), "something was written")


class Prune(Folder):
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
                                                   "sparsity.json", "tokenizer.json", "vocab.txt"])
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

    def check_together(self, before, after, names, pattern, sparsity):
        want = {**before, **expected_together(before, names, pattern, sparsity)}
        for name in before:
            self.assertEqual(after[name], want[name], name)
        kept = [sum(x != 0 for x in decode(after[n][2], after[n][0])) / len(before[n][2]) for n in names]
        self.assertGreater(max(kept) - min(kept), 0.01)  # each its own share

    def test_scope_global(self):
        for dtype in ("F32", "F16"):
            for pattern, sparsity in (("unstructured", 0.9), ("4x1", 0.5), ("2x4", 0.29)):
                with self.subTest(dtype=dtype, pattern=pattern):
                    self.setUp()
                    before = self.model(tensors=make_tensors(dtype, seed=7, ties=()))
                    _, after = self.prune("--scope=global", f"--pattern={pattern}", f"--sparsity={sparsity}")
                    self.check_together(before, after, LINEARS, pattern, sparsity)
                    told = json.loads(read(os.path.join(self.dir, "new", "sparsity.json")))["tensors"]
                    for name in LINEARS:
                        self.assertEqual(told[name]["kept"], sum(x != 0 for x in decode(after[name][2], dtype)))
        self.assertEqual(self.spcc("new/model.yaml", "-o", "new.o").returncode, 0)

    def test_scope_global_counts_exactly_among_ties(self):
        self.model(tensors={n: (d, s, encode([0.5] * (len(b) // WIDTH[d]), d) if d == "F32" else b)
                            for n, (d, s, b) in make_tensors("F32").items()})
        _, after = self.prune("--scope=global", "--sparsity=0.3", "-j3")
        zeros = sum(x == 0 for n in LINEARS for x in decode(after[n][2], "F32"))
        self.assertEqual(zeros, int(0.3 * 1024))

    def test_scope_in_recipes(self):
        """Each entry has a ranking of its own."""
        before = self.model(tensors=make_tensors("F32", seed=8, ties=()))
        self.recipe("method: magnitude, scope: global, sparsity: 0.75, targets: re:attention",
                    "method: magnitude, scope: local, sparsity: 0.5, targets: re:intermediate",
                    'method: magnitude, scope: global, sparsity: 0.25, pattern: 4x1, targets: "*.?.output.dense"')
        _, after = self.prune("--recipe=recipe.yaml")
        parts = ([n for n in LINEARS if "attention" in n], [n for n in LINEARS if "intermediate" in n],
                 [n for n in LINEARS if n.endswith("output.dense.weight") and "attention" not in n])
        want = {**before, **expected_together(before, parts[0], "unstructured", 0.75),
                **{n: expected(before[n], "unstructured", 0.5) for n in parts[1]},
                **expected_together(before, parts[2], "4x1", 0.25)}
        self.assertEqual(after, want)
        text = read(os.path.join(self.dir, "new", "model.yaml")).decode()
        self.assertIn("# method magnitude, pattern unstructured, sparsity 0.75 of all together\n", text)

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
            ("model: error: tensor 'encoder.layer.0.attention.self.query.weight': pattern 16x1 does not divide "
             "its shape [8, 8]; choose another pattern or leave the tensor out [E_PATTERN]",
             "method: magnitude, sparsity: 0.5, scope: global, pattern: 16x1"),
        ]
        for message, entry in cases:
            with self.subTest(message=message):
                self.recipe(entry)
                self.refused(1, message, "m.yaml", "-o", "new", "--recipe=recipe.yaml")
        for flag in ("--sparsity=0.5", "--scope=local"):
            self.refused(2, f"spcc: error: --recipe says what to do; leave {flag.split('=')[0]} out (see spcc "
                         "prune --help)", "m.yaml", "-o", "new", "--recipe=recipe.yaml", flag)

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
            ("--scope is of method magnitude; leave it out for wanda",
             ["-o", "new", "--sparsity=0.5", "--method=wanda", "--scope=global"]),
            ("magnitude with scope global ranks weights of different tensors, of which N:M keeps the same share; "
             "use unstructured or blocks such as 4x1", ["-o", "new", "--pattern=2:4", "--scope=global"]),
            ("'re:(' is no regular expression that can be used: missing closing parenthesis, at byte 1",
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

    def test_files_are_read_before_the_folder_is_made(self):
        self.model()
        large = os.path.join(self.dir, "model", "zz.txt")
        with open(large, "w"):
            pass
        os.truncate(large, 257 << 20)
        self.refused(1, "model/zz.txt: error: the file has 269484032 bytes; the limit is 268435456 [E_LIMIT]",
                     "m.yaml", "--sparsity=0.5", "-o", "new")

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



def write_ids(path, rows, seed=3):
    """int32 [rows, 9]: random ids of 1 to 9, with padding (0) behind them."""
    r, ids = random.Random(seed), []
    for _ in range(rows):
        length = r.randint(1, 9)
        ids += [r.randint(1, 9) for _ in range(length)] + [0] * (9 - length)
    header = f"{{'descr': '<i4', 'fortran_order': False, 'shape': ({rows}, 9), }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    with open(path, "wb") as f:
        f.write(b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header)
        f.write(struct.pack(f"<{len(ids)}i", *ids))


class WithSentences(Folder):
    """Methods that run the model over sentences."""
    METHODS = ("wanda", "sparsegpt", "sparsellm")

    def model(self, *arguments, **keywords):
        tensors = super().model(*arguments, **keywords)
        write_ids(os.path.join(self.dir, "ids.npy"), 40)
        return tensors

    def prune_with(self, method, *flags, out="new", sparsity=("--sparsity=0.5",)):
        return self.prune(f"--method={method}", "--sentences=ids.npy", *sparsity, *flags, out=out)[1]

    def files(self, folder):
        path = os.path.join(self.dir, folder)
        return {n: read(os.path.join(path, n)) for n in os.listdir(path)}

    def test_counts_and_values(self):
        for method in self.METHODS:
            for dtype in ("F32", "F16", "BF16"):
                with self.subTest(method=method, dtype=dtype):
                    self.setUp()
                    before = self.model(dtype, make_tensors(dtype, seed=5))
                    after = self.prune_with(method)
                    changed = 0
                    for name, tensor in before.items():
                        if name not in LINEARS:
                            self.assertEqual(after[name], tensor, name)
                            continue
                        old, new = decode(tensor[2], dtype), decode(after[name][2], dtype)
                        zeros = sum(x == 0 for x in new)
                        self.assertGreaterEqual(zeros, len(new) // 2, name)
                        changed += sum(y not in (0, x) for x, y in zip(old, new))
                    self.assertEqual(changed > 0, method != "wanda")

    def test_sparsity_json(self):
        self.model()
        after = self.prune_with("sparsegpt", "--pattern=2:4", sparsity=())
        told = json.loads(self.files("new")["sparsity.json"])
        self.assertEqual(told["version"], 1)
        self.assertEqual(sorted(told["tensors"]), LINEARS)
        for name, entry in told["tensors"].items():
            bits = [x != 0 for x in decode(after[name][2], "F32")]
            packed = bytes(sum(b << k for k, b in enumerate(bits[i:i + 8])) for i in range(0, len(bits), 8))
            self.assertEqual(entry["pattern"], "2:4")
            self.assertEqual(entry["kept"], len(bits) // 2)
            if sum(bits) == entry["kept"]:
                self.assertEqual(entry["mask"], hashlib.sha256(packed).hexdigest(), name)
        self.assertEqual(self.spcc("new/model.yaml", "-o", "new.o").returncode, 0)
        self.revive_a_weight(after)

    def revive_a_weight(self, tensors):
        """Training on without the mask is noticed."""
        dtype, shape, data = tensors[LINEARS[0]]
        values = [x or 0.25 for x in decode(data, dtype)]
        tensors[LINEARS[0]] = (dtype, shape, encode(values, dtype))
        write_safetensors(os.path.join(self.dir, "new", "model.safetensors"), tensors)
        result = self.spcc("new/model.yaml", "-o", "other.o")
        self.assertEqual(result.returncode, 1)
        self.assertIn(f"tensor '{LINEARS[0]}' was pruned to 32 weights and has 64 now", result.stderr)

    def test_each_pattern_is_compiled_in_its_format(self):
        """… and computes what the checkpoint says."""
        sizes = {"hidden": 64, "inner": 128}
        self.model(tensors=make_tensors("F32", seed=9, ties=(), **sizes),
                   config={**CONFIG, "hidden_size": 64, "intermediate_size": 128})
        models = [  # for each of the four linears that a layer is compiled to: names, pattern, sparsity, method
            (("re:self", "4x1", 0.8, "sparsegpt"), ("*.attention.output.*", "16x1", 0.75, "wanda"),
             ("*.intermediate.*", "2:4", None, "sparsellm"), ("*.?.output.*", "2:4", None, "sparsellm")),
            (("re:self", "2:4x4", None, "sparsegpt"), ("*.attention.output.*", "1x4", 0.8, "magnitude"),
             ("*.intermediate.*", "unstructured", 0.9, "sparsellm"),
             ("*.?.output.*", "unstructured", 0.9, "sparsellm")),
            (("re:self", "16x16", 0.75, "magnitude"), ("*.attention.output.*", "1:4", None, "magnitude"),
             ("*.intermediate.*", "8x1", 0.8, "magnitude"), ("*.?.output.*", "1x16", 0.8, "wanda")),
        ]
        for parts in models:
            with self.subTest(parts=parts):
                self.recipe(*(f'method: {m}, pattern: {p}, targets: "{n}"' + (f", sparsity: {s}" if s else "")
                              for n, p, s, m in parts))
                _, after = self.prune("--recipe=recipe.yaml", "--sentences=ids.npy")
                patterns = [p for _, p, _, _ in parts]
                self.check_told(after, patterns)
                result = self.spcc("new/model.yaml", "--remarks", "-o", "x.o")
                self.assertEqual(result.returncode, 0, result.stderr)
                lines = [x for x in result.stderr.splitlines() if " % zeros, " in x and "encoder." in x]
                self.assertEqual(len(lines), 4 * LAYERS)
                for line, pattern in zip(lines, LAYERS * patterns):
                    self.assertIn(f" % zeros, {pattern}: ", line)
                    self.assertNotIn(": dense", line)
                result = self.spcc("verify", "new/model.yaml")
                self.assertEqual(result.returncode, 0, result.stdout + result.stderr)

    def test_options_of_each_entry_count(self):
        """A feed-forward part is pruned jointly only where both of its entries ask for the same."""
        self.model()
        up = 'method: sparsellm, pattern: unstructured, sparsity: 0.5, targets: "*.intermediate.*"'
        results = []
        for options in ("", ", damping: 1000"):
            down = up.replace("intermediate", "?.output") + options
            self.recipe(up, down)
            _, after = self.prune("--recipe=recipe.yaml", "--sentences=ids.npy", out=f"new{len(results)}")
            results.append([after[n] for n in LINEARS if "attention" not in n and ".output." in n])
        self.assertEqual(len(results[0]), LAYERS)
        for same, other in zip(*results):
            self.assertNotEqual(same, other)

    def check_told(self, after, patterns):
        """sparsity.json has the pattern of each weight, and counts what is there."""
        told = json.loads(read(os.path.join(self.dir, "new", "sparsity.json")))["tensors"]
        self.assertEqual(sorted(told), LINEARS)
        for name, entry in told.items():
            part = [x in name for x in ("self", "attention.output", "intermediate", "")].index(True)
            nonzero = sum(x != 0 for x in decode(after[name][2], "F32"))
            self.assertEqual((entry["pattern"], entry["kept"]), (patterns[part], nonzero), name)

    def test_threads_change_nothing(self):
        self.model()
        for method in self.METHODS:
            self.prune_with(method, out="one")
            self.prune_with(method, "-j3", out="three")
            self.assertEqual(self.files("one"), self.files("three"), method)

    def test_an_interrupted_run_goes_on(self):
        self.model()
        want = self.prune_with("sparsegpt", out="whole")
        with open(os.path.join(self.dir, "new"), "w"):
            pass  # a file in the place of the folder: the last step fails
        flags = ("prune", "m.yaml", "-o", "new", "--method=sparsegpt", "--sparsity=0.5", "--sentences=ids.npy")
        self.assertNotEqual(self.spcc(*flags).returncode, 0)
        partial = os.path.join(self.dir, "new.partial")
        self.assertEqual(len([n for n in os.listdir(partial) if n.endswith(".layer")]), LAYERS)
        os.unlink(os.path.join(partial, "encoder.layer.1.attention.self.query.weight.layer"))
        os.unlink(os.path.join(self.dir, "new"))
        self.assertEqual(self.spcc(*flags).returncode, 0)
        self.assertFalse(os.path.exists(partial))
        self.assertEqual(read_safetensors(os.path.join(self.dir, "new", "model.safetensors"))[1], want)

    def interrupt(self, sparsity=0.5):
        """A run that fails in its last step, and leaves all layers in new.partial."""
        with open(os.path.join(self.dir, "new"), "w"):
            pass
        self.spcc("prune", "m.yaml", "-o", "new", "--method=sparsegpt", f"--sparsity={sparsity}",
                  "--sentences=ids.npy")
        self.assertIn("key", os.listdir(os.path.join(self.dir, "new.partial")))
        os.unlink(os.path.join(self.dir, "new"))

    def test_what_another_run_left_is_not_used(self):
        self.model()
        want = self.prune_with("sparsegpt", out="whole")
        self.interrupt(sparsity=0.25)
        self.assertEqual(self.prune_with("sparsegpt"), want)

    def test_what_was_left_of_another_configuration_is_not_used(self):
        for key, value in (("hidden_act", "relu"), ("layer_norm_eps", 0.5), ("num_attention_heads", 4)):
            with self.subTest(key=key):
                self.setUp()
                self.model()
                old = self.prune_with("sparsegpt", out="old")
                self.interrupt()
                with open(os.path.join(self.dir, "model", "config.json"), "w") as f:
                    json.dump({**CONFIG, key: value}, f)
                want = self.prune_with("sparsegpt", out="whole")
                self.assertNotEqual(want, old)
                self.assertEqual(self.prune_with("sparsegpt"), want)

    def damage(self, path, tensor, at, data):
        """Overwrites bytes of a tensor in a safetensors file."""
        with open(path, "r+b") as f:
            size, = struct.unpack("<Q", f.read(8))
            begin = json.loads(f.read(size))[tensor]["data_offsets"][0]
            f.seek(8 + size + begin + at)
            f.write(data)

    def test_damaged_layers_are_not_used(self):
        first = "encoder.layer.0.attention.self.query.weight"
        value = "encoder.layer.0.attention.self.value.weight"
        for tensor, data in ((value, struct.pack("<f", float("nan"))), (f"{value}.mask", b"\2"),
                             (f"{value}.mask", bytes(64))):
            with self.subTest(tensor=tensor, data=data):
                self.setUp()
                self.model()
                self.prune_with("sparsegpt", out="whole")
                self.interrupt()
                self.damage(os.path.join(self.dir, "new.partial", f"{first}.layer"), tensor, 0, data)
                self.prune_with("sparsegpt")
                self.assertEqual(self.files("new"), self.files("whole"))

    def test_files_of_another_run_that_stay(self):
        self.model()
        os.makedirs(os.path.join(self.dir, "new.partial", "some.layer"))  # no file: it cannot be unlinked
        self.refused(3, "new.partial/some.layer: error: cannot remove this file of an earlier run: Is a directory; "
                     "remove its folder [E_WRITE]", "m.yaml", "-o", "new", "--method=wanda", "--sparsity=0.5",
                     "--sentences=ids.npy")
        self.assertEqual(os.listdir(os.path.join(self.dir, "new.partial")), ["some.layer"])

    def with_values(self, **values):
        """A model with some tensors changed: names (with _ for .) to functions of their values."""
        tensors = make_tensors("F32")
        for name, (dtype, shape, data) in list(tensors.items()):
            change = values.get(name.replace(".", "_"))
            if change:
                tensors[name] = (dtype, shape, encode(change(decode(data, dtype)), dtype))
        self.model(tensors=tensors)

    def refused_whole(self, message, *flags):
        """Neither the folder nor what a long pruning keeps is there afterwards."""
        self.refused(1, message, "m.yaml", "-o", "new", *flags)
        self.assertFalse(os.path.exists(os.path.join(self.dir, "new.partial")))

    def test_bad_weights(self):
        for bad, text in ((float("nan"), "NaN"), (float("-inf"), "-infinity")):
            self.setUp()
            self.with_values(encoder_layer_1_output_dense_weight=lambda x: x[:9] + [bad] + x[10:])
            for flags in (["--scope=global"], ["--method=wanda", "--sentences=ids.npy"]):
                self.refused_whole("model/model.safetensors: error: tensor 'encoder.layer.1.output.dense.weight': "
                                   f"element 9 is {text}; weights must be finite [E_NONFINITE]",
                                   "--sparsity=0.5", *flags)

    def test_bad_activations(self):
        self.with_values(encoder_layer_0_attention_output_LayerNorm_weight=lambda x: [3e38] * len(x))
        for method in self.METHODS:
            result = self.spcc("prune", "m.yaml", "-o", "new", f"--method={method}", "--sparsity=0.5",
                               "--sentences=ids.npy")
            self.assertEqual(result.returncode, 1)
            self.assertRegex(result.stderr, "model/model.safetensors: error: tensor 'encoder.layer.0.intermediate."
                             r"dense.weight': its input \d has a NaN or an infinity; mend the model or the text "
                             r"that it is calibrated with \[E_NONFINITE\]\n$")
            self.assertEqual([n for n in os.listdir(self.dir) if n.startswith("new")], [])

    def test_not_positive_definite(self):
        """All inputs of the first linears are 1: they depend on each other."""
        self.with_values(embeddings_LayerNorm_weight=lambda x: [0] * len(x),
                         embeddings_LayerNorm_bias=lambda x: [1] * len(x))
        for method in ("sparsegpt", "sparsellm"):
            self.recipe(f"method: {method}, sparsity: 0.5, damping: 0")
            self.refused_whole("model/model.safetensors: error: tensor 'encoder.layer.0.attention.self.query.weight': "
                               "the Gram matrix of its inputs is not positive definite, even with a damping of 0; "
                               "raise 'damping' or calibrate with more text [E_NOT_SPD]",
                               "--recipe=recipe.yaml", "--sentences=ids.npy")

    def leave_partial(self):
        """What another command may have left, and a file of the user's."""
        os.mkdir(os.path.join(self.dir, "new.partial"))
        for name in ("key", "some.weight.layer", "notes"):
            with open(os.path.join(self.dir, "new.partial", name), "w") as f:
                f.write(name)
        return self.files("new.partial")

    def test_what_others_left_stays(self):
        """… where a run keeps nothing, or fails before it has anything to keep."""
        self.with_values(encoder_layer_0_attention_output_LayerNorm_weight=lambda x: [3e38] * len(x))
        left = self.leave_partial()
        self.assertEqual(self.spcc("prune", "m.yaml", "-o", "new", "--method=wanda", "--sparsity=0.5",
                                   "--sentences=ids.npy").returncode, 1)
        self.assertEqual(self.files("new.partial"), left)
        self.prune("--sparsity=0.5")
        self.assertEqual(self.files("new.partial"), left)

    def test_what_others_left_goes(self):
        self.model()
        self.leave_partial()
        self.prune_with("wanda")
        self.assertEqual(self.files("new.partial"), {"notes": b"notes"})

    def test_scope_global_beside_other_methods(self):
        """Its weights are those that it has alone, and the other methods see them pruned."""
        self.model(tensors=make_tensors("F32", seed=6, ties=()))
        entry = "method: magnitude, scope: global, sparsity: 0.75, targets: re:attention"
        self.recipe(entry)
        alone = self.prune("--recipe=recipe.yaml", out="alone")[1]
        self.recipe(entry, "method: sparsegpt, sparsity: 0.5, ignore: re:attention")
        both = self.prune("--recipe=recipe.yaml", "--sentences=ids.npy", out="both")[1]
        self.recipe("method: sparsegpt, sparsity: 0.5, ignore: re:attention")
        other = self.prune("--recipe=recipe.yaml", "--sentences=ids.npy", out="other")[1]
        for name in LINEARS:
            if "attention" in name:
                self.assertEqual(both[name], alone[name], name)
        rest = [n for n in LINEARS if ".1." in n and "attention" not in n]
        self.assertNotEqual([both[n] for n in rest], [other[n] for n in rest])

    def test_layers_see_pruned_layers(self):
        """The second layer's choice depends on what was pruned before it."""
        self.model()
        both = self.prune_with("wanda", out="both")
        alone = self.prune_with("wanda", "--targets=*.1.*", out="alone")
        second = [n for n in LINEARS if ".1." in n]
        self.assertNotEqual([both[n] for n in second], [alone[n] for n in second])

    def test_verbose_tells_the_error(self):
        self.model()
        result = self.spcc("prune", "m.yaml", "-o", "new", "--method=sparsegpt", "--sparsity=0.5",
                           "--sentences=ids.npy", "-v")
        lines = [x for x in result.stderr.splitlines() if " by the mask alone, " in x]
        self.assertEqual(len(lines), len(LINEARS))
        for line in lines:
            mask, end = (float(line.split(w)[0].split()[-1]) for w in (" by the mask", " in the end"))
            self.assertLessEqual(end, mask + 1e-4, line)

    def test_a_vocabulary_that_is_no_file(self):
        self.model()
        vocabulary = os.path.join(self.dir, "model", "vocab.txt")
        with open(os.path.join(self.dir, "text.txt"), "w") as f:
            f.write("a\n")
        os.unlink(vocabulary)
        os.mkfifo(vocabulary)
        for sentences in ("text.txt", "ids.npy"):
            self.refused_whole("model/vocab.txt: error: this is a FIFO, not a regular file; only regular files are "
                               "read [E_NOT_FILE]", "--method=wanda", "--sparsity=0.5", f"--sentences={sentences}")

    def test_claims_of_sentences_take_no_memory(self):
        self.model()
        header = b"{'descr': '<i4', 'fortran_order': False, 'shape': (2000000000, 0), }\n"
        with open(os.path.join(self.dir, "claims.npy"), "wb") as f:
            f.write(b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header)
        self.refused_whole("claims.npy: error: no sentence to calibrate with; write one a line [E_EMPTY]",
                           "--method=wanda", "--sparsity=0.5", "--sentences=claims.npy", "--max-mem=1G")

    def test_sentences_are_needed(self):
        self.model()
        for method in self.METHODS:
            self.refused(1, f"spcc: error: method {method} looks at what the model computes; give it text with "
                         "--sentences=FILE, a sentence a line [E_CONFIG]", "m.yaml", "-o", "new",
                         f"--method={method}", "--sparsity=0.5")
        self.refused(1, "spcc: error: method obert needs gradients; call libspo from a program that has them "
                     "[E_CONFIG]", "m.yaml", "-o", "new", "--method=obert", "--sparsity=0.5")
        self.refused(3, "none.txt: error: cannot open: No such file or directory [E_OPEN]", "m.yaml", "-o",
                     "new", "--method=wanda", "--sparsity=0.5", "--sentences=none.txt")



if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
