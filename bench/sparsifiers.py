"""How fast the sparsifiers are beside PyTorch, NumPy and a plain copy of memory, in one run.

Run it through scripts/bench_sparsifiers.sh. docs/benchmarks.md says how it measures."""

import argparse
import ctypes
import dataclasses
import datetime
import json
import os
import statistics
import sys
import tempfile
import time

import numpy
import torch

import accuracy
import bench
import libspo
import prune_speed

WEIGHTS, COLS = 84_934_656, 3072  # as many as BERT-base's linears have
LAYER = {"rows": 768, "cols": 3072, "tokens": 16384}
CALIBRATED = ("unstructured", "0.7")
# Before each turn: threads of PyTorch's pool spin for milliseconds after their work and would hold
# the cores of whoever is next.
REST_SECONDS = 0.03


@dataclasses.dataclass
class Ratio:
    """factor * seconds of `other` / seconds of `ours`, and what it should be at least."""
    what: str
    other: str
    ours: str
    wanted: float = None
    factor: float = 1


@dataclasses.dataclass
class Case:
    """Contenders are functions; one that takes times itself returns {name: seconds}."""
    name: str
    contenders: dict
    ratios: list
    rounds: int


def one_round(contenders):
    seconds = {}
    for name, run in contenders.items():
        time.sleep(REST_SECONDS)
        start = time.perf_counter()
        result = run()
        seconds.update(result if isinstance(result, dict) else {name: time.perf_counter() - start})
    return seconds


# ---- cases ----

def copy_of(weights):
    other = torch.empty_like(weights)
    return lambda: other.copy_(weights)


def update_case(spo, weights, rounds):
    """Bytes of a weight: a copy moves 8, the fused step 28 (w, g, m, v read; w, m, v written)."""
    count = weights.numel()
    gradient = torch.randn(count) * 0.1
    state = [weights.clone(), gradient, torch.zeros(count), torch.zeros(count)]
    tensors = libspo.Tensors(*(t.data_ptr() for t in state))
    parameter = torch.nn.Parameter(weights.clone())
    parameter.grad = gradient
    adamw = torch.optim.AdamW([parameter], lr=1e-3, fused=True)

    def torch_step():
        adamw.step()
        with torch.no_grad():
            torch._C._nn.softshrink(parameter.data, 1e-6, out=parameter.data)

    contenders = {"copy": copy_of(weights), "PyTorch": torch_step}
    ratios = []
    for penalty, name in enumerate(("l1", "reweighted l1")):
        for metric, of in enumerate(("identity", "Adam's metric")):
            ours = f"{name}, {of}"
            step = libspo.shrinking_step(spo, penalty, metric, tensors, count // COLS, COLS)
            contenders[ours] = lambda step=step, state=state: step()
            ratios.append(Ratio(f"{ours}: share of copy bandwidth", "copy", ours, 0.8, 28 / 8))
            if name == "l1":
                ratios.append(Ratio(f"{ours}: PyTorch's fused AdamW, then softshrink in place",
                                    "PyTorch", ours, 1.2))
    return Case("AdamW fused with shrinkage", contenders, ratios, rounds)


def projection_case(spo, weights, rounds):
    """Bytes of a weight: a copy moves 8, the projection 5 (score read, mask written)."""
    mask = torch.empty(weights.numel(), dtype=torch.uint8)
    goal = libspo.Goal(spo.pattern("2:4"), -1.0)

    def project():
        spo("spo_project", ctypes.byref(goal), b"weights", ctypes.c_void_p(weights.data_ptr()),
            ctypes.c_size_t(weights.numel() // COLS), ctypes.c_size_t(COLS),
            ctypes.c_void_p(mask.data_ptr()), spo.pool)

    return Case("Projection to 2:4", {"copy": copy_of(weights), "libspo": project},
                [Ratio("share of copy bandwidth", "copy", "libspo", 0.5, 5 / 8)], rounds)


def selection_case(spo, name, weights, rounds):
    """The tenth of largest magnitude. libspo leaves a mask, torch.topk values and indices, NumPy
    an array with the tenth at its end; in place, it works in an array that is there already."""
    count, k = weights.numel(), weights.numel() // 10
    keep, scratch = torch.empty(count, dtype=torch.uint8), numpy.empty(count, numpy.float32)
    span = libspo.Span(b"weights", weights.data_ptr(), keep.data_ptr(), count)
    numbers = weights.numpy()

    def in_place():
        numpy.abs(numbers, out=scratch)
        scratch.partition(count - k)

    return Case(f"Selection, {name}", {
        "libspo": lambda keep=keep: spo("spo_select_scores", ctypes.byref(span), ctypes.c_size_t(1),
                                        ctypes.c_uint64(k), spo.pool),
        "torch.topk": lambda: torch.topk(weights.abs(), k, sorted=False),
        "numpy.partition": lambda: numpy.partition(numpy.abs(numbers), count - k),
        "numpy in place": in_place,
    }, [Ratio("torch.topk", "torch.topk", "libspo", 5),
        Ratio("numpy.partition", "numpy.partition", "libspo", 3),
        Ratio("ndarray.partition in place", "numpy in place", "libspo")], rounds)


def sparsegpt_case(probe, threads, rounds):
    layer = argparse.Namespace(probe=probe, threads=threads, **LAYER)

    def parts(side, run):
        gram, prune = run(layer)
        return {side: gram + prune, f"{side}, H": gram, f"{side}, pruning": prune}

    return Case("SparseGPT of {rows}x{cols}, {tokens} tokens".format(**LAYER), {
        "libspo": lambda: parts("libspo", prune_speed.time_libspo),
        "PyTorch": lambda: parts("PyTorch", prune_speed.time_torch),
    }, [Ratio("the published algorithm in PyTorch", "PyTorch", "libspo", 1),
        Ratio("its H alone", "PyTorch, H", "libspo, H"),
        Ratio("its pruning alone", "PyTorch, pruning", "libspo, pruning")], rounds)


def cases(a, lib, threads):
    """One after the other: what a case holds in memory is free again before the next."""
    spo = libspo.Spo(lib, threads)
    weights = torch.randn(WEIGHTS) * 0.05
    yield update_case(spo, weights, a.rounds)
    yield projection_case(spo, weights, a.rounds)
    few = max(a.rounds // 2, 3)
    yield selection_case(spo, "normal weights", weights, few)
    yield selection_case(spo, "half of them zero", weights * (torch.rand(WEIGHTS) < 0.5), few)
    yield selection_case(spo, "of few values", (weights * 640).round() / 640, few)
    yield sparsegpt_case(os.path.join(a.build, "prune_probe"), threads, few)


def prune_minilm(a, threads):
    """Seconds of `spcc prune` by SparseLLM."""
    pattern, sparsity = CALIBRATED
    with tempfile.TemporaryDirectory() as work:
        model, sentences = os.path.join(work, "model.yaml"), os.path.join(work, "sentences.txt")
        accuracy.write_yaml(model, a.model)
        with open(sentences, "w", encoding="utf-8") as file:
            file.write("\n".join(accuracy.sentences(a.reviews)[:accuracy.CALIBRATION]) + "\n")
        start = time.perf_counter()
        accuracy.run(os.path.join(a.build, "spcc"), "prune", model, "--method=sparsellm",
                     f"--pattern={pattern}", f"--sparsity={sparsity}", f"--sentences={sentences}",
                     f"-j{threads}", "-o", os.path.join(work, "pruned"))
        return time.perf_counter() - start


# ---- what comes out ----

def measure(case, threads):
    one_round(case.contenders)  # loads kernels and touches memory
    return {"case": case.name, "threads": threads,
            "ratios": [dataclasses.asdict(r) for r in case.ratios],
            "rounds": [one_round(case.contenders) for _ in range(case.rounds)]}


def summary(result, ratio):
    """Median, lowest and highest of the rounds' ratios, and the median seconds of both."""
    def seconds(name):
        return [r[name] for r in result["rounds"]]
    ratios = [ratio["factor"] * other / ours
              for other, ours in zip(seconds(ratio["other"]), seconds(ratio["ours"]))]
    return (statistics.median(ratios), min(ratios), max(ratios),
            statistics.median(seconds(ratio["ours"])), statistics.median(seconds(ratio["other"])))


def row(result, ratio):
    median, low, high, ours, other = summary(result, ratio)
    wanted = "" if ratio["wanted"] is None else f"{ratio['wanted']:g}"
    return (f"| {ratio['what']} | {result['threads']} | {median:.2f} | {low:.2f} to {high:.2f} | "
            f"{wanted} | {ours * 1e3:.1f} | {other * 1e3:.1f} |")


def page(results):
    machine = results["machine"]
    text = [f"# Speed of the sparsifiers: {results['started'][:10]}", "",
            f"Written by `{' '.join(results['command'])}`; [how it is measured]"
            "(../benchmarks.md#the-sparsifiers).", "",
            f"{machine['cpu']} (family, model, stepping "
            f"{', '.join(machine['family_model_stepping'])}), {machine['cores']} cores, "
            f"{machine['memory_gb']} GB; {results['spcc']}, commit {results['commit']}; PyTorch "
            f"{results['torch']}, NumPy {results['numpy']}. {WEIGHTS:,} weights unless said "
            "otherwise. A ratio is the time of what is named over libspo's, or the share of the "
            "bytes a second of a copy by PyTorch: the median of the rounds, and the lowest and "
            "the highest of them."]
    for name in dict.fromkeys(r["case"] for r in results["cases"]):
        text += ["", f"## {name}",
                 "| ratio to | threads | median | rounds | wanted | libspo, ms | other, ms |",
                 "| --- |" + " ---: |" * 6]
        of_case = [r for r in results["cases"] if r["case"] == name]
        for i in range(len(of_case[0]["ratios"])):
            text += [row(result, result["ratios"][i]) for result in of_case]
    for pruning in results["sparsellm"]:
        text += ["", "## SparseLLM of all of all-MiniLM-L6-v2",
                 f"`spcc prune --method=sparsellm -j{pruning['threads']}`, {' '.join(CALIBRATED)}, "
                 f"{accuracy.CALIBRATION} sentences of movie reviews: {pruning['seconds']:.1f} s "
                 "(wanted: at most 180 s on two threads)."]
    return "\n".join(text) + "\n"


def new_results(a):
    return {
        "spcc": bench.tool_output(os.path.join(a.build, "spcc"), "--version").splitlines()[0],
        "commit": bench.tool_output("git", "rev-parse", "--short=12", "HEAD"),
        "started": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "command": ["sh", "scripts/bench_sparsifiers.sh", *a.words],
        "machine": bench.describe_machine(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "cases": [],
        "sparsellm": [],
    }


def parse_arguments(words):
    cores = len(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(prog="scripts/bench_sparsifiers.sh",
                                     description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--threads", type=bench.words(kind=int), default=sorted({1, min(2, cores)}))
    add("--rounds", type=int, default=9, help="of the quick cases (default 9); the others have half as many")
    add("--only", default="", help="cases whose names contain this")
    add("--no-sparsellm", action="store_true", help="leave out the pruning of a whole model")
    add("--out", default=os.path.join(bench.ROOT, "docs/benchmarks"))
    for name in ("build", "model", "reviews"):
        add(f"--{name}-path", required=True, dest=name, help=argparse.SUPPRESS)
    a = parser.parse_args(words)
    a.words = [w for w in words if not w.split("=")[0].endswith("-path")]
    return a


def main():
    a = parse_arguments(sys.argv[1:])
    torch.manual_seed(0)
    torch.set_grad_enabled(False)
    results = new_results(a)
    with tempfile.TemporaryDirectory() as folder:
        lib = libspo.link(os.path.join(a.build, "libspo.a"), folder)
    for threads in a.threads:
        torch.set_num_threads(threads)
        for case in cases(a, lib, threads):
            if a.only.lower() not in case.name.lower():
                continue
            result = measure(case, threads)
            results["cases"].append(result)
            print("\n".join([f"== {case.name}"] + [row(result, r) for r in result["ratios"]]),
                  flush=True)
    if not a.no_sparsellm:
        threads = max(a.threads)
        results["sparsellm"].append({"threads": threads, "seconds": prune_minilm(a, threads)})
    if a.only and not results["cases"]:
        sys.exit(f"no case has '{a.only}' in its name")
    os.makedirs(a.out, exist_ok=True)
    path = os.path.join(a.out, "sparsifiers")
    with open(path + ".json", "w") as file:
        json.dump(results, file)
        file.write("\n")
    with open(path + ".md", "w") as file:
        file.write(page(results))
    print(f"wrote {path}.md and {path}.json")


if __name__ == "__main__":
    main()
