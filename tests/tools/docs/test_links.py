"""What a text names has a link to its public source, and what only looks alike has none."""

import pytest

from runstate_abi.tools.rendering import links
from runstate_abi.tools.rendering.links import LINUX, LORE, QEMU, STABLE, XEN


@pytest.mark.parametrize(
    ("text", "name", "to"),
    [
        ("5ec3289b31ab (in v6.2)", "5ec3289b31ab", f"{LINUX}/commit/?id=5ec3289b31ab"),
        ("5ec3289b31ab (in v6.2)", "v6.2", f"{LINUX}/tag/?h=v6.2"),
        ("since v6.6.67", "v6.6.67", f"{STABLE}/tag/?h=v6.6.67"),
        ("Xen 2529c850ea (in 4.8)", "2529c850ea", f"{XEN};a=commit;h=2529c850ea"),
        ("Xen 2529c850ea (in 4.8)", "4.8", f"{XEN};a=tag;h=RELEASE-4.8.0"),
        (
            "Linux arch/x86/kvm/xen.c (read)",
            "arch/x86/kvm/xen.c",
            f"{LINUX}/tree/arch/x86/kvm/xen.c",
        ),
        (
            "the same in Linux include/xen/interface/vcpu.h",
            "include/xen/interface/vcpu.h",
            f"{LINUX}/tree/include/xen/interface/vcpu.h",
        ),
        (
            "Xen xen/common/domain.c: f()",
            "xen/common/domain.c",
            f"{XEN};a=blob;f=xen/common/domain.c;hb=HEAD",
        ),
        (
            "QEMU 10.0 target/i386/kvm/xen-emu.c",
            "target/i386/kvm/xen-emu.c",
            f"{QEMU}/target/i386/kvm/xen-emu.c",
        ),
        (
            "Message-Id 20221119094659.11868-3-dwmw2@infradead.org and",
            "20221119094659.11868-3-dwmw2@infradead.org",
            f"{LORE}/20221119094659.11868-3-dwmw2@infradead.org/",
        ),
    ],
)
def test_a_source_has_its_address(text, name, to):
    found = dict(links.linked(text))
    assert found[name] == to
    assert "".join(piece for piece, _ in links.linked(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "blob eaa7fddfbb8c, squashed",
        "bf9d04e1c597",  # squashed: in no public tree
        "0x800000000000",
        "202211190946",
        "vcpu_runstate_info",
        "kvm@vger.kernel.org",
        "native@0x100,atomic,io",
        "`740c010950765028`",
        "4.8",
        "v6",
        "layouts/witnesses/btf.py",
    ],
)
def test_what_is_no_source_has_none(text):
    assert [to for _, to in links.linked(text) if to] == []
