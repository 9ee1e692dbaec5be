"""Tables and figures of results."""

import dataclasses
import os

import cells
import engines
import stats

ENGINE_ORDER = [engine.name for engine in engines.ENGINES]


def of_kind(results, kind):
    return [cell for cell in results["cells"] if cell["kind"] == kind]


def median_ms(cell, record):
    """Milliseconds, or None when it did not run."""
    at = stats.latency(cell["rounds"], record["key"])
    if at:
        return at["median"]
    return record["ns"] / 1e6 if "ns" in record else None


# ---- tables ----

def number(ms):
    return f"{ms:.0f}" if ms >= 100 else f"{ms:.1f}" if ms >= 10 else f"{ms:.2f}"


def entry(cell, record):
    ms = median_ms(cell, record)
    if ms is None:
        return record["status"]
    marks = ("" if not record.get("differs") else " †") + ("" if record["restricted"] else " ‡")
    return number(ms) + marks


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "| --- |" + " ---: |" * (len(header) - 1)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def first(cell):
    """The cell's first contestant; in a matrix its case is that of all."""
    names = [field.name for field in dataclasses.fields(cells.Contestant)]
    return cells.Contestant(**{name: cell["contestants"][0][name] for name in names})


def group_name(c):
    model = {"base": "BERT-base shapes", "minilm": "all-MiniLM-L6-v2"}[c.model]
    threads = "1 thread" if c.threads == 1 else f"{c.threads} threads"
    isa = "" if c.isa == "native" else f", {c.isa}"
    return f"{model}, sequence {c.sequence}, batch {c.batch}, {threads}{isa}"


def groups(matrix):
    """{title: cells} in the order of a whole matrix, however the cells were measured."""
    found = {}
    for cell in sorted(matrix, key=lambda cell: cells.order(first(cell))):
        found.setdefault(group_name(first(cell)), []).append(cell)
    return found


def engines_of(cell_list):
    present = {r["engine"] for cell in cell_list for r in cell["contestants"]}
    return [name for name in ENGINE_ORDER if name in present]


def times_table(cell_list):
    names = engines_of(cell_list)
    trips = [stats.round_trip(cell["rounds"]) for cell in cell_list]
    rows = []
    for cell, trip in zip(cell_list, trips):
        by_name = {r["engine"]: r for r in cell["contestants"]}
        rows.append([first(cell).pattern,
                     *(entry(cell, by_name[n]) if n in by_name else "" for n in names)])
        if any(trips):
            rows[-1].append(f"{trip:.0f}" if trip else "")
    return table(["ms", *names, *(["core to core, ns"] if any(trips) else [])], rows)


def ratios_table(cell_list):
    """How many times the engine's time is that of spcc."""
    names = [n for n in engines_of(cell_list) if n != "spcc"]
    rows = []
    for cell in cell_list:
        by_name = {r["engine"]: r for r in cell["contestants"]}
        row = [first(cell).pattern]
        for name in names:
            value = (name in by_name and "spcc" in by_name and
                     stats.ratio(cell["rounds"], by_name[name]["key"], by_name["spcc"]["key"]))
            row.append(f"{value:.2f}x" if value else "")
        rows.append(row)
    return table(["time / spcc", *names], rows)


def losses(matrix):
    """Lines for the cells in which another engine is faster than spcc."""
    lines = []
    for cell in matrix:
        ours = next((r for r in cell["contestants"] if r["engine"] == "spcc"), None)
        for r in cell["contestants"]:
            value = (ours and r["engine"] not in engines.OURS and
                     stats.ratio(cell["rounds"], r["key"], ours["key"]))
            if value and value < 1:
                mark = "" if r["restricted"] else " ‡"
                lines.append(f"- {cell['name']}: {r['engine']}{mark} takes {value:.2f} of spcc's "
                             "time")
    return lines


def oddities(results):
    """Lines for engines that are missing, failed, or compute something else."""
    lines = []
    for cell in results["cells"]:
        for r in cell["contestants"]:
            if r["status"] != "ok":
                lines.append(f"- {r['key']}: {r['status']}: {r['reason']}")
            elif r.get("differs"):
                lines.append(f"- {r['key']}: differs from the reference by "
                             f"{r['largest_difference']:.3g}")
    return lines


def settings_table(results):
    seen = {}
    for cell in results["cells"]:
        for r in cell["contestants"]:
            if r["status"] == "ok":
                seen.setdefault(r["engine"], r)
    rows = [[n, str(seen[n].get("version", "")), str(seen[n].get("isa_used", "")),
             seen[n].get("settings", "")] for n in ENGINE_ORDER if n in seen]
    lines = ["| engine | version | ISA | settings |", "| --- | --- | --- | --- |"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def commits(results):
    """All that the cells are of: with --resume there may be several."""
    return list(dict.fromkeys(cell.get("commit", results["commit"]) for cell in results["cells"]))


def slow_turns(results):
    turns = [t for cell in results["cells"] for one in cell["rounds"] for t in one.values()]
    return sum(bool(t.get("slow")) for t in turns), len(turns)


def section(title, lines, none):
    return [f"## {title}", *(lines or [none]), ""]


def fit_lines(results):
    """Time against the share of non-zeros, with R²."""
    lines = []
    for cell in of_kind(results, "density"):
        for name in engines_of([cell]):
            points = density_points(cell, name)
            fit = stats.fit_line(points)
            if fit:
                lines.append(f"- {name}: {fit[0]:.3f} ms for each percent of non-zeros, "
                             f"{fit[1]:.2f} ms without any, R² {fit[2]:.4f}")
    return lines


def scaling_lines(results):
    lines = []
    for cell in of_kind(results, "threads"):
        for name in engines_of([cell]):
            records = sorted((r for r in cell["contestants"] if r["engine"] == name),
                             key=lambda r: r["threads"])
            for r in records[1:]:
                value = stats.ratio(cell["rounds"], records[0]["key"], r["key"])
                if value:
                    lines.append(f"- {name}: {r['threads']} threads are {value:.2f} times as fast "
                                 f"as one")
    return lines


def cliff_lines(results):
    """The largest time at n tokens over the time at the next multiple of 16."""
    worst = None
    for cell in of_kind(results, "length"):
        records = sorted(cell["contestants"], key=lambda r: r["sequence"])
        for r in records[:-1]:
            value = stats.ratio(cell["rounds"], r["key"], records[-1]["key"])
            if value and (worst is None or value > worst[0]):
                worst = value, r["sequence"], records[-1]["sequence"]
    if worst is None:
        return []
    return [f"- the worst length: {worst[1]} tokens take {worst[0]:.3f} of the time of {worst[2]}"]


def markdown(results, figures):
    machine, slow = results["machine"], slow_turns(results)
    text = [
        f"# Benchmark results: {results['started'][:10]}",
        "",
        "Written by `" + " ".join(results["command"]) + "`; "
        "[how it is measured](../benchmarks.md).",
        "",
        f"{machine['cpu']} (family, model, stepping "
        f"{', '.join(machine['family_model_stepping'])}), "
        f"{machine['cores']} cores, {machine['memory_gb']} GB; {results['spcc']}, "
        f"commit {', '.join(commits(results))}. Medians in milliseconds. {slow[0]} of {slow[1]} "
        "turns were slow by the FMA probe and are left out. † computes something else, ‡ uses "
        "more than the asked instruction set.",
        "",
    ]
    for title, cell_list in groups(of_kind(results, "matrix")).items():
        text += [f"## {title}", times_table(cell_list), "", ratios_table(cell_list), ""]
    for title, lines in (("Time against non-zeros", fit_lines(results)),
                         ("Threads", scaling_lines(results)), ("Lengths", cliff_lines(results))):
        if lines:
            text += section(title, lines, "")
    if of_kind(results, "matrix"):
        text += section("Where another engine is faster", losses(of_kind(results, "matrix")),
                        "Nowhere.")
    text += section("Missing, failed or different", oddities(results), "None.")
    text += ["## Engines", settings_table(results), ""]
    text += [f"![{name}]({name})" for name in figures]
    return "\n".join(text).rstrip() + "\n"


# ---- figures ----

def density_points(cell, name):
    """(percent of non-zeros, ms) of an engine."""
    points = []
    for r in cell["contestants"]:
        ms = median_ms(cell, r)
        if r["engine"] == name and ms is not None:
            points.append((100 * (1 - float(r["pattern"].split("@")[1])), ms))
    return sorted(points)


def draw_latency(plot, results):
    cell_list = next(iter(groups(of_kind(results, "matrix")).values()), None)
    if not cell_list:
        return False
    names = engines_of(cell_list)
    for i, name in enumerate(names):
        xs, ys = [], []
        for x, cell in enumerate(cell_list):
            ms = [median_ms(cell, r) for r in cell["contestants"] if r["engine"] == name]
            if ms and ms[0] is not None:
                xs.append(x + 0.8 * (i + 0.5) / len(names) - 0.4)
                ys.append(ms[0])
        plot.bar(xs, ys, 0.8 / len(names), label=name, color=f"C{i}")
    plot.set_yscale("log")
    plot.set_xticks(range(len(cell_list)),
                    [first(cell).pattern for cell in cell_list], rotation=30, ha="right")
    plot.set_ylabel("ms")
    plot.set_title(group_name(first(cell_list[0])))
    return True


def draw_density(plot, results):
    found = False
    for cell in of_kind(results, "density"):
        for i, name in enumerate(engines_of([cell])):
            points = density_points(cell, name)
            fit = stats.fit_line(points)
            if not fit:
                continue
            found = True
            plot.plot(*zip(*points), "o", color=f"C{i}", label=f"{name}, R² {fit[2]:.4f}")
            end = points[-1][0]
            plot.plot([0, end], [fit[1], fit[1] + fit[0] * end], color=f"C{i}", lw=1)
    plot.set_xlabel("non-zeros, %, in 4x1 blocks")
    plot.set_ylabel("ms")
    plot.set_ylim(bottom=0)
    return found


def draw_threads(plot, results):
    found = False
    for cell in of_kind(results, "threads"):
        for i, name in enumerate(engines_of([cell])):
            records = [r for r in cell["contestants"] if r["engine"] == name]
            points = [(r["threads"], median_ms(cell, r)) for r in records]
            points = [p for p in points if p[1] is not None]
            if points:
                found = True
                plot.plot(*zip(*sorted(points)), "o-", color=f"C{i}", label=name)
    plot.set_xscale("log", base=2)
    plot.set_yscale("log")
    plot.set_xlabel("threads")
    plot.set_ylabel("ms")
    return found


def draw_length(plot, results):
    points = sorted((r["sequence"], median_ms(cell, r)) for cell in of_kind(results, "length")
                    for r in cell["contestants"] if median_ms(cell, r) is not None)
    if not points:
        return False
    plot.plot(*zip(*points), ".-", label="spcc")
    plot.set_xlabel("tokens")
    plot.set_ylabel("ms")
    plot.set_ylim(bottom=0)
    return True


FIGURES = {"latency": draw_latency, "nonzeros": draw_density, "threads": draw_threads,
           "length": draw_length}


def write_figures(results, out, name):
    import matplotlib

    matplotlib.use("svg")
    # The same results give the same bytes.
    matplotlib.rcParams.update({"svg.hashsalt": "spcc", "svg.fonttype": "none"})
    import matplotlib.pyplot as pyplot

    written = []
    for figure_name, draw in FIGURES.items():
        figure, plot = pyplot.subplots(figsize=(9, 4.5), layout="constrained")
        if draw(plot, results):
            plot.grid(True, alpha=0.3)
            plot.legend(fontsize="small", ncols=2)
            written.append(f"{name}-{figure_name}.svg")
            figure.savefig(os.path.join(out, written[-1]), metadata={"Date": None})
        pyplot.close(figure)
    return written


def write(results, out, name):
    """Writes NAME.md and the figures that the results have data for; gives their paths."""
    figures = write_figures(results, out, name)
    path = os.path.join(out, name + ".md")
    with open(path, "w") as file:
        file.write(markdown(results, figures))
    return [path, *(os.path.join(out, figure) for figure in figures)]
