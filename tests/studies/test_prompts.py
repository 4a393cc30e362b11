"""Prompts are read as they are meant, and what is wrong with a file is said with its line."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diptych.errors import InvalidRequest
from diptych.studies.prompts import PROMPT_SETS, SETS, Prompt, prompt_set, read_prompts, slug


def write(path: Path, content: str | bytes) -> str:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def refusal(*given: str) -> str:
    with pytest.raises(InvalidRequest) as raised:
        read_prompts(given)
    return str(raised.value)


class TestWhatIsRead:
    def test_a_text_file_has_a_prompt_a_line(self, tmp_path: Path) -> None:
        path = write(tmp_path / "mine.txt", "# two of them\n\na fox in snow\r\n  a red apple  \n   # no prompt\n")
        assert read_prompts([path]).prompts == (Prompt("a fox in snow"), Prompt("a red apple"))

    def test_a_byte_order_mark_is_no_part_of_the_first_prompt(self, tmp_path: Path) -> None:
        for name, content in (("a.txt", "a fox"), ("b.csv", "prompt\na fox"), ("c.jsonl", '"a fox"')):
            path = write(tmp_path / name, b"\xef\xbb\xbf" + content.encode())
            assert read_prompts([path]).prompts == (Prompt("a fox"),), name

    def test_a_table_has_columns_in_any_case_and_order(self, tmp_path: Path) -> None:
        path = write(tmp_path / "t.csv", 'Note,CATEGORY,Prompt\nx,  still  life ,"a bowl, half full"\ny,,a fox\n')
        assert read_prompts([path]).prompts == (Prompt("a bowl, half full", "still life"), Prompt("a fox"))

    def test_a_field_may_hold_quotes_and_lines(self, tmp_path: Path) -> None:
        path = write(tmp_path / "t.csv", 'prompt, category\r\n"a sign: ""OPEN""\nat dusk", text\r\n')
        assert read_prompts([path]).prompts == (Prompt('a sign: "OPEN"\nat dusk', "text"),)

    def test_in_a_table_with_tabs_a_quote_is_a_quote(self, tmp_path: Path) -> None:
        """Lines of PartiPrompts' form, and the way in which a spreadsheet writes the same."""
        rows = ['"G I G G L E" painted on a wall\tIllustrations\tWriting\t', '"a sign ""OPEN"""\tText\t\t']
        path = write(tmp_path / "p2.tsv", "\n".join(["Prompt\tCategory\tChallenge\tNote", *rows, ""]))
        assert read_prompts([path]).prompts == (
            Prompt('"G I G G L E" painted on a wall', "Illustrations"),
            Prompt('a sign "OPEN"', "Text"),
        )

    def test_json_lines_are_texts_or_objects(self, tmp_path: Path) -> None:
        lines = ['"a fox"', '{"prompt": "a red apple", "category": null, "n": 1}', '{"Prompt": "a\\u2028b"}', ""]
        path = write(tmp_path / "p.jsonl", "\n".join(lines))
        assert read_prompts([path]).prompts == (Prompt("a fox"), Prompt("a red apple"), Prompt("a\u2028b"))

    def test_what_names_no_file_is_a_prompt(self) -> None:
        given = ("a fox in snow", "a sign that reads and/or", "Katze", "x" * 5000, "...")
        assert [one.text for one in read_prompts(given).prompts] == list(given)

    def test_files_and_prompts_go_together(self, tmp_path: Path) -> None:
        path = write(tmp_path / "PROMPTS.TXT", "a fox\n")
        found = read_prompts([path, "a red apple"])
        assert found.prompts == (Prompt("a fox"), Prompt("a red apple"))
        assert found.source == f"{path}, as given"

    def test_a_file_without_a_suffix_is_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write(tmp_path / "list", "a fox\n")
        monkeypatch.chdir(tmp_path)
        assert read_prompts(["list"]).prompts == (Prompt("a fox"),)

    def test_a_folder_of_that_name_does_not_make_a_prompt_a_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "fox").mkdir()
        monkeypatch.chdir(tmp_path)
        assert read_prompts(["fox"]).prompts == (Prompt("fox"),)

    def test_a_pipe_is_read(self, tmp_path: Path) -> None:
        reading, writing = os.pipe()
        os.write(writing, b"a fox\n")
        os.close(writing)
        try:
            assert read_prompts([f"/dev/fd/{reading}"]).prompts == (Prompt("a fox"),)
        finally:
            os.close(reading)


class TestDoubleOnes:
    def test_they_are_merged_and_counted(self, tmp_path: Path) -> None:
        path = write(tmp_path / "t.csv", "prompt,category\na  fox,\na fox ,animals\na fox,other\nA fox,\n")
        found = read_prompts([path, "a\tfox"])
        assert found.prompts == (Prompt("a  fox", "animals"), Prompt("A fox"))
        assert found.merged == 3

    @given(st.lists(st.text("ab \t#", min_size=1).filter(str.strip), min_size=1))
    def test_each_is_there_once_and_none_is_lost(self, texts: list[str]) -> None:
        found = read_prompts(texts)
        kept = [" ".join(one.text.split()) for one in found.prompts]
        assert len(set(kept)) == len(kept)
        assert set(kept) == {" ".join(text.split()) for text in texts}
        assert len(kept) + found.merged == len(texts)


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("name", "content", "said"),
        [
            ("p.txt", "", "p.txt holds no prompt."),
            ("p.txt", "\n# a fox\n \n", "p.txt holds no prompt."),
            ("p.txt", "a fox\n" + "fox " * 8001, "p.txt, line 2: The prompt has 32,004 characters; no model takes"),
            ("p.txt", "a fox\na f\xf6x".encode("latin-1"), "p.txt, line 2: this is not UTF-8. Save the file as UTF-8."),
            ("p.txt", "a fox".encode("utf-16"), "p.txt, line 1: this is not UTF-8. It seems to be UTF-16."),
            ("p.txt", "a fox\na\0b\n", "p.txt, line 2: there is a character of no text in it (NUL)"),
            ("p.csv", "", "p.csv is empty: its first line must name the columns, one of them prompt."),
            ("p.csv", "prompt,category\n", "p.csv holds no prompt."),
            (
                "p.csv",
                "text,category\na fox,\n",
                "p.csv, line 1: the header has no column prompt; it has text, category.",
            ),
            ("p.csv", "category;prompt\nx;a fox\n", "It seems to have a semicolon between fields, not a comma."),
            ("p.tsv", "prompt,category\na fox,\n", "It seems to have a comma between fields, not a tab."),
            ("p.csv", "prompt,Prompt\na fox,b\n", "p.csv, line 1: the header has the column prompt 2 times."),
            (
                "p.csv",
                'prompt\na fox\n"a red\napple\n',
                "p.csv, line 3: the row that begins here is broken: a quote that",
            ),
            ("p.csv", 'prompt\n"a"b\n', "p.csv, line 2: the row that begins here is broken: ',' expected after"),
            ("p.csv", "prompt,category\na fox\n", "p.csv, line 2: 1 field where the header has 2 (prompt, category)."),
            ("p.csv", "prompt\n\na fox, in snow\n", "p.csv, line 3: 2 fields where the header has 1 (prompt). A field"),
            ("p.tsv", "prompt\ta\nfox\n", "p.tsv, line 2: 1 field where the header has 2 (prompt, a)."),
            ("p.csv", "prompt,category\n ,x\n", "p.csv, line 2: The prompt is empty"),
            (
                "p.csv",
                f"prompt,category\na fox,{'x' * 65}\n",
                "p.csv, line 2: the category has 65 characters; it has at",
            ),
            ("p.jsonl", "", "p.jsonl holds no prompt."),
            ("p.jsonl", '"a fox"\n{"prompt": \n', "p.jsonl, line 2: this is not JSON: Expecting value at column 12."),
            ("p.jsonl", "[" * 100_000, "p.jsonl, line 1: this is not JSON:"),
            ("p.jsonl", "17\n", "p.jsonl, line 1: a line is a text, or an object with prompt and perhaps category."),
            ("p.jsonl", '{"text": "a"}', "p.jsonl, line 1: the object has no prompt; it has text."),
            ("p.jsonl", "{}", "p.jsonl, line 1: the object has no prompt; it has nothing."),
            ("p.jsonl", '{"prompt": 3}', "p.jsonl, line 1: prompt is 3; it must be text."),
            ("p.jsonl", '{"prompt": "a", "category": ["b"]}', 'p.jsonl, line 1: category is ["b"]; it must be text.'),
            ("p.jsonl", '{"prompt": ""}', "p.jsonl, line 1: The prompt is empty"),
            ("p.jsonl", '"a\\ud800b"', "p.jsonl, line 1: The prompt is not Unicode text"),
        ],
    )
    def test_file_line_and_reason_are_said(
        self, name: str, content: str | bytes, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write(tmp_path / name, content)
        monkeypatch.chdir(tmp_path)
        assert said in refusal(name)

    @pytest.mark.parametrize("name", ["prompts.txt", "prompts.CSV", "my prompts.jsonl", "folder/prompts", "./x.tsv"])
    def test_a_file_that_does_not_exist(self, name: str) -> None:
        assert refusal(name) == f"There is no file {name}."

    def test_a_folder_in_the_place_of_a_file(self, tmp_path: Path) -> None:
        assert "is a folder; prompts are read from a file" in refusal(str(tmp_path))

    def test_a_file_that_cannot_be_read(self, tmp_path: Path) -> None:
        loop = tmp_path / "loop.txt"
        loop.symlink_to(loop)
        assert f"There is no file {loop}" in refusal(str(loop))

    def test_nothing_is_given(self) -> None:
        assert "There is no prompt: give one or more" in refusal()

    def test_an_empty_prompt(self) -> None:
        assert "The prompt is empty" in refusal("a fox", " ")


class TestTheSets:
    @pytest.mark.parametrize("name", SETS)
    def test_each_has_prompts_of_one_category_in_plain_ascii_or_accents(self, name: str) -> None:
        found = prompt_set(name)
        assert found.merged == 0
        assert found.source == f"the set {name}"
        assert len({one.category for one in found.prompts} - {None}) == 1
        for one in found.prompts:
            assert "\n" not in one.text
            assert not set(one.text) & set("\u201c\u201d\u2018\u2019\u2013\u2014\u2026"), "typed as a keyboard types it"
        if name != "basics":
            assert 8 <= len(found.prompts) <= 12

    def test_all_is_everything_but_the_basics(self) -> None:
        everything = prompt_set("all").prompts
        assert sum(len(prompt_set(name).prompts) for name in SETS if name != "basics") == len(everything)
        assert not set(prompt_set("basics").prompts) & set(everything)

    def test_names_of_files_tell_them_apart(self) -> None:
        texts = [one.text for name in SETS for one in prompt_set(name).prompts]
        assert len({slug(text) for text in texts}) == len(texts)

    def test_every_file_is_a_set(self) -> None:
        import diptych.studies

        files = Path(diptych.studies.__file__).parent / "prompt_sets"
        assert {path.stem for path in files.iterdir()} == set(SETS)

    def test_typography_quotes_what_is_to_be_written(self) -> None:
        for one in prompt_set("typography").prompts:
            assert one.text.count('"') >= 2
            assert one.text.count('"') % 2 == 0

    def test_another_name_is_refused(self) -> None:
        with pytest.raises(
            InvalidRequest, match=r"no set of prompts named 'portrait'. Did you mean portraits"
        ) as raised:
            prompt_set("portrait")
        assert ", ".join(PROMPT_SETS) in str(raised.value)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("A Fox, in snow!", "a-fox-in-snow"),
        ("x" * 60, "x" * 48),
        ("snow_fox  2", "snow-fox-2"),
        ("Fre\u0302nes", "fr\u00eanes"),
        ("!?", "picture"),
        ("a" * 47 + " b", "a" * 47),
    ],
)
def test_a_slug_is_words_with_dashes(text: str, name: str) -> None:
    assert slug(text) == name


def test_what_json_writes_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", json.dumps({"prompt": "ein Fuchs \U0001f98a", "category": "t"}) + "\n")
    assert read_prompts([path]).prompts == (Prompt("ein Fuchs \U0001f98a", "t"),)
