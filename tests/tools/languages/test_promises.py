"""What is promised about a struct: everything that layouts/ claims, and nothing else."""

from runstate_abi.layouts.model import Fact, facts
from runstate_abi.layouts.structs.runstate import NATIVE
from runstate_abi.tools.languages.promises import GUESTS, promises

KINDS = {"member-size": "size", "signed": "signedness"}


def promised(layout):
    """The promises as facts, without the sizes of whole members, which follow from two others."""
    for promise in promises(layout, "s"):
        if promise.kind != "member-size":
            name = promise.member.name if promise.member else ""
            yield Fact(KINDS.get(promise.kind, promise.kind), name, promise.number)


def test_every_fact_of_the_claim_is_promised():
    for guest in GUESTS:
        claimed = {fact for fact in facts(guest.layout) if fact.kind not in ("count",)}
        # An element's size is the member's own where there is one element.
        alone = {Fact("element-size", r.name, r.size) for r in guest.layout.members if r.count == 1}
        assert set(promised(guest.layout)) == claimed - alone


def test_a_sentence_says_what_stands_before_a_member():
    sentences = [promise.sentence for promise in promises(NATIVE, "s")]
    assert "s.state must be at offset 0, first of all" in sentences
    assert "s.state_entry_time must be at offset 8, after 4 bytes of padding" in sentences
    assert "s.time must be at offset 16, right behind state_entry_time" in sentences
