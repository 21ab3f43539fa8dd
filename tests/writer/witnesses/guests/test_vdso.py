"""The vDSO in a kernel: the function that reads the time info is found, and judged."""

import json
from pathlib import Path

import pytest

from runstate_abi.tools import cli

pytest.importorskip("unicorn")

SOURCE = Path(__file__).parents[3] / "data" / "readers" / "vdso.c"
# The pages lie behind the file, where a kernel maps them.
SCRIPT = """SECTIONS {
	. = SIZEOF_HEADERS;
	.hash : { *(.hash) } .gnu.hash : { *(.gnu.hash) } .dynsym : { *(.dynsym) }
	.dynstr : { *(.dynstr) } .dynamic : { *(.dynamic) } .text : { *(.text*) }
	. = ALIGN(4096);
	hvclock_page = . + 0x1000000;
	pvclock_page = . + 0x1001000;
}
"""
KERNEL = """
void start_kernel(void) { for (;;); }
__asm__(".section .rodata\\n.asciz \\"before\\"\\n%s\\n");
"""
SHARED = ("-fPIC", "-shared", "-Wl,-T,vdso.lds", "-Wl,-z,max-page-size=4096")
PLAIN = ("-O2", "-ffreestanding", "-fno-stack-protector", "-nostdlib", "-Wl,--build-id=none")


@pytest.fixture
def vmlinux(tool, tmp_path):
    """Return a function (*defines) -> a kernel with the vDSO in it, or without one."""

    def build(*defines, vdso=True):
        (tmp_path / "vdso.lds").write_text(SCRIPT)
        where = {"cwd": tmp_path}
        tool("gcc", *PLAIN, *SHARED, *defines, SOURCE, "-o", "vdso.so", **where)
        tool("strip", "vdso.so", **where)
        source, path = tmp_path / "kernel.c", tmp_path / "vmlinux"
        source.write_text(KERNEL % ('.incbin \\"vdso.so\\"' if vdso else ""))
        tool(
            "gcc", *PLAIN, "-static", "-no-pie", "-Wl,-e,start_kernel", source, "-o", path, **where
        )
        return str(path)

    return build


@pytest.fixture
def asked(capsys):
    """Return a function (kernel) -> exit status, verdicts, what is said."""

    def ask(path):
        words = ["race", "--family", "pvclock", "--json", "--reader-object"]
        status = cli.main([*words, f"{path}:vread_pvclock"])
        out, error = capsys.readouterr()
        rows = json.loads(out) if out else []
        return status, {row["verdict"] for row in rows}, error + str(rows[:1])

    return ask


def test_the_reader_in_a_kernels_vdso_is_found_and_judged(vmlinux, asked):
    status, verdicts, said = asked(vmlinux())
    assert (status, verdicts) == (0, {"safe"}), said
    assert "flags taken as 1" in said
    assert asked(vmlinux("-DNO_ODD_TEST"))[:2] == (1, {"torn"})


def test_a_kernel_without_one_says_so(vmlinux, asked):
    status, _, said = asked(vmlinux(vdso=False))
    assert status == 3
    assert "no vread_pvclock() in a vDSO of x86-64: it has none, or it was inlined there" in said


@pytest.mark.network
@pytest.mark.parametrize(("suite", "status"), [("sid", 0), ("bookworm", 3)])
def test_debians_kernel_has_it_or_has_it_inlined(debian, asked, suite, status):
    (path,) = debian.kernel(suite, "linux-image-cloud-amd64", [r"vmlinuz.*"])
    assert asked(path)[:2] == (status, set() if status else {"safe"})
