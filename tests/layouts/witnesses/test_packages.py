"""Packages and tarballs as real tools make them, and as nobody should."""

import contextlib
import io
import lzma
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runstate_abi.layouts.model import WitnessError
from runstate_abi.layouts.witnesses import compressed, packages

KERNEL, MODULE = b"kernel" * 1000, b"module" * 100
FILES = {
    "boot/vmlinuz-6.12": KERNEL,
    "boot/config-6.12": b"CONFIG_KVM_XEN=y\n",
    "usr/lib/modules/6.12/kernel/arch/x86/kvm/kvm.ko.xz": MODULE,
    "usr/lib/modules/6.12/kernel/fs/xfs.ko.xz": b"other",
}
WANTED = {name: data for name, data in FILES.items() if "vmlinuz" in name or "kvm" in name}


@pytest.fixture
def tree(tmp_path):
    """A folder with FILES in it."""
    root = tmp_path / "tree"
    for name, data in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def extracted(path, folder):
    folder.mkdir()
    return {
        item.member.removeprefix("./"): Path(item.path).read_bytes()
        for item in packages.extract(str(path), str(folder))
    }


TARS = {
    "tar": ["tar", "cf"],
    "tar.gz": ["tar", "czf"],
    "tar.xz": ["tar", "cJf"],
    "tar.bz2": ["tar", "cjf"],
    "tar.zst": ["tar", "--zstd", "-cf"],
    "tgz": ["tar", "czf"],
    "pax.tar": ["tar", "--format=pax", "-cf"],
    "v7-names.tar": ["tar", "--format=ustar", "-cf"],
}


# The programs that tar runs for it, where they are none that every machine has.
BY_TAR = {"tar.xz": "xz", "tar.bz2": "bzip2", "tar.zst": "zstd"}
EVERY_KIND = [
    pytest.param(kind, marks=pytest.mark.needs(BY_TAR[kind]) if kind in BY_TAR else ())
    for kind in TARS
]


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_a_tarball_gives_the_kernel_and_its_module(tree, tmp_path, kind):
    path = tmp_path / f"kernel.{kind}"
    subprocess.run([*TARS[kind], path, "-C", tree, "."], check=True)
    assert packages.is_archive(str(path))
    assert extracted(path, tmp_path / "out") == WANTED


@pytest.mark.needs("dpkg-deb")
@pytest.mark.parametrize("compression", ["xz", "zstd", "gzip", "none"])
def test_a_debian_package_gives_the_kernel_and_its_module(tree, tmp_path, compression):
    (tree / "DEBIAN").mkdir()
    (tree / "DEBIAN/control").write_text(
        "Package: linux-image\nVersion: 1\nArchitecture: all\nMaintainer: a <a@b>\nDescription: d\n"
    )
    path = tmp_path / "kernel.deb"
    subprocess.run(["dpkg-deb", f"-Z{compression}", "-b", tree, path], check=True, stdout=-3)
    assert packages.is_archive(str(path))
    assert extracted(path, tmp_path / "out") == WANTED


def test_long_names_are_read(tmp_path):
    name = "usr/lib/" + "d" * 200 + "/kvm.ko"
    for format_ in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT):
        path = tmp_path / f"{format_}.tar"
        with tarfile.open(path, "w", format=format_) as archive:
            short = (
                name if format_ != tarfile.USTAR_FORMAT else "a" * 90 + "/" + "b" * 60 + "/kvm.ko"
            )
            archive.addfile(entry(short, MODULE), io.BytesIO(MODULE))
        assert extracted(path, tmp_path / str(format_)) == {short: MODULE}


def entry(name, data, **changes):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in changes.items():
        setattr(info, key, value)
    return info


def made(tmp_path, *entries):
    path = tmp_path / "made.tar"
    with tarfile.open(path, "w") as archive:
        for info, data in entries:
            archive.addfile(info, io.BytesIO(data))
    return path


def test_a_name_that_leads_elsewhere_leads_nowhere(tmp_path):
    path = made(tmp_path, (entry("../../../vmlinux", KERNEL), KERNEL))
    assert extracted(path, tmp_path / "out") == {"../../../vmlinux": KERNEL}
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["0", "made.tar", "out"]


def test_a_link_is_no_file(tmp_path):
    link = entry("vmlinux", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd")
    assert extracted(made(tmp_path, (link, b"")), tmp_path / "out") == {}


def test_an_archive_that_ends_behind_a_kernel_and_its_module_is_not_taken_for_whole(tree, tmp_path):
    path = tmp_path / "kernel.tar"
    order = [*WANTED, "boot/config-6.12"]
    subprocess.run(["tar", "cf", path, "-C", tree, *order], check=True)
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"CONFIG_KVM_XEN")])
    with pytest.raises(WitnessError, match="truncated"):
        extracted(path, tmp_path / "out")


def test_a_kernel_of_any_name_is_told_by_its_bytes(tmp_path):
    boot = bytearray(600)
    boot[0x202:0x206] = b"HdrS"
    files = {"bzImage": bytes(boot), "linux": b"MZ\0\0zimg" + bytes(90), "elf": b"\x7fELF"}
    files["btf"] = b"\x9f\xeb\x01\0"
    path = made(tmp_path, *((entry(name, data), data) for name, data in files.items()))
    del files["elf"]
    assert extracted(path, tmp_path / "out") == files


def test_a_name_that_would_forge_a_line_is_escaped(tmp_path):
    path = made(tmp_path, (entry("a\nok  btf\x1b[2J/vmlinux", KERNEL), KERNEL))
    (item,) = packages.extract(str(path), str(tmp_path))
    assert item.member == "a\\nok  btf\\x1b[2J/vmlinux"


@pytest.mark.needs("zstd")
def test_without_a_reader_of_zstd_a_package_is_one_line(tree, tmp_path, monkeypatch):
    path = tmp_path / "kernel.tar.zst"
    subprocess.run([*TARS["tar.zst"], path, "-C", tree, "."], check=True)
    monkeypatch.setitem(sys.modules, "zstandard", None)
    monkeypatch.setitem(sys.modules, "compression.zstd", None)
    with pytest.raises(
        WitnessError, match=r"zst: compressed with zstd: Python before 3\.14 needs pip install"
    ):
        packages.extract(str(path), str(tmp_path))


@pytest.mark.parametrize("content", [b"", b"junk"])
def test_a_damaged_package_or_tarball_is_one_by_its_name(tmp_path, content):
    for name in ("a.deb", "b.tar.gz", "c.txz"):
        path = tmp_path / name
        path.write_bytes(content)
        assert packages.is_archive(str(path))
        with pytest.raises(WitnessError):
            packages.extract(str(path), str(tmp_path))


def test_streams_put_together_are_read_on(tmp_path, tree):
    plain = tmp_path / "kernel.tar"
    subprocess.run(["tar", "cf", plain, "-C", tree, "."], check=True)
    data = plain.read_bytes()
    path = tmp_path / "kernel.tar.xz"
    path.write_bytes(lzma.compress(data[:5000]) + lzma.compress(data[5000:]))
    assert extracted(path, tmp_path / "out") == WANTED


@pytest.mark.parametrize(
    ("name", "yes"),
    [
        ("boot/vmlinuz-6.12", True),
        ("usr/lib/debug/boot/vmlinux-6.12", True),
        ("lib/modules/6.12/kernel/arch/x86/kvm/kvm.ko.zst", True),
        ("kvm-intel.ko", True),
        ("xen-syms-4.20-amd64", True),
        ("usr/src/linux/include/vmlinux.h", False),
        ("arch/x86/kernel/vmlinux.lds", False),
        ("arch/x86/boot/compressed/vmlinux", False),
        ("vmlinux.o", False),
        ("lib/modules/6.12/kernel/fs/xfs.ko", False),
        ("etc/passwd", False),
    ],
)
def test_what_is_wanted(name, yes):
    assert packages.wanted(name) == yes


def header(**changes):
    return entry("vmlinux", b"", **changes).tobuf(tarfile.GNU_FORMAT)


def ar(name, size, data=b""):
    return f"{name:<16}{0:<12}{0:<6}{0:<6}{644:<8}{size:<10}`\n".encode() + data


LONG_NAME = header(size=1 << 30, type=tarfile.GNUTYPE_LONGNAME)
PAX = header(size=1 << 30, type=tarfile.XHDTYPE)
AR = b"!<arch>\n"
# Archives that lie about a length, or are none: what is made, and what is said.
LIES = {
    "a file of 3 GB": (header(size=3 << 30), "has 3221225472 bytes, over"),
    "a file of 8 EB": (header(size=(1 << 63) - 1), "bytes, over"),
    "a long name of 1 GB": (LONG_NAME, "a name of 1073741824 bytes"),
    "pax records of 1 GB": (PAX, "a name of 1073741824 bytes"),
    "a file that is not there": (header(size=5000), "truncated"),
    "a size that is none": (
        header()[:124] + b"bad-size\0\0\0 " + header()[136:],
        "not a tar archive",
    ),
    "no tar at all": (b"x" * 1024, "not a tar archive"),
    "nothing": (b"", "truncated"),
    "an ar of nothing": (AR, "no data.tar"),
    "a static library": (AR + ar("libc.o/", 4, b"1234"), "not a Debian package"),
    "an ar that never ends": (AR + ar("debian-binary", 0) * 100, "no data.tar"),
    "an ar of minus one": (AR + ar("debian-binary", -9), "a member of '-9' bytes"),
    "an ar without a size": (AR + ar("debian-binary", "many"), "a member of 'many' bytes"),
}


@pytest.mark.parametrize("case", LIES)
def test_a_lie_is_one_line(tmp_path, case):
    data, message = LIES[case]
    path = tmp_path / "lie.tar"
    path.write_bytes(data)
    with pytest.raises(WitnessError, match=message) as caught:
        packages.extract(str(path), str(tmp_path))
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_stream_without_end_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(compressed, "STREAM_MAX", 10 << 20)
    path = tmp_path / "bomb.tar.xz"
    big = entry("big", b"", size=1 << 33).tobuf(tarfile.GNU_FORMAT)
    path.write_bytes(lzma.compress(big + bytes(64 << 20)))
    with pytest.raises(WitnessError, match="inflates to over"):
        packages.extract(str(path), str(tmp_path))


@pytest.mark.parametrize("kind", [one for one in EVERY_KIND if not one.values[0].endswith("tar")])
def test_a_corrupt_stream_is_one_line(tree, tmp_path, kind):
    path = tmp_path / f"kernel.{kind}"
    subprocess.run([*TARS[kind], path, "-C", tree, "."], check=True)
    data = bytearray(path.read_bytes())
    data[20:60] = bytes(40)
    path.write_bytes(data)
    with pytest.raises(WitnessError, match=rf"^{path}: "):
        packages.extract(str(path), str(tmp_path))


@settings(
    max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(data=st.data())
def test_no_mutation_does_more_than_fail(tmp_path, data):
    """Cut and changed packages give files or a WitnessError, and nothing else."""
    source = io.BytesIO()
    with tarfile.open(fileobj=source, mode="w") as archive:
        archive.addfile(entry("vmlinux", KERNEL), io.BytesIO(KERNEL))
    content = bytearray(source.getvalue())
    how = data.draw(st.sampled_from(["plain", "xz", "deb"]))
    if how == "xz":
        content = bytearray(lzma.compress(content))
    elif how == "deb":
        first = ar("debian-binary", 4, b"2.0\n")
        content = bytearray(AR + first + ar("data.tar", len(content), content))
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))]
    path = tmp_path / "mutated.tar.xz"
    path.write_bytes(content)
    packages.is_archive(str(path))
    with contextlib.suppress(WitnessError):
        packages.extract(str(path), str(tmp_path))
