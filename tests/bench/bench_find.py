"""How fast `runstate find` reads a 512 MB image, beside memcpy and grep of the same image; and how
long `runstate hexdump` takes for one area, beside Python's own start.

    python tests/bench/bench_find.py [IMAGE ...]

An image given is used as it is: a dump of real memory tells most. Without one an image is made:
three quarters zero pages, as a guest's memory mostly is, and a quarter this machine's own libraries
and programs, which is what a guest's page cache holds. Every number is the best of three.
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


def best(work, times=3):
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begun)
    return min(taken)


def memcpy(path):
    """Copy the image within memory, mapped and warm: numpy's copy is libc's."""
    import numpy as np

    source = np.fromfile(path, dtype=np.uint8)
    target = np.zeros_like(source)
    return best(lambda: np.copyto(target, source))


def grep(path):
    """What a shell can do: a state, no padding, and two times of a plausible size."""
    time_of = r"..[^\x00].[^\x00]\x00\x00\x00"
    pattern = rf"[\x00-\x03]\x00{{7}}{time_of}{time_of}"
    # Through a pipe: grep that writes to /dev/null stops at the first match.
    script = 'timeout 60 grep -obUaP "$1" "$2" | cat >/dev/null'
    environment = {**os.environ, "LC_ALL": "C"}
    command = ["sh", "-c", script, "sh", pattern, str(path)]
    return best(lambda: subprocess.run(command, check=False, env=environment), times=1)


def search(path, plain):
    """Time the search alone, and the whole command with everything that it judges and prints."""
    from runstate_abi.tools.memory import scan, sources

    image = sources.opened(str(path))

    def scanned():
        for piece in image.pieces:
            for _ in scan.entries(piece, plain, lambda count: None):
                pass

    return best(scanned, times=1 if plain else 3)


def command(argv):
    """Time one command from start to end, and return its largest memory that is its own, in MB."""
    code = (
        "import sys; from runstate_abi.tools import cli; cli.main(sys.argv[1:]);"
        "import re; t=open('/proc/self/status').read();"
        "print(re.search(r'RssAnon:\\s+(\\d+)', t)[1], file=sys.stderr)"
    )
    call = [sys.executable, "-c", code, *argv]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    taken = best(lambda: subprocess.run(call, capture_output=True, check=True))
    return taken, int(done.stderr.split()[-1]) / 1000


def image_table(path):
    size = path.stat().st_size
    base = memcpy(path)
    rows = [("memcpy", base), ("find: the search, numpy", search(path, plain=False))]
    whole, own = command(["find", str(path)])
    rows.append(("find: the whole command", whole))
    rows.append(("find --plain: the search", search(path, plain=True)))
    if shutil.which("grep"):
        rows.append(("grep -obUaP (60 s at most)", grep(path)))
    print(f"\n{path}, {size >> 20} MB")
    print(f"{'':<28}{'s':>8}{'GB/s':>8}{'of memcpy':>11}")
    for name, taken in rows:
        print(f"{name:<28}{taken:>8.3f}{size / taken / 1e9:>8.2f}{base / taken:>11.3f}")
    print(f"memory of its own: {own:.0f} MB")


def start_table():
    bare = best(lambda: subprocess.run([sys.executable, "-c", "pass"], check=True), times=9)
    argv = ["hexdump", str(AREA), "--gpa", "0x175f4ba0"]
    code = "import sys; from runstate_abi.tools import cli; cli.main(sys.argv[1:])"
    call = [sys.executable, "-c", code, *argv]
    taken = best(lambda: subprocess.run(call, capture_output=True, check=True), times=9)
    print(f"\npython -c pass     {bare * 1000:6.1f} ms")
    print(f"runstate hexdump   {taken * 1000:6.1f} ms  {taken / bare:.1f} times")


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
