"""Kernel images: told from their bytes, opened to their BTF, or refused in one line."""

import bz2
import gzip
import hashlib
import lzma
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runstate_abi.layouts.abi import ABI, I386, X86_64
from runstate_abi.layouts.model import WitnessError, differences
from runstate_abi.layouts.structs.runstate import COMPAT, KVM_VCPU_XEN, NATIVE, claim
from runstate_abi.layouts.witnesses import compressed
from runstate_abi.layouts.witnesses import vmlinuz as vmlinuz_module
from runstate_abi.layouts.witnesses.btf import Btf, observe
from runstate_abi.layouts.witnesses.kernels import identity
from runstate_abi.layouts.witnesses.vmlinuz import open_image, read_btf

NAMES = (NATIVE.name, COMPAT.name)
NOTE = struct.pack("<III", 4, 4, 3) + b"GNU\0" + b"\xde\xad\xbe\xef"


def zstd(data):
    if sys.version_info >= (3, 14):
        from compression.zstd import compress

        return compress(data)
    return pytest.importorskip("zstandard").ZstdCompressor().compress(data)


COMPRESS = {
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "zstd": zstd,
    "bzip2": bz2.compress,
    "lzma": lambda data: lzma.compress(data, format=lzma.FORMAT_ALONE),
    "lz4": lambda data: pytest.importorskip("lz4.frame").compress(data),
}


def lz4_legacy(data, block=8 << 20, size=b""):
    """Compress as `lz4 -l` does, which is how kernels are."""
    pack = pytest.importorskip("lz4.block").compress
    parts = (pack(data[n : n + block], store_size=False) for n in range(0, len(data), block))
    return b"\x02\x21\x4c\x18" + b"".join(struct.pack("<I", len(p)) + p for p in parts) + size


def pe(sections, machine=0x8664):
    """Return a PE image whose sections have these names and bytes; long names in a table."""
    table, strings, body = b"", b"", b""
    start = 0x80 + 24 + 40 * len(sections)
    for name, content in sections.items():
        known = name.encode()
        if len(known) > 8:
            known = b"/%d" % (4 + len(strings))
            strings += name.encode() + b"\0"
        padded = content + bytes(-len(content) % 512)
        where = start + len(body)
        table += struct.pack(
            "<8sIIIIIIHHI", known, len(content), 0, len(padded), where, 0, 0, 0, 0, 0
        )
        body += padded
    symbols = start + len(body)
    head = struct.pack("<HHIIIHH", machine, len(sections), 0, symbols, 0, 0, 0)
    dos = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x80)
    names = struct.pack("<I", 4 + len(strings)) + strings
    return dos.ljust(0x80, b"\0") + b"PE\0\0" + head + table + body + names


def bzimage(payload, trailer=b"", version=0x20F, setup_sectors=2):
    """Return a bzImage: boot sector, setup sectors, eight bytes of code, payload."""
    setup = bytearray((setup_sectors + 1) * 512)
    setup[0x1F1] = setup_sectors  # setup_sects
    setup[0x1FE:0x200] = b"\x55\xaa"  # boot_flag
    setup[0x202:0x206] = b"HdrS"  # header
    struct.pack_into("<H", setup, 0x206, version)  # version
    struct.pack_into("<II", setup, 0x248, 8, len(payload) + len(trailer))  # payload_offset, _length
    return bytes(setup) + b"\x90" * 8 + payload + trailer


def image(body, magic=b"ARM\x64"):
    """Return a raw arm64 or riscv Image."""
    return b"MZ".ljust(0x38, b"\0") + magic + bytes(64) + body


def zboot(payload):
    """Return an EFI zboot image."""
    head = b"MZ\0\0zimg" + struct.pack("<II", 64, len(payload))
    return head.ljust(64, b"\0") + payload


@pytest.fixture
def blob(data):
    return (data / "btf" / "6.12.107+deb13-amd64-kvm.R.btf").read_bytes()


@pytest.fixture
def vmlinux(make_elf, blob):
    sections = {"__ksymtab": b"k", ".notes": NOTE, ".BTF": blob}
    return make_elf(sections, type=2)


@pytest.fixture
def opened(tmp_path):
    """Return a function: open these bytes as a file of a name that says nothing."""

    def opened(content):
        path = tmp_path / "file"
        path.write_bytes(content)
        return open_image(str(path))

    return opened


def sizes(image):
    seen = observe(read_btf(image), NAMES, image.abi or X86_64)
    return [layout.size for layout in seen.found]


# Kinds ------------------------------------------------------------------------------------------


def test_a_raw_blob_does_not_say_its_abi(opened, blob):
    seen = opened(blob)
    assert (seen.kind, seen.abi, seen.build_id, seen.is_module) == ("raw BTF", None, None, False)
    assert sizes(seen) == [48, 44]


def test_a_vmlinux_is_told_from_its_sections(opened, vmlinux):
    seen = opened(vmlinux)
    assert (seen.kind, seen.abi) == ("vmlinux (ELF64 x86-64)", X86_64)
    assert sizes(seen) == [48, 44]


def test_an_i386_vmlinux_has_the_abi_of_its_machine(opened, make_elf, blob):
    seen = opened(make_elf({"__ksymtab": b"k", ".BTF": blob}, 32, machine=3, type=2))
    assert (seen.kind, seen.abi) == ("vmlinux (ELF32 i386)", I386)


def test_a_module_is_told_from_its_sections(opened, make_elf, blob):
    seen = opened(make_elf({".modinfo": b"m", ".BTF": blob}))
    assert (seen.kind, seen.is_module) == ("kernel module (ELF64 x86-64)", True)


def test_another_elf_file_with_btf_is_called_just_that(opened, make_elf, blob):
    assert opened(make_elf({".BTF": blob}, machine=22)).kind == "ELF file (ELF64 s390)"


@pytest.mark.parametrize("how", COMPRESS)
def test_a_compressed_module_is_opened(opened, make_elf, blob, how):
    seen = opened(COMPRESS[how](make_elf({".modinfo": b"m", ".BTF": blob})))
    assert seen.kind == f"kernel module (ELF64 x86-64, {how})"
    assert sizes(seen) == [48, 44]


@pytest.mark.parametrize("how", COMPRESS)
def test_a_bzimage_is_opened(opened, vmlinux, how):
    # The kernel's build appends the inflated size to what the compressor made.
    trailer = b"" if how == "gzip" else struct.pack("<I", len(vmlinux))
    seen = opened(bzimage(COMPRESS[how](vmlinux), trailer))
    assert (seen.kind, seen.abi, seen.build_id) == (f"bzImage ({how})", X86_64, "deadbeef")
    assert sizes(seen) == [48, 44]


def test_a_bzimage_of_an_i386_kernel_has_the_abi_of_the_kernel_inside(opened, make_elf, blob):
    seen = opened(bzimage(gzip.compress(make_elf({".BTF": blob}, 32, machine=3))))
    assert seen.abi == I386


# What is found while it is inflated, and what the section table says.
@pytest.mark.parametrize("wrap", [bzimage, lambda data: pe({".linux": bzimage(data)})])
@pytest.mark.parametrize("machine", [62, 3, 21])
def test_a_large_kernel_in_a_bzimage_is_what_it_is_outside(opened, make_elf, large, wrap, machine):
    bits = 32 if machine == 3 else 64
    kernel = make_elf({".notes": NOTE, ".BTF": large}, bits, machine=machine, type=2)
    whole = opened(kernel)
    said = bytes(whole.btf), whole.abi, whole.foreign
    packed = opened(wrap(gzip.compress(kernel)))
    assert (bytes(packed.btf), packed.abi, packed.foreign) == said
    assert packed.kind.endswith("bzImage (gzip)")


def test_a_large_kernel_is_not_inflated_to_its_end(opened, make_elf, large, monkeypatch):
    monkeypatch.delattr(vmlinuz_module, "inflate")
    kernel = make_elf({".notes": NOTE, ".BTF": large}, type=2)
    assert bytes(opened(bzimage(gzip.compress(kernel))).btf) == large


def test_btf_behind_much_that_begins_like_it_is_found_by_the_section_table(opened, make_elf, large):
    decoys = (b"\x9f\xeb\1\0" + bytes(28)) * 5000
    kernel = make_elf({".rodata": decoys, ".BTF": large}, type=2)
    assert opened(bzimage(gzip.compress(kernel))).btf == large


def test_a_bzimage_that_is_not_compressed_is_opened(opened, vmlinux):
    assert sizes(opened(bzimage(vmlinux))) == [48, 44]


def test_a_bzimage_that_counts_no_setup_sectors_has_four(opened, vmlinux):
    content = bytearray(bzimage(gzip.compress(vmlinux), setup_sectors=4))
    content[0x1F1] = 0
    assert sizes(opened(content)) == [48, 44]


@pytest.mark.parametrize(
    ("magic", "name", "abi"),
    [(b"ARM\x64", "arm64 Image", "arm64"), (b"RSC\x05", "riscv Image", "riscv64")],
)
def test_a_raw_image_is_searched_for_its_btf(opened, large, magic, name, abi):
    seen = opened(image(b"code" + large + b"data", magic))
    assert (seen.kind, seen.abi, bytes(seen.btf)) == (name, ABI[abi], large)


def test_a_compressed_image_is_searched_too(opened, large):
    seen = opened(gzip.compress(image(large)))
    assert (seen.kind, bytes(seen.btf)) == ("arm64 Image (gzip)", large)


@pytest.mark.parametrize("how", ["gzip", "zstd"])
def test_a_zboot_image_is_opened(opened, large, how):
    seen = opened(zboot(COMPRESS[how](image(large))))
    assert (seen.kind, bytes(seen.btf)) == (f"arm64 Image (EFI zboot, {how})", large)


def test_a_zboot_image_that_is_not_compressed_is_opened(opened, large):
    assert bytes(opened(zboot(image(large))).btf) == large


def test_btf_that_cannot_be_read_is_not_taken_for_the_kernels(opened, large):
    larger = bytearray(large)
    larger[8:12] = struct.pack("<I", 0)
    larger[24 + 7] = 99  # the kind of the first type
    assert bytes(opened(image(bytes(larger) + bytes(large))).btf) == large


def test_of_two_that_can_be_read_the_larger_is_the_kernels(opened, large, runstate_btf):
    smaller = runstate_btf()
    for _ in range(17_000):
        smaller.int("filler", 4)
    for content in (large + smaller.build(), smaller.build() + large):
        assert bytes(opened(image(content)).btf) == large


def test_the_small_btf_of_a_built_in_bpf_program_is_not_the_kernels(opened, blob):
    with pytest.raises(WitnessError, match="no BTF in this arm64 Image"):
        opened(image(blob))


# Split BTF ----------------------------------------------------------------------------------------


def test_a_module_is_read_with_its_kernel(opened, runstate_btf, make_elf):
    kernel = runstate_btf()
    kernel.runstate()
    module = runstate_btf(base=kernel)
    module.runstate(COMPAT.name, 44, 4, 12)
    seen = opened(make_elf({".modinfo": b"m", ".BTF": module.build()}))
    assert seen.split
    with pytest.raises(WitnessError, match="split BTF: give the vmlinux"):
        read_btf(seen)
    btf = read_btf(seen, Btf(kernel.build()))
    assert [layout.size for layout in observe(btf, NAMES, X86_64).found] == [48, 44]


@pytest.mark.parametrize("how", [bytes, gzip.compress])
def test_a_module_with_a_distilled_base_needs_no_kernel(opened, runstate_btf, make_elf, how):
    base = runstate_btf()
    base.struct(NATIVE.name, 48)
    module = runstate_btf(base=base)
    module.runstate(COMPAT.name, 44, 4, 12)
    sections = {".modinfo": b"m", ".BTF": module.build(), ".BTF.base": base.build()}
    seen = observe(read_btf(opened(how(make_elf(sections)))), NAMES, X86_64)
    assert [(layout.name, layout.size) for layout in seen.found] == [(COMPAT.name, 44)]
    assert seen.missing == NAMES[:1]


# Identity -----------------------------------------------------------------------------------------


def test_a_kernel_is_named_by_its_build_id(opened, vmlinux):
    image = opened(vmlinux)
    assert identity(image.path, image.build_id) == "build-id deadbeef"


def test_what_has_no_build_id_is_named_by_its_sha256(opened, blob):
    packed = gzip.compress(blob)
    image = opened(packed)
    digest = hashlib.sha256(packed).hexdigest()
    assert identity(image.path, image.build_id) == f"sha256 {digest[:12]}"
    assert compressed.sha256(image.path) == digest


# Refusals -----------------------------------------------------------------------------------------


def refused(path, message):
    with pytest.raises(WitnessError) as caught:
        open_image(str(path))
    assert str(caught.value) == f"{path}: {message}"


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    refused(tmp_path / "none", "No such file or directory")


def test_a_directory_is_said_to_be_one(tmp_path):
    refused(tmp_path, "a directory")


def test_an_empty_file_is_said_to_be_empty(tmp_path):
    (tmp_path / "empty").touch()
    refused(tmp_path / "empty", "an empty file")


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "not a regular file")


def test_a_device_is_not_read():
    refused("/dev/zero", "not a regular file")


def test_an_unreadable_file_is_said_to_be_unreadable(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"x")
    secret.chmod(0)
    if os.access(secret, os.R_OK):
        # root reads everything, but not what sysfs has made write-only.
        secret = next(Path("/sys/bus").glob("*/uevent"))
    refused(secret, "Permission denied")


def test_a_path_through_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    refused(tmp_path / "file" / "below", "Not a directory")


def test_a_text_file_is_none_of_the_kinds(tmp_path):
    (tmp_path / "text").write_bytes(b"hello\nworld\n")
    refused(tmp_path / "text", "neither ELF, nor BTF, nor a kernel image: it begins with 'hell'")


def test_a_program_has_no_btf(tmp_path, make_elf):
    (tmp_path / "program").write_bytes(make_elf({".text": b"x"}))
    refused(tmp_path / "program", "no .BTF section (no debug info): ELF file (ELF64 x86-64)")


def refused_bytes(opened, content, message):
    with pytest.raises(WitnessError, match=message) as caught:
        opened(content)
    assert str(caught.value).isprintable()


def test_a_bzimage_without_btf_says_which_kind_it_is(opened, make_elf):
    content = bzimage(gzip.compress(make_elf({"__ksymtab": b"k"})))
    refused_bytes(opened, content, r"no .BTF section \(no debug info\): bzImage \(gzip\)")


def test_an_empty_btf_section_is_no_debug_info(opened, make_elf):
    refused_bytes(opened, make_elf({".BTF": b""}), "no .BTF section")


def test_a_truncated_elf_file_is_refused(opened, vmlinux):
    refused_bytes(opened, vmlinux[:-1], "truncated")


@pytest.mark.parametrize("how", COMPRESS)
def test_a_truncated_stream_is_refused(opened, vmlinux, how):
    packed = COMPRESS[how](vmlinux)
    refused_bytes(opened, packed[: len(packed) // 2], f"truncated: its {how} data ends early")


@pytest.mark.parametrize("how", ["gzip", "xz", "zstd", "bzip2"])
def test_a_corrupt_stream_is_refused(opened, vmlinux, how):
    packed = bytearray(COMPRESS[how](vmlinux))
    packed[10 : len(packed) - 10] = bytes(value ^ 0x5A for value in packed[10:-10])
    refused_bytes(opened, packed, f"its {how} data (is corrupt|ends early)")


@pytest.mark.parametrize("how", COMPRESS)
def test_nothing_inflates_beyond_its_limit(how):
    packed = memoryview(COMPRESS[how](bytes(20 << 20)))
    known = compressed.compression(packed)
    with pytest.raises(WitnessError, match=f"its {how} data inflates to over 1000 bytes"):
        compressed.inflate(packed, known, "file", limit=1000)
    assert len(compressed.inflate(packed, known, "file")) == 20 << 20


@pytest.mark.parametrize(
    ("magic", "name"),
    [(b"\x89LZO\0\r\n\x1a\n", "lzo")],
)
def test_a_compression_that_cannot_be_read_is_named(opened, magic, name):
    refused_bytes(opened, bzimage(magic + bytes(64)), f"compressed with {name}, which cannot be")


def test_without_a_zstd_library_the_error_says_what_to_install(opened, vmlinux, monkeypatch):
    packed = zstd(vmlinux)
    monkeypatch.setitem(sys.modules, "zstandard", None)
    monkeypatch.setitem(sys.modules, "compression", None)
    refused_bytes(opened, packed, r"pip install 'runstate-abi\[zstd\]'")


@pytest.mark.parametrize("pack", [lz4_legacy, COMPRESS["lz4"]])
def test_without_lz4_the_error_says_what_to_install(opened, vmlinux, monkeypatch, pack):
    packed = bzimage(pack(vmlinux))
    for module in ("lz4", "lz4.block", "lz4.frame"):
        monkeypatch.setitem(sys.modules, module, None)
    refused_bytes(opened, packed, r"lz4: pip install 'runstate-abi\[lz4\]'")


# As the kernel's build makes it: blocks, and the size of it all behind them.
@pytest.mark.parametrize("block", [8 << 20, 1000, 17])
@pytest.mark.parametrize("size", [True, False])
def test_an_lz4_bzimage_is_opened(opened, vmlinux, block, size):
    end = struct.pack("<I", len(vmlinux)) if size else b""
    seen = opened(bzimage(lz4_legacy(vmlinux, block, end)))
    assert (seen.kind, seen.build_id) == ("bzImage (lz4)", "deadbeef")
    assert sizes(seen) == [48, 44]


@pytest.mark.parametrize("cut", [1, 3, 4, 5, 100])
def test_an_lz4_bzimage_that_ends_early_is_refused(opened, vmlinux, cut):
    packed = lz4_legacy(vmlinux, 1000, struct.pack("<I", len(vmlinux)))
    if cut == 4:  # the size alone is missing, which some write
        assert sizes(opened(bzimage(packed[:-cut]))) == [48, 44]
    else:
        refused_bytes(opened, bzimage(packed[:-cut]), "its lz4 data ends early")


def test_hostile_lz4_is_bounded(opened):
    for size in (0, 1 << 31, 0xFFFFFFFF):
        packed = b"\x02\x21\x4c\x18" + struct.pack("<I", size) + bytes(64)
        refused_bytes(opened, bzimage(packed), f"corrupt: a block of {size} bytes")
    refused_bytes(opened, bzimage(lz4_legacy(b"")), "ends early")
    packed = memoryview(lz4_legacy(bytes(20 << 20)))
    known = compressed.compression(packed)
    with pytest.raises(WitnessError, match="its lz4 data inflates to over 1000 bytes"):
        compressed.inflate(packed, known, "file", limit=1000)


def test_a_unified_kernel_image_is_opened_to_its_kernel(opened, vmlinux):
    kernel = bzimage(gzip.compress(vmlinux))
    seen = opened(pe({".text": b"code", ".linux": kernel, ".initrd": b"x"}))
    assert seen.kind == "unified kernel image, bzImage (gzip)"
    assert sizes(seen) == [48, 44]
    refused_bytes(opened, pe({".linux": b"no kernel at all"}), "neither ELF, nor BTF")
    refused_bytes(opened, pe({".text": b"code"}), "no .BTF section .*: PE file")


def test_a_pe_file_that_is_cut_off_is_refused(opened, vmlinux):
    whole = pe({".linux": bzimage(gzip.compress(vmlinux))})
    for length in (0x84, 0x90, 0x98, 0xA0, 0x200, len(whole) // 2):
        refused_bytes(opened, whole[:length], "truncated: a PE file|no .BTF section|neither ELF")


NAMED = {
    "an s390 kernel image": bytes(0x10008) + b"S390EP" + bytes(64),
}


def zimage(payload):
    """Where the payload is is said nowhere; before it, what only begins like one."""
    return bytes(0x24) + b"\x18\x28\x6f\x01" + bytes(64) + b"\x1f\x8b\x08" + bytes(99) + payload


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_a_zimage_is_opened_to_the_kernel_in_it(opened, large, pack):
    seen = opened(zimage(pack(bytes(1 << 20) + large + bytes(100))))
    assert (seen.kind.partition(" (")[0], seen.abi) == ("armhf zImage", ABI["arm32"])
    assert bytes(seen.btf) == large
    refused_bytes(opened, zimage(pack(bytes(2 << 20))), "no BTF in this armhf zImage")
    refused_bytes(opened, zimage(pack(b"small")), "no payload in this armhf zImage")


@pytest.mark.parametrize("name", NAMED)
def test_an_image_that_is_not_read_is_named(opened, name):
    refused_bytes(opened, NAMED[name], f"{name}, which is not read: give its vmlinux")


def test_btf_without_types_is_called_empty(opened, make_elf):
    empty = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, 0, 0, 1) + b"\0"
    refused_bytes(opened, empty, "empty BTF: it has no types: raw BTF")
    refused_bytes(opened, make_elf({".BTF": empty}), "empty BTF: it has no types: ELF file")


def test_a_bzimage_that_promises_more_than_it_has_is_refused(opened, vmlinux):
    refused_bytes(opened, bzimage(gzip.compress(vmlinux))[:-1], "the payload of this bzImage ends")


def test_a_bzimage_that_is_only_a_header_is_refused(opened, vmlinux):
    refused_bytes(opened, bzimage(vmlinux)[:0x240], "truncated: a bzImage of 576 bytes")


def test_a_bzimage_too_old_to_tell_its_payload_is_refused(opened, vmlinux):
    refused_bytes(opened, bzimage(vmlinux, version=0x207), "boot protocol 0x207 tells no payload")


def test_a_bzimage_of_something_else_is_refused(opened):
    refused_bytes(opened, bzimage(gzip.compress(b"hello")), "is no ELF file")


def test_a_zboot_image_of_something_else_is_refused(opened):
    refused_bytes(opened, zboot(gzip.compress(b"hello")), "is no kernel that is known")


def test_a_zboot_image_that_is_only_a_header_is_refused(opened):
    refused_bytes(opened, zboot(b"")[:12], "truncated: an EFI zboot image of 12 bytes")


@settings(
    max_examples=300, deadline=10_000, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    start=st.sampled_from([b"", b"\x7fELF\x02\x01", b"\x1f\x8b\x08", b"\xfd7zXZ\0", b"BZh9",
                           b"\x28\xb5\x2f\xfd", b"]\0\0", b"\x9f\xeb\x01\0", b"MZ\0\0zimg"]),
    rest=st.binary(max_size=200),
)  # fmt: skip
def test_no_bytes_raise_anything_but_a_witness_error(opened, start, rest):
    try:
        seen = opened(start + rest + b".")
    except WitnessError as error:
        said = str(error)
    else:
        said = seen.kind
    assert said.isprintable()


# This machine's kernel, and Debian's ------------------------------------------------------------


def test_this_machines_kernel_can_be_read():
    path = "/sys/kernel/btf/vmlinux"
    if not os.path.exists(path):
        pytest.skip("this machine's kernel shows no BTF")
    btf = read_btf(open_image(path))
    (task,) = btf.named("task_struct")
    assert task.vlen > 100


@pytest.fixture(scope="module")
def kernel_612(debian):
    """Return (vmlinuz, kvm.ko.xz) of Debian 13's cloud kernel."""
    return debian.kernel("trixie", "linux-image-cloud-amd64", [r"vmlinuz-.*", r"kvm\.ko\.xz"])


@pytest.fixture(scope="module")
def kernel_7(debian):
    """Return (vmlinuz, kvm.ko.xz) of the newest kernel that Debian backports."""
    members = [r"vmlinuz.*", r"kvm\.ko\.xz"]
    return debian.kernel("trixie-backports", "linux-image-amd64", members)


@pytest.fixture(scope="module", params=["6.12", "7"])
def kernel(request):
    """Return (vmlinuz, kvm.ko.xz) of one Debian kernel after the other."""
    return request.getfixturevalue({"6.12": "kernel_612", "7": "kernel_7"}[request.param])


@pytest.fixture(scope="module")
def with_kvm(kernel):
    """Return the BTF of kvm.ko on that of its kernel."""
    vmlinuz, kvm = (open_image(str(path)) for path in kernel)
    return read_btf(kvm, read_btf(vmlinuz))


@pytest.mark.network
def test_debians_kernel_is_a_bzimage_with_btf(kernel):
    seen = open_image(str(kernel[0]))
    assert (seen.kind, seen.abi, seen.is_module) == ("bzImage (zstd)", X86_64, False)
    assert len(seen.build_id) == 40
    assert len(seen.btf) > 4 << 20


@pytest.mark.network
def test_the_kernel_alone_has_no_compat_struct(kernel):
    seen = observe(read_btf(open_image(str(kernel[0]))), NAMES, X86_64)
    assert [(layout.name, layout.size) for layout in seen.found] == [(NATIVE.name, 48)]
    assert seen.missing == (COMPAT.name,)


@pytest.mark.network
def test_the_kernel_with_kvm_has_both_structs_as_claimed(with_kvm):
    seen = observe(with_kvm, NAMES, X86_64)
    assert [layout.size for layout in seen.found] == [48, 44]
    for layout in seen.found:
        assert differences(claim(layout.name, "x86_64"), layout, "kvm.ko") == ()


@pytest.mark.network
@pytest.mark.parametrize(
    ("name", "size"),
    [("shared_info", 3136), ("compat_shared_info", 2344), ("compat_vcpu_info", 64),
     ("arch_shared_info", 48), ("compat_arch_shared_info", 28), ("pvclock_wall_clock", 12)],
)  # fmt: skip
def test_the_other_public_structs_have_their_sizes(with_kvm, name, size):
    found = observe(with_kvm, [name], X86_64).found
    assert found
    assert {layout.size for layout in found} == {size}


@pytest.mark.network
def test_every_definition_of_kvms_own_struct_has_what_the_writer_reads(with_kvm):
    found = observe(with_kvm, [KVM_VCPU_XEN], X86_64).found
    assert found
    for layout in found:
        assert layout.field("current_runstate").type.size == 4
        times = layout.field("runstate_times")
        assert (times.type.size, times.count) == (8, 4)


@pytest.mark.network
def test_kvm_without_its_kernel_is_refused(kernel):
    kvm = open_image(str(kernel[1]))
    assert kvm.kind == "kernel module (ELF64 x86-64, xz)"
    with pytest.raises(WitnessError, match="split BTF: give the vmlinux"):
        read_btf(kvm)


@pytest.mark.network
@pytest.mark.parametrize("newer", [0, 1])
def test_kvm_on_another_kernel_is_refused(kernel_612, kernel_7, newer):
    pairs = (kernel_612, kernel_7)
    kvm, wrong = open_image(str(pairs[newer][1])), open_image(str(pairs[1 - newer][0]))
    with pytest.raises(WitnessError, match="is the wrong base"):
        read_btf(kvm, read_btf(wrong))


@pytest.mark.network
def test_debians_arm64_kernel_is_a_raw_image(debian):
    members = [r"vmlinuz-.*"]
    (path,) = debian.kernel("trixie", "linux-image-cloud-arm64", members, architecture="arm64")
    image = open_image(str(path))
    assert (image.kind, image.abi) == ("arm64 Image", ABI["arm64"])
    seen = observe(read_btf(image), [NATIVE.name, "shared_info"], image.abi)
    assert [layout.size for layout in seen.found] == [48, 1096]
    assert differences(claim(NATIVE.name, "arm64"), seen.found[0], "vmlinuz") == ()


def inflated_from(data):
    """Return the first thing of a megabyte or more that zstd inflates from inside ``data``."""
    how, at = compressed.compression(compressed.COMPRESSIONS[2].magic), -1
    while (at := data.find(how.magic, at + 1)) >= 0:
        try:
            found = compressed.inflate(memoryview(data)[at:], how, "vmlinuz")
        except WitnessError:
            continue
        if len(found) >= 1 << 20:
            return bytes(found)
    raise LookupError("nothing inflates")


@pytest.mark.network
def test_debians_big_endian_kernel_and_module_are_read(debian, tmp_path):
    # s390x has no image format that open_image() knows, and none of our structs: a reader's test.
    members = [r"vmlinuz.*", r"kvm\.ko\.xz"]
    try:
        vmlinuz, kvm = debian.kernel("trixie", "linux-image-s390x", members, architecture="s390x")
    except debian.Unreachable:  # the mirror lists it and has it not
        vmlinuz, kvm = debian.kernel("forky", "linux-image-s390x", members, architecture="s390x")
    image = inflated_from(vmlinuz.read_bytes())
    (tmp_path / "btf").write_bytes(image[image.index(b"\xeb\x9f\x01\x00") :])
    module = open_image(str(kvm))
    assert (module.kind, module.abi) == ("kernel module (ELF64 s390, big-endian, xz)", None)
    kernel = read_btf(open_image(str(tmp_path / "btf")))
    assert kernel.end_id() > 10_000
    seen = observe(read_btf(module, kernel), ["list_head", "kvm_irq_routing_xen_evtchn"], X86_64)
    assert [layout.size for layout in seen.found] == [16, 12]
    routing = seen.found[1]
    assert [row.offset for row in routing.members] == [0, 4, 8]
    assert all(row.type.signed is False for row in routing.members)


@pytest.mark.network
def test_every_type_of_a_kernel_is_where_a_plain_reading_of_it_finds_it(kernel):
    image = open_image(str(kernel[0]))
    btf = read_btf(image)
    ids = plain_reading(bytes(image.btf))
    assert btf.end_id() == len(ids) + 1
    for id_ in [*range(1, 200), *range(200, len(ids), 997), len(ids)]:
        record = btf.record(id_)
        name_offset, info, size = ids[id_ - 1]
        assert (record.name_offset, record.kind, record.size) == (
            name_offset,
            info >> 24 & 31,
            size,
        )


def plain_reading(blob):
    """Return (name_off, info, size) of every record, by a loop that knows little-endian kinds."""
    once = {1: 4, 3: 12, 14: 4, 17: 4}
    each = {4: 12, 5: 12, 6: 8, 13: 8, 15: 12, 19: 12}
    *_, header_size, type_offset, type_size, _, _ = struct.unpack_from("<HBBIIIII", blob)
    at, records = header_size + type_offset, []
    end = at + type_size
    while at < end:
        records.append(struct.unpack_from("<III", blob, at))
        info = records[-1][1]
        at += 12 + once.get(info >> 24 & 31, 0) + each.get(info >> 24 & 31, 0) * (info & 0xFFFF)
    return records


@pytest.mark.network
@pytest.mark.needs("pahole")
def test_every_struct_and_union_is_as_large_as_pahole_says(kernel, tmp_path):
    image = open_image(str(kernel[0]))
    (tmp_path / "btf").write_bytes(image.btf)
    listed = subprocess.run(
        ["pahole", "--sizes", tmp_path / "btf"], capture_output=True, text=True, check=False
    ).stdout
    rows = [line.split("\t") for line in listed.splitlines()]
    btf = read_btf(image)
    asked = [row for row in rows if row[0].startswith(("xen_", "pvclock_", "kvm_"))]
    assert len(asked) > 50
    for name, size, _ in asked:
        found = [record.size for record in btf.named(name) if record.kind in (4, 5)]
        assert int(size) in found, name
