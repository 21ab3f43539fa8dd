"""The code of a shipped kernel as the writer of a race."""

import pytest

from runstate_abi.tools.cli import main


@pytest.mark.network
def test_the_code_of_a_shipped_kernel_is_safe_with_the_flag_and_torn_without(answers, debian):
    pytest.importorskip("unicorn")
    kernel, module = debian.kernel("trixie", "linux-image-amd64", [r"vmlinuz.*", r"kvm\.ko\.xz"])
    arguments = ["--kernel", str(module), "--btf", str(kernel), "--reader", "linux-64"]
    code, rows = answers(*arguments)
    assert code == 0
    assert len(rows) == 2 * 3 + 47 + 43
    assert {row["verdict"] for row in rows} == {"safe"}
    code, rows = answers(*arguments, "--drop", "flag")
    assert code == 1
    assert {row["verdict"] for row in rows} == {"torn"}


def test_a_kernel_that_is_none_is_one_line(capsys, tmp_path):
    path = tmp_path / "kvm.ko"
    path.write_bytes(b"not a kernel module at all")
    assert main(["race", "--kernel", str(path)]) == 3
    assert capsys.readouterr().err.count("\n") == 1


def test_a_writer_without_the_flag_is_torn(capsys, c_writer):
    asked = ["--kernel", str(c_writer()), "--reader", "linux-64", "--abi", "native", "--at", "0"]
    assert main(["race", *asked, "--drop", "flag"]) == 1
    assert capsys.readouterr().out.startswith("torn: ")
