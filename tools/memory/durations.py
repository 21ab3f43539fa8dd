"""Nanoseconds in words: ``3 d 04:05:06.7``."""

from typing import NamedTuple

NS_PER_TENTH = 100_000_000


class _Unit(NamedTuple):
    name: str
    ns: int


_SHORT = (_Unit("ms", 1_000_000), _Unit("us", 1_000), _Unit("ns", 1))


def words(ns: int) -> str:
    """Return a time in ns as days, hours, minutes, seconds and tenths, cut, never rounded up.

    Below a second it is said in the largest unit that leaves a whole number before the point.
    """
    if ns < 0:
        return f"-{words(-ns)}"
    if ns < 10 * NS_PER_TENTH:
        return _short(ns)
    tenths = ns // NS_PER_TENTH
    seconds, tenth = divmod(tenths, 10)
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    clock = f"{hour:02}:{minute:02}:{second:02}.{tenth}"
    return f"{days} d {clock}" if days else clock


def _short(ns: int) -> str:
    unit = next((unit for unit in _SHORT if ns >= unit.ns), _SHORT[-1])
    whole, rest = divmod(ns * 10 // unit.ns, 10)
    return f"{whole}.{rest} {unit.name}" if rest else f"{whole} {unit.name}"
