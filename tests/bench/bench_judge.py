"""How long judging a kernel takes, and in how much memory: the whole command, process by process.

    python tests/bench/bench_judge.py KVM_KO BTF [ROUNDS]

BTF is the kernel's raw BTF (the target is for that) or its vmlinux[z]. The peer is what the same
question costs without the judge: booting the kernel under emulation and asking it.
"""

import os
import subprocess
import sys
import time
from statistics import median

from runstate_abi.writer.rulebook.requests import everything, quick

# Measured for the fixtures in tests/data/kvm (November 2026, QEMU 7.2.22 TCG on two cores): seconds
# from power on to the last of the records, each one final state of one placement.
BOOT, BOOT_RECORDS = (7.0, 9.0), 888

WHOLE, QUICK = len(list(everything())), len(list(quick()))
# What is measured: name, arguments, how many updates, target in seconds and MB.
# fmt: off
RUNS = (
    ("start, --rules",   ["--rules"],       0,     None, None),
    ("quick",            ["--quick"],       QUICK, 0.5,  60),
    ("all, one process", [],                WHOLE, 4.0,  60),
    ("all, -j 2",        ["-j", "2"],       WHOLE, None, None),
)
# fmt: on


MAIN = "import sys; from runstate_abi.tools.cli import run; sys.argv[0] = 'runstate'; run()"


def once(arguments):
    """(wall s, CPU s with children, peak RSS in MB of the first process) of one command."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", MAIN, *arguments], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{arguments}: exit status {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def main(argv):
    if len(argv) < 2:
        raise SystemExit(__doc__)
    module, btf, rounds = argv[0], argv[1], int(argv[2]) if len(argv) > 2 else 3
    measured = {name: [] for name, *_ in RUNS}
    for _ in range(rounds):  # interleaved, so that a busy moment hits all
        for name, words, updates, *_ in RUNS:
            files = ["judge", module, "--btf", btf] if updates else ["judge"]
            measured[name].append(once([*files, *words]))
    print(f"{rounds} rounds, medians; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print(f"{'':18} {'wall s':>7} {'CPU s':>7} {'MB':>5} {'updates/s':>10}  target")
    for name, _, updates, seconds, megabytes in RUNS:
        wall, cpu, rss = (median(column) for column in zip(*measured[name], strict=True))
        rate = f"{updates / wall:10.0f}" if updates else f"{'':10}"
        target = f"< {seconds} s, < {megabytes} MB" if seconds else ""
        print(f"{name:18} {wall:7.2f} {cpu:7.2f} {rss:5.0f} {rate}  {target}")
    whole = median(row[0] for row in measured["all, one process"])
    print(
        f"{'booting it (peer)':18} {BOOT[0]:.0f} to {BOOT[1]:.0f}"
        + f"{'':16}{BOOT_RECORDS / BOOT[0]:10.0f}"
    )
    updates, records = WHOLE / whole, BOOT_RECORDS / BOOT[0]
    print(f"{updates / records:.0f} times the updates a second, and each one seen store by store")


if __name__ == "__main__":
    main(sys.argv[1:])
