"""What the pytest plugin costs a project that does not use it.

    python tests/bench/bench_plugin.py [ROUNDS]

`pytest` on one empty test with the plugin and with `-p no:runstate`, in turn, ROUNDS times (default
15): medians of CPU and wall time, in one run.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
COMMANDS = {"without": [*PYTEST, "-p", "no:runstate"], "with": PYTEST}


def cost(command: list[str], folder: str) -> tuple[float, float]:
    """Run a command once and return its CPU time and wall time in ms."""
    begin = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, stdout=-3, stderr=-3)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return (usage.ru_utime + usage.ru_stime) * 1e3, (time.perf_counter() - begin) * 1e3


def main(rounds: int) -> None:
    """Run both in turn and print the medians."""
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "test_nothing.py").write_text("def test_nothing(): pass\n")
        for number in range(rounds + 1):
            for name, command in COMMANDS.items():
                taken = cost(command, folder)
                samples[name] += [taken] if number else []
    base = statistics.median(cpu for cpu, _ in samples["without"])
    print(f"{'the plugin':<12}{'CPU ms':>8}{'wall ms':>9}{'ratio of CPU':>14}")
    for name, pairs in samples.items():
        cpu, wall = (statistics.median(values) for values in zip(*pairs, strict=True))
        print(f"{name:<12}{cpu:>8.1f}{wall:>9.1f}{cpu / base:>14.3f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
