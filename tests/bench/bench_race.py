"""How fast the race checker is: python tests/bench/bench_race.py [DEBIAN]

One question, the base proof, all 255 patterns one by one, two and three updates, the default table,
and what two threads really do. With the argument DEBIAN also herd7 and CBMC on the same small
questions, in the same run; that fetches their packages. Each time is of one run on one core.
"""

import importlib.util
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from agreement import cbmc, litmus
from agreement.small import chosen, smalls
from runstate_abi.tools.race import rows as questions
from runstate_abi.writer.guest import READER
from runstate_abi.writer.race import Question, find_race, of_variant
from runstate_abi.writer.racing import interleaving, projection, scene
from runstate_abi.writer.racing.ordering import MODEL
from runstate_abi.writer.racing.patterns import INCREASING
from runstate_abi.writer.variants import VARIANT
from runstate_abi.writer.vcpu import Area

TESTS = Path(__file__).parent.parent
UPSTREAM, LINUX, NATIVE = (
    of_variant(VARIANT["upstream"]),
    READER["linux-64"],
    Area("native", 0x1000),
)
CONCURRENT = (
    ("byte", 8), ("byte", 60), ("byte", 28), ("byte", 4092), ("none", 8),
    ("eight", 8), ("eight", 60), ("eight", 28), ("eight", 4092),
)  # fmt: skip


def measured(work):
    interleaving.search.cache_clear()
    scene.written.cache_clear()
    projection._solved.cache_clear()
    start = time.process_time()
    value = work()
    return value, time.process_time() - start


def row(name, states, seconds):
    print(f"{name:<48} {states:>9} {seconds * 1000:>10.1f} ms", flush=True)


def ours():
    print(f"{'question (upstream, linux-64, native, aligned)':<48} {'states':>9}")
    for model in ("x86-tso", "weak"):
        for updates in (1, 2, 3):
            found, seconds = measured(
                lambda m=model, n=updates: find_race(
                    Question(UPSTREAM, LINUX, MODEL[m], NATIVE, updates=n)
                )
            )
            row(f"{model}, {updates} update(s), all patterns", found.states, seconds)

        def each(model=model):
            return sum(
                find_race(Question(UPSTREAM, LINUX, MODEL[model], NATIVE, patterns=[mask])).states
                for mask in range(1, 256)
            )

        row(f"{model}, 255 patterns one by one", *measured(each))
    wanted = questions.Wanted(None, None, None, None, None, 1, INCREASING, (), 32)
    rows, seconds = measured(lambda: list(questions.rows(wanted, Counter())))
    row(f"the default table, {len(rows)} questions", sum(r.answer.states for r in rows), seconds)


def threads():
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "race"
        source = TESTS / "concurrent" / "race.c"
        subprocess.run(["gcc", "-O2", "-pthread", "-o", program, source], check=True)
        print(f"\n{'two threads; flag by, entry time at':<40} {'accepts':>12} {'torn':>10}")
        for mode, offset in CONCURRENT:
            command = [program, mode, str(offset), "20000000", "1", "10"]
            words = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            accepts, torn = words.split()[1], words.split()[3]
            print(f"{mode + ', offset ' + str(offset):<40} {accepts:>12} {torn:>10}", flush=True)


def beside_others():
    debian = loaded(TESTS / "debian.py")
    engines = loaded(TESTS / "agreement" / "conftest.py")
    small = {model: list(chosen(model))[::4] for model in ("weak", "x86-tso")}
    _, seconds = measured(lambda: [list(smalls(model)) for model in small])
    print("\nthe same small questions                  questions       seconds")
    print(f"{'this checker, all of both models':<40} {11880:>10} {seconds:>13.1f}")
    herd = engines.Program(engines.unpacked(debian, "sid", engines.HERD), "herd7")
    library = herd.root / "usr/share/herdtools7/herd"
    model = engines.model_folder(debian)
    for name, text, options in (
        ("weak", litmus.lkmm, ["-conf", "linux-kernel.cfg"]),
        ("x86-tso", litmus.x86, ["-cat", "x86tso.cat"]),
    ):
        seconds = timed(herd, small[name], text, ["-set-libdir", library, *options], model)
        print(f"{'herd7, ' + name:<40} {len(small[name]):>10} {seconds:>13.1f}", flush=True)
    other = engines.Program(engines.unpacked(debian, "trixie", engines.CBMC), "cbmc")
    seconds = timed(other, small["x86-tso"], cbmc.c_source, ["--mm", "tso"], None, ".c")
    print(f"{'CBMC, x86-tso':<40} {len(small['x86-tso']):>10} {seconds:>13.1f}")


def timed(program, small, text, options, cwd, suffix=".litmus"):
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for number, one in enumerate(small):
            paths.append(Path(folder) / f"{number}{suffix}")
            paths[-1].write_text(text(one))
        start = time.perf_counter()
        for path in paths:
            program.run(*options, path, cwd=cwd)
        return time.perf_counter() - start


def loaded(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    ours()
    threads()
    if sys.argv[1:] == ["DEBIAN"]:
        beside_others()
