"""How fast `runstate find` reads a 512 MB image, beside memcpy and grep of the same image; and how
long `runstate hexdump` takes for one area, beside Python's own start.

    python tests/bench/bench_find.py [IMAGE ...]

An image given is used as it is: a dump of real memory tells most. Without one an image is made:
three quarters zero pages, as a guest's memory mostly is, and a quarter this machine's own libraries
and programs, which is what a guest's page cache holds.

memcpy copies the image from one array to another, both in memory and touched before, and counts
each byte once, though it is read and written. The search reads the mapped file, which is in the
page cache. The two take turns, and each number is the best of ROUNDS, so that a busy machine is
busy for both; the search without numpy and grep run once.
"""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SIZE = 512 << 20
ROUNDS = 7
SMALL = 32 << 20  # Memory is flat if this much of an image needs as much of it as all.
PAGE = 4096
SOURCES = ("/usr/lib", "/usr/bin")
AREA = Path(__file__).parent.parent / "data" / "pages" / "xen417_busy.elfcore"


def made(path):
    """Write an image of SIZE bytes: every fourth megabyte from files, the rest zeros."""
    files = (f for root in SOURCES for f in sorted(Path(root).rglob("*")) if f.is_file())
    held = bytearray()
    with path.open("wb") as image:
        for number in range(SIZE >> 20):
            while number % 4 == 1 and len(held) < 1 << 20:
                held += next(files).read_bytes()
                held += bytes(-len(held) % PAGE)
            image.write(held[: 1 << 20] if number % 4 == 1 else bytes(1 << 20))
            del held[: 1 << 20 if number % 4 == 1 else 0]


def taken(work):
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def best(work, times=3):
    return min(taken(work) for _ in range(times))


def copy_and_search(path):
    """Return the best time of a memcpy of the image and of the search alone, taking turns."""
    import numpy as np

    source = np.fromfile(path, dtype=np.uint8)
    target = np.zeros_like(source)
    both = [
        (taken(lambda: np.copyto(target, source)), taken(lambda: search(path, plain=False)))
        for _ in range(ROUNDS)
    ]
    return min(copy for copy, _ in both), min(found for _, found in both)


def grep(path):
    """What a shell can do: a state, no padding, and two times of a plausible size."""
    time_of = r"..[^\x00].[^\x00]\x00\x00\x00"
    pattern = rf"[\x00-\x03]\x00{{7}}{time_of}{time_of}"
    # Through a pipe: grep that writes to /dev/null stops at the first match.
    script = 'timeout 60 grep -obUaP "$1" "$2" | cat >/dev/null'
    environment = {**os.environ, "LC_ALL": "C"}
    command = ["sh", "-c", script, "sh", pattern, str(path)]
    return taken(lambda: subprocess.run(command, check=False, env=environment))


def search(path, plain):
    """Search an image and judge nothing."""
    from runstate_abi.tools.memory import sources
    from runstate_abi.tools.memory.search import finding

    for piece in sources.opened(str(path)).pieces:
        for _ in finding.entries(piece, plain, lambda count: None):
            pass


def command(argv):
    """Return the best time of one command from start to end, and its memory at the peak in MB."""
    code = (
        "import sys; from runstate_abi.tools import cli; cli.main(sys.argv[1:]);"
        "import re; t=open('/proc/self/status').read();"
        "print(re.search(r'VmHWM:\\s+(\\d+)', t)[1], file=sys.stderr)"
    )
    call = [sys.executable, "-c", code, *argv]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    least = best(lambda: subprocess.run(call, capture_output=True, check=True), ROUNDS)
    return least, int(done.stderr.split()[-1]) / 1000


def image_table(path):
    size = path.stat().st_size
    base, searched = copy_and_search(path)
    whole, peak = command(["find", str(path)])
    rows = [
        ("memcpy", base),
        ("find: the search, numpy", searched),
        ("find: the whole command", whole),
        ("find: the search, no numpy", taken(lambda: search(path, plain=True))),
    ]
    if shutil.which("grep"):
        rows.append(("grep -obUaP (60 s at most)", grep(path)))
    print(f"\n{path}, {size >> 20} MB")
    print(f"{'':<28}{'s':>8}{'GB/s':>8}{'of memcpy':>11}")
    for name, least in rows:
        print(f"{name:<28}{least:>8.3f}{size / least / 1e9:>8.2f}{base / least:>11.3f}")
    print(
        f"memory at the peak: {peak:.0f} MB; for its first {SMALL >> 20} MB: {of_part(path):.0f} MB"
    )


def of_part(path):
    """Return the memory that a part of the image needs at the peak, in MB."""
    with tempfile.NamedTemporaryFile() as part, path.open("rb") as image:
        part.write(image.read(SMALL))
        part.flush()
        return command(["find", "--raw", part.name])[1]


def start_table():
    bare = best(lambda: subprocess.run([sys.executable, "-c", "pass"], check=True), times=9)
    argv = ["hexdump", str(AREA), "--gpa", "0x175f4ba0"]
    code = "import sys; from runstate_abi.tools import cli; cli.main(sys.argv[1:])"
    call = [sys.executable, "-c", code, *argv]
    shown = best(lambda: subprocess.run(call, capture_output=True, check=True), times=9)
    print(f"\npython -c pass     {bare * 1000:6.1f} ms")
    print(f"runstate hexdump   {shown * 1000:6.1f} ms  {shown / bare:.1f} times")


def main():
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(name) for name in sys.argv[1:]]
        if not paths:
            paths = [Path(folder) / "image"]
            made(paths[0])
        for path in paths:
            image_table(path)
    start_table()


if __name__ == "__main__":
    main()
