"""A kernel's package: its files are found, or it is said that they are not there."""

import shutil
import subprocess

import pytest


def test_a_package_is_opened_and_its_files_found(judge, c_writer, tmp_path):
    """A .deb with a kernel's BTF as vmlinux and our writer as kvm.ko, as Debian packs them."""
    if shutil.which("ar") is None:
        pytest.skip("ar: not installed")
    tree = tmp_path / "usr" / "lib" / "modules"
    tree.mkdir(parents=True)
    shutil.copy(c_writer(), tree / "kvm.ko")
    shutil.copy(c_writer(), tmp_path / "usr" / "vmlinux-6.12")
    subprocess.run(["tar", "cJf", "data.tar.xz", "./usr"], cwd=tmp_path, check=True)
    subprocess.run(["tar", "cJf", "control.tar.xz", "./usr/vmlinux-6.12"], cwd=tmp_path, check=True)
    (tmp_path / "debian-binary").write_text("2.0\n")
    members = ["debian-binary", "control.tar.xz", "data.tar.xz"]
    subprocess.run(["ar", "rc", "kernel.deb", *members], cwd=tmp_path, check=True)
    code, out, err = judge(str(tmp_path / "kernel.deb"), "--quick")
    assert (code, err) == (0, "")
    assert out.startswith(str(tmp_path / "kernel.deb"))


def test_a_package_without_a_writer_says_so(judge, tmp_path):
    (tmp_path / "readme").write_text("nothing")
    subprocess.run(["tar", "cf", "empty.tar", "readme"], cwd=tmp_path, check=True)
    code, _, err = judge(str(tmp_path / "empty.tar"))
    assert code == 3
    assert "no kvm.ko" in err
