"""A Verdict as text: what was judged, a line for each rule, and the worst of what is broken.

Every broken rule is one line, so that grep finds it.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from runstate_abi.layouts.model import Layout
from runstate_abi.layouts.structs.runstate import COMPAT, NATIVE, RUNSTATE_STRUCTS
from runstate_abi.tools.judge import story
from runstate_abi.tools.judge.tallies import Broken
from runstate_abi.tools.output import aligned, counted, titled
from runstate_abi.writer.rules import NO_BARRIERS, PROFILES, RULES, Profile, Relaxed

if TYPE_CHECKING:
    from runstate_abi.tools.judge.verdict import Verdict
    from runstate_abi.writer.witnesses.shipped import Judged

WIDTH = 100
SHORT = {NATIVE.name: "native", COMPAT.name: "compat"}


def lines(seen: "Verdict", verbose: bool = False) -> Iterator[str]:
    """Yield a verdict as text; ``verbose`` shows every store, and an update for each rule."""
    yield from _head(seen)
    yield ""
    yield from aligned([*_rules(seen)])
    yield ""
    for one in story.each(seen) if verbose else story.stories(seen):
        yield from story.told(one, seen, verbose)
        yield ""
    if seen.hint:
        yield f"lines: {seen.hint}"
    yield NO_BARRIERS
    prints = seen.tally.prints._asdict().items()
    yield "  ".join(f"{name} {digest}" for name, digest in prints)
    yield _verdict(seen)


def _head(seen: "Verdict") -> Iterator[str]:
    judged, tally = seen.judged, seen.tally
    named = [judged.release, f"build-id {judged.build_id[:12]}" if judged.build_id else ""]
    yield "  ".join([judged.path, ", ".join(filter(None, [*named, judged.compiler]))]).rstrip()
    entry = judged.writer.entry
    through = ", which accounts time first" if entry.accounts else ""
    rows = [
        ["function", f"{entry.name}, {entry.size} bytes{through}"],
        ["layout", _layout(judged)],
        ["called", f"{counted(len(tally.used), 'function')} played: {', '.join(tally.used)}"],
    ]
    if judged.patches:
        changes = ", ".join(counted(n, what) for what, n in judged.patches.items())
        rows.append(["unpatched", f"booting would change {changes}; judged as in the file"])
    profile = seen.judged.profile
    updates = counted(tally.asked, "update")
    rows.append(["asked", f"{updates}, profile {profile.name} ({profile.summary})"])
    if tally.skipped:
        skipped = counted(tally.skipped, "update")
        rows.append(["not asked", f"{skipped}: it has one cache, for one page"])
    yield from titled(rows, WIDTH)


def _layout(judged: "Judged") -> str:
    found = [f"{SHORT[one.name]} {_numbers(one)}" for one in judged.layouts.found]
    said = ", ".join(found) + f" from {judged.writer.types.kind}" if found else ""
    if judged.differences:
        said += f": DIFFERS: {'; '.join(map(str, judged.differences))}"
    missing = [SHORT[name] for name in RUNSTATE_STRUCTS if name in judged.layouts.missing]
    if missing:
        said += ", " if said else ""
        said += f"{' and '.join(missing)} not in the debug info (clang drops it): as claimed here"
    return said


def _numbers(layout: Layout) -> str:
    return f"{layout.size} ({'/'.join(str(row.offset) for row in layout.members)})"


def _broken(seen: "Verdict") -> list[Broken]:
    return [seen.tally.broken[rule.name] for rule in RULES if rule.name in seen.tally.broken]


def _rules(seen: "Verdict") -> Iterator[list[str]]:
    passed_over, untested = dict(seen.passed_over), dict(seen.untested)
    weaker = {one.rule: one.why for one in seen.judged.profile.relaxed if one.instead}
    for rule in RULES:
        one = seen.tally.broken.get(rule.name)
        if one:
            count = f"{one.times} of {seen.tally.asked}"
            said = f"{count}, first {one.request}: {one.violation.why}"
            said = ", at ".join([said, *map(str, seen.code(rule.name)[:1])])
            yield ["allowed" if rule.name in seen.allowed else "BROKEN", rule.name, said]
        elif rule.name in passed_over:
            yield ["-", rule.name, f"not judged: {passed_over[rule.name]}"]
        elif rule.name in untested:
            yield ["-", rule.name, untested[rule.name]]
        elif rule.name in weaker:
            yield ["ok", rule.name, f"in its weaker form: {weaker[rule.name]}"]
        else:
            yield ["ok", rule.name, rule.sentence]


def _verdict(seen: "Verdict") -> str:
    asked, failing = seen.tally.asked, seen.tally.failing
    silent = f", {len(seen.untested)} not asked" if seen.untested else ""
    allowed = [one.rule for one in _broken(seen) if one.rule in seen.allowed]
    silent += f", allowed: {', '.join(allowed)}" if allowed else ""
    if seen.right:
        kept = len(RULES) - len(seen.passed_over) - len(seen.untested) - len(allowed)
        return f"right: {counted(kept, 'rule')} kept in {counted(asked, 'update')}{silent}"
    broken = ", ".join(one.rule for one in _broken(seen) if one.rule not in allowed) or "none"
    layout = "; the layout differs" if seen.judged.differences else ""
    verb = "breaks" if failing == 1 else "break"
    return (
        f"WRONG: {failing} of {counted(asked, 'update')} {verb} a rule ({broken}){layout}{silent}"
    )


def _kept(relaxed: Relaxed | None) -> str:
    if relaxed is None:
        return ""
    return f" ({'kept in a weaker form' if relaxed.instead else 'not judged'}: see below)"


def book(profile: Profile) -> Iterator[str]:
    """Yield the rules under a profile, one a line."""
    relaxed = {one.rule: one for one in profile.relaxed}
    yield f"{profile.name}: {profile.summary}"
    yield ""
    rules = [[r.name, r.sentence + _kept(relaxed.get(r.name)), f"[{r.source}]"] for r in RULES]
    yield from aligned(rules)
    if relaxed:
        yield ""
        yield f"What writers of {profile.name} do not keep, and why:"
        whys = [
            [rule, one.why if one.instead else f"{one.why} (not judged)"]
            for rule, one in relaxed.items()
        ]
        yield from aligned(whys)
    yield ""
    yield f"profiles: {', '.join(one.name for one in PROFILES)}"
