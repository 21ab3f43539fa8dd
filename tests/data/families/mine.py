"""A family of somebody's own, as a test adds it: this file is its table."""

from runstate_abi.layouts.abi import ABI
from runstate_abi.layouts.conditions import Condition
from runstate_abi.layouts.model import Field, Layout, Scalar
from runstate_abi.layouts.structs.families import Family

U8 = Scalar("uint8_t", 1, signed=False)
U32 = Scalar("uint32_t", 4, signed=False)
S64 = Scalar("int64_t", 8, signed=True)

MINE = Layout(
    "my_clock",
    "x86_64",
    24,
    8,
    (
        Field(0x00, "sequence", U32),
        Field(0x04, "pad_04", U8, 4, padding=True),
        Field(0x08, "drift", S64, 2),
    ),
)
MINE_I386 = Layout("my_clock", "i386", 20, 4, (MINE.rows[0], Field(0x04, "drift", S64, 2)))


def _on(abi):
    return MINE_I386 if ABI[abi].u64_alignment == 4 else MINE._replace(abi=abi)


FAMILY = Family(
    "mine",
    "a clock of my own",
    {abi: (_on(abi),) for abi in ABI},
    {"x86_64": ("my_clock",)},
    {"my_clock": "my_clock.h"},
    "struct my_clock { uint32_t sequence; int64_t drift[2]; };\n",
    unasserted=(
        Condition("M1", "is_signed(struct my_clock, drift) != 1", 0, False, "drift is signed"),
    ),
)
