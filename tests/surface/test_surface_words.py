"""Sentences: as much as was shown and no more."""

from __future__ import annotations

import itertools
import unicodedata
from dataclasses import replace

import pytest

from epigraph.report import words
from epigraph.report.derivation import lay_out
from epigraph.report.source import quotes, split_location

STATES = ("proved", "refuted", "undecided")


@pytest.mark.parametrize(("convex", "concave"), list(itertools.product(STATES, STATES)))
def test_standing_agrees_with_the_summary_word(made, convex, concave) -> None:
    verdict = made.verdict(convex=convex, concave=concave)
    said = words.standing(verdict).lower()
    starts = {"affine": "affine", "convex": "convex", "concave": "concave"}
    if verdict.verdict in starts:
        assert said.startswith(starts[verdict.verdict])
        assert ("not affine" in said) == ("refuted" in (convex, concave))
    elif verdict.verdict == "nonconvex":
        assert said.startswith("neither convex nor concave" if concave == "refuted" else "not convex")
        assert ("undecided" in said) == (concave == "undecided")
    else:
        assert said.startswith("not concave" if concave == "refuted" else "neither a proof nor a counterexample")
    assert "proved" not in said


def test_evidence_states_both_gaps(made) -> None:
    above, below = words.evidence(made.digits())
    assert "above the chord" in above
    assert "at least 0.4 (relative 0.4)" in above
    assert "below the chord" in below
    assert "at least 0.5 (relative 0.33)" in below  # 0.5 / 1.5, rounded down
    assert "ball arithmetic at 128 bits" in above


def test_a_modulus_is_claimed_only_when_positive(made) -> None:
    assert "strongly convex with modulus at least 0.001" in words.evidence(made.proved())[0]
    for modulus in (None, 0.0):
        weak = made.verdict(convex="proved", modulus=modulus, proofs={"convex": made.deep_proof(3)})
        assert "strongly" not in " ".join(words.evidence(weak))


def test_what_a_settled_verdict_rests_on_is_its_proof(made) -> None:
    both = made.verdict(
        convex="proved",
        concave="refuted",
        proofs={"convex": made.deep_proof(3)},
        certificates={"concave": made.certificate("concave", lambda s: s * s)},
    )
    assert words.evidence(both) == ["Proved convex by a derivation of 3 steps."]
    assert words.lemmas(both) == "It rests on: leaf; a sum of convex functions is convex."
    many = [made.step(i, "convex", lemma=f"lemma {i}") for i in range(9)]
    rich = made.verdict(convex="proved", proofs={"convex": replace(made.deep_proof(1), steps=tuple(many))})
    assert words.lemmas(rich).endswith("lemma 5; and 3 further lemmas.")
    assert words.lemmas(made.digits()) is None


def test_what_follows_from_what(made) -> None:
    verdict = made.verdict(quasiconvex="refuted", quasiconcave="undecided")
    assert words.excluded(verdict, "convex") == "quasiconvex"
    assert words.excluded(verdict, "log_convex") == "convex"
    assert words.excluded(verdict, "log_concave") is None
    assert words.excluded(verdict, "quasiconvex") is None
    proved = made.verdict(convex="proved", concave="undecided")
    assert (words.implied(proved, "quasiconvex"), words.implied(proved, "quasiconcave")) == ("convex", None)


def test_further_properties_leave_out_what_follows(made) -> None:
    assert words.further(made.verdict(convex="proved", quasiconvex="proved", quasiconcave="undecided")) is None
    shown = words.further(made.verdict(quasiconvex="proved", log_concave="proved", quasiconcave="refuted"))
    assert shown == "J is quasiconvex and log-concave; not quasiconcave."


def test_scope_names_what_is_held(made) -> None:
    verdict = made.verdict(active=("fc2.weight",))
    assert words.subject(verdict) == "J(fc2.weight)"
    assert words.scope(verdict).endswith("fc1.weight, fc1.bias, fc2.bias held at the values of the counterexample.")
    proved = made.verdict(active=("fc2.weight",), convex="proved")
    assert words.scope(proved).endswith("fc1.weight, fc1.bias, fc2.bias held at any value.")
    assert words.scope(made.verdict()) is None


def test_context_is_optional_and_shows_the_domain(made) -> None:
    assert words.context(made.verdict(objective={})) == []
    shown = words.context(made.verdict(objective={"domain": {"x": [0.0, None], "y": [None, 2.0]}, "size": 1}))
    assert shown == ["1 parameter", "domain x in [0.0, inf), y in (-inf, 2.0]"]


@pytest.mark.parametrize("room", [10, 30, 60, 1000])
def test_lists_of_names_fit_or_show_one(room: int) -> None:
    names = [f"layer{i}.weight" for i in range(50)]
    shown = words.listed(names, room)
    assert len(shown) <= max(room, len("layer0.weight, … 49 more"))
    count = shown.count("layer")
    assert count == 50 or shown.endswith(f"… {50 - count} more")


def test_text_from_outside_cannot_steer_the_terminal(made) -> None:
    shown = words.clean(made.HOSTILE + "\x00\x9b\u2066\r\x7f")
    assert not [c for c in shown if unicodedata.category(c) in ("Cc", "Cf", "Cs")]
    assert "\\x1b" in shown
    assert words.clean("w\n\tλ²") == "w\n\tλ²"


def test_packed_lines_are_as_wide_as_they_may_be() -> None:
    assert words.packed(["aaa", "bbb", "cccc"], 9) == ["aaa · bbb", "cccc"]


def test_rows_tally_and_freeze(made) -> None:
    verdict = made.digits()
    rows = words.block_rows(verdict)
    assert [(r.name, r.word) for r in rows][2:] == [("fc2.weight", "convex"), ("fc2.bias", "convex")]
    assert words.tally(rows) == "4 blocks: 2 convex, 2 nonconvex"
    assert words.freeze_size(verdict, ("fc1.weight", "fc1.bias")) == 16 * 64 + 16
    assert words.freeze_size(verdict, ("unknown",)) is None
    assert words.block_rows(made.verdict(active=("w",), blocks={"w": made.block("convex", "w")})) == []


def test_weight_decay_is_summed_up(made) -> None:
    def shown(decay):
        return words.context(made.verdict(objective={"weight_decay": decay, "parameters": ["w", "b"]}))

    assert shown({"w": 0.01, "b": 0.01}) == ["weight decay 0.01"]
    assert shown({"w": 0.01, "b": 0.0}) == ["weight decay 0.01 on 1 of 2"]
    assert shown({"w": 0.01, "b": 0.1}) == ["weight decay 0.01 to 0.1"]
    assert shown({}) == shown({"w": 0.0}) == shown(None) == []


def test_a_step_says_what_it_is_about(made) -> None:
    assert words.step_claim(made.step(0, "convex", op="aten.linear.default")) == "linear is convex"
    assert words.step_claim(made.step(0, "J is convex")) == "J is convex"


# the derivation ------------------------------------------------------------------------------------------------------
def every_line(path, depth: int = 1):
    for line in path.lines:
        yield depth, line
        for branch in line.branches:
            yield from every_line(branch, depth + 1)


@pytest.mark.parametrize("count", [1, 2, 9, 600])
def test_every_step_is_explained_once_and_nesting_is_shallow(made, count: int) -> None:
    proof = made.deep_proof(count)
    lines = list(every_line(lay_out(proof.steps)))
    assert sorted(line.number for _, line in lines) == list(range(1, count + 1))
    assert max(depth for depth, _ in lines) <= count.bit_length()
    for _, line in lines:
        named = {line.follows, *line.references, *(branch.head.number for branch in line.branches)} - {None}
        assert named == {p + 1 for p in line.step.premises}
        assert proof.steps[line.number - 1] is line.step


def test_balanced_trees_nest_logarithmically(made) -> None:
    steps = [made.step(i, f"leaf {i}") for i in range(256)]
    level = list(range(256))
    while len(level) > 1:
        merged = []
        for left, right in zip(level[::2], level[1::2], strict=True):
            merged.append(len(steps))
            steps.append(made.step(len(steps), "sum", (left, right)))
        level = merged
    depths = [depth for depth, _ in every_line(lay_out(steps))]
    assert len(depths) == 511
    assert max(depths) <= 9


def test_unused_steps_are_left_out_and_cycles_refused(made) -> None:
    steps = [made.step(0, "unused"), made.step(1, "leaf"), made.step(2, "J", (1,))]
    assert [line.number for _, line in every_line(lay_out(steps))] == [3, 2]
    with pytest.raises(ValueError, match="does not come before"):
        lay_out([made.step(0, "J", (0,))])
    assert lay_out([]) is None


# the source ----------------------------------------------------------------------------------------------------------
def test_quotes_show_the_marked_line_with_its_neighbours(made, tmp_path) -> None:
    file = tmp_path / "digits.py"
    file.write_text(made.SOURCE)
    (quote,) = quotes(made.digits(file).blockers)
    assert [(n, marked) for n, _, marked in quote.lines] == [(13, False), (14, False), (15, True)]
    file.write_text(made.SOURCE + "\n\nmore = 1\n")
    assert quotes(made.digits(file).blockers)[0].lines[-1][0] == 15  # blank lines at the edge are left out
    assert quote.lines[-1][1] == made.SOURCE.splitlines()[14]


def test_a_changed_file_is_not_quoted(made, tmp_path) -> None:
    file = tmp_path / "digits.py"
    file.write_text(made.SOURCE.replace("return self.fc2(hidden)", "return hidden"))
    (quote,) = quotes(made.digits(file).blockers)
    assert quote.lines == ((15, "return self.fc2(hidden)", True),)


def test_near_places_are_one_quote_and_far_ones_are_two(made, tmp_path) -> None:
    from epigraph.convexity.verdict import Blocker

    file = tmp_path / "m.py"
    file.write_text("\n".join(f"line {i}" for i in range(1, 101)))
    at = [Blocker("op", f"{file}:{n}", "", "why", f"line {n}") for n in (50, 10, 53, 10)]
    first, second = quotes(at)
    assert [n for n, _, marked in first.lines if marked] == [50, 53]
    assert len(second.blockers) == 2
    assert quotes([Blocker("op", None, "", "why")])[0].lines == ()


def test_split_location_of_a_windows_path() -> None:
    assert split_location(r"C:\a\m.py:3") == (r"C:\a\m.py", 3)
    assert split_location(r"C:\a\m.py") == (r"C:\a\m.py", None)
    assert split_location(None) == (None, None)
