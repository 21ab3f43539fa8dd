"""What a torn read means to the guest that believes it, in time."""
# ruff: noqa: E501

from collections.abc import Collection

# By the members that are of different updates, the first row that fits: the members, and what the
# guest then has.
# fmt: off
MEANINGS = (
    (("sec_hi",),                     "the date is off by 2^32 s, 136 years"),
    (("sec", "nsec"),                 "the date is off by up to 1 s, or by as much as it was set"),
    (("tsc_to_system_mul", "tsc_shift"), "the clock runs at a wrong rate since tsc_timestamp: by a factor of 2 for each step of tsc_shift"),
    (("tsc_timestamp", "system_time"), "the clock is off by the time between the two updates"),
    (("flags",),                      "the flags are another update's: whether the TSC is stable may be wrong"),
    (("steal", "stolen_time"),        "the stolen time is off by up to 2^32 ns, 4.3 s, or more if both halves changed"),
    (("tsc_scale", "tsc_offset"),     "the clock is off by what the offset or the scale changed"),
)
# fmt: on


def meaning(members: Collection[str]) -> str:
    """Return what a guest has that took these members from different updates, "" if not known."""
    return next((text for known, text in MEANINGS if not set(known).isdisjoint(members)), "")
