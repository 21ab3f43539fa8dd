"""What tests of several folders share."""

import ctypes
import importlib.util
import os
import re
import shutil
import subprocess
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import settings

# pytester forgets what an inner run has loaded, and numpy can be loaded only once in a process.
with suppress(ImportError):
    import numpy  # noqa: F401

# How long an example takes depends on what else the machine does: speed is for tests/bench.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# pahole 1.29 and newer add .BTF to an object by llvm-objcopy, which only LLVM brings.
os.environ.setdefault("LLVM_OBJCOPY", "objcopy")

HERE = Path(__file__).parent
X86 = bool(re.fullmatch(r"x86_64|i[3-6]86", os.uname().machine))

# What brings a program that tests run: the Debian package, where it has another name.
# fmt: off
PACKAGES = {
    "aarch64-linux-gnu-gcc":   "gcc-aarch64-linux-gnu",
    "arm-linux-gnueabihf-gcc": "gcc-arm-linux-gnueabihf",
    "ar":                      "binutils",
    "gcc -m32":                "libc6-dev-i386 lib32gcc-$(gcc -dumpversion)-dev",
    "hexdump":                 "bsdextrautils",
    "axe-core":                "npm install axe-core",
    "html-validate":           "npm install html-validate",
    "kaitai-struct-compiler":  "npm install kaitai-struct-compiler",
    "man":                     "man-db",
    "objdump":                 "binutils",
    "pahole":                  "dwarves",
    "qemu-system-x86_64":      "qemu-system-x86",
    "readelf":                 "binutils",
    "script":                  "bsdutils",
    "xz":                      "xz-utils",
}
# fmt: on
LIBRARIES_32 = ("bits/", "cannot find")  # what gcc misses where there is no 32-bit libc
REASONS_MAX = 12  # lines at the end of a run
# What CI could not install, as words; there a skip for any other reason fails, because a test that
# is always skipped does not exist. What only the machine decides may be skipped everywhere.
LACKS = os.environ.get("RUNSTATE_LACKS")
OF_THE_MACHINE = (
    "a 32-bit host",
    "an x86 host",
    "needs two CPUs",
    "older than",
    "on this machine",
    "on this Python",
    "this machine's kernel shows no BTF",
    "Unreachable",  # a mirror that does not have what its index lists
    "pip reaches no package index",
)
NOT_THERE = re.compile(r"(?:could not import '([\w.]+)'|(.+?):? (?:is )?not installed)")


def pytest_runtest_setup(item):
    """Skip a test marked ``needs(PROGRAM, ...)`` or ``host64`` where that is not so."""
    if item.get_closest_marker("host64") and ctypes.alignment(ctypes.c_uint64) != 8:
        pytest.skip("a 32-bit host: neither its ctypes nor its compiler makes the native struct")
    if item.get_closest_marker("x86") and not X86:
        pytest.skip("needs an x86 host: other gcc's have no -m32")
    for marker in item.iter_markers("needs"):
        _require(*marker.args)


def _require(*commands):
    """Skip where the program of a command line (``gcc -m32``) is not installed."""
    for command in commands:
        if shutil.which(command.split()[0]) is None:
            pytest.skip(f"{command}: not installed")


@pytest.fixture(scope="session")
def installed():
    """Return a function that skips where the program of a command line is not installed."""
    return _require


def _skipped(reporter):
    return [_reason(report.longrepr[2]) for report in reporter.stats.get("skipped", ())]


def _is_undue(reason):
    known = (*OF_THE_MACHINE, *LACKS.split()) if LACKS is not None else ()
    return LACKS is not None and not any(word in reason for word in known)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session):
    """Fail where CI skipped what it has all programs for."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter and not session.exitstatus and any(map(_is_undue, _skipped(reporter))):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter):
    """Say what was skipped, a line for each reason, and what would run it."""
    counts = Counter(_skipped(terminalreporter)).most_common()
    if not counts:
        return
    kept = counts if len(counts) <= REASONS_MAX else counts[: REASONS_MAX - 1]
    terminalreporter.write_sep("-", "skipped, and what would run it")
    for reason, count in kept:
        undue = "UNDUE: " if _is_undue(reason) else ""
        terminalreporter.write_line(f"{undue}{count} {reason}")
    if rest := counts[len(kept) :]:
        reasons = "; ".join(reason for reason, _ in rest)
        terminalreporter.write_line(f"{sum(count for _, count in rest)} {reasons}")


def _reason(text):
    text = text.removeprefix("Skipped: ")
    if found := NOT_THERE.match(text):
        module, program = found.groups()
        if module:
            return f"need the Python package {module}"
        name = program if program in PACKAGES else program.split()[0]  # "clang -m64" is clang
        return f"need {name}: {PACKAGES.get(name, name)}"
    return f"not here: {text}"


@pytest.fixture(scope="session")
def data():
    """Return the folder of files that tests read."""
    return HERE / "data"


@pytest.fixture(scope="session")
def debian():
    """Return the module that gets files out of Debian packages; it skips what cannot be had."""
    module = _beside("debian")
    module._apt("trixie", "amd64")
    return module


# pytest's importlib mode puts no folder of tests on sys.path.
def _beside(name):
    spec = importlib.util.spec_from_file_location(f"runstate_tests_{name}", HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def browser(installed, tmp_path_factory):
    """Return a headless Chromium, or skip."""
    installed("chromium")
    made = _beside("browser").Browser("chromium", tmp_path_factory.mktemp("profile"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def tool():
    """Return a function that runs a program to its end, or skips: it is not installed."""

    def run(*words, fails=False, **options):
        _require(str(words[0]))
        done = subprocess.run(
            [str(word) for word in words], capture_output=True, text=True, timeout=110, **options
        )
        said = done.stdout + done.stderr
        if "-m32" in words and any(missing in said for missing in LIBRARIES_32):
            pytest.skip("gcc -m32: not installed")
        assert bool(done.returncode) == fails, said
        return said if fails else done.stdout

    return run


@pytest.fixture(scope="session")
def offset_of(tool):
    """Skip where rustc is older than 1.77, which has offset_of!: Debian 12's newer is rustc-web."""
    version = tool("rustc", "--version").split()[1]
    if tuple(map(int, version.split(".")[:2])) < (1, 77):
        pytest.skip(f"rustc {version}: older than 1.77, which offset_of! needs")


@pytest.fixture(scope="session")
def package():
    """Return a function that imports a package of the extra `cross` or `test`, or skips."""

    def get(name):
        return pytest.importorskip(name, reason=f"{name}: not installed")

    return get


@pytest.fixture(scope="session")
def node_module(tool):
    """Return a function that finds an npm package, for require(); or skips: it is not there."""

    def find(name):
        roots = [*os.environ.get("NODE_PATH", "").split(":"), tool("npm", "root", "-g").strip()]
        found = [root for root in roots if root and (Path(root) / name).is_dir()]
        if not found:
            pytest.skip(f"{name}: not installed")
        return str(Path(found[0]) / name)

    return find


@pytest.fixture(scope="session")
def changed():
    """Return a function that replaces one piece of a text and makes sure that it was there."""

    def change(text, old, new):
        assert text.count(old) >= 1, f"{old!r} is not in the text"
        return text.replace(old, new, 1)

    return change


@pytest.fixture(scope="session")
def emitted():
    """Return a function: the whole text of one language."""
    emit = importlib.import_module("runstate_abi.tools.emit")
    return lambda word: "\n".join(emit.emitted(word)) + "\n"


# Writers of our own for the judge, good and broken, compiled as a kernel's code would be.
WRITERS = HERE / "data" / "judge"
WRITER_FLAGS = (
    "-m64",
    "-O2",
    "-mcmodel=kernel",
    "-fno-pic",
    "-mgeneral-regs-only",
    "-ffreestanding",
    "-fcf-protection=none",
    "-fno-stack-protector",
)


@pytest.fixture(scope="session")
def c_writer(tmp_path_factory):
    """Return a function (*defines, source, btf, flags) -> path of an object, each made once."""
    _require("gcc", "pahole")
    pytest.importorskip("unicorn")
    folder, made = tmp_path_factory.mktemp("writers"), {}

    def compile_(*defines, source="writer.c", btf=True, flags=(), compiler="gcc"):
        key = (defines, source, btf, flags, compiler)
        if key not in made:
            output = folder / f"{len(made)}.o"
            debug = ["-g"] if btf else []
            words = [*WRITER_FLAGS, *flags, *debug, *(f"-D{name}" for name in defines)]
            subprocess.run([compiler, *words, "-c", WRITERS / source, "-o", output], check=True)
            if btf:
                subprocess.run(["pahole", "-J", output], check=True)
                strip = ["objcopy", "--strip-debug", "--keep-section=.BTF", output]
                subprocess.run(strip, check=True)
            made[key] = str(output)
        return made[key]

    return compile_


# Kernel-like objects: compiled by gcc, their BTF encoded by pahole, a stranger.
NATIVE = "struct vcpu_runstate_info { int state; u64 state_entry_time; u64 time[4]; };"
COMPAT = (
    "struct compat_vcpu_runstate_info { int state; u64 state_entry_time; u64 time[4]; }"
    " __attribute__((packed));"
)
KVM = "struct kvm_vcpu_xen { unsigned current_runstate; u64 last_steal; u64 runstate_times[4]; };"
# A 32-bit x86 host's gcc makes 64-bit objects only if asked; others have no such option.
M64 = ["-m64"] if X86 else []
SOURCES = {"NATIVE": NATIVE, "COMPAT": COMPAT, "KVM": KVM}


def compiled(folder, name, declarations, flags=()):
    """Compile declarations with one variable of each struct, so that debug info has them."""
    structs = [line.split()[1] for line in declarations if "{" in line]
    variables = "".join(f"struct {s} variable_{s};\n" for s in structs)
    text = "typedef unsigned long long u64;\n" + "\n".join(declarations) + "\n" + variables
    source, output = folder / f"{name}.c", folder / f"{name}.o"
    source.write_text(text)
    subprocess.run(["gcc", *M64, "-g", *flags, "-c", source, "-o", output], check=True)
    return output


@pytest.fixture
def kernel_object(tmp_path):
    """Return a function that makes an object with BTF: (name, declarations, base, gcc flags).

    The DWARF that the BTF was made from goes, as it does from a kernel that is shipped.
    """
    _require("gcc", "pahole")

    def build(name, declarations, base=None, flags=(), keep_dwarf=False):
        output = compiled(tmp_path, name, declarations, flags)
        encode = ["pahole", "-J", *(["--btf_base", base] if base else []), output]
        subprocess.run(encode, check=True, capture_output=True)
        if not keep_dwarf:
            subprocess.run(["objcopy", "--strip-debug", output], check=True)
        return str(output)

    return build


@pytest.fixture
def compiled_object(tmp_path):
    """Return a function that makes an object with DWARF and no BTF: (name, declarations)."""
    _require("gcc")
    return lambda name, declarations: str(compiled(tmp_path, name, declarations))


@pytest.fixture
def declarations():
    """The C text of the three structs: NATIVE, COMPAT, KVM."""
    return SOURCES
