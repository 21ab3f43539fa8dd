"""The emulated writer: it does what the code does, and what it cannot know it refuses."""

import json
import re
import shutil
from pathlib import Path

import pytest

from runstate_abi.layouts.abi import PAGE_SIZE
from runstate_abi.layouts.model import WitnessError
from runstate_abi.tools.judge.tallies import tally
from runstate_abi.writer.rulebook.evidence import ledger
from runstate_abi.writer.rulebook.requests import (
    SCENARIOS,
    everything,
    parse,
    quick,
)
from runstate_abi.writer.rules import PROFILE, judge
from runstate_abi.writer.steps import (
    Activate,
    Check,
    Copy,
    Dirty,
    IrqRestore,
    IrqSave,
    TryLock,
    Unlock,
)
from runstate_abi.writer.variants import VARIANT, prepare
from runstate_abi.writer.vcpu import Area

DATA = Path(__file__).parent.parent.parent / "data"
GOLDEN = Path(__file__).parent.parent.parent / "golden" / "rules_c_writer.txt"


def mutants():
    """(define, the rules that it must break) of each line of the golden table."""
    for line in GOLDEN.read_text().splitlines():
        if line and not line.startswith("#"):
            name, rules, *_ = [cell.strip() for cell in line.split("  ") if cell.strip()]
            yield name, frozenset(() if rules == "-" else rules.split(" "))


MUTANTS = dict(mutants())


def broken(writer, requests, profile="linux-6.2+"):
    """The rules that a writer breaks somewhere."""
    return set(tally(writer, requests, PROFILE[profile]).broken)


def test_a_good_writer_is_right_everywhere(writer):
    assert broken(writer(), everything()) == set()


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_writer_breaks_these_rules_and_no_other(writer, name):
    assert broken(writer(name), quick()) == MUTANTS[name]


def test_the_golden_table_has_every_way_in_which_the_writer_can_be_compiled():
    source = (DATA / "judge" / "writer.c").read_text()
    tested = {"MUTE_COPY", "INLINED", "SWAPPED_PARAMETERS", "NO_COMPAT", "STRAY", "OVERRUNS_STACK"}
    used = {
        word
        for line in source.splitlines()
        if line.startswith(("#if", "#elif"))
        for word in line.replace("defined(", " ").replace(")", " ").split()
        if word.isupper() and word.isidentifier() and not word.startswith("_")
    }
    assert used == tested | set(MUTANTS)


# The model and the machine, each by its own way, must come to the same.


def model(request):
    """The newest version's steps for a request, played in the model."""
    caches = prepare(VARIANT["upstream"], Area(request.abi, request.offset, request.flag))
    scenario = request.scenario
    if scenario.stale == 1:
        caches.invalidate(0)
    if scenario.stale == 2:
        caches.gpc2.deactivate_now()
    if scenario.error:
        caches.host.pages.pop(scenario.stale - 1)
        caches.host.missing.add(scenario.stale - 1)
    if scenario.busy:
        (caches.gpc1, caches.gpc2)[scenario.busy - 1].contended = True
    for step in VARIANT["upstream"].update(request.vcpu, request.area, caches, request.atomic):
        yield step
        if scenario.again and isinstance(step, Activate):
            caches.invalidate(0)


def test_the_machine_does_what_the_model_says(writer, calls_of, epochs_of):
    from replaying.evidence import of_model

    ours = writer()
    compared = 0
    for request in quick():
        if request.scenario.no_slot:
            continue
        steps = tuple(model(request))
        said = of_model(steps, request.vcpu, request.area, request.atomic, request.fill)
        seen = ours.run(request).book().evidence
        assert calls_of(seen.steps) == calls_of(steps), str(request)
        assert epochs_of(seen) == epochs_of(said), str(request)
        compared += 1
    assert compared > 600


def vectors():
    return json.loads((DATA / "oracle" / "vectors_public.json").read_text())["cases"]


def test_our_own_writer_agrees_with_the_recorded_vectors(writer, missed):
    ours = writer()
    assert {case["id"]: missed(ours, case) for case in vectors()} == {
        case["id"]: [] for case in vectors()
    }


# What a compiler may make of the same source.


def test_a_writer_inlined_into_its_caller_is_judged_through_the_caller(writer):
    ours = writer("INLINED")
    assert (ours.entry.name, ours.entry.accounts) == ("kvm_xen_update_runstate", True)
    assert broken(ours, quick()) == set()


def test_arguments_are_found_by_the_names_of_parameters(writer):
    assert broken(writer("SWAPPED_PARAMETERS"), quick()) == set()


def test_a_function_that_is_played_is_not_run_though_it_is_in_the_file(writer):
    seen = writer("SWAPPED_PARAMETERS").run(parse("native@0x100,flag,stale1"))
    checks = [step for step in seen.steps() if isinstance(step, Check)]
    assert checks == [Check("gpc1", 48, False), Check("gpc1", 48, True)]


@pytest.mark.parametrize("name", ["", "SWAPPED_PARAMETERS"])  # elsewhere, in the file
def test_a_function_that_is_played_keeps_no_register_but_its_callers(writer, name):
    from runstate_abi.writer.witnesses import program, stubs

    ours = writer(*filter(None, [name]), flags=("-O0",))
    names, kept = ("rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11"), []
    returns = program.SCRATCH + len(stubs.SCRATCH) - 1
    ours.machine.before(returns, lambda: kept.append({ours.machine.get(one) for one in names}))
    seen = ours.run(parse("native@0x100,flag,atomic,stale1"))
    called = [step for step in seen.steps() if isinstance(step, TryLock | Check | Unlock)]
    assert len(kept) == len(called) == 3
    assert kept == [{0x5AFE_0BAD}] * 3


def test_a_copy_under_another_name_is_still_a_copy(writer):
    ours = writer("MUTE_COPY=__tsan_memcpy")
    assert broken(ours, quick()) == set()
    copies = [s for s in ours.run(parse("native@0xff1,flag")).steps() if isinstance(s, Copy)]
    assert [(copy.page, copy.offset, len(copy.data)) for copy in copies] == [
        (1, 4081, 15),
        (2, 0, 33),
    ]


@pytest.mark.parametrize("name", ["__tsan_memcpy_", "__tsan_copy", "memcpy_flushcache"])
def test_a_call_that_is_not_known_is_never_passed_over(writer, name):
    with pytest.raises(WitnessError, match=rf"cannot judge: it calls {name}, which is not known"):
        broken(writer(f"MUTE_COPY={name}"), quick())


def test_a_call_that_is_not_known_matters_only_where_it_is_reached(writer):
    ours = writer("MUTE_COPY=__tsan_copy")
    assert judge(ours.run(parse("native@0x100,flag")).book()) == ()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("ENDLESS", "it has not returned after 20000 instructions, at kvm_xen"),
        ("BUG", "it runs into an instruction that stops it (ud2: a BUG or an assertion), at kvm"),
    ],
)
def test_code_that_does_not_come_back_has_a_reason(writer, name, why):
    seen = writer(name).run(parse("native@0x100,flag"))
    assert seen.ended.startswith(why)
    assert [(one.rule, one.why) for one in judge(seen.book())] == [("ends", seen.ended)]


def test_an_access_to_what_is_not_there_cannot_be_judged(writer):
    why = r"cannot judge: writes 0xdead0000, where nothing is, at kvm_xen_update_runstate_guest\+0x"
    with pytest.raises(WitnessError, match=why):
        broken(writer("STRAY"), quick())


def test_a_stack_protector_of_either_style_finds_its_canary(writer):
    per_cpu = ("-fstack-protector-all", "-mstack-protector-guard=tls")
    guards = ("-mstack-protector-guard-reg=gs", "-mstack-protector-guard-offset=40")
    assert broken(writer(flags=(*per_cpu, *guards)), quick()) == set()
    symbol = ("-fstack-protector-all", "-mstack-protector-guard=global")
    assert broken(writer(flags=symbol), quick()) == set()


def test_tracing_and_coverage_change_nothing(writer):
    flags = ("-pg", "-mfentry", "-fsanitize-coverage=trace-pc")
    assert broken(writer(flags=flags), quick()) == set()


def test_kasan_reads_its_shadow_and_changes_nothing(writer):
    inline = ("-fasan-shadow-offset=0xdffffc0000000000", "--param=asan-stack=1")
    threshold = "--param=asan-instrumentation-with-call-threshold=10000"
    assert broken(writer(flags=("-fsanitize=kernel-address", *inline, threshold)), quick()) == set()
    outline = "--param=asan-instrumentation-with-call-threshold=0"
    assert broken(writer(flags=("-fsanitize=kernel-address", *inline, outline)), quick()) == set()


def test_another_compiler_makes_the_same_of_it(writer):
    if shutil.which("clang") is None:
        pytest.skip("clang: not installed")
    for flags in ((), ("-mretpoline",), ("-Os",)):
        assert broken(writer(compiler="clang", flags=flags), quick()) == set()


def test_optimised_in_another_way_it_is_the_same(writer):
    for flags in (("-O0",), ("-Os",), ("-O3", "-fno-inline")):
        assert broken(writer(flags=flags), quick()) == set()


def test_a_fence_orders_non_temporal_stores(writer):
    assert broken(writer("NON_TEMPORAL", "FENCED"), quick()) == set()
    seen = writer("NON_TEMPORAL").run(parse("native@0x100,flag"))
    assert [seen.events[at].offset for at in sorted(seen.streamed)] == [272, 280, 288, 296]


@pytest.mark.parametrize("level", ["-O0", "-O2"])
def test_interrupts_that_a_callee_turns_on_are_seen_at_their_instruction(writer, level):
    for name, case in (("IRQS_ON_FOR_STORES", "native@0x100"), ("", "native@0x100,stale1")):
        ours = writer(*filter(None, [name]), flags=(level,))
        seen = ours.run(parse(case), places=True)
        at = seen.steps().index(IrqRestore())
        address = seen.chains[at][0]
        (code,) = [s for s in ours.file.sections if s.address <= address < s.address + s.size]
        instruction = ours.file.content(code)[address - code.address]
        assert instruction == (0x9D if name else 0xFB)  # popf, sti


def test_an_instruction_of_the_first_block_is_noticed(writer):
    ours, at = writer(), []
    entry = ours.entry.address
    (code,) = [s for s in ours.file.sections if s.address <= entry < s.address + s.size]
    begin = bytes(ours.file.content(code)[entry - code.address :][:4])
    ours.machine.notice(re.compile(re.escape(begin)), lambda: at.append(ours.machine.get("rip")))
    ours.run(parse("native@0x100"))
    ours.run(parse("native@0x100"))
    assert at.count(entry) == 2


def test_locks_that_sleep_are_known_by_their_names(writer):
    names = {"_raw_read_lock", "_raw_read_trylock", "_raw_read_unlock"}
    of_rt = writer(*(f"{name}={name.replace('_raw', 'rt')}" for name in sorted(names)))
    assert of_rt.run(parse("native@16")).book().evidence.locks_sleep
    assert not writer().run(parse("native@16")).book().evidence.locks_sleep


def test_without_btf_the_dwarf_is_asked(c_writer):
    pytest.importorskip("drgn")
    from runstate_abi.writer.witnesses.machine_code import KvmWriter
    from runstate_abi.writer.witnesses.shipped import open_code, open_types

    file = open_code(c_writer(btf=False, flags=("-g",)))
    types = open_types(file, "")
    assert types.kind == "DWARF"
    assert broken(KvmWriter(file, types), quick()) == set()


def test_a_struct_that_clang_dropped_is_missing_and_that_is_known(writer):
    ours = writer("NO_COMPAT")
    seen = ours.types.layouts(("vcpu_runstate_info", "compat_vcpu_runstate_info"))
    assert seen.missing == ("compat_vcpu_runstate_info",)
    assert broken(ours, quick()) == set()


# The generation of Linux 6.1.


def test_a_writer_of_6_1_is_right_by_its_own_profile(writer):
    old = writer(source="old_writer.c")
    assert (old.two_pages, old.entry.accounts) == (False, True)
    assert broken(old, quick(), "linux-6.1") == set()


def test_a_writer_of_6_1_breaks_what_6_2_mended(writer):
    rules = broken(writer(source="old_writer.c"), quick())
    assert rules == {"set-first", "no-flag", "read", "atomic", "dirty"}


def test_a_writer_with_one_cache_is_not_asked_for_two_pages(writer):
    old = writer(source="old_writer.c")
    taken = [
        text for text in ("native@0xfd0", "native@0xfd1", "compat@0xfd1") if old.takes(parse(text))
    ]
    assert taken == ["native@0xfd0"]


# What is seen is what happened.


def test_guards_on_both_sides_and_elsewhere_are_watched(writer):
    seen = writer("COPY_ONE_TOO_MANY").run(parse("native@0xff1,flag"))
    evidence = seen.book().evidence
    assert [(s.page, s.offset) for s in ledger(evidence).strays] == [(2, 33)]
    assert seen.changed == ("p2+33",)


def test_page_2_is_not_behind_page_1(writer):
    """What runs past the end of page 1 is not in page 2 by luck."""
    seen = writer("WRITES_BEFORE_SECOND_LOCK").run(parse("native@0xffe,flag,lost2"))
    assert seen.changed == ("p1+4096",)
    assert seen.after[2:] == seen.before[2:]


def test_nothing_of_one_run_is_left_for_the_next(writer):
    ours = writer("COPY_ONE_TOO_MANY")
    first = ours.run(parse("native@0xff1,flag"))
    ours.run(parse("compat@0xff5,atomic"))
    assert ours.run(parse("native@0xff1,flag")) == first


def test_the_stack_is_as_nobody_initialised_it_in_every_run(writer):
    """What leaks by the padding must not depend on what ran before."""
    ours = writer("NO_MEMSET")
    first = ours.run(parse("native@0xff1,flag"))
    ours.run(parse("compat@0xff5,flag"))
    assert ours.run(parse("native@0xff1,flag")) == first
    assert first.after[4:8] == b"\x6b" * 4


def test_an_unlock_that_is_inlined_is_seen_in_the_lock_word(writer):
    steps = writer("INLINED_UNLOCK").run(parse("native@0xff1,flag")).steps()
    assert [s for s in steps if isinstance(s, Unlock)] == [Unlock("gpc2"), Unlock("gpc1")]


@pytest.mark.parametrize("case", ["native@0x100,flag", "compat@0xff5,flag,again"])
def test_instructions_that_turn_interrupts_off_and_on_are_seen_in_pairs(writer, case):
    steps = writer().run(parse(case)).steps()
    irqs = [step for step in steps if isinstance(step, IrqSave | IrqRestore)]
    assert irqs == [IrqSave(), IrqRestore()] * (3 if "again" in case else 1)
    assert (steps[0], steps[-1]) == (IrqSave(), IrqRestore())


@pytest.mark.parametrize("scenario", SCENARIOS[1:], ids=lambda scenario: scenario.name)
def test_each_failure_is_seen_by_the_code(writer, scenario):
    """A scenario that the writer does not notice would test nothing."""
    atomic = ",atomic" if scenario.busy else ""
    seen = writer().run(parse(f"native@0xff1,flag{atomic},{scenario.name}"))
    fine = writer().run(parse(f"native@0xff1,flag{atomic}"))
    assert seen.steps() != fine.steps()
    if scenario.busy:
        assert seen.steps()[-2 if scenario.busy == 2 else -1] == TryLock(
            f"gpc{scenario.busy}", False
        )
    if scenario.no_slot:
        assert not [step for step in seen.steps() if isinstance(step, Dirty)]


def test_places_are_instructions_of_the_function(writer):
    seen = writer().run(parse("native@0x100,flag"), places=True)
    assert len(seen.places) == len(seen.events)
    assert all(place.startswith("kvm_xen_update_runstate_guest") for place in seen.places)
    assert writer().run(parse("native@0x100,flag")).places == ()


def test_the_last_chain_is_the_return_instruction(writer):
    ours = writer()
    seen = ours.run(parse("native@0x100,flag"), places=True)
    assert len(seen.chains) == len(seen.events) + 1
    ((address,),) = seen.chains[-1:]
    code = [s for s in ours.file.sections if s.address <= address < s.address + s.size]
    assert ours.file.content(code[0])[address - code[0].address] == 0xC3  # ret
    assert ours.run(parse("native@0x100,flag")).chains == ()


def test_runs_that_differ_in_place_alone_have_one_key_and_others_have_not(writer):
    ours = writer()
    keys = {text: ours.run(parse(text)).key() for text in (
        "native@0x6,flag", "native@0xc,flag", "native@0x7,flag", "native@0x6", "compat@0x6,flag",
        "native@0x6,flag,stale1", "native@0xff0,flag", "native@0xff1,flag",
    )}  # fmt: skip
    assert keys["native@0x6,flag"] == keys["native@0xc,flag"]
    del keys["native@0xc,flag"]
    assert len(set(keys.values())) == len(keys)


def test_what_goes_wrong_outside_has_a_key_of_its_own(writer):
    ours = writer("COPY_ONE_TOO_MANY")
    one, two = (ours.run(parse(f"native@{at}")) for at in ("0xff4", "0xffa"))
    assert one.key() != two.key()


# Where it cannot begin.


def test_without_the_function_it_says_what_is_missing(c_writer, tmp_path):
    import subprocess

    from runstate_abi.writer.witnesses.machine_code import KvmWriter
    from runstate_abi.writer.witnesses.shipped import open_code, open_types

    path = tmp_path / "other.o"
    names = [
        f"--redefine-sym={n}=other{i}" for i, n in enumerate(("kvm_xen_update_runstate_guest",))
    ]
    subprocess.run(["objcopy", *names, c_writer(), path], check=True)
    file = open_code(str(path))
    with pytest.raises(
        WitnessError, match=r"no function kvm_xen_update_runstate_guest \(a kernel built without"
    ):
        KvmWriter(file, open_types(file, ""))
    with pytest.raises(WitnessError, match=r"cannot judge: no function nothing$"):
        KvmWriter(file, open_types(file, ""), "nothing")


def test_a_name_that_lto_made_unique_is_still_the_function(c_writer, tmp_path):
    import subprocess

    from runstate_abi.writer.witnesses.machine_code import KvmWriter
    from runstate_abi.writer.witnesses.shipped import open_code, open_types

    path, name = tmp_path / "lto.o", "kvm_xen_update_runstate_guest"
    rename = f"--redefine-sym={name}={name}.llvm.1234567"
    subprocess.run(["objcopy", rename, c_writer(), path], check=True)
    file = open_code(str(path))
    assert broken(KvmWriter(file, open_types(file, "")), quick()) == set()


def test_a_module_without_debug_info_says_so(c_writer):
    from runstate_abi.writer.witnesses.shipped import open_code, open_types

    with pytest.raises(WitnessError, match="neither BTF nor DWARF"):
        open_types(open_code(c_writer(btf=False)), "")


def test_the_size_of_a_page_is_the_boundary(writer):
    ours = writer()
    assert len(ours.run(parse(f"native@{PAGE_SIZE - 48}")).steps()) < len(
        ours.run(parse(f"native@{PAGE_SIZE - 47}")).steps()
    )
