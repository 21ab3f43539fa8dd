"""The result of asking a witness, and the exit code for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from runstate_abi.layouts.exit_status import DIFFERENT, EQUAL, NOT_CHECKED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runstate_abi.layouts.conditions import Evaluation
    from runstate_abi.layouts.model import Difference, Layout


MACHINE_CODE = "machine-code"  # the witness of judge; those of check are layouts'


class NotChecked(NamedTuple):
    """Something that could not be compared.

    What the user named, and a witness that exists and could not be asked, is "not checked" and
    fails. What this machine does not offer, and what --allow-missing names, is "not asked".
    """

    what: str
    why: str
    fails: bool
    otherwise: str = "not asked"

    @property
    def told(self) -> str:
        return "not checked" if self.fails else self.otherwise


class Finding(NamedTuple):
    """The result of asking one witness."""

    witness: str
    source: str  # what was read: path and build-id or sha256, compiler and version
    abi: str  # the ABI whose claims it was compared with
    assumed: bool = False  # nothing in the source says the ABI
    found: tuple[Layout, ...] = ()
    compared: int = 0  # the number of facts
    differences: tuple[Difference, ...] = ()
    unrecorded: tuple[str, ...] = ()  # facts that this kind of witness does not know
    evaluations: tuple[Evaluation, ...] = ()
    not_checked: tuple[NotChecked, ...] = ()
    notes: tuple[str, ...] = ()
    path: str = ""  # the file, if it is one
    about: str = ""  # the subject, if it is not the structs
    # (the claim's name, the file's name) of a struct, if they differ
    names: tuple[tuple[str, str], ...] = ()
    base: str = ""  # the file that split BTF was read with, if one was given
    # (name, digest) of what a judged writer does; the contract is equal if it writes the same
    fingerprints: tuple[tuple[str, str], ...] = ()
    family: str = ""  # of the structs; "" is runstate


def unchecked(witness: str, source: str, why: str, fails: bool = True) -> Finding:
    """Return the Finding of a witness that could not be asked at all."""
    return Finding(witness, source, "", not_checked=(NotChecked(witness, why, fails),))


def exit_code(findings: Sequence[Finding]) -> int:
    """Return 1 if anything differs, else 3 if something (or everything) was not checked, else 0."""
    if any(finding.differences for finding in findings):
        return DIFFERENT
    if any(item.fails for finding in findings for item in finding.not_checked):
        return NOT_CHECKED
    return EQUAL if any(f.compared or f.evaluations for f in findings) else NOT_CHECKED


def unreadable(finding: Finding) -> bool:
    """Is this a required witness that could not be asked at all?"""
    own = [item for item in finding.not_checked if item.what == finding.witness]
    return not finding.compared and any(item.fails for item in own)


def complaint(finding: Finding) -> str:
    """Return why, on one line, beginning with the source or the witness."""
    why = "; ".join(item.why for item in finding.not_checked)
    name = finding.source or finding.witness
    return why if why.startswith(name) else f"{name}: {why}"


def one_line(text: str) -> str:
    """Return a text without characters that end a line or move a terminal's cursor."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def spaced(text: object) -> str:
    """Return ``str()`` of a value on one line, each run of white space as one space."""
    return " ".join(str(text).split())


Labelled = TypeVar("Labelled", bound=tuple[Any, ...])


def relabelled(finding: Labelled, labels: Mapping[str, str]) -> Labelled:
    """Return the Finding, or a tuple with some, with paths replaced in all its texts."""
    # The longest first: one path may be a prefix of another.
    ordered = sorted(labels.items(), key=lambda pair: -len(pair[0]))
    replaced: Labelled = _replaced(finding, ordered)
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
