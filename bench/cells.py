"""What is measured: contestants, and the cells in which they take turns."""

import dataclasses

PATTERNS = [
    "dense",
    *(f"unstructured@{s}" for s in ("0.5", "0.8", "0.9", "0.95")),
    *(f"{b}@{s}" for b in ("4x1", "16x16") for s in ("0.8", "0.9", "0.95")),
    "2:4",
    "2:4x4",
]
MODELS = ["base", "minilm"]
SEQUENCES = [32, 128, 384]
LONGEST = 512  # of spcc alone: what BERT's positions allow
# Of the figures: the share of zeros in 4x1 blocks, and all lengths in groups of 16.
DENSITY_SWEEP = ["0.5", "0.6", "0.7", "0.8", "0.85", "0.9", "0.95", "0.98"]
LENGTH_SWEEP = range(1, 161)
SWEEP_PATTERN = "4x1@0.9"


@dataclasses.dataclass(frozen=True)
class Contestant:
    engine: str
    model: str
    pattern: str
    batch: int = 1
    sequence: int = 128
    threads: int = 1
    isa: str = "native"

    @property
    def key(self):
        return f"{self.engine} {case_name(self)}"


def case_name(c):
    isa = "" if c.isa == "native" else f" {c.isa}"
    return f"{c.model} {c.pattern} s{c.sequence} b{c.batch} t{c.threads}{isa}"


def order(c):
    """Of a contestant, for sorting: its place in the matrix. Patterns of no matrix come last."""
    known = PATTERNS.index(c.pattern) if c.pattern in PATTERNS else len(PATTERNS)
    return (MODELS.index(c.model), c.isa, c.threads, c.sequence, c.batch, known)


@dataclasses.dataclass(frozen=True)
class Cell:
    """Contestants that are measured in turns; kind is matrix or the name of a sweep."""

    kind: str
    name: str
    contestants: tuple


def matrix(engines, models, patterns, sequences, batches, threads, isa):
    """One cell for each case, with all engines."""
    cells = []
    for model in models:
        for n in threads:
            for sequence in sequences:
                for batch in batches:
                    for pattern in patterns:
                        case = Contestant("", model, pattern, batch, sequence, n, isa)
                        all_engines = [dataclasses.replace(case, engine=e) for e in engines]
                        cells.append(Cell("matrix", case_name(case), tuple(all_engines)))
    return cells


def axes(matrix_cells):
    """Of the cells of a matrix those that differ from sequence 128, batch 1, one thread in one thing
    at most: its axes."""
    usual = Contestant("", "", "")

    def differences(cell):
        c = cell.contestants[0]
        return sum(getattr(c, name) != getattr(usual, name)
                   for name in ("sequence", "batch", "threads"))

    return [cell for cell in matrix_cells if differences(cell) <= 1]


def density_sweep(engines, isa):
    """Time against non-zeros: those of the engines that skip zeros."""
    of = [e for e in ("spcc", "deepsparse") if e in engines]
    contestants = [
        Contestant(e, "base", f"4x1@{s}", isa=isa) for e in of for s in DENSITY_SWEEP
    ]
    return [Cell("density", "density: base 4x1", tuple(contestants))]


def threads_sweep(engines, isa, cores):
    """Strong scaling: 1, 2, 4 … threads, and all cores."""
    counts = sorted({1 << i for i in range(10) if 1 << i <= cores} | {cores})
    contestants = [
        Contestant(e, "base", SWEEP_PATTERN, threads=n, isa=isa) for e in engines for n in counts
    ]
    return [Cell("threads", f"threads: base {SWEEP_PATTERN}", tuple(contestants))]


def length_sweep(isa):
    """Every length beside the next multiple of 16, spcc alone."""
    cells = []
    for last in LENGTH_SWEEP[15::16]:
        group = tuple(
            Contestant("spcc", "base", SWEEP_PATTERN, sequence=n, isa=isa)
            for n in range(last - 15, last + 1)
        )
        cells.append(Cell("length", f"length: base {SWEEP_PATTERN} to {last}", group))
    return cells
