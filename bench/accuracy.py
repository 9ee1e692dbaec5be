"""How far pruning moves the sentence embeddings of all-MiniLM-L6-v2, method by method.

    accuracy.py --spcc build/spcc --model FOLDER --reviews FILE.tsv --out docs/accuracy.md

Calibration sentences and those that are compared are different ones. An embedding is the mean of the
last hidden states of a sentence's tokens, as the model is meant to be used; the measure is the cosine
between those of the dense and of the pruned model, which are both compiled and run by spcc.

A method may carry options: --methods sparsegpt,sparsellm:closing=false:epochs=2. What the page has
from its first heading of the second level on is kept.
"""
import argparse
import datetime
import os
import subprocess
import tempfile
import time

import numpy as np
import tokenizers

METHODS = ["magnitude", "wanda", "sparsegpt", "sparsellm"]
CASES = [("unstructured", "0.5"), ("unstructured", "0.6"), ("unstructured", "0.7"),
         ("unstructured", "0.8"), ("2:4", None)]
CALIBRATION, COMPARED, LONGEST = 512, 500, 128  # sentences, sentences, tokens


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    for name in ("spcc", "model", "reviews", "out"):
        add("--" + name, required=True)
    add("--methods", default=",".join(METHODS))
    add("--cases", default=",".join(p + ("@" + s if s else "") for p, s in CASES))
    add("--calibrate-from", type=int, default=0, help="the first of the calibration sentences")
    add("--threads", type=int, default=len(os.sched_getaffinity(0)))
    return parser.parse_args()


def sentences(path):
    """Texts in their order, each once."""
    with open(path, encoding="utf-8") as file:
        texts = [line.rstrip("\r\n").split("\t", 2)[2] for line in file if line.strip()]
    return list(dict.fromkeys(texts))


def token_arrays(folder, texts):
    """int32 [sentences, tokens]: ids, and 1 where there is one."""
    tokenizer = tokenizers.BertWordPieceTokenizer(os.path.join(folder, "vocab.txt"), lowercase=True)
    tokenizer.enable_truncation(LONGEST)
    rows = [e.ids for e in tokenizer.encode_batch(texts)]
    width = max(map(len, rows))
    ids = np.zeros((len(rows), width), np.int32)
    for row, found in zip(ids, rows):
        row[:len(found)] = found
    return ids, (ids != 0).astype(np.int32)


def run(*command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise SystemExit(f"error: {' '.join(command)}\n{done.stdout[-2000:]}")
    return done.stdout


def write_yaml(path, folder):
    with open(path, "w") as file:
        file.write(f"spcc: 1\nmodel: {{huggingface: {os.path.abspath(folder)}}}\n"
                   "inputs: [input_ids, attention_mask]\noutputs: [last_hidden_state]\n"
                   f"max_batch: {COMPARED}\nmax_sequence: {LONGEST}\n")


def embeddings(spcc, yaml, work, mask):
    """f32 [sentences, hidden], each of length 1."""
    shared, output = os.path.join(work, "model.so"), os.path.join(work, "hidden.npy")
    run(spcc, yaml, "--emit=shared", "-march=native", "-o", shared)
    run(spcc, "run", shared, "-i", f"input_ids={work}/ids.npy",
        "-i", f"attention_mask={work}/mask.npy", "-o", f"last_hidden_state={output}")
    weight = mask[:, :, None].astype(np.float64)
    mean = (np.load(output) * weight).sum(1) / weight.sum(1)
    return mean / np.linalg.norm(mean, axis=1, keepdims=True)


def write_recipe(path, method, case):
    name, *options = method.split(":")
    pattern, _, sparsity = case.partition("@")
    keys = [f"method: {name}", f"pattern: {pattern}"] + ([f"sparsity: {sparsity}"] if sparsity else [])
    keys += [option.replace("=", ": ") for option in options]
    with open(path, "w") as file:
        file.write("spcc: 1\nrecipe:\n  - " + "\n    ".join(keys) + "\n")


def measure(a, work, yaml, dense, mask, method, case):
    """The cosines of all sentences, and the seconds of pruning."""
    folder, recipe = os.path.join(work, "pruned"), os.path.join(work, "recipe.yaml")
    write_recipe(recipe, method, case)
    command = [a.spcc, "prune", yaml, f"--recipe={recipe}", "-o", folder]
    if method != "magnitude":
        command += [f"--sentences={work}/calibration.txt", f"-j{a.threads}"]
    start = time.monotonic()
    run(*command)
    seconds = time.monotonic() - start
    pruned = os.path.join(work, "pruned.yaml")
    write_yaml(pruned, folder)
    return (dense * embeddings(a.spcc, pruned, work, mask)).sum(1), seconds


def table(title, methods, cases, cell):
    lines = [f"| {title} | " + " | ".join(methods) + " |", "| --- |" + " ---: |" * len(methods)]
    for case in cases:
        lines.append(f"| {case} | " + " | ".join(cell(case, m) for m in methods) + " |")
    return "\n".join(lines)


def gain(found, case, method, methods):
    """What a method has over the one before it, sentence by sentence, and the standard error of that."""
    before = found[case, methods[methods.index(method) - 1]][0]
    d = found[case, method][0] - before
    return f"{d.mean():+.4f} ± {d.std() / len(d) ** 0.5:.4f}"


def findings(path):
    """What is written by hand at the end of the page."""
    if not os.path.exists(path):
        return ""
    with open(path) as file:
        _, heading, rest = file.read().partition("\n## ")
    return heading + rest


PAGE = """# What pruning costs

Written by `sh scripts/accuracy.sh` on {date}. The model is all-MiniLM-L6-v2. Its {matrices}
are pruned in one shot, without any training after it, with {calibration} sentences of movie reviews to
calibrate; {compared} other sentences are then embedded by the dense model and by the pruned one, and the
cosine between the two embeddings of a sentence says how far it moved (1: not at all).

{cosines}

Each figure is the mean over the sentences and, behind it, the standard deviation. `2:4` keeps 2 of 4
consecutive inputs of each output. Random sentences of this set have a mean cosine of {unrelated:.2f} to each
other in the dense model: a model at that figure has lost what it knew.

What each method has over the one on its left, sentence by sentence, with the standard error of the mean:

{gains}

Seconds of `spcc prune -j {threads}`:

{seconds}

High sparsity needs training during or after pruning; one-shot methods are for where that is not possible.
"""


def main():
    a = arguments()
    methods, cases = a.methods.split(","), a.cases.split(",")
    texts = sentences(a.reviews)
    compared = texts[CALIBRATION:CALIBRATION + COMPARED]
    if 0 < a.calibrate_from < CALIBRATION + COMPARED:
        raise SystemExit(f"error: sentences before {CALIBRATION + COMPARED} are compared; begin there")
    with tempfile.TemporaryDirectory() as work:
        with open(os.path.join(work, "calibration.txt"), "w", encoding="utf-8") as file:
            first = a.calibrate_from
            file.write("\n".join(texts[first:first + CALIBRATION]) + "\n")
        ids, mask = token_arrays(a.model, compared)
        np.save(os.path.join(work, "ids.npy"), ids)
        np.save(os.path.join(work, "mask.npy"), mask)
        yaml = os.path.join(work, "dense.yaml")
        write_yaml(yaml, a.model)
        dense = embeddings(a.spcc, yaml, work, mask)
        found = {}
        for case in cases:
            for method in methods:
                found[case, method] = measure(a, work, yaml, dense, mask, method, case)
                cosine, seconds = found[case, method]
                print(f"{case:18s} {method:10s} cosine {cosine.mean():.4f}  {seconds:.1f} s", flush=True)
    among = dense @ dense.T
    page = PAGE.format(
        date=datetime.date.today(), calibration=CALIBRATION, compared=COMPARED, threads=a.threads,
        matrices="36 matrices of the encoder",
        unrelated=(among.sum() - len(dense)) / (len(dense) * (len(dense) - 1)),
        cosines=table("cosine", methods, cases,
                      lambda c, m: f"{found[c, m][0].mean():.4f} ± {found[c, m][0].std():.3f}"),
        gains=table("gain", methods[1:], cases, lambda c, m: gain(found, c, m, methods)),
        seconds=table("s", methods, cases, lambda c, m: f"{found[c, m][1]:.1f}"))
    page += findings(a.out)
    with open(a.out, "w") as file:
        file.write(page)
    print("wrote", a.out)


if __name__ == "__main__":
    main()
