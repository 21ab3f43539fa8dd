"""Structs of a Rust file, as rustc lays them out; and structs by the namespace they are in."""

import subprocess

import pytest

from runstate_abi.layouts.model import WitnessError
from runstate_abi.layouts.structs.mirrors import mirrors
from runstate_abi.layouts.witnesses import kernels, rust, survey

pytestmark = pytest.mark.host64

C = "#[repr(C)] pub struct"
BODY = "state: i32, state_entry_time: u64, time: [u64; 4]"
ATOMIC = "state: AtomicI32, state_entry_time: AtomicU64, time: [AtomicU64; 4]"
# A file, the struct that is asked for with what it mirrors, and the members that differ.
# fmt: off
FILES = {
    f"{C} Info {{ {BODY} }}": ("Info=native", ""),
    f"#![no_std]\nmod xen {{ {C} Info {{ {BODY} }} }} // the end": ("xen::Info=native", ""),
    f"mod a {{ mod b {{ struct Info {{ time: u8 }} }} }}\n{C} Info {{ {BODY} }}": ("crate::Info=native", ""),
    f"type Info = Other;\n{C} Other {{ {BODY} }}": ("Other=native", ""),
    f"use std::sync::atomic::*;\n{C} Info {{ {ATOMIC} }}": ("Info=native", ""),
    f"#[repr(C, packed)] struct Info {{ {BODY} }}": ("Info=compat", ""),
    f"#[repr(C, packed(4))] struct Info {{ {BODY} }}": ("Info=compat", ""),
    f"#[repr(C, packed)] struct Info {{ {BODY} }}\nfn f() {{ let _ = async {{ }}; }}": ("Info=compat", ""),
    f"#[repr(i32)] enum State {{ Running }}\n{C} Info {{ state: State, state_entry_time: u64, time: [u64; 4] }}": ("Info=native", ""),
    f"{C} Info {{ state: i32, state_entry_time: u64, time: [f64; 4] }}": ("Info=native", "time"),
    f"{C} Info {{ state: i32, state_entry_time: u64, time: [*const u64; 4] }}": ("Info=native", "time"),
    f"{C} Info {{ state: i32, state_entry_time: (u32, u32), time: [u64; 4] }}": ("Info=native", "state_entry_time"),
    f"{C} Info {{ state: i32, state_entry_time: Option<Box<u64>>, time: [u64; 4] }}": ("Info=native", "state_entry_time"),
    f"#[repr(C, packed)]  struct Info {{ {BODY} }}": ("Info=native", "state_entry_time time"),
    "#[repr(C)] struct Info { time: [u64; 4], state: i32, state_entry_time: u64 }": ("Info=native", "state state_entry_time time"),
}
# fmt: on


def asked(folder, text, struct, members=(), command="rustc"):
    (folder / "info.rs").write_text(text)
    given = mirrors([struct], members, [])
    return survey.asked_of_source(rust.observe, command, str(folder / "info.rs"), given, None)


@pytest.mark.needs("rustc")
@pytest.mark.parametrize("text", FILES)
def test_a_struct_of_rust_is_measured(tmp_path, text):
    struct, differing = FILES[text]
    finding = asked(tmp_path, text, struct)
    assert " ".join(sorted({d.member for d in finding.differences if d.member})) == differing
    assert finding.abi == "x86_64"
    assert finding.compared >= 13


@pytest.mark.needs("rustc")
def test_another_file_of_the_crate_is_found_beside_it(tmp_path):
    (tmp_path / "xen.rs").write_text(f"{C} Info {{ {BODY} }}")
    finding = asked(tmp_path, "mod xen;", "xen::Info=native")
    assert (finding.differences, finding.compared) == ((), 14)


@pytest.mark.needs("rustc")
def test_members_of_other_names(tmp_path):
    text = f"{C} Info {{ st: i32, state_entry_time: u64, r: u64, w: u64, b: u64, o: u64 }}"
    finding = asked(tmp_path, text, "Info=native", ["state=st", "time=r,w,b,o"])
    assert finding.differences == ()
    (note,) = asked(tmp_path, text, "Info=native").notes
    assert note.endswith("only names differ: --member state=st --member time=r,w,b,o")


# fmt: off
REFUSED = {
    "struct Other;":                       "cannot find type `Info`",
    "struct Info { state: nothing }":      "does not compile: error[E0412]: cannot find type `nothing`",
    "use nosuch::x; struct Info;":         "does not compile: error",
    "union Info { a: u32, b: u64 }":       "finds no struct Info",
    "enum Info { A(u64), B }":             "it has variants",
}
# fmt: on


@pytest.mark.needs("rustc")
@pytest.mark.parametrize("text", REFUSED)
def test_what_cannot_be_measured_is_one_line(tmp_path, text):
    with pytest.raises(WitnessError) as refusal:
        asked(tmp_path, text, "Info=native")
    said = str(refusal.value).replace("E0425", "E0412")
    assert REFUSED[text] in said
    assert "\n" not in said


def test_a_missing_compiler_is_named(tmp_path):
    with pytest.raises(WitnessError, match="cannot run nosuch-rustc"):
        asked(tmp_path, "struct Info;", "Info=native", command="nosuch-rustc")


# One name in several namespaces: by itself it is all of them, with its namespace it is one.
SEVERAL = """
typedef unsigned long long u64;
namespace good { struct info { int state; u64 state_entry_time, time[4]; }; }
namespace bad { namespace good { struct wrong { u64 state; }; }
                struct info { u64 state_entry_time; int state; u64 time[4]; }; }
struct outer { struct info { u64 time[4]; } i; };
good::info a; bad::info b; outer c; bad::good::wrong d;
"""
# fmt: off
ASKED = {
    "info": (3, 8), "good::info": (1, 0), "bad::info": (1, 2), "outer::info": (1, 4), "nosuch::info": (0, 0),
    "bad::good::wrong": (1, 4), "good::wrong": (1, 4), "crate::good::info": (1, 0), "ood::info": (0, 0),
}
# fmt: on


@pytest.mark.needs("g++")
@pytest.mark.parametrize("name", ASKED)
@pytest.mark.parametrize("is_linked", [True, False])
@pytest.mark.parametrize(
    "flags", ["-g", "-gdwarf-4 -fdebug-types-section", "-g -fdebug-types-section -gz"]
)
def test_a_namespace_tells_structs_of_one_name_apart(tmp_path, name, flags, is_linked):
    (tmp_path / "a.cc").write_text(SEVERAL)
    built = tmp_path / "a.o"
    how = [*flags.split(), *(["-shared"] if is_linked else ["-c"])]
    subprocess.run(["g++", *how, tmp_path / "a.cc", "-o", built], check=True)
    settings = kernels.Settings(mirrors=mirrors([f"{name}=native"], [], []))
    (finding,) = kernels.asked_of_files([str(built)], settings)
    definitions, differing = ASKED[name]
    assert len(finding.found) == definitions
    assert (len(finding.differences) > 0) == (differing > 0)
    assert bool(finding.not_checked) == (definitions == 0)
