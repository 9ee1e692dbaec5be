#!/usr/bin/env python3
"""Embeds sentences with a model compiled by `spcc minilm.yaml --emit=shared -o minilm.so`.

    embed.py minilm.so vocab.txt "A man is eating food." "Someone eats a meal."

Prints the cosine similarity of every two. Needs numpy alone; the model is called through ctypes.
The structures are those of spcc_rt.h, and the tokenizer is BERT's for plain uncased text; that of
spcc's text/ is the exact one.
"""
import ctypes as c
import sys
import unicodedata

import numpy as np

DTYPES = {0: np.float32, 1: np.int32}
BATCH, SEQUENCE = -1, -2


class Tensor(c.Structure):
    _fields_ = [("name", c.c_char_p), ("dtype", c.c_uint32), ("rank", c.c_uint32),
                ("dim", c.c_int64 * 4), ("optional", c.c_uint32), ("absent", c.c_int32)]


class Info(c.Structure):  # the beginning of spcc_info; later fields are not used here
    _fields_ = [("size", c.c_uint32), ("abi", c.c_uint32), ("name", c.c_char_p),
                ("digest", c.c_uint64), ("inputs", c.POINTER(Tensor)),
                ("outputs", c.POINTER(Tensor)), ("input_count", c.c_uint32),
                ("output_count", c.c_uint32), ("max_batch", c.c_int32),
                ("max_sequence", c.c_int32)]


class Call(c.Structure):
    _fields_ = [("size", c.c_uint32), ("cpu", c.c_uint32), ("model", c.c_uint64),
                ("batch", c.c_int32), ("sequence", c.c_int32), ("lengths", c.c_void_p),
                ("inputs", c.POINTER(c.c_void_p)), ("outputs", c.POINTER(c.c_void_p)),
                ("state", c.c_void_p), ("in_bytes", c.POINTER(c.c_size_t)),
                ("out_bytes", c.POINTER(c.c_size_t)), ("weights", c.c_void_p),
                ("weights_bytes", c.c_size_t), ("workspace", c.c_void_p),
                ("workspace_bytes", c.c_size_t), ("exec", c.c_void_p)]


class Model:
    """A compiled model in a shared object; model(input_ids=array, ...) gives its outputs by name."""

    def __init__(self, path):
        self.library = c.CDLL(path)
        self.library.spcc_model.restype = c.POINTER(Info)
        self.info = self.library.spcc_model().contents
        name = self.info.name.decode()
        self.run = self.library[name + "_run"]
        self.workspace = self.library[name + "_workspace"]
        self.workspace.restype = c.c_size_t
        self.workspace.argtypes = [c.c_int32, c.c_int32, c.c_uint32]

    def __call__(self, **inputs):
        batch, sequence = next(iter(inputs.values())).shape[:2]
        given = [inputs.pop(t.name.decode(), None) for t in self.info.inputs[:self.info.input_count]]
        if inputs:
            raise ValueError(f"the model has no input {sorted(inputs)[0]}")
        given = [None if a is None else np.ascontiguousarray(a, DTYPES[t.dtype])
                 for a, t in zip(given, self.info.inputs)]
        sizes = {BATCH: batch, SEQUENCE: sequence}
        results = {t.name.decode(): np.empty([sizes.get(d, d) for d in t.dim[:t.rank]], np.float32)
                   for t in self.info.outputs[:self.info.output_count]}
        self.call(batch, sequence, given, list(results.values()))
        return results

    def call(self, batch, sequence, given, results):
        size = self.workspace(batch, sequence, 1)
        memory = np.empty(size + 63, np.uint8)
        pointers = lambda a: (c.c_void_p * len(a))(*[None if x is None else x.ctypes.data for x in a])
        lengths = lambda a: (c.c_size_t * len(a))(*[0 if x is None else x.nbytes for x in a])
        call = Call(size=c.sizeof(Call), model=self.info.digest, batch=batch, sequence=sequence,
                    inputs=pointers(given), in_bytes=lengths(given),
                    outputs=pointers(results), out_bytes=lengths(results),
                    workspace=-(-memory.ctypes.data // 64) * 64, workspace_bytes=size)
        status = self.run(c.byref(call))
        if status != 0:
            raise RuntimeError(f"{self.info.name.decode()}_run returned status {status}")


class Tokenizer:
    def __init__(self, path):
        with open(path, encoding="utf-8") as f:
            self.ids = {token.rstrip("\n"): i for i, token in enumerate(f)}

    def words(self, text):
        text = unicodedata.normalize("NFD", text.lower())
        spaced = ""
        for char in text:
            kind = unicodedata.category(char)
            symbol = char.isascii() and not char.isalnum() and not char.isspace()
            if kind[0] == "P" or symbol or "\u4e00" <= char <= "\u9fff":
                spaced += f" {char} "
            elif kind != "Mn" and (kind[0] != "C" or char.isspace()):
                spaced += char
        return spaced.split()

    def pieces(self, word):
        found, begin = [], 0
        while begin < len(word):
            for end in range(len(word), begin, -1):
                token = ("##" if begin else "") + word[begin:end]
                if token in self.ids:
                    break
            else:
                return [self.ids["[UNK]"]]
            found.append(self.ids[token])
            begin = end
        return found

    def __call__(self, text, limit):
        ids = [i for word in self.words(text) for i in self.pieces(word)]
        return [self.ids["[CLS]"], *ids[:limit - 2], self.ids["[SEP]"]]


def embed(model, tokenizer, sentences):
    """[len(sentences), hidden]: the mean of the states of a sentence's tokens, of length 1."""
    rows = [tokenizer(s, model.info.max_sequence) for s in sentences]
    means = []
    for begin in range(0, len(rows), model.info.max_batch):
        part = rows[begin:begin + model.info.max_batch]
        ids = np.zeros([len(part), max(map(len, part))], np.int32)
        mask = np.zeros_like(ids)
        for i, row in enumerate(part):
            ids[i, :len(row)], mask[i, :len(row)] = row, 1
        states = model(input_ids=ids, attention_mask=mask)["last_hidden_state"]
        means.append((states * mask[..., None]).sum(1) / mask.sum(1, keepdims=True))
    means = np.concatenate(means)
    return means / np.linalg.norm(means, axis=1, keepdims=True)


def main():
    if len(sys.argv) < 5:
        sys.exit('usage: embed.py MODEL.so vocab.txt "sentence" "sentence" ...')
    sentences = sys.argv[3:]
    model = Model(sys.argv[1] if "/" in sys.argv[1] else "./" + sys.argv[1])
    vectors = embed(model, Tokenizer(sys.argv[2]), sentences)
    for a in range(len(sentences)):
        for b in range(a + 1, len(sentences)):
            print(f"{vectors[a] @ vectors[b]:6.3f}  {sentences[a]} | {sentences[b]}")


if __name__ == "__main__":
    main()
