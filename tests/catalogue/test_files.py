"""Reading and changing catalogue files: what is malformed is named, what is right is kept."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from diptych import settings
from diptych.catalogue import add, load, remove
from diptych.errors import CatalogueError, UnknownModel
from diptych.images import Request

MINE = '[[models]]\nname = "mine"\ntitle = "Mine"\nprovider = "fal"\nremote_id = "me/mine"\n'


def write(text: str | bytes) -> Path:
    path = settings.user_catalogue()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def local_model(folder: Path, **described: Any) -> Path:
    folder.mkdir()
    (folder / "model.json").write_text(json.dumps(described))
    return folder


def test_without_a_file_there_are_the_packaged_models() -> None:
    assert load().own == frozenset()
    assert load().models[0].name == "builtin-flow"


def test_the_users_models_come_last() -> None:
    write(MINE)
    assert load().models[-1].name == "mine"
    assert load().own == {"mine"}
    assert load().find("mine").prices == ()


@pytest.mark.parametrize(("name", "near"), [("flux-2-klien-4b", "flux-2-klein-4b"), ("Flux-2-Pro", "flux-2-pro")])
def test_lookups_are_exact_with_suggestions(name: str, near: str) -> None:
    with pytest.raises(UnknownModel) as caught:
        load().find(name)
    assert caught.value.suggestions[0] == near
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("models = [", "is not valid TOML"),
        (b"\xff\xfe", "UTF-8"),
        ('[maker]\nname = "x"\ntitle = "X"\n', "maker: your own catalogue holds models alone"),
        (MINE.replace("[[models]]", "[[model]]"), "model: there is no such key. Did you mean models"),
        (MINE.replace('title = "Mine"\n', ""), 'models[0] "mine" title: is missing.'),
        (MINE.replace('"Mine"', "3"), 'models[0] "mine" title: is 3; it should be a valid string.'),
        (MINE.replace('"mine"', '"My model"'), "name: is 'My model'; a name is 1 to 64 of a-z"),
        (MINE.replace('"fal"', '"fall"'), "provider: is 'fall'; possible: 'local', 'google'"),
        (MINE.replace('remote_id = "me/mine"\n', ""), "needs remote_id"),
        (MINE + 'weights = "x"\n', "engine and weights are of a local model"),
        (MINE.replace('"fal"', '"local"'), "a local model names its engine"),
        (MINE + 'maker = "nobody"\n', "maker 'nobody' is not known. Leave it out, or use: black_forest_labs"),
        (MINE + "prices = 3\n", 'models[0] "mine" prices: is 3'),
        (
            MINE + 'prices = [{ per_imge = 1, source = "x" }]\n',
            "prices[0].per_imge: there is no such key. Did you mean",
        ),
        (MINE + 'prices = [{ source = "x" }]\n', "prices[0]: a price has one of per_image"),
        (
            MINE + 'prices = [{ per_image = 1, per_size = { 1K = 1 }, source = "x" }]\n',
            "this has per_image and per_size",
        ),
        (MINE + 'prices = [{ per_image = 1, at_steps = 4, source = "x" }]\n', "at_steps goes with per_megapixel"),
        (
            MINE + 'prices = [{ per_size = { 3K = 1 }, source = "x" }]\n',
            "prices[0].per_size.3K: is '3K'; possible: '512'",
        ),
        (MINE + 'prices = [{ per_image = -1, source = "x" }]\n', "prices[0].per_image: is -1"),
        (MINE + 'prices = [{ per_image = "1", source = "x" }]\n', "it should be a valid number"),
        (MINE + "prices = [{ per_image = 1 }]\n", "prices[0].source: is missing."),
        (
            MINE + 'prices = [{ per_image = 1, source = "x", date = "2026-13" }]\n',
            "'2026-13' is not a day of the calendar",
        ),
        (MINE + 'prices = [{ per_image = 1, source = "x", date = "March" }]\n', "'March' is not a date; it is written"),
        (MINE + 'ratings = [{ scale = "elo", value = 1, source = "x" }]\n', "ratings[0].scale: is 'elo'; possible"),
        (MINE + 'latency = [{ source = "x" }]\n', "latency[0]: a latency has at_least"),
        (MINE + 'caps.references = [{ value = nan, source = "x" }]\n', "caps.references[0].value: nan is not a number"),
        (MINE + 'caps.references = [{ value = "", source = "x" }]\n', "the text is empty"),
        (MINE + 'dates.shutdown = [{ value = 2026, source = "x" }]\n', "a date is written as text"),
        (MINE + "settings.steps = { default = 9, max = 3 }\n", "settings.steps: the default 9 is not at most 3."),
        (MINE + MINE, "there are two models named 'mine'"),
        (MINE.replace('"mine"', '"flux-2-pro"'), "a model that comes with diptych has this name"),
    ],
)
def test_a_malformed_file_is_named_with_key_and_reason(text: str | bytes, problem: str) -> None:
    path = write(text)
    with pytest.raises(CatalogueError) as caught:
        load()
    message = str(caught.value)
    assert problem in message
    assert message.startswith(str(path))
    for jargon in ("pydantic", "Traceback", "type=", "input_value", "Value error"):
        assert jargon not in message


def test_only_the_first_few_problems_are_told() -> None:
    write(MINE + "".join(f"wrong_{n} = 1\n" for n in range(9)))
    with pytest.raises(CatalogueError) as caught:
        load()
    assert len(str(caught.value).splitlines()) == 6
    assert str(caught.value).endswith("and 4 more.")


def test_dates_may_be_written_without_quotes() -> None:
    write(MINE + "dates.shutdown = [{ value = 2026-12-01, source = 'x', date = 2026-11-02 }]\n")
    (fact,) = load().find("mine").dates.shutdown
    assert (fact.value, fact.date) == ("2026-12-01", "2026-11-02")


def test_add_and_remove_a_hosted_model() -> None:
    added = add("stability-ai/SDXL:39ed52f2", provider="replicate")
    assert (added.name, added.provider, added.remote_id) == ("sdxl", "replicate", "stability-ai/SDXL:39ed52f2")
    assert added.settings is None
    add('odd"id\\\u00e9', provider="fal", name="odd")
    assert load().find("odd").remote_id == 'odd"id\\\u00e9'
    assert load().own == {"sdxl", "odd"}
    remove("sdxl")
    assert load().own == {"odd"}


def test_add_and_remove_a_local_model(tmp_path: Path) -> None:
    described = {
        "steps": {"default": 9, "min": 1, "max": 50},
        "size": {"default": [64, 64], "multiple": 8},
        "seed": True,
    }
    folder = local_model(tmp_path / "weights", settings=described, engine="flow", something="else")
    by_folder = add(str(folder), name="mine")
    by_file = add(str(folder / "model.json"), name="mine-too")
    assert by_folder.weights == by_file.weights == str(folder)
    assert (by_folder.provider, by_folder.engine) == ("local", "flow")
    sent = load().find("mine").resolve(Request(prompt="a fox"))
    assert (sent.width, sent.height, sent.steps, sent.guidance) == (64, 64, 9, None)
    remove("mine")
    assert load().own == {"mine-too"}
    assert (folder / "model.json").exists()


def test_a_local_model_without_settings(tmp_path: Path) -> None:
    assert add(str(local_model(tmp_path / "weights")), name="mine").settings is None


def test_comments_and_other_entries_stay() -> None:
    path = write(f"# my own\n{MINE}# why I keep it\n\n# about the next\n" + MINE.replace("mine", "second"))
    add("x/third", provider="fal")
    text = path.read_text()
    assert text.startswith(f"# my own\n{MINE}# why I keep it\n")
    remove("mine")
    assert load().own == {"second", "third"}
    assert "# my own" in path.read_text()
    assert "# about the next" in path.read_text()
    for name in ("second", "third"):
        remove(name)
    assert load().own == frozenset()


@pytest.mark.parametrize(
    ("target", "options", "problem"),
    [
        ("nowhere", {"name": "x"}, "There is no file or folder 'nowhere'"),
        ("x/y", {"provider": "replicat"}, "There is no provider 'replicat'; possible: local, google"),
        ("x/y", {"provider": "fal", "name": "No Good"}, "'No Good' cannot be the name of a model"),
        ("x/Ünï", {"provider": "fal"}, "Set it with --name"),
        ("two words", {"provider": "fal", "name": "x"}, "'two words' is not the id of a model"),
        ("", {"provider": "fal", "name": "x"}, "is not the id of a model"),
        ("x/y", {"provider": "fal", "name": "mine"}, "You have a model named 'mine' already"),
        ("x/y", {"provider": "fal", "name": "flux-2-pro"}, "A model named 'flux-2-pro' comes with diptych"),
    ],
)
def test_what_cannot_be_added_changes_nothing(target: str, options: dict[str, Any], problem: str) -> None:
    path = write(MINE)
    with pytest.raises(CatalogueError) as caught:
        add(target, **options)
    assert problem in str(caught.value)
    assert path.read_text() == MINE
    assert [f.name for f in path.parent.iterdir()] == [path.name]


def test_local_folders_that_are_no_model(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(CatalogueError, match=r"holds no model\.json"):
        add(str(tmp_path / "empty"), name="x")
    with pytest.raises(CatalogueError, match="add --name NAME"):
        add(str(tmp_path / "empty"))
    for text, problem in (
        ("{", "is not valid JSON"),
        ("[]", "holds no JSON object"),
        ('{"settings": {"stepz": 1}}', r"settings: stepz: there is no such key. Did you mean steps"),
        ('{"settings": {"steps": {"min": 0}}}', r"settings: steps\.min: is 0"),
    ):
        (tmp_path / "empty" / "model.json").write_text(text)
        with pytest.raises(CatalogueError, match=problem):
            add(str(tmp_path / "empty"), name="x")
    assert not settings.user_catalogue().exists()


def test_nothing_is_added_to_a_malformed_file() -> None:
    path = write("models = [")
    with pytest.raises(CatalogueError, match="not valid TOML"):
        add("x/y", provider="fal")
    assert path.read_text() == "models = ["


def test_a_file_in_another_layout_is_not_rewritten() -> None:
    inline = 'models = [{ name = "mine", title = "M", provider = "fal", remote_id = "x" }]\n'
    path = write(inline)
    for change in (lambda: add("x/y", provider="fal"), lambda: remove("mine")):
        with pytest.raises(CatalogueError):
            change()
        assert path.read_text() == inline


def test_what_cannot_be_removed() -> None:
    write(MINE)
    with pytest.raises(CatalogueError, match="flux-2-pro comes with diptych"):
        remove("flux-2-pro")
    with pytest.raises(UnknownModel, match="Did you mean mine"):
        remove("mine2")
    assert load().own == {"mine"}


def test_importing_the_catalogue_is_cheap() -> None:
    code = "import sys, diptych.catalogue; print([m for m in ('pydantic', 'torch', 'PIL') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
