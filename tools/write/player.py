"""One update of ``runstate write`` as a page that can be stepped through."""

from collections.abc import Iterable, Iterator

from runstate_abi.tools.player import page
from runstate_abi.tools.write import family_update
from runstate_abi.tools.write.written import Written, table, write
from runstate_abi.writer.guest import READER
from runstate_abi.writer.memory import Window
from runstate_abi.writer.racing.scene import Case
from runstate_abi.writer.racing.symbols import image_of, versions
from runstate_abi.writer.steps import Barrier, Write
from runstate_abi.writer.variants import Registration, Variant
from runstate_abi.writer.vcpu import Runstate
from runstate_abi.writer.versions.readers import READERS as FAMILY_READERS

READERS = {"native": ("linux-64", "naive"), "compat": ("linux-32", "naive")}


def lines(variant: Variant, written: Written, atomic: bool, how: Registration) -> Iterator[str]:
    """Yield the page: the bytes are those of the update, the colours say of which version.

    That is told by the same update with values in which each byte tells its version.
    """
    area = written.area
    old, new = versions(area, 1)
    assert isinstance(new, Runstate)
    images = image_of(area, old), image_of(area, new)
    window = Window()
    window.data[area.offset : area.offset + len(images[0])] = images[0]
    steps = write(variant, new, area, atomic, window, how).steps[: len(written.moments)]
    case = Case(area.shape.layout, area.offset, images, steps)
    shown = [one.memory for one in written.moments if isinstance(one.step, Write | Barrier)]
    structs = map(written.struct, (written.before, *shown))
    readers = {name: READER[name] for name in READERS[area.abi]}
    return page.of_update(case, variant.name, readers, structs, table(written))


def of_family(written: family_update.Written, family: str, said: Iterable[str]) -> Iterator[str]:
    """Yield the page of an update of a struct with a version; bytes that it leaves are ``=``."""
    steps = tuple(one.step for one in written.moments)
    images = written.before, written.after
    case = Case(written.layout, written.place.offset, images, steps)
    shown = [one for one in written.moments if isinstance(one.step, Write | Barrier)]
    structs = (written.before, *map(written.struct, shown))
    known = [one for one in FAMILY_READERS[family] if written.layout in one.layouts]
    readers = {one.name: one.reader for one in known}
    return page.of_update(case, written.writer.name, readers, structs, said)
