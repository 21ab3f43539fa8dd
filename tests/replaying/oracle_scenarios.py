"""Replay the oracle's scenarios: what happens to the caches before, between and during updates.

Law of this file: what a version must show is compared key by key, and a key without a comparison
is a difference.
"""

from collections.abc import Iterator
from typing import Any

from replaying.arena import ARENA, window
from replaying.fields import octets, text
from replaying.oracle_stage import FIRST_PFN, PAGES, Stage, do, runstate_from
from replaying.oracle_vectors import Version, version
from replaying.outcomes import Case, Replayed, differ, differ_lines
from runstate_abi.layouts.model import WitnessError
from runstate_abi.writer.gpc import Caches
from runstate_abi.writer.host import BASE, Host
from runstate_abi.writer.witnesses.recorded import Malformed, Record, list_of, record_of, sequence
from runstate_abi.writer.witnesses.recorded import field as field_of

FORMAT = "runstate-oracle-scenarios/1"


def replay_scenarios(document: Record) -> Replayed:
    """Run each scenario in each version that it names."""
    cases: list[Case] = []
    malformed: list[str] = []
    pfns = {page: FIRST_PFN + place for page, place in ARENA.items()}
    _learn_pfns(document, pfns)
    for index, raw in enumerate(sequence(document, "scenarios")):
        name = (
            str(raw.get("id", f"scenario {index}"))
            if isinstance(raw, dict)
            else f"scenario {index}"
        )
        try:
            record = record_of(raw, "a scenario")
            for key, expected in record_of(
                field_of(record, "versions"), "field 'versions'"
            ).items():
                stage = _stage(document, version(key), pfns)
                differences = tuple(_run(stage, record, record_of(expected, f"version '{key}'")))
                cases.append(Case(f"{name} {key}", differences))
        except (Malformed, WitnessError, ValueError) as error:
            malformed.append(f"{name}: {error}")
    return Replayed("in the versions named", tuple(cases), tuple(malformed), group="scenarios")


# Which pfn the harness gave a host page is no rule of the kernel's: the recording itself says it.
def _learn_pfns(value: Any, pfns: dict[int, int]) -> None:
    if isinstance(value, dict):
        page, pfn = value.get("khva_page"), value.get("pfn")
        if isinstance(page, int) and isinstance(pfn, int) and page not in ARENA and pfn > 0:
            pfns.setdefault(page, pfn)
        for one in value.values():
            _learn_pfns(one, pfns)
    elif isinstance(value, list):
        for one in value:
            _learn_pfns(one, pfns)


def _stage(document: Record, which: Version, pfns: dict[int, int]) -> Stage:
    values = record_of(field_of(document, "values"), "field 'values'")
    memory = window(octets(values, "fill"), PAGES)
    caches = Caches(Host(), which.pfncache)
    return Stage(which, caches, memory, runstate_from(values), pfns, octets(values, "fill"))


def _run(stage: Stage, record: Record, expected: Record) -> Iterator[str]:
    for raw in sequence(record, "setup"):
        operation = record_of(raw, "an operation")
        result = do(stage, operation)
        if "result" in operation:
            stage.results[text(operation, "result")] = result
    for name, value in expected.items():
        if name not in stage.results:
            yield f"'{name}' is recorded, and the script does not make it"
        elif name.startswith("update") and isinstance(value, dict):
            yield from _compare_update(name, value, stage.results[name])
        else:
            yield from _compare(name, value, stage.results[name])
    for raw in sequence(record, "setup"):
        if raw.get("result", "") and raw["result"] not in expected:
            yield f"'{raw['result']}' is made by the script, and not recorded"


def _compare_update(name: str, expected: Record, seen: Record) -> Iterator[str]:
    for key in [*expected, *(key for key in seen if key not in expected)]:
        if key not in expected:
            yield f"{name}.{key}: not recorded, model {seen[key]}"
        elif key not in seen:
            yield f"{name}.{key}: recorded {expected[key]}, nothing in the model"
        elif key == "trace":
            yield from differ_lines(list_of(expected[key], f"{name}.trace"), seen[key])
        else:
            yield from _compare(f"{name}.{key}", expected[key], seen[key])


# Deep, so that the line says which field of which cache.
def _compare(name: str, expected: Any, seen: Any) -> Iterator[str]:
    if isinstance(expected, dict) and isinstance(seen, dict):
        for key in [*expected, *(key for key in seen if key not in expected)]:
            yield from _compare(f"{name}.{key}", expected.get(key), seen.get(key))
    elif name.endswith(".gpa") and isinstance(seen, int) and not 0 <= seen < BASE:
        # A cache that was never given an address: what the recording calls it depends on where
        # its guest's memory began.
        if isinstance(expected, int) and 0 <= expected < BASE:
            yield f"{name}: recorded {expected}, the model's was never set"
    else:
        yield from differ(name, expected, seen)
