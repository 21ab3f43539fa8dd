"""What tests of several folders share."""

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes depends on what else the machine does: speed is for tests/bench.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def data():
    """Return the folder of files that tests read."""
    return HERE / "data"


@pytest.fixture(scope="session")
def debian():
    """Return the module that gets files out of Debian packages, or skip: no index is reached."""
    # pytest's importlib mode puts no folder of tests on sys.path.
    spec = importlib.util.spec_from_file_location("runstate_tests_debian", HERE / "debian.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    try:
        module._apt("trixie", "amd64")
    except module.Unreachable as error:
        pytest.skip(f"no Debian package index: {error}")
    return module


@pytest.fixture(scope="session")
def tool():
    """Return a function that runs a program to its end, or skips: it is not installed."""

    def run(*words, fails=False, **options):
        if shutil.which(str(words[0])) is None:
            pytest.skip(f"{words[0]}: not installed")
        done = subprocess.run(
            [str(word) for word in words], capture_output=True, text=True, timeout=110, **options
        )
        said = done.stdout + done.stderr
        assert bool(done.returncode) == fails, said
        return said if fails else done.stdout

    return run


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
            pytest.skip(f"npm package {name}: not installed (globally, or in NODE_PATH)")
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
    emit = importlib.import_module("runstate_abi.tools.emit.command")
    return lambda word: "\n".join(emit.emitted(word)) + "\n"


# Writers of our own for the judge, good and broken, compiled as a kernel's code would be.
WRITERS = HERE / "data" / "judge"
WRITER_FLAGS = (
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
    for tool in ("gcc", "pahole"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool}: not installed")
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
