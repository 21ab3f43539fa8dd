"""How fast the BTF reader is: python tests/bench/bench_btf.py [ROUNDS]

On Debian's 6.12 (BTF in no order) and newest backported kernel (sorted by name), in one process:
reading the file, then one struct out of it. As a command, beside pahole, it is in table.py.
"""

import importlib.util
import lzma
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


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 21)
