"""Which files are asked, and which of them are one question."""

import os

import pytest

from runstate_abi.tools.fleet import units

BTF_MAGIC = b"\x9f\xeb\x01\x00" + bytes(20)
BZIMAGE = bytes(0x202) + b"HdrS" + bytes(100)
ELF = b"\x7fELF" + bytes(100)


@pytest.fixture
def folder(tmp_path):
    """Return a function that makes files: {path: bytes}."""

    def make(files):
        for name, data in files.items():
            path = tmp_path / "fleet" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return str(tmp_path / "fleet")

    return make


def grouped(root):
    found, complaints = units([root])
    assert complaints == []
    return sorted(tuple(os.path.relpath(p, root) for p in unit) for unit in found)


def test_only_what_can_be_a_kernel_is_asked(folder):
    root = folder(
        {
            "vmlinuz-6.12": BZIMAGE,
            "anything": BZIMAGE,
            "some.btf": BTF_MAGIC,
            "vmlinux": ELF,
            "bash": ELF,
            "notes.txt": b"text",
            "xfs.ko": ELF,
            "empty": b"",
            "vmlinuz-6.12.map.gz": b"\x1f\x8b",
            "../elsewhere/linux.deb": b"!<arch>\n",
        }
    )
    os.symlink("vmlinuz-6.12", os.path.join(root, "vmlinuz"))
    # What a link leads to is asked once, wherever it is.
    for name in ("linux.deb", "the-same.deb"):
        os.symlink("../elsewhere/linux.deb", os.path.join(root, name))
    os.mkfifo(os.path.join(root, "pipe"))
    assert [u for unit in grouped(root) for u in unit] == [
        "anything",
        "linux.deb",
        "some.btf",
        "vmlinux",
        "vmlinuz-6.12",
    ]


def test_a_link_to_nothing_is_a_complaint(folder):
    root = folder({"vmlinuz-6.12": BZIMAGE})
    os.symlink("nowhere", os.path.join(root, "vmlinuz.old"))
    _, complaints = units([root])
    path = os.path.join(root, "vmlinuz.old")
    assert complaints == [(f"{path}: a link to a file that is not there", path)]


def test_a_version_brings_a_kernel_and_its_module_together(folder, monkeypatch):
    modules = "lib/modules/{}/kernel/arch/x86/kvm/kvm.ko.xz"
    xz = b"\xfd7zXZ\0"
    root = folder(
        {
            "boot/vmlinuz-6.1": BZIMAGE,
            "boot/vmlinuz-6.12": BZIMAGE,
            modules.format("6.1"): xz,
            modules.format("6.12"): xz,
        }
    )
    pairs = [
        ("boot/vmlinuz-6.1", modules.format("6.1")),
        ("boot/vmlinuz-6.12", modules.format("6.12")),
    ]
    assert grouped(root) == pairs
    monkeypatch.chdir(root)
    assert sorted(units(["boot", "lib"])[0]) == pairs


def test_a_build_tree_is_one_question(folder):
    root = folder(
        {
            "vmlinux": ELF,
            "vmlinux.o": ELF,
            "arch/x86/boot/bzImage": BZIMAGE,
            "arch/x86/boot/setup.bin": BZIMAGE,
            "arch/x86/boot/compressed/vmlinux": ELF,
            "arch/x86/kvm/kvm.ko": ELF,
        }
    )
    assert grouped(root) == [("arch/x86/boot/bzImage", "arch/x86/kvm/kvm.ko", "vmlinux")]


def test_packages_of_one_version_are_one_question(folder):
    ar = b"!<arch>\n"
    names = [
        "linux-binary-7.3.4+deb13-amd64_7.3.4-1_amd64.deb",
        "linux-modules-7.3.4+deb13-amd64_7.3.4-1_amd64.deb",
        "linux-image-6.12.107+deb13-amd64_6.12.107-1_amd64.deb",
        "linux-image-unsigned-6.8.0-40-generic_6.8.0-40.40_amd64.deb",
        "linux-modules-6.8.0-40-generic_6.8.0-40.40_amd64.deb",
        "other_1_all.deb",
    ]
    assert grouped(folder(dict.fromkeys(names, ar))) == [
        (names[0], names[1]),
        (names[2],),
        (names[3], names[4]),
        (names[5],),
    ]


def test_two_folders_are_two_questions(folder):
    root = folder({"a/vmlinux": ELF, "a/kvm.ko": ELF, "b/vmlinux": ELF, "b/kvm.ko": ELF})
    assert grouped(root) == [("a/kvm.ko", "a/vmlinux"), ("b/kvm.ko", "b/vmlinux")]


def test_a_folder_without_any_is_a_complaint(tmp_path):
    (tmp_path / "nothing").mkdir()
    assert units([str(tmp_path)]) == (
        [],
        [(f"{tmp_path}: no kernel, kvm.ko, package or tarball in it", str(tmp_path))],
    )


@pytest.mark.parametrize("name", ["vmlinuz-6.13", "vmlinux", "kvm-amd.ko.xz", "kvm.ko"])
@pytest.mark.parametrize("data", [b"", bytes(4096), b"text"])
def test_a_kernels_name_is_asked_whatever_its_bytes(folder, name, data):
    assert grouped(folder({name: data, "notes.txt": data})) == [(name,)]
