"""What a study will ask and cost is known before, and what cannot be is refused before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from diptych import catalogue, settings
from diptych.errors import InvalidRequest, NotAvailable, StudyError, UnknownModel
from diptych.store.database import Store
from diptych.studies import create, forecast, plan, results
from diptych.studies.prompts import read_prompts
from diptych.studies.run import limits

FOXES = ["a red fox", "a blue fox"]


def planned(*models: str, store: Store | None = None, **values: object) -> plan.Plan:
    return plan.make_plan(store, read_prompts(FOXES), models, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "name", "values"),
    [
        ("fake-a", "fake-a", {}),
        ("fake-a:latency=0.5", "fake-a", {"latency": "0.5"}),
        ("fake-a:latency=0.5,price=0.01", "fake-a", {"latency": "0.5", "price": "0.01"}),
        ("gpt-image-2:quality=low", "gpt-image-2", {"quality": "low"}),
        ("replicate/owner/name:5f6a", "replicate/owner/name:5f6a", {}),
        ("replicate/owner/name:5f6a:steps=4", "replicate/owner/name:5f6a", {"steps": "4"}),
    ],
)
def test_a_model_with_settings_of_its_own(text: str, name: str, values: dict[str, str]) -> None:
    contestant = plan.parse_contestant(text, catalogue.load())
    assert (contestant.model.name, contestant.values) == (name, values)
    assert contestant.label == " ".join([name, *(f"{k}={v}" for k, v in values.items())])


def test_a_plan_says_what_it_costs() -> None:
    made = planned("flux-2-pro", "fake-a:price=0.5", samples=3, size="1024x1024")
    assert made.count == 12
    assert [estimate.total for estimate in made.estimates] == [pytest.approx(6 * 0.03), pytest.approx(3.0)]
    assert made.total == pytest.approx(3.18)
    pro = made.estimates[0].per_picture
    assert pro is not None
    assert pro.source


def test_what_is_unknown_stays_unknown_and_a_price_can_be_given() -> None:
    assert planned("openai/some-model").total is None
    assert planned("openai/some-model", prices={"openai/some-model": 0.02}, samples=5).total == pytest.approx(0.2)


def test_samples_have_the_same_seeds_for_every_model() -> None:
    made = planned("fake-a", "fake-b", samples=3, seed=7)
    for contestant in made.contestants:
        for prompt in made.prompts.prompts:
            assert [made.request(contestant, prompt, number).seed for number in range(3)] == [7, 8, 9]


def test_a_model_of_unknown_settings_gets_a_seed_only_when_it_was_given() -> None:
    for seed, sent in ((None, None), (7, 7)):
        made = planned("openai/some-model", seed=seed)
        assert made.request(made.contestants[0], made.prompts.prompts[0], 0).seed == sent


@pytest.mark.parametrize(
    ("models", "values", "said"),
    [
        ([], {}, "at least one model"),
        (["fake-a"], {"samples": 0}, "samples is 0"),
        (["fake-a", "fake-a"], {}, "fake-a is named twice"),
        (["fake-a"], {"seed": -1}, "seed is -1"),
        (["fake-a"], {"samples": 600_000}, "at most 1,000,000"),
        (["fake-a:latncy=1"], {}, "latncy"),
        (["fake-a:latency=soon"], {}, "latency is 'soon'"),
        (["fake-a"], {"size": "60x64"}, "size is 60x64"),
        (["fake-a"], {"size": "big"}, "size is 'big'"),
        (["fake-a"], {"values": {"refusals": "2"}}, "refusals is 2"),
        (["fake-a"], {"budget": -1.0}, "The budget is -1"),
        (["fake-a:price=0.5"], {"budget": 0.4}, r"\$0\.4 is too small for one picture of fake-a price=0\.5"),
        (["openai/some-model"], {"budget": 1.0}, "--price openai/some-model=DOLLARS"),
        (["fake-a"], {"prices": {"fake-b": 1.0}}, "fake-b, which takes no part"),
    ],
)
def test_what_cannot_be_is_refused(models: list[str], values: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        planned(*models, **values)


def test_an_unknown_model_suggests() -> None:
    with pytest.raises(UnknownModel, match="fake-a"):
        planned("fake-aa")


def test_a_model_that_was_shut_down_says_so() -> None:
    with pytest.raises(NotAvailable, match="2026-10-23"):
        planned("gpt-image-1")


def test_every_refusal_is_in_one_message() -> None:
    with pytest.raises(InvalidRequest) as refused:
        planned("fake-a", "builtin-flow", "flux-2-pro", values={"guidance": "3"})
    assert "fake-a has no setting guidance" in str(refused.value)
    assert "flux-2-pro has no setting guidance" in str(refused.value)
    assert "builtin-flow" not in str(refused.value)


def test_the_same_command_finds_its_study_again(store: Store) -> None:
    first = create.create(store, planned("fake-a"))
    assert first[2]
    assert create.create(store, planned("fake-a")) == (*first[:2], False)
    assert create.create(store, planned("fake-a", samples=2))[2]
    assert create.create(store, planned("fake-a", seed=3))[2]
    assert results.names(store) == ["a-red-fox-3", "a-red-fox-2", "a-red-fox"]


def test_a_name_belongs_to_one_study(store: Store) -> None:
    create.create(store, planned("fake-a"), "foxes")
    assert create.create(store, planned("fake-a"), "foxes")[1:] == ("foxes", False)
    with pytest.raises(StudyError, match="'foxes' already, of other prompts, models or settings"):
        create.create(store, planned("fake-b"), "foxes")
    for name in ("", "../foxes", "-x", "x" * 65):
        with pytest.raises(InvalidRequest, match="cannot be named"):
            create.create(store, planned("fake-a"), name)


def test_every_sample_is_a_row_before_anything_is_asked(store: Store) -> None:
    create.create(store, planned("fake-a", "fake-b", samples=2, seed=1))
    study = results.load(store)
    assert len(study.samples) == 8
    assert {sample.state for sample in study.samples} == {"planned"}
    assert study.samples[0].request == {
        "prompt": "a red fox",
        "seed": 1,
        "width": 512,
        "height": 512,
        "options": {"latency": 0.0, "price": 0.0, "refusals": 0.0, "failures": 0.0, "jobs": False},
    }
    assert study.contestants[0].facts["name"] == "fake-a"
    assert (study.spent, study.unsure) == (0.0, 0.0)


def test_a_study_that_is_not_there(store: Store) -> None:
    with pytest.raises(StudyError, match="no study yet"):
        results.load(store)
    create.create(store, planned("fake-a"), "foxes")
    with pytest.raises(StudyError, match=r"no study named 'foxs'\. Did you mean foxes"):
        results.load(store, "foxs")


def test_the_expected_time_comes_from_what_was_measured(
    store: Store, make: Callable[..., int], go: Callable[..., object]
) -> None:
    asked = planned("fake-a:latency=0.05", store=store)
    assert forecast.of_plan(asked, limits()).seconds is None
    go(make("fake-a:latency=0.05"))
    again = planned("fake-a:latency=0.05", store=store, samples=32)
    seconds = again.estimates[0].seconds
    assert seconds is not None
    assert 0.03 < seconds < 5
    assert forecast.of_plan(again, limits()).seconds == pytest.approx(64 * seconds / limits()["fake"])


def test_a_local_picture_costs_what_the_machine_costs(empty_home: Path, store: Store, tiny: str) -> None:
    asked = planned(tiny, budget=0.0)  # nobody is paid
    assert asked.estimates[0].per_picture is None
    settings.config_file().write_text("dollars_per_hour = 3.6", "utf-8")
    assert planned(tiny).estimates[0].per_picture is None  # its seconds are unknown
