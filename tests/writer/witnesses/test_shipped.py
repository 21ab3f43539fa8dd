"""The places in a function that a kernel patches when it boots are counted, each kind by itself."""

import subprocess

import pytest

from runstate_abi.layouts.model import WitnessError
from runstate_abi.writer.witnesses.shipped import SITES, boot_patches, open_code, open_types

pytestmark = pytest.mark.needs("gcc")


def listed(section, times=1):
    """Assembly: the next instruction is listed in a section, as a kernel's macros list it."""
    entry = f'.pushsection {section},\\"a\\"\\n .long 1b - .\\n .long 0\\n .popsection\\n'
    return f'__asm__ volatile("1: nop\\n {entry * times}");'


@pytest.fixture
def built(tmp_path):
    def build(*statements, flags=("-c",)):
        (tmp_path / "one.c").write_text(
            f"void patched(void) {{ {' '.join(statements)} }}\n"
            f"void other(void) {{ {listed('.altinstructions')} }}\n"
        )
        output = tmp_path / "one"
        subprocess.run(["gcc", "-m64", "-O2", *flags, tmp_path / "one.c", "-o", output], check=True)
        return open_code(str(output))

    return build


@pytest.mark.parametrize("section", SITES)
def test_each_kind_of_patching_is_counted(built, section):
    file = built(listed(section), listed(section, 2))
    assert boot_patches(file, file.find("patched")) == {SITES[section]: 3}


def test_places_of_other_functions_and_other_sections_are_not_counted(built):
    file = built(listed(".discard.something"))
    assert boot_patches(file, file.find("patched")) == {}
    assert boot_patches(file, file.find("other")) == {"alternative": 1}


def test_a_linked_file_lists_no_places(built):
    file = built(listed("__jump_table"), flags=("-nostdlib", "-static", "-Wl,-e,patched"))
    assert boot_patches(file, file.find("patched")) == {}


def test_a_module_without_its_kernel_is_read_by_its_own_dwarf(kernel_object, declarations):
    pytest.importorskip("drgn")
    kernel = kernel_object("kernel", [declarations["NATIVE"]])
    both = [declarations[name] for name in ("NATIVE", "COMPAT")]
    module = kernel_object("kvm", both, base=kernel, keep_dwarf=True)
    assert open_types(open_code(module), "").kind == "DWARF"
    assert open_types(open_code(module), kernel).kind == "BTF"
    bare = kernel_object("bare", both, base=kernel)
    with pytest.raises(WitnessError, match="split BTF: give the vmlinux"):
        open_types(open_code(bare), "")
