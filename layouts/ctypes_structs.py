"""The two structs as ctypes structures, written by hand: names and types, no offsets.

Nothing here may be taken from structs/. ctypes lays out structs as the host's C compiler does, so
it is a witness for the host's ABI only. On other hosts observe() raises WitnessError.
"""

import ctypes
from collections.abc import Iterator
from typing import Any

from runstate_abi.layouts import model
from runstate_abi.layouts.model import NOT_BUILT, Layout, Layouts, Scalar, WitnessError, tiled
from runstate_abi.layouts.model import Field as Row


class vcpu_runstate_info(ctypes.LittleEndianStructure):
    """``struct vcpu_runstate_info``: 48 bytes if a 64-bit integer is 8-aligned."""

    _fields_ = (
        ("state", ctypes.c_int32),
        ("state_entry_time", ctypes.c_uint64),
        ("time", ctypes.c_uint64 * 4),
    )


class compat_vcpu_runstate_info(ctypes.LittleEndianStructure):
    """The compat form as i386 and Xen align it: 44 bytes, alignment 4 (KVM packs it to 1)."""

    _pack_ = 4
    _layout_ = "ms"  # from Python 3.14 on, _pack_ without it is deprecated
    _fields_ = (
        ("state", ctypes.c_int32),
        ("state_entry_time", ctypes.c_uint64),
        ("time", ctypes.c_uint64 * 4),
    )


STRUCTS: dict[str, type[ctypes.Structure]] = {
    "vcpu_runstate_info": vcpu_runstate_info,
    "compat_vcpu_runstate_info": compat_vcpu_runstate_info,
}


def observe(names: tuple[str, ...], abi: str) -> Layouts:
    """Return ctypes' layouts of the structures (WitnessError if the host cannot express them)."""
    # On an i386 host the native struct would silently be wrong from its second member on.
    if ctypes.sizeof(ctypes.c_int32) != 4 or ctypes.alignment(ctypes.c_uint64) != 8:
        why = "this machine's ABI does not align a 64-bit integer to 8"
        raise WitnessError(f"ctypes: {why}, so it cannot express the native struct")
    found = tuple(layout_of(STRUCTS[name], name, abi) for name in names)
    return Layouts("ctypes", "layouts/ctypes_structs.py", found)


def layout_of(struct: Any, name: str, abi: str, paths: frozenset[str] = frozenset()) -> Layout:
    """Return a class's layout (WitnessError: it is not a struct, or it has bitfields).

    ``paths``: the members that are looked into; of a union these alone.
    """
    if not issubclass(struct, ctypes.Structure):
        is_union = issubclass(struct, ctypes.Union)
        raise WitnessError("a union; a layout is a struct's" if is_union else "no ctypes.Structure")
    if not any("_fields_" in class_.__dict__ for class_ in struct.__mro__):
        raise WitnessError("it has no _fields_")
    rows = [row for row in _rows(struct, 0, paths) if row.size]
    return tiled(name, abi, ctypes.sizeof(struct), ctypes.alignment(struct), rows)


# The fields of base classes come first; those of an anonymous member are the struct's own.
def _rows(struct: Any, start: int, paths: frozenset[str], path: str = "") -> Iterator[Row]:
    for class_ in reversed(struct.__mro__):
        for member, type_, *width in class_.__dict__.get("_fields_", ()):
            if width:
                raise WitnessError(f"{member} is a bitfield; {NOT_BUILT}")
            label = f"{path}{member}"
            if issubclass(struct, ctypes.Union) and label not in paths:
                continue
            offset = start + class_.__dict__[member].offset
            element, count = _element(type_)
            if label in paths and element.kind in (model.STRUCT, model.UNION):
                yield from _rows(type_, offset, paths, f"{label}.")
            elif member not in class_.__dict__.get("_anonymous_", ()):
                yield Row(offset, label, element, count)
            elif element.kind.endswith(model.STRUCT):
                yield from _rows(type_, offset, paths, path)
            else:
                raise WitnessError(f"{member} is an anonymous union; {NOT_BUILT}")


# The format letters of ctypes' simple types; Python's struct module has the same.
_INTEGERS = "bBhHiIlLqQn?"
_LETTERS = dict.fromkeys(_INTEGERS, model.INTEGER) | dict.fromkeys("fdgFDG", model.FLOATING)
_LETTERS |= dict.fromkeys("PzZOX", model.POINTER)


def _element(type_: Any) -> tuple[Scalar, int]:
    if issubclass(type_, ctypes.Array):
        element, count = _element(type_._type_)
        return element, count * type_._length_
    kind, size = _kind(type_), ctypes.sizeof(type_)
    signed = type_._type_ in "bhilqn" if kind in (model.INTEGER, model.BIG_ENDIAN) else None
    return Scalar(type_.__name__, size, signed, kind=kind), 1


def _kind(type_: Any) -> str:
    if issubclass(type_, ctypes.Structure | ctypes.Union):
        order = f"{model.BIG_ENDIAN} " if hasattr(type_, "_swappedbytes_") else ""
        return order + (model.STRUCT if issubclass(type_, ctypes.Structure) else model.UNION)
    if not issubclass(type_, ctypes._SimpleCData):
        return model.POINTER  # to data or to a function
    kind = _LETTERS.get(type_._type_, model.OTHER)
    # A type of one byte is its own swapped type.
    big, little = (getattr(type_, f"__ctype_{order}__", None) for order in ("be", "le"))
    swapped = kind == model.INTEGER and big is type_ and little is not type_
    return model.BIG_ENDIAN if swapped else kind
