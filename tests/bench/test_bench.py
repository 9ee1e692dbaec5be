"""The parts of bench/ that only compute: statistics, cells, tables, and the protocol with a host
that this file brings along."""

import json
import os
import sys
import tempfile
import unittest

BENCH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../bench")
sys.path.insert(0, BENCH)
import bench
import cells
import engines
import measure
import report
import stats


def turn(*ns, probe=(100, 100)):
    return {"ns": list(ns), "probe": list(probe)}


class Statistics(unittest.TestCase):
    def test_slow_turns_are_marked_by_the_probe(self):
        rounds = [{"a": turn(1), "b": turn(1, probe=(100, 89))}, {"a": turn(1), "b": turn(1)}]
        self.assertEqual(stats.mark_slow(rounds), 100)
        self.assertEqual([t["b"]["slow"] for t in rounds], [True, False])
        self.assertFalse(rounds[0]["a"]["slow"])

    def test_a_rate_at_the_limit_is_not_slow(self):
        rounds = [{"a": turn(1, probe=(90, 100)), "b": turn(1)}]
        stats.mark_slow(rounds)
        self.assertFalse(rounds[0]["a"]["slow"])

    def test_no_rounds(self):
        self.assertEqual(stats.mark_slow([]), 0)
        self.assertIsNone(stats.latency([], "a"))
        self.assertIsNone(stats.ratio([], "a", "b"))

    def test_latency_leaves_slow_turns_out(self):
        rounds = [{"a": turn(2e6, 4e6)}, {"a": turn(9e6, probe=(50, 50))}, {"a": turn(3e6)}]
        stats.mark_slow(rounds)
        at = stats.latency(rounds, "a")
        self.assertEqual((at["median"], at["min"], at["p90"], at["runs"]), (3, 2, 4, 3))

    def test_all_slow_are_used_all_the_same(self):
        rounds = [{"a": dict(turn(5e6), slow=True)}]
        self.assertEqual(stats.latency(rounds, "a")["median"], 5)

    def test_p90_is_nearest_rank(self):
        rounds = [{"a": turn(*(i * 1e6 for i in range(1, 11)))}]
        self.assertEqual(stats.latency(rounds, "a")["p90"], 9)

    def test_ratio_is_the_median_of_ratios_of_rounds(self):
        # A machine that is three times slower in one round changes no ratio.
        rounds = [{"a": turn(20), "b": turn(10)}, {"a": turn(60), "b": turn(30)},
                  {"a": turn(22), "b": turn(10)}, {"a": turn(7)}]
        self.assertEqual(stats.ratio(rounds, "a", "b"), 2)

    def test_ratio_leaves_rounds_with_a_slow_side_out(self):
        rounds = [{"a": turn(20), "b": turn(10)}, {"a": turn(90), "b": dict(turn(10), slow=True)}]
        self.assertEqual(stats.ratio(rounds, "a", "b"), 2)

    def test_fit(self):
        slope, intercept, r2 = stats.fit_line([(0, 1), (1, 3), (2, 5)])
        self.assertAlmostEqual(slope, 2)
        self.assertAlmostEqual(intercept, 1)
        self.assertAlmostEqual(r2, 1)
        self.assertLess(stats.fit_line([(0, 0), (1, 1), (2, 0), (3, 1)])[2], 0.5)
        self.assertIsNone(stats.fit_line([(1, 2), (1, 3)]))


class Cells(unittest.TestCase):
    def test_matrix_has_every_case_with_every_engine(self):
        got = cells.matrix(["torch", "spcc"], ["base", "minilm"], ["dense", "2:4"], [32, 128], [1],
                           [1, 2], "native")
        self.assertEqual(len(got), 16)
        self.assertEqual(len({cell.name for cell in got}), 16)
        self.assertEqual([c.engine for c in got[0].contestants], ["torch", "spcc"])

    def test_512_tokens_are_for_spcc_alone(self):
        paths = [f"--{name}-path=." for name in ("spcc", "runtime", "probe", "venvs", "cache")]
        usual = ["--models=base", "--patterns=dense", "--batches=1", "--threads=1", *paths]

        def of(*more):
            got = bench.list_cells(bench.parse_arguments([*usual, *more]))
            return [(cell.contestants[0].sequence, [c.engine for c in cell.contestants])
                    for cell in got]

        both = ["torch", "spcc"]
        self.assertEqual(of("--engines=torch,spcc"),
                         [(32, both), (128, both), (384, both), (512, ["spcc"])])
        self.assertEqual(of("--engines=torch,spcc", "--sequences=512"), [(512, both)])
        self.assertEqual(of("--engines=torch"), [(n, ["torch"]) for n in (32, 128, 384)])

    def test_axes_differ_in_one_thing(self):
        got = cells.axes(cells.matrix(["spcc"], ["base"], ["dense"], [32, 128, 384], [1, 8], [1, 2], "native"))
        found = [(c.contestants[0].sequence, c.contestants[0].batch, c.contestants[0].threads) for c in got]
        self.assertEqual(sorted(found), [(32, 1, 1), (128, 1, 1), (128, 1, 2), (128, 8, 1), (384, 1, 1)])

    def test_lengths_cover_1_to_160_beside_multiples_of_16(self):
        groups = [[c.sequence for c in cell.contestants] for cell in cells.length_sweep("native")]
        self.assertEqual(sorted(sum(groups, [])), list(range(1, 161)))
        self.assertTrue(all(group[-1] % 16 == 0 for group in groups))

    def test_threads_sweep_ends_at_all_cores(self):
        (cell,) = cells.threads_sweep(["spcc"], "native", 6)
        self.assertEqual([c.threads for c in cell.contestants], [1, 2, 4, 6])

    def test_environment_is_ours(self):
        os.environ["OPENBLAS_CORETYPE"] = "Haswell"
        os.environ["MKL_NUM_THREADS"] = "64"
        c = cells.Contestant("torch", "base", "dense", threads=2, isa="x86-64-v3")
        variables = engines.environment(c)
        self.assertNotIn("OPENBLAS_CORETYPE", variables)
        self.assertEqual(variables["MKL_NUM_THREADS"], "2")
        self.assertEqual(variables["ATEN_CPU_CAPABILITY"], "avx2")
        self.assertNotIn("ATEN_CPU_CAPABILITY",
                         engines.environment(cells.Contestant("torch", "base", "dense")))


def record(engine, status="ok", **more):
    c = cells.Contestant(engine, "base", "dense")
    return {"engine": engine, "model": "base", "pattern": "dense", "batch": 1, "sequence": 128,
            "threads": 1, "isa": "native", "key": c.key, "restricted": True, "status": status,
            "version": "1", "settings": "none"} | more


def results():
    torch, spcc = record("torch"), record("spcc", differs=True, largest_difference=0.5)
    gone = record("iree", "missing", reason="no wheel")
    late = record("tensorflow", "slow", reason="one run alone", ns=61e9)
    rounds = [{torch["key"]: turn(10e6), spcc["key"]: turn(20e6)}]
    cell = {"kind": "matrix", "name": "base dense", "contestants": [torch, spcc, gone, late],
            "rounds": rounds}
    return {"spcc": "spcc 1", "commit": "abc", "started": "2026-01-02T03:04:05", "command": ["x"],
            "machine": {"cpu": "C", "family_model_stepping": ["1", "2", "3"], "cores": 2,
                        "memory_gb": 4, "flags": []}, "settings": {}, "cells": [cell]}


class Resume(unittest.TestCase):
    def resume(self, **now):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "results.json")
            bench.write_results(path, results())
            with open(path) as file:
                self.assertEqual(json.load(file), results())
            machine = results()["machine"] | now
            return bench.earlier_results(path, {"machine": machine})

    def test_results_of_this_machine_are_gone_on_with(self):
        self.assertEqual(len(self.resume(cores=1)["cells"]), 1)
        self.assertEqual(self.resume(cores=1)["machine"]["cores"], 2)
        self.assertEqual(self.resume(cores=4)["machine"]["cores"], 4)

    def test_results_of_another_machine_are_refused(self):
        with self.assertRaises(SystemExit) as ended:
            self.resume(cpu="D")
        self.assertIn("of another machine (C)", str(ended.exception))


class Tables(unittest.TestCase):
    def setUp(self):
        self.text = report.markdown(results(), [])

    def test_times_in_the_order_of_engines(self):
        self.assertIn("| ms | torch | tensorflow | iree | spcc |", self.text)
        self.assertIn("| dense | 10.0 | 61000 | missing | 20.0 † |", self.text)

    def test_the_way_between_cores_has_a_column(self):
        self.assertNotIn("core to core", self.text)
        got = results()
        for turns in got["cells"][0]["rounds"]:
            for at, one in zip((90, 370), turns.values()):
                one["round_trip_ns"] = [at, at]
        text = report.markdown(got, [])
        self.assertIn("| ms | torch | tensorflow | iree | spcc | core to core, ns |", text)
        self.assertIn("| dense | 10.0 | 61000 | missing | 20.0 † | 230 |", text)
        for turns in got["cells"][0]["rounds"]:
            for one in turns.values():
                one["round_trip_ns"] = [0, 0]
        self.assertNotIn("core to core", report.markdown(got, []))

    def test_ratios_are_of_spcc(self):
        self.assertIn("| dense | 0.50x |  |  |", self.text)

    def test_losses_and_missing_engines_are_listed(self):
        self.assertIn("torch takes 0.50 of spcc's time", self.text)
        self.assertIn("iree base dense s128 b1 t1: missing: no wheel", self.text)
        self.assertIn("differs from the reference by 0.5", self.text)

    def test_cells_are_in_the_order_of_the_matrix(self):
        got = results()
        for pattern, batch in (("2:4", 8), ("dense", 8), ("2:4", 1)):
            c = record("spcc", pattern=pattern, batch=batch)
            got["cells"].append({"kind": "matrix", "name": "", "contestants": [c], "rounds": []})
        text = report.markdown(got, [])
        titles = [line for line in text.splitlines() if ", batch " in line]
        self.assertEqual([t.split(", ")[2] for t in titles], ["batch 1", "batch 8"])
        second = text[text.index("batch 8"):]
        self.assertLess(second.index("| dense"), second.index("| 2:4"))

    def test_all_commits_are_named(self):
        got = results()
        got["cells"].append(dict(got["cells"][0], commit="def"))
        self.assertIn("commit abc, def.", report.markdown(got, []))

    def test_fit_is_per_percent_of_non_zeros(self):
        records, rounds = [], {}
        for sparsity, ms in (("0.5", 60), ("0.9", 20)):
            c = cells.Contestant("spcc", "base", f"4x1@{sparsity}")
            records.append(record("spcc", key=c.key, pattern=c.pattern))
            rounds[c.key] = turn(ms * 1e6)
        cell = {"kind": "density", "name": "", "contestants": records, "rounds": [rounds]}
        (line,) = report.fit_lines({"cells": [cell]})
        self.assertIn("1.000 ms for each percent of non-zeros, 10.00 ms without any", line)

    def test_an_empty_list_says_so(self):
        other = results()
        other["cells"][0]["contestants"] = [record("spcc")]
        text = report.markdown(other, [])
        self.assertIn("Nowhere.", text)
        self.assertIn("None.", text)


HOST = """
import host
def load(job):
    if job["mode"] == "missing":
        raise host.Missing("no such thing")
    print("noise of a library")
    def run():
        if job["mode"] == "dies":
            raise ValueError("out of luck")
        return 1
    return {"version": "7"}, run, lambda y: y
host.serve(load)
"""


class Protocol(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        with open(os.path.join(self.folder.name, "fake.py"), "w") as file:
            file.write(HOST)
        self.hosts, measure.HOSTS = measure.HOSTS, self.folder.name
        self.addCleanup(setattr, measure, "HOSTS", self.hosts)

    def start(self, mode):
        environment = {"PYTHONPATH": self.hosts, "PATH": os.environ["PATH"]}
        process = measure.Process(sys.executable, "fake", {"mode": mode},
                                  os.path.join(self.folder.name, "log"), environment)
        self.addCleanup(process.close)
        return process

    def test_runs_are_timed(self):
        process = self.start("good")
        self.assertEqual(process.read(), {"ready": {"version": "7"}})
        times = process.run(3)
        self.assertEqual(len(times), 3)
        self.assertTrue(all(ns > 0 for ns in times))

    def test_a_paused_process_goes_on(self):
        process = self.start("good")
        process.read()
        process.pause()
        process.resume()
        self.assertEqual(len(process.run(1)), 1)

    def test_missing_has_its_reason(self):
        self.assertEqual(self.start("missing").read(), {"missing": "no such thing"})

    def test_a_dead_engine_is_a_failure_with_its_last_words(self):
        process = self.start("dies")
        process.read()
        with self.assertRaisesRegex(measure.EngineFailed, "ValueError: out of luck"):
            process.run(1)


if __name__ == "__main__":
    unittest.main()
