"""What it costs to start: CPU time and wall time of whole commands, beside bare Python.

    python tests/bench/bench_start.py [ROUNDS]

The rows are run in turn, ROUNDS times (default 15), and medians are printed with their ratio to
the first row. The python that runs this must have runstate-abi installed, and not editable: an
editable install puts a finder of 15 ms into every start.
"""

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

RUNSTATE = str(Path(sys.executable).with_name("runstate"))
AREA = str(Path(__file__).parents[1] / "data" / "pages" / "xen417_busy.elfcore")
COMMANDS = {
    "python -I -c pass": [sys.executable, "-I", "-c", "pass"],
    "import argparse": [sys.executable, "-I", "-c", "import argparse"],
    "import construct": [sys.executable, "-I", "-c", "import construct"],
    "runstate --help (goal: 3)": [RUNSTATE, "--help"],
    "runstate show (goal: 6)": [RUNSTATE, "show"],
    "runstate check": [RUNSTATE, "check"],
    "runstate hexdump (goal: 5)": [RUNSTATE, "hexdump", AREA, "--gpa", "0x175f4ba0"],
}


def cost(command: list[str]) -> tuple[float, float]:
    """Run a command once and return its CPU time and wall time in ms."""
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, _, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - begin
    return (usage.ru_utime + usage.ru_stime) * 1e3, wall * 1e3


def main(rounds: int) -> None:
    """Run every command in turn and print the medians."""
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
    for _ in range(rounds):
        for name, command in COMMANDS.items():
            samples[name].append(cost(command))
    base = statistics.median(cpu for cpu, _ in next(iter(samples.values())))
    print(f"{'command':<28} {'CPU ms':>8} {'wall ms':>8} {'x bare':>7}")
    for name, pairs in samples.items():
        cpu, wall = (statistics.median(values) for values in zip(*pairs, strict=True))
        print(f"{name:<28} {cpu:8.1f} {wall:8.1f} {cpu / base:7.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
