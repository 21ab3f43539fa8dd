"""The public names of runstate-abi. Nothing is loaded before it is asked for.

The functions do what the verbs do, as calls that take and return values. All raise WitnessError,
with one line that says why, where a file or a tool cannot be read. .github/CHANGELOG.md says what
may change, and when.
"""

from collections.abc import Iterable, Sequence
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runstate_abi.layouts.findings import Finding
    from runstate_abi.layouts.model import Layout, WitnessError, compare
    from runstate_abi.layouts.structs.runstate import COMPAT, NATIVE
    from runstate_abi.tools.judge.verdict import Verdict
    from runstate_abi.tools.memory.area import AreaBytes
    from runstate_abi.writer.race import Proof, Race
    from runstate_abi.writer.steps import Steps
    from runstate_abi.writer.vcpu import Runstate

    __version__: str

# The public names that other modules define.
# fmt: off
_MODULES = {
    "COMPAT":       "layouts.structs.runstate",
    "NATIVE":       "layouts.structs.runstate",
    "Layout":       "layouts.model",
    "Runstate":     "writer.vcpu",
    "WitnessError": "layouts.model",
    "compare":      "layouts.model",
}
# fmt: on

__all__ = [
    "COMPAT",
    "NATIVE",
    "Layout",
    "Runstate",
    "WitnessError",
    "__version__",
    "check_files",
    "compare",
    "find_race",
    "judge",
    "read_area",
    "updates",
]

Path = str | PathLike[str]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("runstate-abi")
    if name not in _MODULES:
        raise AttributeError(f"module 'runstate_abi' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"runstate_abi.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__


def check_files(
    paths: Sequence[Path],
    *,
    abi: str | None = None,
    btf_base: Path | None = None,
    family: str = "runstate",
) -> "list[Finding]":
    """Compare kernels, modules, objects and raw BTF with the claims, as ``runstate check`` does.

    A vmlinux and its modules belong into one call. ``abi`` is a name such as ``"x86_64"``; without
    it each file's machine decides, and x86_64 is assumed where a file does not say. A Finding has
    ``differences`` (empty if equal), ``compared`` (how many facts), ``evaluations`` of the
    kernel's conditions, and ``not_checked``: a file is right only if that is empty too.
    ``family`` says which structs: ``"runstate"``, another family's name (KeyError) or ``"all"``.
    """
    from runstate_abi.layouts.abi import ABI
    from runstate_abi.layouts.structs import families
    from runstate_abi.layouts.witnesses import kernels

    base = fspath(btf_base) if btf_base else None
    settings = kernels.Settings(
        ABI[abi] if abi else None,
        base,
        families=families.families(family),
        runstate=family in ("runstate", "all"),
    )
    return list(kernels.asked_of_files([fspath(path) for path in paths], settings))


def read_area(source: Path, *, at: int = 0, abi: str | None = None) -> "AreaBytes":
    """Read one runstate area out of a memory image, a core, or pasted text.

    ``at`` is the area's guest-physical address, in a raw image its offset in bytes. ``abi`` is
    ``"native"`` or ``"compat"``; without it the bytes decide, as in ``runstate hexdump``, and
    WitnessError says so where they do not. The answer has ``values``: ``state``, ``entry`` and
    ``times`` in ns, ``steal`` in ns, and ``updating``: XEN_RUNSTATE_UPDATE is set.
    """
    from runstate_abi.layouts.model import WitnessError
    from runstate_abi.tools.memory import area, decision, sources
    from runstate_abi.writer.vcpu import SHAPES

    image = sources.opened(fspath(source))
    seen = area.excerpt(image, at)
    layout = SHAPES[abi].layout if abi else decision.decide(seen, image.machine).layout
    if layout is None:
        raise WitnessError(f"{image.source}: native or compat? the bytes do not tell: give abi")
    return area.read_as(layout, seen)


def updates(
    variant: str,
    abi: str,
    at: int,
    runstate: "Runstate",
    *,
    update_flag: bool = True,
    atomic: bool = False,
) -> "Steps":
    """Return the steps of one update in program order, as ``runstate write`` prints them.

    ``variant`` is a name of ``runstate write --list``; ``abi`` is ``"native"`` or ``"compat"``;
    ``at`` is the guest-physical address of the area. Raises Refused, of
    ``runstate_abi.writer.variants``, if that version does not take the area.
    """
    from runstate_abi.writer.variants import VARIANT, update
    from runstate_abi.writer.vcpu import Area

    return update(VARIANT[variant], runstate, Area(abi, at, update_flag), atomic)


def find_race(
    writer: str,
    reader: str,
    model: str,
    abi: str,
    at: int,
    *,
    updates: int = 1,
    dropped: Iterable[str] = (),
) -> "Proof | Race":
    """Return a proof that the reader never accepts a torn read, or the execution in which it does.

    The names are those of ``runstate race``: a writer, a reader, a memory model (``"x86-tso"`` or
    ``"weak"``), an ABI; ``at`` is the area's guest-physical address; ``updates`` (1 to 3) happen
    while the guest reads once; ``dropped`` are steps to leave out, such as ``"wmb-set"``.
    """
    from runstate_abi.writer import race
    from runstate_abi.writer.guest import READER
    from runstate_abi.writer.racing.ordering import MODEL
    from runstate_abi.writer.variants import VARIANT
    from runstate_abi.writer.vcpu import Area

    asked = race.of_variant(VARIANT[writer]), READER[reader], MODEL[model], Area(abi, at)
    return race.find_race(race.Question(*asked, updates=updates, dropped=tuple(dropped)))


def judge(kernel: Path, *, btf: Path | None = None, quick: bool = False) -> "Verdict":
    """Run the writer of a kvm.ko, an xen.o or a xen-syms in an emulator, and hold it to the rules.

    ``btf`` is where its types are if not in the file itself: vmlinux, vmlinuz, raw BTF. ``quick``
    asks at page boundaries and on failure paths only. The Verdict has ``right`` and, in
    ``tally.broken``, the first update that breaks each rule. Needs the extra ``judge``.
    """
    from runstate_abi.tools.judge import verdict
    from runstate_abi.writer.witnesses import shipped

    judged = shipped.opened(fspath(kernel), fspath(btf) if btf else "")
    return verdict.verdict(judged, verdict.requests(judged, boundaries_only=quick))
