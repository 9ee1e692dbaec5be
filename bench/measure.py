"""Processes of engines, and rounds in which they take turns."""

import contextlib
import json
import os
import selectors
import signal
import statistics
import subprocess
import time

import engines

HOSTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "hosts")
# A turn begins with a run that isn't timed, unless a run is so long that cold caches don't matter.
LONG_RUN_NS = 300_000_000
# An engine whose first run takes longer is not run again.
TOO_LONG_NS = 60_000_000_000
ANSWER_SECONDS = 1800
RT_PRIORITY = 50
# Linux stops real-time threads for the rest of a second of which they took 95 %: turns are followed
# by a rest of this share, so that it never has to.
RT_REST = 0.2


class EngineFailed(Exception):
    """The engine's process ended, or answers no more."""


def set_realtime(thread, priority):
    """Children start at normal priority again."""
    policy = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
    os.sched_setscheduler(thread, policy, os.sched_param(priority))


@contextlib.contextmanager
def above_engines(realtime):
    """This process has to be heard between the turns of engines that run at real-time priority."""
    if realtime:
        set_realtime(0, RT_PRIORITY + 1)
    try:
        yield
    finally:
        if realtime:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def last_words(path):
    """The last line of a log that says something."""
    with open(path, errors="replace") as file:
        lines = [line.strip() for line in file if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"


class Process:
    """One engine's process. It is stopped (SIGSTOP) when it isn't its turn: threads of engines
    that spin while they wait would take the cores from the others."""

    def __init__(self, python, host, job, log, environment):
        self.log = log
        job_path = log + ".json"
        with open(job_path, "w") as file:
            json.dump(job, file)
        with open(log, "w") as errors:
            self.popen = subprocess.Popen(
                [python, os.path.join(HOSTS, host + ".py"), job_path],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
                env=environment,
            )
        self.started = time.monotonic()

    def read(self):
        """The next answer."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.popen.stdout, selectors.EVENT_READ)
            if not selector.select(ANSWER_SECONDS):
                raise EngineFailed(f"no answer in {ANSWER_SECONDS} s")
        line = self.popen.stdout.readline()
        if not line:
            code = self.popen.wait()
            raise EngineFailed(f"ended with status {code}: {last_words(self.log)}")
        return json.loads(line)

    def ask(self, line):
        try:
            self.popen.stdin.write(line + "\n")
            self.popen.stdin.flush()
        except BrokenPipeError:
            pass  # read() says why
        return self.read()

    def run(self, count):
        """The nanoseconds of `count` runs."""
        return self.ask(f"run {count}")["ns"]

    def pin(self, cores, realtime):
        """Keeps all threads to the cores; threads that start later inherit that."""
        for thread in map(int, os.listdir(f"/proc/{self.popen.pid}/task")):
            try:
                os.sched_setaffinity(thread, cores)
                if realtime:
                    set_realtime(thread, RT_PRIORITY)
            except ProcessLookupError:
                pass  # it ended meanwhile

    def pause(self):
        self.popen.send_signal(signal.SIGSTOP)

    def resume(self):
        self.popen.send_signal(signal.SIGCONT)

    def close(self):
        """Ends it; a second call does nothing."""
        self.popen.kill()
        self.popen.wait()
        self.popen.stdin.close()
        self.popen.stdout.close()


class Probe:
    """The FMA rate of cores, and how far they are from each other; one process for each set of
    cores."""

    def __init__(self, path, realtime):
        self.path, self.realtime, self.processes = path, realtime, {}

    def look(self, cores):
        """GFLOP/s of the slowest, and the nanoseconds of a round trip between two (0 for one)."""
        key = tuple(sorted(cores))
        if key not in self.processes:
            self.processes[key] = subprocess.Popen(
                [self.path, *map(str, key)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                text=True,
            )
            if self.realtime:
                set_realtime(self.processes[key].pid, RT_PRIORITY)
        process = self.processes[key]
        process.stdin.write("\n")
        process.stdin.flush()
        rate, round_trip_ns = process.stdout.readline().split()
        return float(rate), float(round_trip_ns)

    def close(self):
        for process in self.processes.values():
            process.stdin.close()
            process.wait()


def cores_for(threads):
    """The last cores that we may use: the first ones serve most interrupts."""
    usable = sorted(os.sched_getaffinity(0))
    return set(usable[-threads:]) if threads <= len(usable) else set(usable)


class Turns:
    """Contestants that are ready: {key: (contestant, process)}, measured in rounds."""

    def __init__(self, ready, probe, turn_ms, realtime):
        self.ready, self.probe, self.realtime = ready, probe, realtime
        self.turn_ns = 1e6 * turn_ms
        self.estimate, self.failed = {}, {}
        self.first = {}  # of those too slow to be run again

    def attempt(self, key, work):
        """work(process, cores) while the process may run; a failure takes it out."""
        contestant, process = self.ready[key]
        try:
            process.resume()
            result = work(process, cores_for(contestant.threads))
            process.pause()
            return result
        except EngineFailed as error:
            self.failed[key] = str(error)
            del self.ready[key]
            return None

    def warm_up(self, key):
        """Runs once, and short runs for a turn; an engine that is too slow for rounds keeps that one
        run."""
        def work(process, cores):
            process.pin(cores, self.realtime)
            first = process.run(1)[0]
            if first > TOO_LONG_NS:
                self.first[key] = first
                return
            process.pin(cores, self.realtime)  # threads that the first run made
            short = first < LONG_RUN_NS
            self.estimate[key] = min(process.run(self.count(first))) if short else first

        self.attempt(key, work)

    def count(self, ns):
        return max(1, round(self.turn_ns / ns))

    def turn(self, key):
        def work(process, cores):
            estimate, start = self.estimate[key], time.monotonic()
            before = self.probe.look(cores)
            if estimate < LONG_RUN_NS:
                process.run(1)
            ns = process.run(self.count(estimate))
            self.estimate[key] = statistics.median(ns)
            after = self.probe.look(cores)
            if self.realtime:
                time.sleep(RT_REST * (time.monotonic() - start))
            rates, round_trips = zip(before, after)
            return {"ns": ns, "probe": rates, "round_trip_ns": round_trips}

        return self.attempt(key, work)

    def round(self):
        """One turn of every contestant."""
        turns = {}
        for key in list(self.estimate):
            if key in self.ready:
                turns[key] = self.turn(key)
        return {key: turn for key, turn in turns.items() if turn}


def start(contestant, python, job, log):
    """The process of a contestant, loading."""
    engine = engines.BY_NAME[contestant.engine]
    return Process(python, engine.host, job, log, engines.environment(contestant))
