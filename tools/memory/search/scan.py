"""The filter: which five numbers in a row may be a runstate area's times.

scan_numpy.py applies it at a good part of memory's speed, scan_plain.py with the standard library
alone. Both find the same places, at any alignment; candidates.py then judges each of them.
"""

from runstate_abi.layouts.structs.runstate import COMPAT, NATIVE, RUNSTATES, XEN_RUNSTATE_UPDATE
from runstate_abi.tools.memory.decision import AGE_MOST

# The filter, on a little-endian entry time at offset e and the four times behind it:
# - each is below 2^60 ns (AGE_MOST), so its top byte is below 16; the entry's may have the flag;
# - bytes 3 to 6 of the entry time are not all zero, nor of all four times: an area less than 17 ms
#   after boot is nobody's question;
# - a time is 0 or at least 256 ns: no hypervisor changes a state and back in less;
# - they are not all multiples of 256, as small numbers are that are read at the wrong byte;
# - below their highest bytes, the five have at most ZEROS_MOST bytes of zero: a clock's bytes are
#   as good as random, and 4 of 25 are zero once in 300,000 areas; packed small numbers are not;
# - the times fit into the entry time, or into twice of it while the flag is set, and are more than
#   a millionth of it: the machine was there for so much of the host's life;
# - more than one of the four is not zero, or one of them is the entry time itself;
# - a state, 0..3, stands four bytes before (compat), or eight (native). Between native's and the
#   entry time is padding, zeros: other bytes are left there in flight, or by KVM, whose times add
#   up to the entry time.
LARGE_BYTES = 0x00FFFFFFFF000000
TIME_LEAST = 1 << 8
ZEROS_MOST = 3
LIFE_SHIFT = 20
STATES = len(RUNSTATES)
TIMES = NATIVE.size - NATIVE.offsetof("state_entry_time")  # bytes from the entry time to the end
NATIVE_LEAD = NATIVE.offsetof("state_entry_time")
COMPAT_LEAD = COMPAT.offsetof("state_entry_time")


def padding_fits(padding: bytes, entry_raw: int, times: tuple[int, ...]) -> bool:
    """Tell whether four bytes may stand between native's state and these five numbers.

    What compat has there is its state, which is one of those that fit.
    """
    near = int.from_bytes(padding, "little")
    return near < STATES or bool(entry_raw & XEN_RUNSTATE_UPDATE) or sum(times) == entry_raw


def fits(entry_raw: int, times: tuple[int, ...]) -> bool:
    """Tell whether five numbers pass the filter, the state in front of them aside."""
    entry, total = entry_raw & ~XEN_RUNSTATE_UPDATE, sum(times)
    if max(entry, *times) >= AGE_MOST or not entry & LARGE_BYTES:
        return False
    if not any(time & LARGE_BYTES for time in times):
        return False
    if any(0 < time < TIME_LEAST for time in times):
        return False
    if not any(number & 0xFF for number in (entry, *times)):
        return False
    if sum(_inner_zeros(number) for number in (entry, *times)) > ZEROS_MOST:
        return False
    most = entry if entry == entry_raw else 2 * entry
    if not entry >> LIFE_SHIFT <= total <= most:
        return False
    return sum(time > 0 for time in times) > 1 or total == entry


def _inner_zeros(number: int) -> int:
    return number.to_bytes(8, "little").rstrip(b"\0").count(0)
