"""The pick: votes rank, else one scale; what is not told apart is said; and the same evidence gives the same answer."""

from __future__ import annotations

import datetime as dt
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import diptych
from diptych.arena.pareto import pareto
from diptych.choose.pick import pick
from diptych.choose.records import Candidate, Pick
from diptych.cli import pick as command
from diptych.store.database import Store
from tests.choose.conftest import FLASH, FLOW, PRO, Asked, asked, wins
from tests.voting import a_judge, vote

TODAY = dt.date(2026, 11, 22)


def chosen(store: Store, **limits: Any) -> Pick:
    return pick(store=store, today=TODAY, **limits)


def evidence(one: Candidate | None, what: str) -> str:
    assert one is not None
    (found,) = [e for e in one.evidence if e.what == what]
    return f"{found.value} | {found.source} | {found.date} | {found.strength}"


# Own votes


def test_own_votes_rank_whatever_is_published(store: Store, study: Asked) -> None:
    study.judged(wins(PRO, FLASH, 40, 5))
    found = chosen(store)
    assert found.choice is not None
    assert (found.choice.label, found.basis) == (PRO, "own votes")
    assert [one.label for one in found.runners_up] == [FLASH]
    assert "45 votes by 2 people on 1 prompt, on this prompt and its pictures, for these judges" in found.ranked_by
    (apart,) = found.separations
    assert (apart.model, apart.other, apart.separated) == (PRO, FLASH, True)
    assert "40 to 5, 0 tied, where they met" in apart.said
    assert apart.said in found.why
    assert "gpt-image-2" in {one.label for one in found.unranked}  # it leads both scales, and nobody judged it here
    assert "were not compared by votes here" in found.why


def test_what_the_votes_do_not_separate_is_said(store: Store, study: Asked) -> None:
    study.judged(wins(FLASH, PRO, 14, 10))
    found = chosen(store)
    assert found.choice is not None
    assert found.choice.label == FLASH
    assert not found.separations[0].separated
    assert f"The evidence does not separate {FLASH} and {PRO}: the difference is" in found.why
    assert f"{PRO} costs least: $0.03 against $0.067." in found.why


def test_without_an_interval_nothing_is_separated(store: Store, study: Asked) -> None:
    study.judged(wins(FLASH, PRO, 3))
    found = chosen(store)
    assert not found.separations[0].separated
    assert "The evidence does not separate" in found.why
    assert found.separations[0].reason is not None


def test_a_pair_that_alone_would_be_told_apart(store: Store, study: Asked) -> None:
    """With three models, all pairs are looked at together."""
    study.judged([*wins(FLASH, PRO, 23, 10), *wins(PRO, FLOW, 15, 14), *wins(FLASH, FLOW, 22, 12)])
    found = chosen(store)
    together = [one.reason for one in found.separations if not one.separated]
    assert "this pair alone would, all pairs looked at together do not" in together


def test_limits_come_before_votes(store: Store, study: Asked) -> None:
    study.judged([*wins(FLASH, PRO, 30, 5), *wins(PRO, FLOW, 30, 5), *wins(FLASH, FLOW, 30, 5)])
    assert [one.label for one in chosen(store).ranked] == [FLASH, PRO, FLOW]
    assert [one.label for one in chosen(store, max_cost=0.05, allow_unknown=True).ranked] == [PRO, FLOW]
    assert [one.label for one in chosen(store, max_seconds=5).ranked] == [FLASH, FLOW]


def test_votes_of_models_and_on_other_criteria_do_not_rank(store: Store, study: Asked) -> None:
    machine, person = a_judge(store, "model", "m"), a_judge(store)
    for _ in range(30):
        vote(store, int(study.id), machine, PRO, FLASH, "left")
        vote(store, int(study.id), person, PRO, FLASH, "left", criterion="detail")
    assert chosen(store).basis == "artificial-analysis"


def test_a_category_ranks_where_it_has_votes_enough(store: Store, study: Asked) -> None:
    study.prompt("a map", "maps")
    for at in range(3):
        study.sample(1, at, 0, state="done")
    study.judged(wins(PRO, FLASH, 30, 5))
    study.judged(wins(FLASH, PRO, 60, 5), prompts=2)
    both, portraits, maps = (chosen(store, for_=name) for name in (None, "portraits", "maps"))
    assert both.choice is not None
    assert portraits.choice is not None
    assert maps.choice is not None
    assert (both.choice.label, maps.choice.label) == (FLASH, FLASH)
    assert "votes on maps by" in maps.ranked_by
    assert maps.ranked_by != both.ranked_by
    assert "68 votes on portraits" in portraits.ranked_by


def test_a_category_with_few_votes_or_none(store: Store, study: Asked) -> None:
    study.prompt("a map", "maps")
    for at in range(3):
        study.sample(1, at, 0, state="done")
    study.judged(wins(PRO, FLASH, 30, 5))
    judge = a_judge(store)
    vote(store, int(study.id), judge, FLASH, PRO, "left", prompt=1)
    few, none = chosen(store, for_="maps"), chosen(store, for_="dogs")
    assert few.notes[0] == "One vote on maps is too little to rank by alone: votes on all prompts rank."
    assert none.notes[0] == "No vote is on prompts of the category dogs: votes on all prompts rank."
    assert few.choice is not None
    assert few.choice.label == PRO


def test_settings_of_its_own_are_another_model(store: Store) -> None:
    study = asked(store)
    study.ask("builtin-flow steps=4", FLOW, "local", seconds=0.1, settings={"steps": "4"})
    study.ask(FLOW, FLOW, "local", seconds=0.6)
    study.judged(wins("builtin-flow steps=4", FLOW, 30, 4))
    found = chosen(store, max_seconds=0.5)
    assert [one.label for one in found.ranked or found.unranked] == ["builtin-flow steps=4"]
    assert chosen(store).ranked[0].label == "builtin-flow steps=4"


def test_models_that_no_vote_connects(store: Store, study: Asked) -> None:
    study.judged(wins(PRO, FLASH, 30, 5))
    other = asked(store, "other")
    other.ask("x", "x", "import")
    other.ask("y", "y", "import")
    other.ask("z", "z", "import")
    other.judged([*wins("x", "y", 20, 5), *wins("y", "z", 20, 5)])
    found = chosen(store)
    assert [one.label for one in found.ranked] == ["x", "y", "z"]
    assert any(one.startswith(f"No vote connects {PRO}, {FLASH} with the others") for one in found.notes)


# One published scale


def test_without_votes_one_scale_ranks(store: Store) -> None:
    found = chosen(store)
    assert found.choice is not None
    assert (found.choice.label, found.basis) == ("gpt-image-2", "artificial-analysis")
    assert [one.quality.value for one in found.ranked if one.quality] == sorted(
        (one.quality.value for one in found.ranked if one.quality), reverse=True
    )
    assert "Artificial Analysis" in evidence(found.choice, "quality")
    assert "2026-07-10" in evidence(found.choice, "quality")
    assert not any("LM Arena" in e.value or "arena.ai" in e.source for one in found.ranked for e in one.evidence)
    assert "Artificial Analysis states no interval" in found.why
    assert not any(one.separated for one in found.separations)


def test_the_scale_that_has_more_of_them(store: Store, home: Any) -> None:
    """A user's models are on LM Arena alone, with intervals: then that one ranks, and tells apart."""
    home.mkdir(exist_ok=True)
    rows = "\n".join(
        f'[[models]]\nname = "own-{name}"\ntitle = "Own"\nprovider = "replicate"\nremote_id = "own/{name}"\n'
        f'ratings = [{{ scale = "lm-arena", value = {value}, interval = 5, source = "arena.ai" }}]\n'
        "prices = [{ per_image = 0.001, source = 'a test' }]"
        for name, value in (("best", 1400), ("near", 1396), ("far", 1300))
    )
    (home / "models.toml").write_text(rows)
    found = chosen(store, max_cost=0.002)
    assert found.basis == "lm-arena"
    assert [one.label for one in found.ranked] == ["own-best", "own-near", "own-far"]
    assert [one.separated for one in found.separations] == [False, True]
    assert "LM Arena has own-best above own-far: 100 points apart, +- 7." in found.why
    assert found.separations[0].said.endswith("4 points apart, +- 7.")


def test_a_scale_is_not_of_a_category(store: Store) -> None:
    assert "No published scale here is of portraits alone" in chosen(store, for_="portraits").why


def test_a_single_model_with_votes_is_not_ranked_by_them(store: Store, study: Asked) -> None:
    study.judged(wins(PRO, FLASH, 30, 5))
    found = chosen(store, max_cost=0.05)  # of the two that were judged, Gemini costs more
    assert found.basis == "artificial-analysis"
    assert PRO in {one.label for one in found.ranked}


def test_nothing_ranks(store: Store) -> None:
    study = asked(store)
    study.ask("x", "x", "import")
    study.ask("y", "y", "import")
    found = chosen(store, max_cost=0.00001, studies=["asked"], allow_unknown=True, licence="open", needs=["quality"])
    assert found.choice is None
    assert found.basis == "nothing"
    assert found.sentences[0] == "Nothing ranks the models that keep to every limit: flux-3-image, x and y."


def test_the_only_one_left_needs_no_ranking(store: Store) -> None:
    found = chosen(store, max_cost=0.07, min_size="2048x2048", needs=["prompt_upsampling"])
    assert found.choice is not None
    assert (found.choice.label, found.choice.quality, found.unranked) == ("flux-pro-1.1-ultra", None, ())
    assert "it alone keeps to every limit" in found.why


# Evidence


def test_every_piece_has_source_date_and_strength(store: Store, study: Asked) -> None:
    study.judged(wins(FLASH, PRO, 30, 5))
    study.refuse(FLASH, 1)
    one = chosen(store, min_size="64x64", needs=["seed"]).choice
    assert "35 votes | studies here | 2" in evidence(one, "quality")
    assert evidence(one, "price") == (
        "$0.067 a picture | studies here | 2026-11-20 | mean of 4 pictures, by tokens that were counted"
    )
    assert evidence(one, "seconds") == "3 s | studies here | 2026-11-20 | median of 4 pictures, measured from here"
    assert evidence(one, "refusals").startswith("1 of 5 (20%) | studies here")
    assert evidence(one, "size").endswith("made here")
    assert evidence(one, "settings").startswith("seed | ")
    assert "shown, and never ranks" in evidence(one, "detail")
    assert "tenengrad" in evidence(one, "detail")


def test_what_is_allowed_though_unknown_is_said(store: Store) -> None:
    found = chosen(store, max_seconds=5, allow_unknown=True)
    assert found.choice is not None
    assert found.choice.unknown
    assert f"Allowed though unknown: {found.choice.label}, how long a picture takes is unknown" in found.why


def test_points_and_their_pareto_set(store: Store, study: Asked) -> None:
    study.judged([*wins(FLASH, PRO, 30, 5), *wins(PRO, FLOW, 30, 5)])
    found = chosen(store)
    by_label = {point.label: point for point in found.points}
    assert (by_label[FLASH].cost, by_label[FLASH].seconds) == (pytest.approx(0.067), 3.0)
    assert by_label[FLOW].cost is None
    assert {point.label for point in pareto(found.points)} == {FLASH, PRO}


def test_the_same_evidence_gives_the_same_answer(store: Store, study: Asked) -> None:
    study.judged(wins(FLASH, PRO, 12, 12))
    assert chosen(store) == chosen(store)


def test_as_data_and_as_text(store: Store, study: Asked) -> None:
    study.judged(wins(FLASH, PRO, 30, 5))
    found = chosen(store, max_cost=1.0, min_size="64x64", needs=["seed"])
    data = json.loads(json.dumps(found.to_dict()))
    assert data["choice"]["label"] == FLASH
    assert data["limits"] == {"max_cost": 1.0, "min_size": [64, 64], "needs": ["seed"]}
    assert data["why"] == str(found) == found.why
    assert data["points"][0] == {"label": FLASH, "quality": found.points[0].quality, "cost": 0.067, "seconds": 3.0}


def test_your_own_store_is_opened_and_closed(store: Store, study: Asked) -> None:
    study.judged(wins(FLASH, PRO, 30, 5))
    found = pick(today=TODAY)
    assert found.choice is not None
    assert found.choice.label == FLASH


# In Python


def test_the_public_name_is_the_function_and_comes_when_it_is_asked_for(store: Store, study: Asked) -> None:
    code = """
import sys, diptych
light = not {"numpy", "sqlalchemy", "diptych.choose"} & set(sys.modules)
import diptych.choose.pick
from diptych import pick
assert "pick" in dir(diptych) and "pick" in diptych.__all__
assert diptych.pick is pick is diptych.choose.pick.pick
print(light, callable(diptych.pick))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "True True\n"
    with pytest.raises(AttributeError, match="module 'diptych' has no attribute 'pikc'"):
        diptych.pikc  # noqa: B018


def test_without_a_store_it_opens_its_own_and_closes_it(store: Store, study: Asked, home: Path) -> None:
    study.judged(wins(FLASH, PRO, 30, 5))
    found = diptych.pick(max_cost=0.07, today=TODAY)
    assert found == chosen(store, max_cost=0.07)
    assert found == diptych.pick(max_cost=0.07, today=TODAY, store=f"sqlite:///{home / 'diptych.sqlite'}")
    assert found.choice is not None
    assert found.choice.label == FLASH
    assert str(found) == found.why


def test_one_name_stands_for_a_list_of_it(store: Store, study: Asked) -> None:
    listed = chosen(store, needs=["steps", "guidance"], studies=["asked"])
    assert chosen(store, needs="steps, guidance", studies="asked") == listed
    assert listed.limits["needs"] == ("steps", "guidance")


def test_it_takes_what_the_command_takes() -> None:
    of_command = set(inspect.signature(command.command).parameters) - {"everything", "as_json", "study"}
    assert set(inspect.signature(diptych.pick).parameters) - {"today", "studies"} == of_command
    for name in inspect.signature(diptych.pick).parameters:
        assert re.search(rf"^ +{name}  ", str(diptych.pick.__doc__), re.MULTILINE), name
