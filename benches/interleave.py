#!/usr/bin/env python3
"""Times long-lived workers in turn, so that a machine that drifts or is shared hits all of them alike.

usage: interleave.py SAMPLES NAME='COMMAND' NAME='COMMAND' ...      leading VAR=VALUE words of a command go into its environment

A worker prints `ready` once. For each line `go` on its standard input it does its work once and prints `SECONDS CHECKSUM`; `quit` ends it. The first
round warms up and is not counted. Every second round runs backwards. A sample during which other processes took more than a tenth of a core is
marked as disturbed; medians are of undisturbed samples if there are any. Printed for each worker: undisturbed and all samples, median, minimum, how
many times as fast as the first worker it is, the last checksum, and its peak memory.
Environment: FOREIGN is the share of a core others may take (0.10), MAXT ends the run after so many seconds (300)."""

import json
import os
import shlex
import statistics
import subprocess
import sys
import time

TICKS = os.sysconf("SC_CLK_TCK")
FOREIGN = float(os.environ.get("FOREIGN", "0.10"))
MAXT = float(os.environ.get("MAXT", "300"))


def machine_seconds():
    """CPU seconds used on the machine, those of waiting left out."""
    with open("/proc/stat") as file:
        fields = [int(field) for field in file.readline().split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / TICKS


class Worker:
    def __init__(self, argument):
        self.name, command = argument.split("=", 1)
        words, environment = shlex.split(command), dict(os.environ)
        while "=" in words[0]:
            key, value = words.pop(0).split("=", 1)
            environment[key] = value
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        self.clean, self.all, self.checksum = [], [], 0.0
        for line in self.process.stdout:
            if line.strip() == "ready":
                break
        else:
            sys.exit(f"{self.name} did not start")

    def cpu_seconds(self):
        with open(f"/proc/{self.process.pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def peak_mib(self):
        with open(f"/proc/{self.process.pid}/status") as file:
            return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmHWM"))

    def sample(self, count=True):
        machine, own, start = machine_seconds(), self.cpu_seconds(), time.time()
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().split()
        if len(answer) != 2:
            sys.exit(f"{self.name} ended")
        seconds, self.checksum = float(answer[0]), float(answer[1])
        others = machine_seconds() - machine - (self.cpu_seconds() - own)
        if count:
            self.all.append(seconds)
            if others / max(time.time() - start, 1e-3) < FOREIGN:
                self.clean.append(seconds)


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    wanted, workers = int(sys.argv[1]), []
    for argument in sys.argv[2:]:
        workers.append(Worker(argument))
        workers[-1].sample(count=False)
    start, forwards = time.time(), True
    while time.time() - start < MAXT and any(len(worker.clean) < wanted for worker in workers):
        for worker in workers if forwards else workers[::-1]:
            if len(worker.clean) < wanted:
                worker.sample()
        forwards = not forwards
    first = None
    for worker in workers:
        median = statistics.median(worker.clean or worker.all)
        first = first or median
        print(
            f"{worker.name:24s} undisturbed {len(worker.clean)}/{len(worker.all)}  median {median:.4f} s  min {min(worker.all):.4f} s  "
            f"{first / median:.2f} x  checksum {worker.checksum:.4f}  peak {worker.peak_mib():.0f} MiB",
            flush=True,
        )
        worker.process.stdin.write("quit\n")
        worker.process.stdin.flush()
    if path := os.environ.get("JSON"):
        with open(path, "w") as file:
            json.dump({worker.name: {"undisturbed": worker.clean, "all": worker.all} for worker in workers}, file, indent=1)


main()
