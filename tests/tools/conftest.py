"""Kernel-like objects for the tests: compiled by gcc, their BTF encoded by pahole, a stranger."""

import json
import os
import re
import shutil
import subprocess

import pytest

from runstate_abi.tools import cli
from runstate_abi.tools.memory import sources

NATIVE = "struct vcpu_runstate_info { int state; u64 state_entry_time; u64 time[4]; };"
COMPAT = (
    "struct compat_vcpu_runstate_info { int state; u64 state_entry_time; u64 time[4]; }"
    " __attribute__((packed));"
)
KVM = "struct kvm_vcpu_xen { unsigned current_runstate; u64 last_steal; u64 runstate_times[4]; };"
# A 32-bit x86 host's gcc makes 64-bit objects only if asked; others have no such option.
M64 = ["-m64"] if re.fullmatch(r"x86_64|i[3-6]86", os.uname().machine) else []
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
    for tool in ("gcc", "pahole"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool}: not installed")

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
    if shutil.which("gcc") is None:
        pytest.skip("gcc: not installed")
    return lambda name, declarations: str(compiled(tmp_path, name, declarations))


@pytest.fixture
def declarations():
    """The C text of the three structs: NATIVE, COMPAT, KVM."""
    return SOURCES


@pytest.fixture
def judge(capsys):
    """Return a function: arguments -> (exit code, stdout, stderr)."""

    def run(*argv):
        try:
            code = cli.main(["judge", *argv])
        except SystemExit as stop:
            code = stop.code
        return (code, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def real_pages(data):
    """Every record of pages.json that says where its area is, with the file's path.

    Those of 4.17.7 that are no area look like none as soon as one looks, and are for `find` only.
    """
    records = json.loads((data / "pages" / "pages.json").read_text())
    return [
        {**r, "path": data / "pages" / r["file"]}
        for r in records
        if "area_offset" in r and (r["xen"], r["what"][:5]) != ("4.17.7", "false")
    ]


@pytest.fixture(scope="session")
def open_page():
    """Return a function: the Image of a file at an address."""

    def opened(path, base=0):
        return sources.raw_image(sources.content(str(path)), str(path), base)

    return opened
