"""The public source of a commit, a file, a version or a message that a text names."""

import re
from collections.abc import Iterator

LINUX = "https://git.kernel.org/pub/scm/linux/kernel/git/torvalds/linux.git"
STABLE = "https://git.kernel.org/pub/scm/linux/kernel/git/stable/linux.git"
XEN = "https://xenbits.xen.org/gitweb/?p=xen.git"
QEMU = "https://gitlab.com/qemu-project/qemu/-/blob/v10.0.0"
LORE = "https://lore.kernel.org/all"

# Of branches that were squashed or rebased: no public tree keeps them.
UNMERGED = ("bf9d04e1c597", "56c2c4a401fc")

# Git's short hashes as this project writes them: 12 digits of Linux, 10 of Xen. A blob's has the
# word before it, and is no commit.
_NAMED = re.compile(
    r"(?<!blob )(?<![\w.-])(?P<linux>(?=[0-9a-f]*[a-f])[0-9a-f]{12})(?![\w.@-])"
    r"|(?<!blob )(?<![\w.-])(?P<xen>(?=[0-9a-f]*[a-f])[0-9a-f]{10})(?![\w.@-])"
    r"|(?<![\w./-])(?P<qemu>(?:target/i386|hw/i386|docs/system)/[\w./-]+\.(?:c|h|rst))"
    r"|(?<![\w./-])(?P<xenfile>xen/(?:arch|common|include)/[\w./-]+\.(?:c|h|lst))"
    r"|(?<![\w./-])(?P<file>(?:arch|drivers|include|virt|kernel|tools|Documentation)/[\w./-]+"
    r"\.(?:c|h|rst))"
    r"|(?<![\w./-])(?P<tag>v\d+\.\d+(?:\.\d+)?)(?![\w-])"
    r"|(?<=\(in )(?P<release>4\.\d+)(?=\))"
    r"|(?<![\w./-])(?P<message>[0-9a-f][\w.-]{20,}@[\w.-]+\w)"
)


def linked(text: str) -> Iterator[tuple[str, str]]:
    """Yield the pieces of a text, each with the address of what it names, or ""."""
    reached = 0
    for found in _NAMED.finditer(text):
        if found.start() > reached:
            yield text[reached : found.start()], ""
        yield found[0], _address(str(found.lastgroup), found[0])
        reached = found.end()
    if reached < len(text):
        yield text[reached:], ""


def _address(kind: str, name: str) -> str:
    match kind:
        case "linux" if name in UNMERGED:
            return ""
        case "linux":
            return f"{LINUX}/commit/?id={name}"
        case "xen":
            return f"{XEN};a=commit;h={name}"
        case "qemu":
            return f"{QEMU}/{name}"
        case "xenfile":
            return f"{XEN};a=blob;f={name};hb=HEAD"
        case "file":
            return f"{LINUX}/tree/{name}"
        case "tag":
            return f"{STABLE if name.count('.') > 1 else LINUX}/tag/?h={name}"
        case "release":
            return f"{XEN};a=tag;h=RELEASE-{name}.0"
        case _:
            return f"{LORE}/{name}/"
