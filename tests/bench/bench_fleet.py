"""How fast many kernels are checked: python tests/bench/bench_fleet.py [KERNELS]

A folder of KERNELS (default 60) kernels with their kvm.ko, hard links to three of Debian's: once
unpacked, for pahole cannot read a vmlinuz, once as they are shipped (vmlinuz, kvm.ko.xz), where the
shell loop unpacks each kernel and module first. All rows in one run: compare the ratios. Then the
memory of the workers, after the first unit and after the last.
"""

import importlib.util
import lzma
import os
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from runstate_abi.layouts.structs.runstate import RUNSTATE_STRUCTS
from runstate_abi.layouts.witnesses.kernels import Settings
from runstate_abi.layouts.witnesses.vmlinuz import open_image
from runstate_abi.tools.check import fleet
from runstate_abi.tools.fleet import units

RUNSTATE = str(Path(sys.executable).with_name("runstate"))
KERNELS = (
    ("trixie", "linux-image-cloud-amd64"),
    ("trixie", "linux-image-amd64"),
    ("trixie-backports", "linux-image-amd64"),
)
NAMES = ",".join(RUNSTATE_STRUCTS)
LOOP = f'for d in "$0"/*; do pahole -C {NAMES} --btf_base "$d/vmlinux" "$d/kvm.ko"; done'
PARALLEL = f'ls -d "$0"/* | xargs -P2 -I@ pahole -C {NAMES} --btf_base @/vmlinux @/kvm.ko'

# Where a bzImage's payload begins is in offset.txt: the shell would have to try every byte.
UNPACK = f"""for d in "$0"/*; do
tail -c +$(cat "$d/offset.txt") "$d"/vmlinuz* | zstd -dcq >"$1/vmlinux.tmp" 2>/dev/null
xz -dc "$d"/kvm.ko.xz >"$1/kvm.tmp"
pahole -C {NAMES} --btf_base "$1/vmlinux.tmp" "$1/kvm.tmp" || exit 1
done"""


def main(count: int) -> None:
    """Build the folders, run every row once, and print kernels per minute."""
    debian = loaded(Path(__file__).parent.parent / "debian.py")
    with tempfile.TemporaryDirectory(dir=debian.CACHE.parent) as place:
        shipped, unpacked, cache = (Path(place) / name for name in ("shipped", "unpacked", "cache"))
        members = [r"vmlinuz.*", r"kvm\.ko\.xz"]
        pairs = [debian.kernel(suite, package, members) for suite, package in KERNELS]
        for number in range(count):
            linked(pairs[number % len(pairs)], shipped / f"{number:04}", unpacked / f"{number:04}")
        ours = [RUNSTATE, "check", str(unpacked)]
        rows = {
            "pahole, a shell loop": ["sh", "-c", LOOP, unpacked],
            "pahole, xargs -P2": ["sh", "-c", PARALLEL, unpacked],
            "runstate check -j1": [*ours, "--no-cache", "-j1"],
            "runstate check -j2": [*ours, "--no-cache", "-j2"],
            "the same, first run with a cache": [*ours, "--cache", str(cache)],
            "the same, second run": [*ours, "--cache", str(cache)],
        }
        shipped_rows = {
            "zstd, xz, pahole, a shell loop": ["sh", "-c", UNPACK, shipped, place],
            "runstate check -j1": [*ours[:2], shipped, "--no-cache", "-j1"],
            "runstate check -j2": [*ours[:2], shipped, "--no-cache", "-j2"],
            "the same, first run with a cache": [*ours[:2], shipped, "--cache", str(cache)],
            "the same, second run": [*ours[:2], shipped, "--cache", str(cache)],
        }
        print(f"{count} kernels, {len(os.sched_getaffinity(0))} cores")
        for title, commands in (("unpacked", rows), ("as shipped", shipped_rows)):
            print(f"{title:<38}{'s':>7}{'kernels/min':>13}{'ratio':>8}")
            base = None
            for name, command in commands.items():
                wall = spent(command)
                base = base or wall
                print(f"  {name:<36}{wall:>7.2f}{count / wall * 60:>13.0f}{base / wall:>8.2f}")
        workers(unpacked)
        workers(shipped)


def loaded(path):
    spec = importlib.util.spec_from_file_location("debian", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# The first time a pair is met it is unpacked; after that there are only links.
def linked(pair, shipped, unpacked, first={}):  # noqa: B006  # the memory of one run
    shipped.mkdir(parents=True)
    unpacked.mkdir(parents=True)
    for path in pair:
        copied(path, shipped / path.name)
    offset = pair[0].read_bytes().index(b"\x28\xb5\x2f\xfd", 0x4000)
    (shipped / "offset.txt").write_text(str(offset + 1))
    if pair[0] in first:
        for name in ("vmlinux", "kvm.ko"):
            os.link(first[pair[0]] / name, unpacked / name)
        return
    first[pair[0]] = unpacked
    (unpacked / "vmlinux").write_bytes(bytes(open_image(str(pair[0])).btf))
    (unpacked / "kvm.ko").write_bytes(lzma.decompress(pair[1].read_bytes()))


def copied(source, target):
    try:
        os.link(source, target)
    except OSError:
        target.write_bytes(source.read_bytes())


def spent(command):
    """Run a command and return its seconds."""
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True)
    wall = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError(f"{command}: exit {done.returncode}: {done.stderr.decode()[-500:]}")
    return wall


def measured(unit):
    """Ask about a unit and return (process, its memory now in MB)."""
    fleet.ask(unit, Settings())
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return os.getpid(), pages * resource.getpagesize() / 1e6


def workers(folder):
    """Print the memory of each of two workers after its first, middle and last unit."""
    found, _ = units([str(folder)])
    with ProcessPoolExecutor(2, mp_context=get_context("forkserver")) as pool:
        seen = list(pool.map(measured, found))
    for process in sorted({process for process, _ in seen}):
        sizes = [size for own, size in seen if own == process]
        shown = ", ".join(f"{sizes[at]:.0f}" for at in (0, len(sizes) // 2, -1))
        print(f"a worker, {folder.name}: {len(sizes)} units; MB after first, middle, last: {shown}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 60)
