"""How fast the BTF reader is: python tests/bench/bench_btf.py [ROUNDS]

On Debian's 6.12 (BTF in no order) and newest backported kernel (sorted by name). In one process:
reading the file, then one struct out of it. Cold, as commands: this reader and `runstate check`
beside pahole, on kvm.ko with its kernel's BTF. All rows of a table are measured in turns, in one
run: compare the ratios, not the milliseconds of two runs.
"""

import importlib.util
import lzma
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from runstate_abi.layouts.abi import X86_64
from runstate_abi.layouts.structs.runstate import RUNSTATE_STRUCTS
from runstate_abi.layouts.witnesses.btf import Btf, observe
from runstate_abi.layouts.witnesses.vmlinuz import open_image

NATIVE = RUNSTATE_STRUCTS[:1]
KERNELS = (("trixie", "linux-image-amd64"), ("trixie-backports", "linux-image-amd64"))
READER = (
    "import sys;"
    "from runstate_abi.layouts.abi import X86_64;"
    "from runstate_abi.layouts.witnesses.btf import observe;"
    "from runstate_abi.layouts.witnesses.vmlinuz import open_image, read_btf;"
    "kernel, module = map(open_image, sys.argv[1:3]);"
    "seen = observe(read_btf(module, read_btf(kernel)), sys.argv[3].split(','), X86_64);"
    "assert [layout.size for layout in seen.found] == [48, 44]"
)


def main(rounds):
    debian = loaded(Path(__file__).parent.parent / "debian.py")
    with tempfile.TemporaryDirectory() as folder:
        for suite, package in KERNELS:
            members = [r"vmlinuz.*", r"kvm\.ko\.xz"]
            try:
                paths = debian.kernel(suite, package, members)
            except debian.Unreachable as error:
                print(f"{suite}: not measured: {error}")
                continue
            files = unpacked(paths, Path(folder))
            size = files[0].stat().st_size / 1e6
            print(f"\n{paths[0].parent.name}: BTF of {size:.2f} MB, {rounds} rounds, medians")
            in_process(files, rounds)
            cold(files, rounds)


def loaded(path):
    spec = importlib.util.spec_from_file_location("debian", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def unpacked(paths, folder):
    """Return (the kernel's BTF as a raw file, kvm.ko): what pahole can read as well."""
    btf, module = folder / "vmlinux.btf", folder / "kvm.ko"
    btf.write_bytes(open_image(str(paths[0])).btf)
    module.write_bytes(lzma.decompress(paths[1].read_bytes()))
    return btf, module


def in_process(files, rounds):
    data, split = files[0].read_bytes(), bytes(open_image(str(files[1])).btf)
    rows = {
        "read the file": files[0].read_bytes,
        "one struct": lambda: observe(Btf(data), NATIVE, X86_64),
        "a struct that is not there": lambda: observe(Btf(data), ["no_such"], X86_64),
        "both structs, kvm.ko on its base": lambda: observe(
            Btf(split, Btf(data)), RUNSTATE_STRUCTS, X86_64
        ),
    }
    times = {name: [] for name in rows}
    for _ in range(rounds):
        for name, run in rows.items():
            started = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - started)
    print(f"  {'in one process':<36}{'ms':>8}{'ratio':>8}")
    floor = statistics.median(times["read the file"])
    for name, taken in times.items():
        median = statistics.median(taken)
        print(f"  {name:<36}{median * 1e3:>8.2f}{median / floor:>8.1f}")


def cold(files, rounds):
    btf, module = map(str, files)
    names = ",".join(RUNSTATE_STRUCTS)
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "this reader": [sys.executable, "-c", READER, btf, module, names],
    }
    runstate = shutil.which("runstate", path=os.path.dirname(sys.executable))
    if runstate:
        commands["runstate check"] = [runstate, "check", btf, module]
    else:
        print("  runstate check: not measured: the command is not installed beside this Python")
    if shutil.which("pahole"):
        commands["pahole"] = ["pahole", "-C", names, "--btf_base", btf, module]
    else:
        print("  pahole: not measured: it is not installed")
    times = {name: [] for name in commands}
    with tempfile.TemporaryDirectory() as cache:
        for number in range(rounds + 1):
            for name, command in commands.items():
                taken = spent(command, cache)
                # The first round compiles Python's modules, as an installation does.
                times[name] += [taken] if number else []
    print(f"  {'cold, kvm.ko on its base':<36}{'CPU ms':>8}{'wall ms':>8}{'ratio of CPU':>14}")
    base = statistics.median(cpu for cpu, _ in times[list(times)[-1]])
    for name, taken in times.items():
        cpu = statistics.median(cpu for cpu, _ in taken)
        wall = statistics.median(wall for _, wall in taken)
        print(f"  {name:<36}{cpu * 1e3:>8.1f}{wall * 1e3:>8.1f}{cpu / base:>14.2f}")


def spent(command, cache):
    """Run a command and return its (CPU, wall) seconds; compiled modules are kept in ``cache``."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    silence = os.open(os.devnull, os.O_WRONLY)
    actions = [(os.POSIX_SPAWN_DUP2, silence, 1), (os.POSIX_SPAWN_DUP2, silence, 2)]
    started = time.perf_counter()
    child = os.posix_spawnp(command[0], command, environment, file_actions=actions)
    _, status, usage = os.wait4(child, 0)
    wall = time.perf_counter() - started
    os.close(silence)
    if status:
        raise RuntimeError(f"{command[0]} {command[1]}: exit {os.waitstatus_to_exitcode(status)}")
    return usage.ru_utime + usage.ru_stime, wall


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 21)
