"""Models and what is made from them, kept by what they were made of: a second run finds them."""

import hashlib
import json
import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
MAX_BATCH, MAX_SEQUENCE = 32, 512
RESERVE = 8_000_000_000  # bytes of the disk that stay free


def digest(*parts):
    """A short name for texts and for the contents of files (parts that are ("file", path))."""
    h = hashlib.sha256()
    for part in parts:
        if isinstance(part, tuple):
            with open(part[1], "rb") as file:
                part = hashlib.file_digest(file, "sha256").hexdigest()
        h.update(str(part).encode() + b"\0")
    return h.hexdigest()[:16]


def run(*command):
    """Runs a tool; its last words are the error's."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{os.path.basename(command[0])}: {done.stdout.strip()[-500:]}")


class Store:
    def __init__(self, folder, spcc, limit):
        self.folder, self.spcc, self.limit = folder, spcc, limit
        self.spcc_digest = digest(("file", spcc))
        self.used = set()
        os.makedirs(folder, exist_ok=True)

    def path(self, name):
        """A place in the store, marked as used now."""
        path = os.path.join(self.folder, name)
        self.used.add(path)
        if os.path.exists(path):
            os.utime(path)
        return path

    def made(self, name, make):
        """The path of `name`; when it is missing, make(path of a new place) makes it."""
        path = self.path(name)
        if not os.path.exists(path):
            part = path + ".part"
            shutil.rmtree(part, ignore_errors=True)
            make(part)
            os.rename(part, path)
        return path

    # ---- models ----

    def model(self, model, pattern):
        """The Hugging Face folder of a model, with its model.yaml."""
        if model == "minilm":
            return self.minilm(pattern)
        script = os.path.join(HERE, "make_model.py")
        name = f"{model}-{digest(('file', script), pattern, MAX_SEQUENCE)}"

        def make(path):
            run(sys.executable, script, path, "--size", model, "--pattern", pattern)
            write_yaml(path)

        return self.made(name, make)

    def minilm(self, pattern):
        """The real all-MiniLM-L6-v2, pruned in one shot by magnitude."""
        script = os.path.join(ROOT, "scripts/fetch_minilm.sh")
        source = os.path.join(ROOT, ".cache/all-MiniLM-L6-v2")

        def copy(path):
            run("sh", script)
            os.makedirs(path)
            for name in ("config.json", "model.safetensors"):
                shutil.copy(os.path.join(source, name), path)
            write_yaml(path)

        dense = self.made(f"minilm-{digest(('file', script))}", copy)
        if pattern == "dense":
            return dense
        spelling, _, sparsity = pattern.partition("@")

        def prune(path):
            yaml = os.path.join(dense, "model.yaml")
            share = [f"--sparsity={sparsity}"] if sparsity else []
            run(self.spcc, "prune", yaml, f"--pattern={spelling}", *share, "-o", path)
            write_yaml(path)

        return self.made(f"minilm-{digest(self.spcc_digest, pattern)}", prune)

    def inputs(self, folder, batch, sequence):
        """Random ids, all tokens present."""
        import numpy as np

        with open(os.path.join(folder, "config.json")) as file:
            vocabulary = json.load(file)["vocab_size"]

        def make(path):
            ids = np.random.default_rng(7).integers(1, vocabulary, (batch, sequence), np.int32)
            with open(path, "wb") as file:
                np.savez(file, input_ids=ids, attention_mask=np.ones_like(ids),
                         token_type_ids=np.zeros_like(ids))

        return self.made(f"inputs-{vocabulary}-{batch}-{sequence}.npz", make)

    # ---- what engines read ----

    def onnx(self, folder, batch, sequence, python):
        """model.onnx in a folder of its own, where hosts may put what they make of it."""
        script = os.path.join(HERE, "hosts/export_onnx.py")

        def make(path):
            os.makedirs(path)
            run(python, script, folder, str(batch), str(sequence), os.path.join(path, "model.onnx"))

        name = f"onnx-{os.path.basename(folder)}-{batch}-{sequence}-{digest(('file', script))}"
        return os.path.join(self.made(name, make), "model.onnx")

    def object(self, folder, flags):
        """The folder that the host of spcc makes the shared object in."""
        return self.path(f"object-{os.path.basename(folder)}-{digest(self.spcc_digest, *flags)}")

    # ---- room ----

    def evict(self):
        """Removes what was not used for longest until the rest fits its limit and the disk; what
        this cell uses stays."""
        entries = [entry for entry in os.scandir(self.folder)]
        sizes = {entry.path: size_of(entry) for entry in entries}
        left = sum(sizes.values())
        limit = min(self.limit, left + shutil.disk_usage(self.folder).free - RESERVE)
        for entry in sorted(entries, key=lambda e: e.stat().st_mtime):
            if left <= limit:
                break
            if entry.path in self.used:
                continue
            left -= sizes[entry.path]
            shutil.rmtree(entry.path) if entry.is_dir() else os.remove(entry.path)
        self.used.clear()


def size_of(entry):
    if not entry.is_dir():
        return entry.stat().st_size
    return sum(size_of(inner) for inner in os.scandir(entry.path))


def write_yaml(folder):
    with open(os.path.join(folder, "model.yaml"), "w") as file:
        file.write(f"spcc: 1\nmodel: {{huggingface: .}}\noutputs: [last_hidden_state]\n"
                   f"max_batch: {MAX_BATCH}\nmax_sequence: {MAX_SEQUENCE}\n")
