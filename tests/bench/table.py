"""What each verb costs beside its peer, in one run: python tests/bench/table.py [ROUNDS]

The Python that runs it must have runstate-abi installed, and not editable, which costs every start.

Rows are measured in turns, ROUNDS times (default 5), and medians are compared: of CPU time, of peak
memory, or of wall time where two processes work. Peers are pahole, bpftool, zstd and xz, bare
Python, and the first version of this program. What is not here is a line that says so. The goals
are issue 21's; no number is a test.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from mmap import ACCESS_READ, mmap
from pathlib import Path
from statistics import median
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import debian

TESTS = Path(__file__).resolve().parent.parent
FIRST_VERSION = "300288203"  # 22 Nov 2026
KERNELS = (("trixie", "linux-image-amd64"), ("trixie-backports", "linux-image-amd64"))
FLEET = (("trixie", "linux-image-cloud-amd64"), ("trixie-backports", "linux-image-cloud-amd64"))
MEMBERS = [r"vmlinuz.*", r"kvm\.ko\.xz"]
NAMES = "vcpu_runstate_info,compat_vcpu_runstate_info"
AREA = str(TESTS / "data/pages/xen417_busy.elfcore")
MAIN = "import sys; from runstate_abi.tools.cli import run; sys.argv[0] = 'runstate'; run()"
# In another process: the memory that this one has counts as that of all it starts.
UNPACK = """
import lzma, sys
from runstate_abi.layouts.witnesses.vmlinuz import open_image
kernel, btf, packed, module = sys.argv[1:]
open(btf, "wb").write(open_image(kernel).btf)
open(module, "wb").write(lzma.open(packed).read())
"""
BARE = [sys.executable, "-I", "-c", "pass"]
CPU, MEMORY, WALL = range(3)
UNITS = ("CPU ms", "MB", "wall ms")


class Row(NamedTuple):
    """A command, its peer, what of both is compared, and the ratio that is the goal."""

    name: str
    command: list[str]
    peer_name: str
    peer: list[str]
    of: int
    goal: float


def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        os.environ["XDG_CACHE_HOME"] = scratch
        print(f"{'':<44}{'':>10}  {'peer':<26}{'':>10}{'ratio':>8}{'goal':>7}")
        for rows in (of_start(), of_kernels(place), of_fleet(place), of_first(place)):
            measured = list(rows)
            every = {tuple(one): [] for row in measured for one in (row.command, row.peer)}
            for _ in range(rounds):
                for command, known in every.items():
                    known.append(spent(command, place))
            for row in measured:
                shown(row, every[tuple(row.command)], every[tuple(row.peer)])


def shown(row: Row, *sides) -> None:
    ours, theirs = (median(one[row.of] for one in side) for side in sides)
    print(
        f"{row.name:<44}{ours:>10.1f}  {row.peer_name:<26}{theirs:>10.1f}"
        f"{ours / theirs:>8.2f}{row.goal:>7.2f}  {UNITS[row.of]}",
        flush=True,
    )


def spent(command, place: Path) -> tuple[float, float, float]:
    """Run a command; return its CPU time in ms, its peak memory in MB and its wall time in ms."""
    started = time.perf_counter()
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        cwd=place,
    )  # fmt: skip
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - started
    if process.returncode not in (0, 1):
        raise SystemExit(f"{command}: exit status {process.returncode}")
    return (used.ru_utime + used.ru_stime) * 1e3, used.ru_maxrss / 1024, wall * 1e3


def runstate(*words: object) -> list[str]:
    return [sys.executable, "-c", MAIN, *map(str, words)]


def of_start():
    yield Row("runstate --help", runstate("--help"), "python", BARE, CPU, 1.8)
    yield Row("runstate show", runstate("show"), "python", BARE, CPU, 2.2)
    hexdump = runstate("hexdump", AREA, "--gpa", "0x175f4ba0")
    yield Row("runstate hexdump", hexdump, "python", BARE, CPU, 2.8)


def fetched(suite: str, package: str):
    """Return the paths of a kernel's files; None, and say so, if they cannot be had."""
    try:
        return debian.kernel(suite, package, MEMBERS)
    except debian.Unreachable as error:
        print(f"{suite}, {package}: not measured: {error}")
        return None


def there(*programs: str) -> bool:
    missing = [one for one in programs if not shutil.which(one)]
    for one in missing:
        print(f"{one}: not measured beside it: not installed")
    return not missing


def of_kernels(place: Path):
    for suite, package in KERNELS:
        paths = fetched(suite, package)
        if paths is None:
            continue
        kernel, packed = paths
        version = kernel.parent.name.split("_")[1]
        btf, module, vmlinux = (place / f"{version}-{name}" for name in ("btf", "ko", "vmlinux"))
        files = map(str, (kernel, btf, packed, module))
        subprocess.run([sys.executable, "-c", UNPACK, *files], check=True)
        ours = runstate("check", "--btf-base", btf, module)
        if there("pahole"):
            pahole = ["pahole", "-C", NAMES, "--btf_base", str(btf), str(module)]
            yield Row(f"check kvm.ko, {version}", ours, "pahole", pahole, CPU, 0.6)
        if there("bpftool"):
            dump = ["bpftool", "btf", "dump", "file", str(module), "-B", str(btf), "format", "raw"]
            yield Row(f"check kvm.ko, {version}", ours, "bpftool raw", dump, CPU, 2.2)
        if there("pahole", "zstd", "xz"):
            with kernel.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as image:
                start = image.find(b"\x28\xb5\x2f\xfd", 0x4000) + 1
            script = place / f"{version}.sh"
            script.write_text(
                f"tail -c +{start} '{kernel}' | zstd -dcq >'{vmlinux}' 2>/dev/null\n"
                f"xz -dc '{packed}' >'{module}.xz'\n"
                f"pahole -C {NAMES} '{vmlinux}'\n"
                f"pahole -C {NAMES} --btf_base '{vmlinux}' '{module}.xz'\n"
            )
            ours, peer = runstate("check", kernel, packed), ["sh", str(script)]
            for of, goal in ((CPU, 0.6), (MEMORY, 1.0)):
                name = f"check vmlinuz kvm.ko.xz, {version}"
                yield Row(name, ours, "zstd, xz, pahole twice", peer, of, goal)


def of_fleet(place: Path):
    folder = place / "fleet"
    for number, kernel in enumerate((*KERNELS, *FLEET) * 2):
        for path in fetched(*kernel) or ():
            target = folder / str(number) / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    if folder.exists():
        one, two = (runstate("check", "--no-cache", f"-j{jobs}", folder) for jobs in (1, 2))
        yield Row("check -j 2, 8 kernels", two, "-j 1", one, WALL, 0.6)
    paths = fetched(*KERNELS[-1])
    if paths:
        words = ["judge", paths[1], "--btf", paths[0]]
        yield Row("judge -j 2", runstate(*words, "-j2"), "-j 1", runstate(*words), WALL, 0.6)


def of_first(place: Path):
    """Yield what is compared with the first version of this program, out of git's history."""
    home = place / "first"
    home.mkdir()
    archive = [
        "git",
        "-C",
        str(TESTS.parent),
        "archive",
        FIRST_VERSION,
        "layouts",
        "writer",
        "tools",
    ]
    packed = subprocess.run(archive, capture_output=True)
    if packed.returncode:
        print(f"the first version: not measured: {packed.stderr.decode().strip()}")
        return
    package = home / "runstate_abi"
    package.mkdir()
    (package / "__init__.py").write_text("")
    subprocess.run(["tar", "-x", "-C", str(package)], input=packed.stdout, check=True)

    def first(*words: object) -> list[str]:
        code = f"import sys; sys.path.insert(0, {json.dumps(str(home))}); {MAIN}"
        return [sys.executable, "-c", code, *map(str, words)]

    spent(first("race"), place)  # its modules are compiled now
    spent(runstate("docs"), place)  # and what is proven is kept
    paths = fetched(*KERNELS[-1])
    if paths:
        words = ["judge", paths[1], "--btf", paths[0]]
        for of, goal in ((CPU, 0.5), (MEMORY, 0.47)):
            yield Row("judge", runstate(*words), "the first version's", first(*words), of, goal)
    yield Row("docs", runstate("docs"), "the first version's", first("docs"), CPU, 0.35)
    yield Row("docs --prove", runstate("docs", "--prove"), "its docs", first("docs"), CPU, 1.0)
    yield Row("race", runstate("race"), "its table", first("race"), CPU, 0.15)
    yield Row("race --all", runstate("race", "--all"), "its table", first("race"), CPU, 0.6)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
