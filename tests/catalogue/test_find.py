"""Models by name, by another route, and by an id that is in no file."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from diptych import catalogue, settings
from diptych.catalogue import Model, add, load
from diptych.errors import CatalogueError, InvalidRequest, UnknownModel
from diptych.images import Request


def test_a_name_is_an_entry() -> None:
    assert load().find("flux-2-pro").provider == "black_forest_labs"


def test_a_model_by_another_route() -> None:
    klein = load().find("flux-2-klein-4b@black_forest_labs")
    assert (klein.name, klein.provider, klein.remote_id) == (
        "flux-2-klein-4b@black_forest_labs",
        "black_forest_labs",
        "flux-2-klein-4b",
    )
    assert (klein.engine, klein.weights, klein.runs_here, klein.hosted) == (None, None, False, True)
    assert klein.settings is not None
    assert "steps" not in klein.settings.names(), "the settings are those of the route"
    assert klein.ratings == load().find("flux-2-klein-4b").ratings
    with pytest.raises(InvalidRequest, match="steps is 4, but flux-2-klein-4b@black_forest_labs has no setting steps"):
        klein.resolve(Request(prompt="x", steps=4))


def test_by_another_route_only_its_seller_counts() -> None:
    schnell = load().find("flux-1-schnell@fal")
    assert [price.seller for price in schnell.prices] == ["fal"]
    assert schnell.settings is None, "what fal takes is unknown"
    # A price that names no seller is the maker's, who serves FLUX.1 dev himself.
    assert [price.per_image for price in load().find("flux-1-dev@black_forest_labs").prices] == [0.025]
    path = settings.user_catalogue()
    path.parent.mkdir(parents=True)
    path.write_text(
        '[[models]]\nname = "mine"\ntitle = "Mine"\nprovider = "fal"\nremote_id = "me/mine"\n'
        'routes = [{ provider = "replicate", id = "me/too" }]\n'
        'prices = [{ per_image = 0.1, source = "x" }, { per_image = 0.2, seller = "replicate", source = "x" }]\n'
    )
    assert [price.per_image for price in load().find("mine@replicate").prices] == [0.2]
    cost = load().find("mine").cost(Request(prompt="x"))
    assert cost is not None
    assert cost.dollars == 0.1


def test_the_main_route_is_the_entry_itself() -> None:
    assert load().find("flux-2-pro@black_forest_labs") == load().find("flux-2-pro")
    assert load().find("flux-2-klein-4b@local") == load().find("flux-2-klein-4b")


def test_a_hosted_id_that_is_in_no_file() -> None:
    for name, provider, remote_id in (
        ("openai/gpt-5-mini", "openai", "gpt-5-mini"),
        ("replicate/owner/name:39ed52f2", "replicate", "owner/name:39ed52f2"),
        ("replicate/owner/name@sha", "replicate", "owner/name@sha"),
        ("huggingface/https://example.org/endpoint", "huggingface", "https://example.org/endpoint"),
    ):
        model = load().find(name)
        assert (model.name, model.title, model.provider, model.remote_id) == (name, name, provider, remote_id)
        assert (model.settings, model.prices, model.maker) == (None, (), None)
        assert model.cost(Request(prompt="x")) is None


def test_an_id_that_is_in_the_catalogue_is_its_entry() -> None:
    assert load().find("openai/gpt-image-2") == load().find("gpt-image-2")
    assert load().find("fal/fal-ai/flux/schnell") == load().find("flux-1-schnell@fal")
    add("someone/thing", provider="replicate")
    assert load().find("replicate/someone/thing").name == "thing"


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("opnai/gpt-5-mini", "There is no model named 'opnai/gpt-5-mini'. Did you mean openai/gpt-5-mini?"),
        ("local/weights", "There is no model named 'local/weights'"),
        ("openai/", "'openai/' names no model of openai"),
        ("openai/two words", "names no model of openai: its id has no spaces"),
        ("flux-2-prp@fal", "There is no model named 'flux-2-prp@fal'"),
        ("flux-2-klein-4b@black_forest_lab", "no way to flux-2-klein-4b by 'black_forest_lab'; there is local"),
        ("flux-2-pro@fal", "no way to flux-2-pro by 'fal'; there is black_forest_labs. A hosted model can be named by"),
        ("flux-2-klein-4b@", "no way to flux-2-klein-4b by ''"),
        ("flux-2-klien-4b@black_forest_labs", "Did you mean flux-2-klein-4b@black_forest_labs"),
    ],
)
def test_what_cannot_be_found(name: str, problem: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        load().find(name)
    assert problem in str(caught.value)
    assert caught.value.exit_code == 2


def test_unknown_names_are_unknown_models() -> None:
    for name in ("opnai/gpt-5-mini", "nobody@fal", "nobody"):
        with pytest.raises(UnknownModel):
            load().find(name)


def test_such_names_are_not_for_files() -> None:
    for name in ("openai/gpt-5", "flux-2-pro@fal"):
        with pytest.raises(CatalogueError, match="cannot be the name of a model"):
            add("x/y", provider="fal", name=name)
    path = settings.user_catalogue()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('[[models]]\nname = "a@fal"\ntitle = "A"\nprovider = "fal"\nremote_id = "a"\n')
    with pytest.raises(CatalogueError, match="name: is 'a@fal'; a name is 1 to 64 of a-z"):
        load()


def test_every_model_survives_json() -> None:
    known = load()
    names = [*known.names, *(f"{m.name}@{way.provider}" for m in known.models for way in m.routes), "openai/gpt-5"]
    for name in names:
        model = known.find(name)
        again = Model.model_validate_json(json.dumps(model.model_dump(mode="json")))
        assert again.model_dump() == model.model_dump(), name


@pytest.fixture
def _plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package that brings a provider; importing it would fail."""
    folder = tmp_path / "site"
    info = folder / "acme-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[diptych.providers]\nacme = acme_plugin:Provider\n")
    (folder / "acme_plugin.py").write_text("raise RuntimeError('imported')\n")
    monkeypatch.syspath_prepend(folder)


@pytest.mark.usefixtures("_plugin")
def test_providers_of_plugins_are_known_by_name() -> None:
    assert catalogue.provider_names() == (*catalogue.PROVIDERS, "acme")
    assert load().find("acme/some/model").provider == "acme"
    added = add("some/model", provider="acme")
    assert load().find("model") == added
    assert "acme_plugin" not in sys.modules


def test_without_the_plugin_its_provider_is_unknown() -> None:
    assert catalogue.provider_names() == catalogue.PROVIDERS
    with pytest.raises(UnknownModel):
        load().find("acme/some/model")
    with pytest.raises(CatalogueError, match="There is no provider 'acme'; possible: local, google"):
        add("some/model", provider="acme")
