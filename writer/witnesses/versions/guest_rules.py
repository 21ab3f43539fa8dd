"""Rules about what the guest sees: the version, the bytes, and what is not the struct's.

A rule is a function that yields each breach it finds in an Update.
"""

from runstate_abi.writer.witnesses.versions.updates import (
    FLUSH,
    Breach,
    Breaches,
    Call,
    Store,
    Update,
)

FLUSH_TLB = 1 << 1  # KVM_VCPU_FLUSH_TLB: arch/x86/include/uapi/asm/kvm_para.h


def odd_first(update: Update) -> Breaches:
    """The version becomes odd before anything else changes, in one store."""
    for at, store, _ in update.guarded[:1]:
        value = int.from_bytes(store.data, "little")
        if not update.is_version(store):
            yield Breach(at, f"a store of {_what(update, store)} before the version is odd")
        elif value != update.odd:
            yield Breach(at, f"the version goes to {value:#x}, and should go to {update.odd:#x}")


def window(update: Update) -> Breaches:
    """The version stays odd until the last store."""
    guarded = update.guarded
    # The store that ends an update is of the version alone, and nothing guarded follows it.
    ends = bool(guarded) and update.is_version(guarded[-1][1])
    for at, _, version in guarded[1 : len(guarded) - ends]:
        if version != update.odd:
            yield Breach(at, f"the version is {version:#x} here, and not {update.odd:#x}")


def even_last(update: Update) -> Breaches:
    """The last store makes the version even, in one store."""
    for at, store, version in update.guarded[-1:]:
        if not update.is_version(store):
            yield Breach(at, f"the last store is of {_what(update, store)}, and not of the version")
        elif version != update.even:
            yield Breach(at, f"the version ends as {version:#x}, and should be {update.even:#x}")


def final(update: Update) -> Breaches:
    """Afterwards every byte is what it should be, and so are the kernel's own values."""
    if update.after != update.expected:
        shape = update.shape
        pairs = zip(update.after, update.expected, strict=True)
        differ = next(at for at, (is_, should) in enumerate(pairs) if is_ != should)
        row = next(row for row in reversed(shape.layout.rows) if row.offset <= differ)
        part = slice(row.offset, row.offset + row.size)
        is_, should = update.after[part].hex(), update.expected[part].hex()
        yield Breach(len(update.events), f"{row.name} is {is_}, and should be {should}")
    if update.kept:
        yield Breach(len(update.events), update.kept)


def outside(update: Update) -> Breaches:
    """No other byte is stored."""
    size = update.shape.size
    for at, store in update.stores():
        end = store.offset + len(store.data)
        if store.offset < 0 or end > size:
            yield Breach(
                at, f"bytes {store.offset} to {end - 1} are stored, of {size} in the struct"
            )


def preempted(update: Update) -> Breaches:
    """preempted is cleared so that no flush that is asked for in it is lost."""
    offset = update.shape.offset("preempted")
    stores = [(at, one) for at, one in update.stores() if one.covers(offset)]
    for at, store in stores:
        if (store.offset, store.data) != (offset, b"\0"):
            yield Breach(at, f"preempted is stored as {store.data.hex()}, and not cleared alone")
        if update.asked.takes_flush and not store.locked:
            yield Breach(at, "preempted is cleared without xchg: a flush asked for now is lost")
    if update.whole and not stores:
        yield Breach(len(update.events), "preempted is not cleared")
    wanted = update.asked.takes_flush and update.asked.before[offset] & FLUSH_TLB
    if update.whole and wanted and not _flushed(update):
        yield Breach(len(update.events), "the guest asked for a TLB flush, and none was done")


def _flushed(update: Update) -> bool:
    return any(isinstance(one, Call) and one.does == FLUSH for one in update.events)


def _what(update: Update, store: Store) -> str:
    return ", ".join(update.shape.names(store)) or f"byte {store.offset}"
