#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures rows on our side (bench_serve) and on PyTorch's (peer_torch.py) in turn.

    compare.py --build DIR [--rows REGEX] [--rounds N] [--seconds S] [--all] [--compile]
               [--best] [--priority] [--json | --markdown] [--save FILE] [--strict]
    compare.py --load FILE [--load FILE]...     the table of what was saved; later files win

bench/compare.sh builds and calls it. Both processes live through the whole run and one of them is
always stopped, so that its waiting threads take no core from the other. Each row: ours writes what
went in and came out, the peer does the same on it and says how far its results are; every
configuration of either side has a turn, the fastest of each is then measured, ours and the peer's
alternating, and medians over the rounds are shown. A round's time is the median of its runs, or
the best with --best: where other programs want the cores, a median says more about them. With
--priority they get none during a turn, which a busy machine needs for figures worth reading (and
--seconds 0.05, so that they do not wait for long). What has to be reached is in bench/marks.json;
--all measures rows without a mark, too.
"""
import argparse
import contextlib
import json
import math
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import compare_table as table

HERE = os.path.dirname(os.path.abspath(__file__))
AGREE = 1e-4            # the largest difference over the largest value, unless said here:
AGREE_ROWS = {          # optimisers divide by a gradient's size, which nearly cancelled sums lack
    "step ": 1e-3,
}
# A run longer than this is not repeated more often than needed.
LONG_MS, LONG_ROUNDS = 1000, 3
# Rows whose memory is measured, in processes of their own.
MEMORY = ("infonce symmetric N16384 D128", "infonce symmetric N65536 D128",
          "attention n1 h6 T4096 d64 full", "step simclr convnet 32-64-128 28px b256",
          "step simclr resnet18 32px b128", "step simclr resnet50 32px b64",
          "step simclr vit-tiny/4 32px b64", "step text transformer w256 d4 T64 b128",
          "step bert cross-encoder w384 d6 T128 b32", "step gru T64 256 b128")
START = "start to end of first step"
# The scores alone would be 17 GB: only we run it.
NO_PEER = re.compile(r"N65536 ")
# Rows whose peer is another library: without it, ours alone is measured.
OTHER_PEERS = {"log-mel ": "librosa", "views 32x32x3 (crop, flip, Rand": "torchvision",
               "views 96": "pillow"}
# Views per second and core of Pillow 13 on another machine, where it is not installed.
STATED_VIEWS = {"views 28x28 grey (crop, flip, jit": 12800, "views 32x32x3 (crop, flip, jit": 4550}


class Side:
    """One of the two processes: lines of requests, answers in JSON. Stopped unless it answers."""

    def __init__(self, name, command, environment):
        self.name = name
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, env=environment)
        self.stop()

    def signal(self, number):
        if self.process.poll() is None:
            self.process.send_signal(number)

    def stop(self):
        """Returns when it stands still."""
        self.signal(signal.SIGSTOP)
        while self.process.poll() is None and self.state() not in "Tt":
            time.sleep(1e-4)

    def state(self):
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as stat:
            return stat.read().rpartition(")")[2].split()[0]

    def schedule(self, policy):
        """For all threads; those that they start inherit it."""
        priority = os.sched_param(os.sched_get_priority_min(policy))
        for thread in os.listdir(f"/proc/{self.process.pid}/task"):
            os.sched_setscheduler(int(thread), policy, priority)

    def ask(self, *parts, first=False):
        """The answer; first: before all other programs on this machine."""
        if first:
            self.schedule(os.SCHED_RR)
        self.signal(signal.SIGCONT)
        try:
            self.process.stdin.write("\t".join(map(str, parts)) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            sys.exit(f"compare: {self.name} ended at the request {' '.join(map(str, parts))}")
        self.stop()
        if first:
            self.schedule(os.SCHED_OTHER)
        return json.loads(line)

    def close(self):
        self.signal(signal.SIGCONT)
        self.process.stdin.close()
        self.process.wait()


class Failed(Exception):
    """A side could not do a row."""


def succeeded(answer, name):
    if "error" in answer:
        raise Failed(f"{name}: {answer['error']}")
    return answer


class Comparison:
    def __init__(self, options, path):
        self.options, self.path, load = options, path, os.getloadavg()[0]
        ours = os.path.join(options.build, "bench", "bench_serve")
        peer = [sys.executable, os.path.join(HERE, "peer_torch.py"), "--threads",
                str(options.threads)] + (["--compile"] if options.compile else [])
        environment = dict(os.environ, OMP_NUM_THREADS=str(options.threads))
        self.environment, self.commands = environment, {"ours": [ours], "peer": peer}
        self.sides = {"ours": Side("bench_serve", [ours], environment)}
        self.sides["peer"] = Side("peer_torch.py", peer, environment)
        self.ways = {}          # (side, row): (its fastest configuration, ms)
        self.shared = None      # the row whose arrays lie in the file now
        theirs = self.ask("peer", "machine")
        self.machine = self.measure_now("ours", "machine") | {
            k: theirs[k] for k in ("torch", "pillow", "torchvision", "librosa")}
        self.machine |= {"cpu": cpu_name(), "date": time.strftime("%Y-%m-%d"),
                         "best": options.best, "load": load, "priority": options.priority}

    def ask(self, side, *request):
        return succeeded(self.sides[side].ask(*request), side)

    def turn(self, side, config, seconds):
        """ms of a run."""
        return self.turn_and_peak(side, config, seconds)[0]

    def turn_and_peak(self, side, config, seconds):
        """ms of a run, and ours of multiply-adds the peak in GFLOP/s at the clock it ran at."""
        answer = self.measure_now(side, "time", config, seconds)
        return answer["best" if self.options.best else "ms"], answer.get("gflops", 0)

    def measure_now(self, side, *request):
        return succeeded(self.sides[side].ask(*request, first=self.options.priority), side)

    def close(self):
        for side in self.sides.values():
            side.close()

    def names(self):
        timed = self.ask("ours", "list")["rows"]
        return timed + [f"memory {row}" for row in MEMORY] + [START]

    # ---- one row ---------------------------------------------------------------------------------

    def measure(self, name):
        """The row, with its error if a side could not do it."""
        row, start = {"row": name}, time.perf_counter()
        try:
            if name == START:
                self.start(row)
            elif name.startswith("memory "):
                self.memory(row, name.removeprefix("memory "))
            else:
                self.time(row, name)
        except Failed as error:
            row["error"] = str(error)
        row["took"] = time.perf_counter() - start
        return row

    def time(self, row, name):
        opened = {"ours": self.open_ours(name)}
        row.update({k: opened["ours"][k] for k in ("work", "flops", "bytes", "divide")})
        self.open_peer(row, opened, name, self.path if opened["ours"]["shared"] else "")
        ways = {side: self.fastest(side, name, answer["configs"])
                for side, answer in opened.items()}
        self.rounds(row, ways)
        row["work"] /= row["divide"]
        row["floor"] = floor_ms(row, self.machine)
        if row.get("peer"):
            row["ratio"] = row["peer"] / row["ours"]

    def open_ours(self, name):
        """Our answer to `open`; the file has the arrays of this row afterwards."""
        self.shared = None
        opened = self.ask("ours", "open", name, self.path)
        self.shared = name
        return opened

    def open_peer(self, row, opened, name, path):
        """The peer's answer to `open` into opened["peer"], unless it can not do this row."""
        if NO_PEER.search(name):
            return
        stated = next((v for k, v in STATED_VIEWS.items() if name.startswith(k)), None)
        if stated and not self.machine.get("pillow"):
            row["peer"], row["config"] = 1e3 / stated, "Pillow, as stated"
            return
        if any(name.startswith(k) and not self.machine.get(v) for k, v in OTHER_PEERS.items()):
            return
        opened["peer"] = self.ask("peer", "open", name, path)
        if "differences" in opened["peer"]:
            row["differences"] = opened["peer"]["differences"]
            limit = next((v for k, v in AGREE_ROWS.items() if name.startswith(k)), AGREE)
            row["agrees"] = all(d <= limit for d in row["differences"].values())

    def fastest(self, side, name, configs):
        """The configuration of the open row to measure, and how long a run takes."""
        if (side, name) not in self.ways:
            self.ways[side, name] = self.try_all(side, configs)
        return self.ways[side, name]

    def try_all(self, side, configs):
        seconds = self.options.seconds / max(1, len(configs))
        for c in configs:
            if "compiled" in c:     # while it is first called
                self.ask(side, "time", c, 0)
        tried = {c: self.turn(side, c, seconds) for c in configs or [""]}
        # The first run of all warms caches and pools, and should not decide against its own.
        first = next(iter(tried))
        if len(tried) > 1 and tried[first] < LONG_MS:
            tried[first] = min(tried[first], self.turn(side, first, seconds))
        best = min(tried, key=tried.get)
        return best, tried[best]

    def rounds(self, row, ways):
        longest = max(ms * row["divide"] for _, ms in ways.values())
        rounds = self.options.rounds
        if longest > LONG_MS:
            rounds = min(rounds, LONG_ROUNDS)
        turns, peaks = {side: [] for side in ways}, []
        for _ in range(rounds):
            for side, (config, _) in ways.items():
                ms, peak = self.turn_and_peak(side, config, self.options.seconds)
                turns[side].append(ms)
                if peak:
                    peaks.append(peak)
                    highest = self.measure_now("ours", "peak")["gflops"]
                    self.machine["gflops"] = max(self.machine["gflops"], highest)
        for side, times in turns.items():
            row[side] = statistics.median(times)
            row[side + "_turns"] = times
        row["our_config"] = ways["ours"][0]
        row.setdefault("config", ways.get("peer", ("",))[0])
        if peaks:
            row["peak"] = peak = statistics.median(peaks)
            row["of_peak"] = row["work"] / row["divide"] / row["ours"] * 1e-6 / peak

    # ---- rows that are processes -----------------------------------------------------------------

    def run(self, side, *arguments):
        """What a process of its own prints."""
        done = subprocess.run(self.commands[side] + list(arguments), env=self.environment,
                              stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            raise Failed(f"{side}: the process ended with {done.returncode}")
        return done.stdout

    def memory(self, row, name):
        row["mb"] = self.resident("ours", name)
        if not NO_PEER.search(name):
            if self.shared != name:
                self.open_ours(name)
            row["peer_mb"] = self.resident("peer", name, self.path)
            row["config"] = self.ways.get(("peer", name), ("",))[0]
        row["our_config"] = self.ways.get(("ours", name), ("",))[0]

    def resident(self, side, name, *path):
        """MB of a process of its own, in the configuration that was the fastest; the first where
        the row was not timed."""
        config = self.ways.get((side, name), ("",))[0]
        return json.loads(self.run(side, "--memory", name, config, *path))["mb"]

    def start(self, row):
        commands = {"ours": [os.path.join(self.options.build, "bench", "bench_start")],
                    "peer": self.commands["peer"] + ["--first-step"]}
        turns = {side: [] for side in commands}
        for _ in range(max(3, self.options.rounds)):
            for side, command in commands.items():
                start = time.perf_counter()
                subprocess.run(command, env=self.environment, check=True)
                turns[side].append(1e3 * (time.perf_counter() - start))
        row.update({side: statistics.median(times) for side, times in turns.items()})
        row["ratio"] = row["peer"] / row["ours"]


# ---- helpers -------------------------------------------------------------------------------------

@contextlib.contextmanager
def shared_file():
    """The name of a file for arrays, in memory where that is possible."""
    folder = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="ak_compare_", dir=folder) as name:
        yield os.path.join(name, "shared.npz")


def cpu_name():
    with contextlib.suppress(OSError):
        with open("/proc/cpuinfo", encoding="utf-8") as info:
            for line in info:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    return "unknown processor"


def bandwidth(machine, megabytes):
    """GB/s for so many bytes. Measured is a += s b, two arrays of the size that a figure is listed
    under; between the first two the logarithm decides. More bytes than that get the second figure,
    too: as long as they belong to several passes, a part of them is found in the last cache."""
    (small, fast), (large, slow), *_ = sorted(
        (2 * float(mb), gbs) for mb, gbs in machine["bandwidth"].items())
    share = math.log(max(megabytes, small) / small) / math.log(large / small)
    return fast + min(share, 1) * (slow - fast)


def floor_ms(row, machine):
    """The least time for the operations and the bytes, of one of the things in a run."""
    compute = row["flops"] / (machine["gflops"] * 1e6)
    move = row["bytes"] / (bandwidth(machine, row["bytes"] / 1e6) * 1e6) if row["bytes"] else 0
    return max(compute, move) / row["divide"] or None


def wanted(names, marks, options):
    """The rows to measure, in the order of the marks."""
    groups = table.group_rows([{"row": name} for name in names], marks)
    pattern = re.compile(options.rows or "")
    return [r["row"] for group, rows in groups for r in rows
            if pattern.search(r["row"]) and (group["rows"] or options.all)]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build-bench", help="build folder (build-bench)")
    parser.add_argument("--load", action="append", metavar="FILE",
                        help="what --save wrote, instead of measuring")
    parser.add_argument("--rows", metavar="REGEX", help="only rows whose name fits")
    parser.add_argument("--rounds", type=int, default=5, help="of ours and theirs (5)")
    parser.add_argument("--seconds", type=float, default=0.15, help="of a side in a round (0.15)")
    parser.add_argument("--threads", type=int, default=2, help="of each side (2)")
    parser.add_argument("--all", action="store_true", help="rows without a mark, too")
    parser.add_argument("--list", action="store_true", help="names of the rows, nothing measured")
    parser.add_argument("--compile", action="store_true",
                        help="PyTorch's steps also compiled (minutes)")
    parser.add_argument("--best", action="store_true",
                        help="the best run of a round, not the median: for a busy machine")
    parser.add_argument("--priority", action="store_true",
                        help="take both cores from other programs during a turn (as root)")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true")
    form.add_argument("--markdown", action="store_true")
    parser.add_argument("--save", metavar="FILE", help="everything measured, as JSON")
    parser.add_argument("--strict", action="store_true", help="fail if a row is below its mark")
    return parser.parse_args()


def progress(row):
    """A line a row while the table is not there yet."""
    shown = row.get("error") or (f"{table.amount_text(row, 'ours')} against "
                                 f"{table.amount_text(row, 'peer')}: {table.ratio_text(row)}")
    print(f"{row['row']}: {shown} ({row['took']:.1f} s)", file=sys.stderr, flush=True)


def measured(options, marks):
    with shared_file() as path, contextlib.closing(Comparison(options, path)) as comparison:
        names = wanted(comparison.names(), marks, options)
        if options.list:
            print("\n".join(names))
            return None
        if not names:
            sys.exit("compare: no row fits; --list shows them, --all those without a mark")
        rows = []
        for name in names:
            rows.append(comparison.measure(name))
            progress(rows[-1])
        return {"machine": comparison.machine, "rows": rows}


def loaded(paths):
    """Saved runs as one: the newest figure of a row, the highest peak."""
    runs = []
    for path in paths:
        with open(path, encoding="utf-8") as file:
            runs.append(json.load(file))
    machine = dict(runs[-1]["machine"], gflops=max(r["machine"]["gflops"] for r in runs))
    return {"machine": machine,
            "rows": list({row["row"]: row for r in runs for row in r["rows"]}.values())}


def main():
    options = arguments()
    # Leave no stopped process behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("compare: told to end"))
    marks = table.load_marks(os.path.join(HERE, "marks.json"))
    run = loaded(options.load) if options.load else measured(options, marks)
    if not run:
        return 0
    if options.save:
        with open(options.save, "w", encoding="utf-8") as file:
            json.dump(run, file, indent=1)
    if options.json:
        print(json.dumps(table.with_verdicts(run, marks), indent=1))
    else:
        print((table.as_markdown if options.markdown else table.as_text)(run, marks))
    return 1 if options.strict and not table.all_met(run, marks) else 0


if __name__ == "__main__":
    sys.exit(main())
