"""How fast a reader is got out of its code: python tests/bench/bench_reader.py [VMLINUZ:FUNCTION]

One row a reader of tests/data/readers/readers.c: gcc's loads of the entry time, the CPU time until
its row is known and of one question about it, and the process's peak memory so far. With the
argument also a function of a kernel.
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from runstate_abi.writer.race import Question, ask, of_variant
from runstate_abi.writer.racing.ordering import MODEL
from runstate_abi.writer.variants import VARIANT
from runstate_abi.writer.vcpu import Area
from runstate_abi.writer.witnesses.guests.file import found

SOURCE = Path(__file__).parent.parent / "data" / "readers" / "readers.c"
PLAIN = ("-ffreestanding", "-fno-stack-protector", "-fcf-protection=none", "-fno-pic")
INTO = "void f(const void *area, void *out)"
ROUNDS = 5
# function, flags
READERS = (
    ("sound", ("-O1",)),
    ("plain", ("-O2",)),
    ("early_flag", ("-O1",)),
    ("sound", ("-O1", "-m32")),
    ("halves", ("-O1", "-m32")),
)


def least(work):
    times = []
    for _ in range(ROUNDS):
        start = time.process_time()
        value = work()
        times.append(time.process_time() - start)
    return value, min(times)


def row(name, path, function, signature):
    (reader, abi), reading = least(lambda: found(path, function, signature, "", None))
    entry = range(*{"native": (8, 16), "compat": (4, 12)}[abi])
    loads = [load.measured for load in reader.reader.loads]
    deciding = sum(one.start < entry.stop and one.start + one.size > entry.start for one in loads)
    question = Question(
        of_variant(VARIANT["upstream"]), reader.reader, MODEL[reader.model], Area(abi, 0x1100)
    )
    _, asking = least(lambda: ask(question))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(
        f"{name:<24} {deciding:>2} loads {reading * 1000:>8.1f} ms"
        f" {asking * 1000:>8.1f} ms {peak:>5} MB",
        flush=True,
    )


def main():
    print(f"{'reader':<24} {'entry':>8} {'its row':>11} {'one answer':>11} {'peak':>8}")
    with tempfile.TemporaryDirectory() as folder:
        for number, (function, flags) in enumerate(READERS):
            path = f"{folder}/{number}.o"
            subprocess.run(["gcc", *PLAIN, *flags, "-c", SOURCE, "-o", path], check=True)
            row(f"{function} {' '.join(flags)}", path, function, INTO)
    for code in sys.argv[1:]:
        path, _, function = code.rpartition(":")
        row(function, path, function, "")


if __name__ == "__main__":
    main()
