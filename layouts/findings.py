"""What came of asking a witness, and the exit code that it comes to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from runstate_abi.layouts.exit_status import DIFFERENT, EQUAL, NOT_CHECKED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runstate_abi.layouts.conditions import Evaluation
    from runstate_abi.layouts.model import Difference, Layout


class NotChecked(NamedTuple):
    """Something that could not be compared, and whether that fails.

    What a person named, and a witness that was found and could not be asked, is "not checked" and
    fails. What this machine does not offer, and what --allow-missing names, is "not asked".
    """

    what: str
    why: str
    fails: bool
    otherwise: str = "not asked"

    @property
    def told(self) -> str:
        """What it is called."""
        return "not checked" if self.fails else self.otherwise


class Finding(NamedTuple):
    """What came of asking one witness.

    ``source`` says what was read (path and build-id or sha256, compiler and version), ``abi``
    with which ABI's claims it was compared, ``assumed`` that nothing in the source says so.
    ``path`` is the file, if it is one. ``compared`` counts facts; ``unrecorded`` are those that
    this kind of witness does not know. ``about`` is the subject, if that is not the structs.
    ``names`` are (the claim's name, what the file calls that struct), where that differs.
    ``base`` is the file that split BTF was read with, if one was given.
    """

    witness: str
    source: str
    abi: str
    assumed: bool = False
    found: tuple[Layout, ...] = ()
    compared: int = 0
    differences: tuple[Difference, ...] = ()
    unrecorded: tuple[str, ...] = ()
    evaluations: tuple[Evaluation, ...] = ()
    not_checked: tuple[NotChecked, ...] = ()
    notes: tuple[str, ...] = ()
    path: str = ""
    about: str = ""
    names: tuple[tuple[str, str], ...] = ()
    base: str = ""


def unchecked(witness: str, source: str, why: str, fails: bool = True) -> Finding:
    """Return the Finding of a witness that could not be asked at all."""
    return Finding(witness, source, "", not_checked=(NotChecked(witness, why, fails),))


def exit_code(findings: Sequence[Finding]) -> int:
    """Return 1 if anything differs, else 3 if something could not be checked, else 0.

    Nothing compared at all is "could not check" too.
    """
    if any(finding.differences for finding in findings):
        return DIFFERENT
    if any(item.fails for finding in findings for item in finding.not_checked):
        return NOT_CHECKED
    return EQUAL if any(f.compared or f.evaluations for f in findings) else NOT_CHECKED


def unreadable(finding: Finding) -> bool:
    """Tell whether a witness that had to be asked could not be asked at all."""
    own = [item for item in finding.not_checked if item.what == finding.witness]
    return not finding.compared and any(item.fails for item in own)


def complaint(finding: Finding) -> str:
    """Return why, on one line, beginning with the source or the witness."""
    why = "; ".join(item.why for item in finding.not_checked)
    name = finding.source or finding.witness
    return why if why.startswith(name) else f"{name}: {why}"


def one_line(text: str) -> str:
    """Return a text without what would end a line or move a terminal's cursor."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def spaced(text: object) -> str:
    """Return what ``str()`` makes of a value on one line, each run of white space a space."""
    return " ".join(str(text).split())


def relabelled(finding: Finding, labels: Mapping[str, str]) -> Finding:
    """Return the Finding with paths replaced wherever its texts mention them."""
    # The longest first: one path may be the beginning of another.
    ordered = sorted(labels.items(), key=lambda pair: -len(pair[0]))
    replaced: Finding = _replaced(finding, ordered)
    return replaced


def _replaced(value: Any, labels: Sequence[tuple[str, str]]) -> Any:
    if isinstance(value, str):
        for old, new in labels:
            value = value.replace(old, new)
        return value
    if isinstance(value, tuple):
        parts = [_replaced(part, labels) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return value
