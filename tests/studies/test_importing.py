"""Pictures made elsewhere become samples: each with its prompt, each once, all or none."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from diptych import store as stores
from diptych.errors import BadPicture, InvalidRequest, StoreError
from diptych.images import encode_png
from diptych.store.database import Store
from diptych.studies import importing, results
from diptych.studies.create import create
from diptych.studies.importing import Imported, import_pictures
from diptych.studies.plan import make_plan
from diptych.studies.prompts import Prompt, Prompts
from tests.servers import fresh_database


@pytest.fixture
def store() -> Iterator[Store]:
    opened = stores.open()
    yield opened
    opened.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "Made Elsewhere"
    path.mkdir()
    return path


def picture(number: int = 0, kind: str = "PNG", **info: str) -> bytes:
    """A small picture that differs by its number; info: texts inside a PNG."""
    said = PngInfo()
    for key, value in info.items():
        said.add_itxt(key, value)
    out = io.BytesIO()
    Image.new("RGB", (6, 4), (number % 256, number // 256, 9)).save(
        out, kind, **({"pnginfo": said} if kind == "PNG" else {})
    )
    return out.getvalue()


def ours(prompt: str, seed: int) -> bytes:
    recipe = {
        "version": 1,
        "model": "builtin-flow",
        "request": {"prompt": prompt, "seed": seed},
        "versions": {"diptych": "1"},
    }
    return encode_png(Image.new("RGB", (6, 4), (seed, 0, 0)), recipe)


def fill(folder: Path, *names: str) -> None:
    for number, name in enumerate(names):
        (folder / name).write_bytes(picture(number))


def held(store: Store, study: str | None = None) -> list[tuple[str, str, int]]:
    """(prompt, contestant, number) of every sample."""
    found = results.load(store, study)
    prompts = {one.id: one.text for one in found.prompts}
    labels = {one.id: one.label for one in found.contestants}
    return [(prompts[s.prompt_id], labels[s.contestant_id], s.number) for s in found.samples]


def shown(store: Store, study: str | None = None) -> dict[str, str]:
    """Prompt by the red of the picture, which is the file's number."""
    found = results.load(store, study)
    prompts = {one.id: one.text for one in found.prompts}
    red = {}
    for s in found.samples:
        assert s.picture
        with Image.open(io.BytesIO(store.pictures.get(s.picture))) as image:
            pixel = image.convert("RGB").getpixel((0, 0))
            assert isinstance(pixel, tuple)
            red[str(pixel[0])] = prompts[s.prompt_id]
    return red


class TestASample:
    def test_it_is_a_done_one_with_what_is_known(self, store: Store, folder: Path) -> None:
        data = ours("a red apple", 17)
        (folder / "x1.png").write_bytes(data)
        done = import_pictures(store, folder, "mine")
        study = results.load(store)
        (sample,) = study.samples
        assert sample.state == "done"
        assert sample.request == {"prompt": "a red apple", "seed": 17}
        assert sample.recipe["model"] == "builtin-flow"
        assert (sample.seconds, sample.cost, sample.timing) == (None, None, {})
        assert (sample.media_type, sample.width, sample.height, sample.bytes) == ("image/png", 6, 4, len(data))
        assert sample.picture is not None
        assert store.pictures.get(sample.picture) == data
        (contestant,) = study.contestants
        assert (contestant.label, contestant.model, contestant.provider) == ("mine", "mine", "import")
        assert (dict(contestant.values), dict(contestant.facts)) == ({}, {})
        assert study.spent == 0
        assert study.settings["samples"] == 1
        assert done == Imported(
            study="made-elsewhere",
            new_study=True,
            label="mine",
            added=1,
            already=0,
            prompts=1,
            learned={"recipe": 1},
            texts=("a red apple",),
        )

    def test_facts_of_a_model_in_the_catalogue_are_kept(self, store: Store, folder: Path) -> None:
        fill(folder, "a fox.png")
        import_pictures(store, folder, "flux-2-pro")
        (contestant,) = results.load(store).contestants
        assert contestant.facts["name"] == "flux-2-pro"
        assert contestant.facts["prices"]

    def test_bytes_are_kept_as_they_are_in_every_format(self, store: Store, folder: Path) -> None:
        kinds = {"a.png": "PNG", "b.jpg": "JPEG", "c.webp": "WEBP", "d.gif": "GIF", "e": "PNG"}
        for name, kind in kinds.items():
            (folder / name).write_bytes(picture(7, kind))
        import_pictures(store, folder, "m")
        assert {s.media_type for s in results.load(store).samples} == {
            "image/png",
            "image/jpeg",
            "image/webp",
            "image/gif",
        }


class TestTheStudy:
    def test_the_same_folder_adds_nothing(self, store: Store, folder: Path) -> None:
        fill(folder, "a fox.png", "a-fox-2.png", "an apple.png")
        assert import_pictures(store, folder, "m").added == 3
        before = results.load(store)
        again = import_pictures(store, folder, "m")
        assert (again.added, again.already, again.new_study, again.study) == (0, 3, False, "made-elsewhere")
        assert results.load(store) == before

    def test_only_what_is_new_is_added(self, store: Store, folder: Path) -> None:
        fill(folder, "a fox.png")
        import_pictures(store, folder, "m")
        fill(folder, "a fox.png", "a-fox-2.png")
        done = import_pictures(store, folder, "m")
        assert (done.added, done.already, done.texts) == (1, 1, ())
        assert held(store) == [("a fox", "m", 0), ("a fox", "m", 1)]

    def test_the_same_picture_twice_is_one_sample(self, store: Store, folder: Path) -> None:
        for name in ("a fox.png", "a fox 2.png", "an apple.png"):
            (folder / name).write_bytes(picture(1))
        assert import_pictures(store, folder, "m").added == 2
        assert held(store) == [("a fox", "m", 0), ("an apple", "m", 0)]

    def test_another_folder_of_that_name_is_another_study(self, store: Store, folder: Path, tmp_path: Path) -> None:
        other = tmp_path / "more" / folder.name
        other.mkdir(parents=True)
        for one in (folder, other):
            fill(one, "a fox.png")
        assert [import_pictures(store, one, "m").study for one in (folder, other, folder)] == [
            "made-elsewhere",
            "made-elsewhere-2",
            "made-elsewhere",
        ]

    def test_two_models_meet_in_one_study(self, store: Store, folder: Path, tmp_path: Path) -> None:
        other = tmp_path / "b"
        other.mkdir()
        fill(folder, "a fox.png", "an apple.png")
        fill(other, "1-an-apple-99.png", "a pear.png")
        assert import_pictures(store, folder, "A", study="trial 1").new_study
        done = import_pictures(store, other, "B", study="trial 1")
        assert (done.new_study, done.added, done.texts) == (False, 2, ("a pear",))
        assert held(store) == [("a fox", "A", 0), ("an apple", "A", 0), ("an apple", "B", 0), ("a pear", "B", 0)]
        assert [one.position for one in results.load(store).prompts] == [0, 1, 2]
        assert [one.position for one in results.load(store).contestants] == [0, 1]

    def test_pictures_join_a_pilot(self, store: Store, folder: Path) -> None:
        """Prompts are matched by their text; a model that the pilot asks itself is told apart."""
        asked = Prompts((Prompt("a fox, in deep snow!", "animals"), Prompt("an apple")), "given")
        _, name, _ = create(store, make_plan(store, asked, ["fake-a", "fake-b"], samples=2, seed=1), "pilot")
        fill(folder, "a-fox-in-deep-snow-7.png", "an apple.png", "a pear.png")
        done = import_pictures(store, folder, "fake-a", study=name)
        assert (done.label, done.added, done.texts) == ("fake-a (imported)", 3, ("a pear",))
        study = results.load(store)
        assert [one.text for one in study.prompts] == ["a fox, in deep snow!", "an apple", "a pear"]
        imported = [s for s in study.samples if s.state == "done"]
        assert [s.number for s in imported] == [0, 0, 0]
        assert sum(s.state == "planned" for s in study.samples) == 8
        assert import_pictures(store, folder, "fake-a", study=name).already == 3

    def test_other_things_of_the_study_stay(self, store: Store, folder: Path) -> None:
        asked = Prompts((Prompt("an apple"),), "given")
        create(store, make_plan(store, asked, ["fake-a"], samples=1, seed=1), "pilot")
        fill(folder, "an apple.png")
        import_pictures(store, folder, "m", study="pilot")
        study = results.load(store, "pilot")
        assert (study.settings["samples"], study.seed) == (1, 1)


class TestFromATable:
    def table(self, folder: Path, *rows: str) -> str:
        path = folder.parent / "table.csv"
        path.write_text("\n".join(["File,Prompt,Category,Seed", *rows, ""]), "utf-8")
        return str(path)

    def test_the_row_says_it_all(self, store: Store, folder: Path) -> None:
        (folder / "more").mkdir()
        fill(folder, "IMG_0.png", "more/IMG_1.png", "rest.png")
        table = self.table(folder, "IMG_0.png,a fox,animals,3", 'more/IMG_1.png,"an apple, red",,')
        done = import_pictures(store, folder, "m", prompts=table)
        assert shown(store) == {"0": "a fox", "1": "an apple, red"}
        assert [s.request for s in results.load(store).samples] == [
            {"prompt": "a fox", "seed": 3},
            {"prompt": "an apple, red"},
        ]
        assert [one.category for one in results.load(store).prompts] == ["animals", None]
        assert (done.left_out, done.learned) == (("rest.png",), {"table": 2})

    def test_the_table_may_lie_in_the_folder(self, store: Store, folder: Path) -> None:
        fill(folder, "IMG_0.png")
        (folder / "t.tsv").write_text("file\tprompt\nIMG_0.png\ta fox\n", "utf-8")
        done = import_pictures(store, folder, "m", prompts=str(folder / "t.tsv"))
        assert (done.added, done.left_out) == (1, ())

    @pytest.mark.parametrize(
        ("rows", "said"),
        [
            (["nothing.png,a fox,,"], "table.csv, line 2: there is no file 'nothing.png' in"),
            (["x.png,a fox,,", "x.png,a fox,,"], "table.csv, line 3: x.png was named before"),
            (["x.png,a fox,,1.5"], "table.csv, line 2: seed is '1.5'; it is a whole number from 0"),
            (["x.png,a fox,,-1"], "seed is '-1'"),
            (["x.png,a fox,,9223372036854775808"], "seed is '9223372036854775808'"),
            ([",a fox,,"], "table.csv, line 2: file is ''"),
            (["../table.csv,a fox,,"], "file is '../table.csv'; it is the name of a picture in"),
            (["/etc/passwd,a fox,,"], "file is '/etc/passwd'; it is the name of a picture in"),
            (["x\0.png,a fox,,"], "there is no file"),
            ([f"{'x' * 300}.png,a fox,,"], "there is no file"),
            (["x.png,,,"], "table.csv, line 2: The prompt is empty"),
            ([], "table.csv holds no prompt"),
        ],
    )
    def test_a_wrong_row_is_named(self, rows: list[str], said: str, store: Store, folder: Path) -> None:
        fill(folder, "x.png")
        with pytest.raises(InvalidRequest) as raised:
            import_pictures(store, folder, "m", prompts=self.table(folder, *rows))
        assert said in str(raised.value)
        assert results.names(store) == []

    def test_a_link_out_of_the_folder_is_not_followed(self, store: Store, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "secret.png").write_bytes(picture())
        (folder / "x.png").symlink_to(tmp_path / "secret.png")
        with pytest.raises(InvalidRequest, match=r"file is 'x.png'; it is the name of a picture in"):
            import_pictures(store, folder, "m", prompts=self.table(folder, "x.png,a fox,,"))


LIST = ["a red fox", "an apple", "a fox 2", "a fox"]


class TestFromAList:
    def prompts(self, folder: Path, *prompts: str) -> str:
        path = folder.parent / "prompts.txt"
        path.write_text("\n".join(prompts or LIST), "utf-8")
        return str(path)

    @pytest.mark.parametrize(
        ("name", "prompt"),
        [
            ("an-apple.png", "an apple"),
            ("An Apple!.jpg", "an apple"),
            ("an_apple-123456.png", "an apple"),
            ("7-an-apple-1-2.png", "an apple"),
            ("4-a-red-fox-1.png", "a red fox"),
            ("2.png", "an apple"),
            ("02-dusk.png", "an apple"),
            ("3_2.png", "a fox 2"),
            ("1 copy.png", "a red fox"),
            ("a-fox.png", "a fox"),
            ("a-fox-2.png", "a fox 2"),
            ("a-fox-3.png", "a fox"),
            ("4-a-fox-2.png", "a fox"),
            ("3-a-fox-2.png", "a fox 2"),
        ],
    )
    def test_a_name_tells(self, name: str, prompt: str, store: Store, folder: Path) -> None:
        fill(folder, name)
        done = import_pictures(store, folder, "m", prompts=self.prompts(folder))
        assert shown(store) == {"0": prompt}
        assert done.learned == {"list": 1}

    def test_a_number_counts_the_lines_that_were_written(self, store: Store, folder: Path) -> None:
        fill(folder, "1.png", "2.png", "3.png")
        import_pictures(store, folder, "m", prompts=self.prompts(folder, "a fox", "a  fox", "an apple"))
        assert shown(store) == {"0": "a fox", "1": "a fox", "2": "an apple"}

    def test_pictures_of_a_prompt_are_in_the_order_of_their_numbers(self, store: Store, folder: Path) -> None:
        fill(folder, "1-10.png", "1-9.png", "1-2.png")
        import_pictures(store, folder, "m", prompts=self.prompts(folder))
        found = results.load(store)
        red = [Image.open(io.BytesIO(store.pictures.get(s.picture or ""))).getpixel((0, 0)) for s in found.samples]
        assert red == [(2, 0, 9), (1, 0, 9), (0, 0, 9)]

    def test_long_prompts_that_begin_alike_are_told_apart_by_number(self, store: Store, folder: Path) -> None:
        start = "a portrait of a man with freckles across his nose and "
        prompts = self.prompts(folder, start + "shoulders", start + "arms")
        fill(folder, "2-a-portrait-of-a-man-with-freckles-across-his-nos-5.png")
        import_pictures(store, folder, "m", prompts=prompts)
        assert shown(store) == {"0": start + "arms"}
        fill(folder, "a-portrait-of-a-man-with-freckles-across-his-nos-5.png")
        with pytest.raises(InvalidRequest, match=r"may show .*shoulders' or .*arms': begin its name with"):
            import_pictures(store, folder, "m", prompts=prompts)

    def test_a_whole_long_prompt_as_a_name(self, store: Store, folder: Path) -> None:
        start = "a portrait of a man with freckles across his nose and "
        fill(folder, f"{start}arms.png")
        import_pictures(store, folder, "m", prompts=self.prompts(folder, start + "shoulders", start + "arms"))
        assert shown(store) == {"0": start + "arms"}

    def test_the_recipe_inside_tells_where_the_name_does_not(self, store: Store, folder: Path) -> None:
        (folder / "final version.png").write_bytes(ours("an  apple", 4))
        import_pictures(store, folder, "m", prompts=self.prompts(folder))
        (sample,) = results.load(store).samples
        assert sample.request == {"prompt": "an apple", "seed": 4}

    def test_a_set_of_ours_is_a_list(self, store: Store, folder: Path) -> None:
        fill(folder, "a-penguin-on-a-yellow-background-5.png", "3.png")
        import_pictures(store, folder, "m", prompts="basics")
        assert set(shown(store).values()) == {"a penguin on a yellow background", "a car on a green background"}

    def test_the_list_may_lie_in_the_folder(self, store: Store, folder: Path) -> None:
        fill(folder, "1.png")
        (folder / "prompts.txt").write_text("a fox", "utf-8")
        assert import_pictures(store, folder, "m", prompts=str(folder / "prompts.txt")).added == 1

    def test_what_no_prompt_fits_is_named(self, store: Store, folder: Path) -> None:
        fill(folder, "1.png", "5.png", "dusk.png", "0.png", "3d.png", "00007.png")
        with pytest.raises(InvalidRequest) as raised:
            import_pictures(store, folder, "m", prompts=self.prompts(folder))
        assert "Which of the 4 prompts of" in str(raised.value)
        assert "0.png, 3d.png, 5.png and 2 more?" in str(raised.value)
        assert "a-red-fox-1.png" in str(raised.value)
        assert results.names(store) == []


PARAMETERS = "a fox,\nin snow\nNegative prompt: blur\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: 99, Size: 6x4"


class TestFromThePictures:
    @pytest.mark.parametrize(
        ("data", "prompt", "seed", "learned"),
        [
            (ours("an apple", 5), "an apple", 5, "recipe"),
            (picture(parameters=PARAMETERS), "a fox,\nin snow", 99, "parameters"),
            (picture(parameters="a fox\nSteps: 20, Seed: 7"), "a fox", 7, "parameters"),
            (picture(parameters="a fox"), "a fox", None, "parameters"),
            (picture(parameters="a fox\nSteps: 2, Seed: 9999999999999999999"), "a fox", None, "parameters"),
            (picture(parameters="Steps: 20, Seed: 7"), "by its name", None, "name"),
            (picture(diptych="{}"), "by its name", None, "name"),
            (picture(diptych="{}", parameters="a fox\nSteps: 1"), "a fox", None, "parameters"),
            (picture(), "by its name", None, "name"),
            (picture(0, "JPEG"), "by its name", None, "name"),
        ],
    )
    def test_what_is_inside_comes_before_the_name(
        self, data: bytes, prompt: str, seed: int | None, learned: str, store: Store, folder: Path
    ) -> None:
        (folder / "by-its-name-12.png").write_bytes(data)
        done = import_pictures(store, folder, "m")
        (sample,) = results.load(store).samples
        assert sample.request == {"prompt": prompt, **({"seed": seed} if seed is not None else {})}
        assert done.learned == {learned: 1}

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("a-fox-in-snow-12", "a fox in snow"),
            ("03_a_fox_in_snow_2", "a fox in snow"),
            ("a fox, in snow (3)", "a fox, in snow"),
            ("It's dusk - rain", "It's dusk - rain"),
            ("user_a_fox_1f0e9b3c-1234-4abc-9def-001122334455", "user a fox"),
            ("ein-f\u00fcchslein", "ein f\u00fcchslein"),
            ("u\u0308ber-allem", "\u00fcber allem"),
            ("\u72d0\u72f8-1", "\u72d0\u72f8"),
        ],
    )
    def test_a_name_becomes_words(self, name: str, words: str, store: Store, folder: Path) -> None:
        fill(folder, f"{name}.png")
        assert import_pictures(store, folder, "m").texts == (words,)

    @pytest.mark.parametrize("name", ["0001", "3_2", "2026-11-02", "1f0e9b3c-1234-4abc-9def-001122334455", "--"])
    def test_a_name_without_words_is_refused(self, name: str, store: Store, folder: Path) -> None:
        fill(folder, f"{name}.png")
        with pytest.raises(
            InvalidRequest, match=rf"What do these show: {name}.png\? .* Give the prompts with --prompts"
        ):
            import_pictures(store, folder, "m")


class TestWhatIsNoPicture:
    def test_nothing_is_imported(self, store: Store, folder: Path) -> None:
        fill(folder, "a fox.png")
        for name, data in (("empty.png", b""), ("cut.png", picture()[:50]), ("notes.txt", b"hello"), ("p.html", b"<h")):
            (folder / name).write_bytes(data)
        with pytest.raises(BadPicture) as raised:
            import_pictures(store, folder, "m")
        said = str(raised.value)
        assert f"4 of 5 files in {folder} are no pictures: cut.png (" in said
        assert "empty.png (The picture is empty: 0 bytes)" in said
        assert "and 1 more. Nothing was imported; --skip-unreadable leaves them out." in said
        assert results.names(store) == []

    def test_they_are_left_out_and_named_when_asked(self, store: Store, folder: Path) -> None:
        fill(folder, "a fox.png")
        (folder / "notes.txt").write_text("hello", "utf-8")
        done = import_pictures(store, folder, "m", skip_unreadable=True)
        assert done.added == 1
        assert [one.partition(" ")[0] for one in done.skipped] == ["notes.txt"]

    def test_none_is_left(self, store: Store, folder: Path) -> None:
        (folder / "notes.txt").write_text("hello", "utf-8")
        with pytest.raises(InvalidRequest, match=r"holds no pictures: notes.txt"):
            import_pictures(store, folder, "m", skip_unreadable=True)

    def test_a_bomb_and_a_giant(self, store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        out = io.BytesIO()
        Image.new("1", (9000, 9000)).save(out, "PNG")
        (folder / "bomb.png").write_bytes(out.getvalue())
        with pytest.raises(BadPicture, match=r"bomb.png \(The picture says it is 9000x9000"):
            import_pictures(store, folder, "m")
        monkeypatch.setattr(importing, "LARGEST_FILE", 100)
        with pytest.raises(BadPicture, match=r"bomb.png \(The file has [\d,]+ bytes; more than 100 are not read"):
            import_pictures(store, folder, "m")

    def test_hidden_files_and_folders_are_not_looked_at(self, store: Store, folder: Path) -> None:
        fill(folder, "a fox.png")
        (folder / ".DS_Store").write_bytes(b"x")
        (folder / "sub").mkdir()
        assert import_pictures(store, folder, "m").added == 1

    @pytest.mark.parametrize(
        ("place", "said"),
        [("missing", "missing does not exist"), ("file", "file is a file"), ("empty", "empty holds no files")],
    )
    def test_there_is_no_such_folder(self, place: str, said: str, store: Store, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        (tmp_path / "empty").mkdir()
        with pytest.raises(InvalidRequest) as raised:
            import_pictures(store, tmp_path / place, "m")
        assert said in str(raised.value)

    @pytest.mark.parametrize("model", ["", "  ", "a\0b", "x" * 190, "a\x1b[31m"])
    def test_a_model_without_a_name(self, model: str, store: Store, folder: Path) -> None:
        with pytest.raises(InvalidRequest, match="The model is"):
            import_pictures(store, folder, model)

    @pytest.mark.parametrize("study", ["", "a/b", "x" * 65, "-x"])
    def test_a_study_that_cannot_be_named_so(self, study: str, store: Store, folder: Path) -> None:
        fill(folder, "a fox.png")
        with pytest.raises(InvalidRequest, match="A study cannot be named"):
            import_pictures(store, folder, "m", study=study)


class TestAllOrNothing:
    def test_a_failure_in_the_middle_leaves_nothing(
        self, store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fill(folder, "a fox.png", "an apple.png")
        inserted = importing._inserted

        def failing(connection: Any, row: Any) -> int:
            if row.table.name == "prompts" and row.compile().params["text"] == "an apple":
                raise StoreError("the disk is full")
            return inserted(connection, row)

        with monkeypatch.context() as broken:
            broken.setattr(importing, "_inserted", failing)
            with pytest.raises(StoreError, match="the disk is full"):
                import_pictures(store, folder, "m")
        assert results.names(store) == []
        assert import_pictures(store, folder, "m").added == 2

    def test_a_picture_that_changes_meanwhile_is_noticed(
        self, store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fill(folder, "a fox.png")
        monkeypatch.setattr(importing, "_facts", lambda _: {})
        read = importing._read

        def changed(*arguments: Any) -> Any:
            found = read(*arguments)
            (folder / "a fox.png").write_bytes(picture(5))
            return found

        monkeypatch.setattr(importing, "_read", changed)
        with pytest.raises(BadPicture, match=r"a fox.png was changed while it was imported"):
            import_pictures(store, folder, "m")
        assert results.names(store) == []


def test_many_pictures_are_one_transaction(store: Store, folder: Path) -> None:
    for number in range(300):
        (folder / f"{number % 3 + 1}-{number}.png").write_bytes(picture(number))
    done = import_pictures(store, folder, "m", prompts="basics")
    assert (done.added, done.prompts) == (300, 3)
    study = results.load(store)
    assert study.settings["samples"] == 100
    assert [s.number for s in study.samples] == [*range(100)] * 3
    assert json.dumps(dict(study.settings))


def test_on_postgresql_it_is_the_same(postgres_server: str, folder: Path) -> None:
    fill(folder, "a fox.png", "an apple.png")
    (folder / "c.png").write_bytes(ours("a p\u00eache", 77))
    opened = stores.open(fresh_database(postgres_server, "importing"))
    try:
        assert import_pictures(opened, folder, "m").added == 3
        assert import_pictures(opened, folder, "m").already == 3
        assert held(opened) == [("a fox", "m", 0), ("an apple", "m", 0), ("a p\u00eache", "m", 0)]
        assert {s.request.get("seed") for s in results.load(opened).samples} == {None, 77}
    finally:
        opened.close()
