"""The packaged catalogue holds what is published, each fact with its source; nothing is made up or lost."""

from __future__ import annotations

import pytest

from diptych.catalogue import load
from diptych.catalogue.model import Model
from diptych.catalogue.reading import load_packaged
from diptych.catalogue.records import Fact, Sourced

NAMES = load_packaged().names  # known before a test has its own home folder
PRICES_AT_ONE_MEGAPIXEL = {
    "flux-1-schnell": {0.003, 0.0},
    "flux-1-dev": {0.025},
    "flux-pro-1.1": {0.04},
    "flux-pro-1.1-ultra": {0.06},
    "flux-2-klein-4b": {0.014},
    "flux-2-klein-9b": {0.015},
    "flux-2-pro": {0.03, 0.055, 0.08},
    "flux-2-flex": {0.05},
    "flux-2-max": {0.07},
    "flux-2-dev": {0.01},
    "flux-3-image": {0.048},
    "flux-3-image-klein": {0.009},
    "gemini-2.5-flash-image": {0.039},
    "gemini-3-pro-image": {0.134},
    "gemini-3.1-flash-image": {0.067, 0.04},
    "gemini-3.1-flash-lite-image": {0.0336},
    "nano-banana-2.1": {0.0336},
    "imagen-3.0-fast": {0.02},
    "imagen-3.0": {0.04},
    "imagen-4.0-fast": {0.02},
    "imagen-4.0-standard": {0.04},
    "imagen-4.0-ultra": {0.06},
    "gpt-image-1": {0.011, 0.042, 0.167},
    "gpt-image-1-mini": {0.005, 0.011, 0.036},
    "gpt-image-1.5": {0.009, 0.034, 0.133},
    "gpt-image-2": {0.006, 0.053, 0.211},
}
FURTHER_MEGAPIXEL = {
    "flux-2-klein-4b": 0.001,
    "flux-2-klein-9b": 0.002,
    "flux-2-pro": 0.015,
    "flux-2-flex": 0.05,
    "flux-2-max": 0.03,
}
RATINGS = {  # name: (Artificial Analysis, LM Arena), in the order of the files
    "gpt-image-2": ([1338], [1381]),
    "gpt-image-1.5": ([1260], [1240]),
    "gemini-3.1-flash-image": ([1253], [1264]),
    "gemini-3-pro-image": ([1216], [1245]),
    "gemini-2.5-flash-image": ([1153], [1155]),
    "flux-2-max": ([1192], [1167]),
    "flux-2-pro": ([1185], [1157, 1265]),
    "flux-2-flex": ([1179], [1157]),
    "flux-2-dev": ([1154], [1149]),
    "flux-2-klein-9b": ([1119], [1069]),
    "flux-2-klein-4b": ([1058], [1024]),
    "imagen-4.0-ultra": ([1171], [1148]),
    "imagen-4.0-standard": ([1096], [1131]),
    "imagen-4.0-fast": ([1073], []),
    "imagen-3.0": ([1105], [1058]),
    "gpt-image-1": ([1130], [1115]),
    "flux-pro-1.1": ([1082], [1016]),
    "flux-1-dev": ([1027], [970]),
    "flux-1-schnell": ([1000], []),
}
SHUTDOWN = {
    "gemini-2.5-flash-image": {"2026-10-02", "2027-03-15"},
    "imagen-3.0": {"2025-11-10"},
    "imagen-3.0-fast": {"2025-11-10"},
    "imagen-4.0-fast": {"2026-08-17"},
    "imagen-4.0-standard": {"2026-08-17"},
    "imagen-4.0-ultra": {"2026-08-17"},
    "gpt-image-1": {"2026-10-23"},
    "gpt-image-1-mini": {"2026-12-01"},
    "gpt-image-1.5": {"2026-12-01"},
}
FAKE = {"fake-a", "fake-b"}
REACHED_HERE = {
    "builtin-flow",
    "flux-1-schnell",
    "flux-1-dev",
    "flux-2-klein-4b",
    "flux-2-klein-9b",
    "flux-2-klein-base-4b",
    "flux-2-klein-base-9b",
    "flux-2-dev",
    "flux-3-image-klein",
    "flux-1-krea-dev",
    "flux-1-kontext-dev",
    "flux-1-fill-dev",
    "flux-1-canny-dev",
    "flux-1-depth-dev",
    "flux-3-image-klein-base",
}


def find(name: str) -> Model:
    return load().find(name)


def test_every_model_is_there_once() -> None:
    expected = set(PRICES_AT_ONE_MEGAPIXEL) | REACHED_HERE | FAKE
    assert set(load().names) == expected
    assert len(load().names) == len(expected)


@pytest.mark.parametrize("name", NAMES)
def test_prices(name: str) -> None:
    found = {
        dollars for price in find(name).prices for what, dollars in price.points().items() if what.startswith("1K")
    }
    assert found == PRICES_AT_ONE_MEGAPIXEL.get(name, set())


def test_prices_by_megapixel_and_by_size() -> None:
    for name, dollars in FURTHER_MEGAPIXEL.items():
        stated = [price for price in find(name).prices if price.first_megapixel is not None]
        assert {price.further_megapixel for price in stated} == {dollars}
        assert {price.input_megapixel for price in stated} == {dollars}
        assert len({price.source for price in stated}) == 2
    by_size = find("gemini-3.1-flash-image").prices[0].per_size
    assert by_size == {"512": 0.045, "1K": 0.067, "2K": 0.101, "4K": 0.151}
    assert find("gemini-3-pro-image").prices[0].per_size == {"1K": 0.134, "2K": 0.134, "4K": 0.24}
    assert find("flux-3-image-klein").prices[0].per_size == {"1K": 0.009, "2K": 0.014, "4K": 0.036}
    (dev,) = find("flux-2-dev").prices
    assert (dev.per_megapixel, dev.at_steps, dev.seller) == (0.01, 28, "deepinfra")
    mini = {price.source: price.per_quality for price in find("gpt-image-1-mini").prices if price.at == "1024x1024"}
    assert mini["LiteLLM price file"] == {"low": 0.005, "medium": 0.011}, "high is unknown there, not 0"


def test_prices_by_token() -> None:
    """Held against LiteLLM's price file at 00035b6 and OpenAI's pages."""
    rates = {
        model.name: tuple(price.per_million_tokens.model_dump().values())
        for model in load().models
        for price in model.prices
        if price.per_million_tokens is not None
    }
    assert rates == {  # text in, image in, text out, image out
        "gemini-2.5-flash-image": (0.3, 0.3, 2.5, 30),
        "gemini-3-pro-image": (2, 2, 12, 120),
        "gemini-3.1-flash-image": (0.5, 0.5, 3, 60),
        "gpt-image-1": (5, 10, None, 40),
        "gpt-image-1-mini": (2, 2.5, None, 8),
        "gpt-image-1.5": (5, 8, 10, 32),
        "gpt-image-2": (5, 8, 10, 30),
    }


def test_the_best_source_comes_first() -> None:
    """A vendor's own page before those who quote it, and blogs last: `Model.cost` goes by this order."""
    ranks = ("docs.bfl.ai", "developers.openai.com", "black-forest-labs/skills", "LiteLLM price file", "")

    def rank(source: str) -> int:
        return next(at for at, start in enumerate(ranks) if source.startswith(start))

    for model in load().models:
        own = [price for price in model.prices if price.seller in (None, model.seller)]
        forms = {price.form for price in own if price.per_million_tokens is None}
        for form in forms:
            order = [rank(price.source) for price in own if price.form == form]
            assert order == sorted(order), model.name
        blogs = [at for at, price in enumerate(model.prices) if price.source.startswith("blog.")]
        assert blogs == list(range(len(model.prices) - len(blogs), len(model.prices))), model.name


@pytest.mark.parametrize("name", NAMES)
def test_ratings_on_two_scales(name: str) -> None:
    ratings = find(name).ratings
    found = tuple([r.value for r in ratings if r.scale == s] for s in ("artificial-analysis", "lm-arena"))
    assert found == RATINGS.get(name, ([], []))


def test_ratings_say_how_sure_and_of_what() -> None:
    quality, preference = find("gpt-image-2").ratings
    assert (quality.variant, quality.interval, quality.date) == ("high", None, "2026-07-10")
    assert (preference.variant, preference.interval, preference.date) == ("medium", 5, "2026-08-24")


@pytest.mark.parametrize("name", NAMES)
def test_shutdown(name: str) -> None:
    assert {fact.value for fact in find(name).dates.shutdown} == SHUTDOWN.get(name, set())


def test_other_dates() -> None:
    assert [fact.value for fact in find("flux-2-pro").dates.released] == ["2025-11-25"]
    assert [fact.value for fact in find("flux-2-max").dates.released] == ["2025-12-16"]
    assert [fact.value for fact in find("flux-2-klein-9b").dates.released] == ["2026-01-15"]
    assert [fact.value for fact in find("gemini-3-pro-image").dates.generally_available] == ["2026-05-28"]
    assert [fact.value for fact in find("nano-banana-2.1").dates.listed] == ["2026-10-07"]
    assert [fact.value for fact in find("gpt-image-2").dates.released] == ["2026-04-21"]


def test_caps_latency_and_licences() -> None:
    assert [fact.value for fact in find("flux-2-klein-4b").caps.references] == [4]
    assert [fact.value for fact in find("gemini-3.1-flash-image").caps.references] == [14]
    assert [fact.value for fact in find("flux-pro-1.1").caps.max_megapixels] == [1.6]
    assert find("nano-banana-2.1").caps.sizes[0].value == ("1K", "2K", "4K")
    assert [(c.at_least, c.at_most) for c in find("flux-2-pro").latency] == [(None, 10), (15, 30)]
    assert find("flux-2-klein-4b").licence[0].value == "Apache-2.0"
    assert "Non-Commercial" in str(find("flux-2-klein-9b").licence[0].value)
    assert "Kommunity" in str(find("flux-3-image-klein").licence[0].value)


def test_what_runs_here() -> None:
    assert {model.name for model in load().models if model.runs_here} == REACHED_HERE
    assert {model.name for model in load().models if not model.runs_here and not model.hosted} == FAKE
    assert find("builtin-flow").weights == "builtin"
    for name in REACHED_HERE - {"builtin-flow"}:
        hub_id = find(name).hub_id
        assert hub_id is not None
        assert hub_id.startswith("black-forest-labs/")
    klein = find("flux-2-klein-4b")
    assert [(way.provider, way.id) for way in klein.ways()] == [("local", None), ("black_forest_labs", klein.name)]
    assert klein.runs_here
    assert klein.hosted


def test_settings_are_known_for_all_that_runs_here_and_are_sourced() -> None:
    for model in load().models:
        if model.runs_here:
            assert model.settings is not None, model.name
        for way in model.ways():
            if way.settings is not None:
                assert way.settings.source, model.name


def test_settings_of_the_vendors() -> None:
    gemini = find("gemini-3.1-flash-image").settings
    assert gemini is not None
    assert gemini.aspect_ratio is not None
    assert len(gemini.aspect_ratio.choices or ()) == 14
    assert gemini.references is not None
    assert gemini.references.max == 14
    assert gemini.follows
    for name in ("gpt-image-1.5", "gpt-image-2"):
        gpt = find(name).settings
        assert gpt is not None
        assert gpt.references is not None
        assert (gpt.references.max, gpt.mask, gpt.seed, gpt.follows) == (16, True, False, False)
        assert ("input_fidelity" in gpt.options) == (name == "gpt-image-1.5")
    klein = {way.provider: way.settings for way in find("flux-2-klein-4b").ways()}
    assert klein["local"] is not None
    assert klein["black_forest_labs"] is not None
    assert "steps" in klein["local"].names()
    assert "steps" not in klein["black_forest_labs"].names()


def test_fake_models_say_what_they_are() -> None:
    for name in FAKE:
        model = find(name)
        assert model.provider == "fake"
        assert "rehearsing" in str(model.about[0].value)
        assert model.licence
        assert model.settings is not None
        assert set(model.settings.options) == {"latency", "price", "refusals", "failures", "jobs"}


def test_makers_and_their_links() -> None:
    makers = {maker.name: maker for maker in load().makers}
    assert set(makers) == {"diptych", "black_forest_labs", "google", "openai", "fake"}
    for name in ("black_forest_labs", "google", "openai"):
        for field in ("documentation", "repository", "client_library", "licence"):
            links = getattr(makers[name], field)
            assert links, (name, field)
            for link in links:
                assert link.value.startswith("https://")
                assert link.date, link.value
    assert makers["black_forest_labs"].forum == (), "unknown stays empty"
    for model in load().models:
        maker = load().maker_of(model)
        assert maker is not None
        assert maker.name == model.maker


def test_every_claim_has_a_source_that_says_something() -> None:
    seen = 0
    for model in load().models:
        for record in _sourced(model):
            assert record.source.strip()
            assert record.date is None or record.date <= "2026-11-31"
            seen += 1
    assert seen > 130


def _sourced(model: Model) -> list[Sourced]:
    groups: list[tuple[Sourced, ...]] = [model.prices, model.ratings, model.latency, model.licence, model.about]
    facts: list[tuple[Fact, ...]] = []
    for record in (model.dates, model.caps):
        facts += [getattr(record, kind) for kind in type(record).model_fields]
    return [entry for group in [*groups, *facts] for entry in group]
