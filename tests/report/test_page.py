"""The page: nothing from outside, nothing that means harm, under its limit, the same each time."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from diptych import report, settings
from diptych.errors import OutputError
from diptych.report import page
from diptych.store.database import Store
from diptych.studies.results import Results
from tests.report.conftest import HOSTILE, Builder, change, picture
from tests.report.test_summary import results_of

VOID = {"meta", "link", "img", "br", "input", "hr"}


class Page(HTMLParser):
    """Elements with their attributes, and the text of everything that is no script or style."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.scripts: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "script" in self.open:
            self.scripts.append(data)
        elif "style" not in self.open:
            self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


@pytest.fixture(scope="module")
def written(rich: Builder, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("page") / "rich.html"
    return report.write(rich.results(), rich.store.pictures, out).read_text("utf-8")


def test_the_answer_comes_first(written: str) -> None:
    read = Page(written)
    assert not read.open
    headline = re.search(r"<h1[^>]*>(.*?)</h1>", written, re.DOTALL)
    assert headline
    assert headline[1].index("builtin-flow") < headline[1].index("nobody has judged yet which looks better")
    assert written.index("<h1") < written.index('id="numbers"') < written.index('id="pictures"')
    assert written.index('id="pictures"') < written.index('id="settings"') < written.index('id="claims"')


def test_hostile_words_are_words(written: str) -> None:
    read = Page(written)
    assert len(read.all("script")) == 1
    assert {tag for tag, _ in read.elements}.isdisjoint({"iframe", "object", "embed", "form", "base", "b"})
    for _tag, attributes in read.elements:
        assert not [name for name in attributes if name.startswith("on")]
    whole = " ".join(HOSTILE.split())
    assert read.text.count(whole) >= 2  # the prompt, and what the vendor said
    assert "alert" not in "".join(read.scripts)


def test_nothing_comes_from_outside(written: str) -> None:
    read = Page(written)
    for tag, attributes in read.elements:
        for name in ("src", "href", "srcset", "data-crop", "poster", "action", "background"):
            value = attributes.get(name)
            if value is None or tag == "a":
                continue
            assert value.startswith(("data:", "#")), (tag, name, value[:60])
    assert not re.search(r"@import|url\((?!#)", written)
    (policy,) = [m["content"] for m in read.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:;")
    digest = base64.b64encode(hashlib.sha256("".join(read.scripts).encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy


def test_every_picture_has_words(written: str) -> None:
    images = Page(written).all("img")
    assert len(images) == 18 + 2  # all of them, and those at the top
    assert all(image["alt"] and image["width"] and image["height"] for image in images)


def test_what_became_of_every_sample_is_shown(written: str) -> None:
    text = Page(written).text
    for said in ("Refused", "Failed", "500 from the vendor", "No answer, possibly charged", "Not asked yet"):
        assert said in text
    assert "Not this one:" in text
    assert "Spent: $0.03 of a budget of $5.00, of which $0.03 may not have been charged." in text


def test_numbers_settings_and_claims_are_there(written: str) -> None:
    text = Page(written).text
    for said in (
        "$0.067",
        "$67.00",
        "LiteLLM price file",
        "cannot be said",
        "Artificial Analysis",
        "8 of 8",
        "160 × 120",
        "20 November 2026",
        "sign test",
        "perceptual hashes",
        "python 3.11",
    ):
        assert said in text


def test_the_same_study_gives_the_same_bytes(rich: Builder, tmp_path: Path) -> None:
    pages = [report.write(rich.results(), rich.store.pictures, tmp_path / f"{i}.html").read_bytes() for i in range(2)]
    assert pages[0] == pages[1]


def test_a_key_of_the_user_is_blotted_out(rich: Builder, tmp_path: Path) -> None:
    settings.store_key("openai", "sk-secret-0123456789")
    results = rich.results()
    samples = tuple(
        change(s, error="the key sk-secret-0123456789 is wrong") if s.state == "failed" else s for s in results.samples
    )
    text = report.write(change(results, samples=samples), rich.store.pictures, tmp_path / "k.html").read_text("utf-8")
    assert "sk-secret" not in text
    assert "the key [key] is wrong" in text


def test_half_a_character_of_a_vendor_does_not_stop_it(rich: Builder, tmp_path: Path) -> None:
    results = rich.results()
    samples = tuple(change(s, error="half \ud83e of a fox") if s.state == "failed" else s for s in results.samples)
    out = report.write(change(results, samples=samples), rich.store.pictures, tmp_path / "half.html")
    assert "half ? of a fox" in out.read_text("utf-8")


@pytest.mark.parametrize("contestants", [0, 1, 2, 7])
def test_studies_without_any_sample(contestants: int, opened: Store, tmp_path: Path) -> None:
    out = report.write(results_of([], contestants), opened.pictures, tmp_path / "empty.html")
    assert "This study is empty." in Page(out.read_text("utf-8")).text


@pytest.mark.parametrize("state", ["planned", "refused", "failed", "unknown", "sent"])
def test_studies_without_any_picture(state: str, build: Builder, tmp_path: Path) -> None:
    build.prompt("a fox")
    for name in ("one", "two"):
        build.contestant(name)
    for contestant in range(2):
        build.sample(0, contestant, 0, state=state)
    text = Page(report.write(build.results(), build.store.pictures, tmp_path / "none.html").read_text("utf-8")).text
    assert ("Nothing has been asked yet." if state == "planned" else "No picture came back.") in text


def test_a_study_that_was_not_measured(build: Builder, tmp_path: Path) -> None:
    build.prompt("a fox")
    build.contestant("one")
    build.sample(0, 0, 0, picture(1))
    text = Page(report.write(build.results(), build.store.pictures, tmp_path / "none.html").read_text("utf-8")).text
    assert "These pictures were not measured." in text
    assert "No time was measured." in text
    assert "What the pictures cost is unknown." in text


def test_a_study_of_many_samples_shows_some_and_says_so(
    build: Builder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diptych.report.gallery.MOST_SHOWN", 8)
    build.prompt("a fox")
    build.contestant("one")
    for number in range(20):
        build.sample(0, 0, number, picture(number, (16, 16)))
    written = report.write(build.results(), build.store.pictures, tmp_path / "many.html").read_text("utf-8")
    read = Page(written)
    assert "8 of 20 samples are shown (8 of 20 samples of each prompt and model), chosen evenly by number" in read.text
    assert len([one for one in read.all("figure") if "data-set" in one]) == 8


def test_it_stays_under_its_limit_whatever_the_words(
    build: Builder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When words and pictures together are too much, fewer pictures are shown, in fewer bytes."""
    monkeypatch.setattr(page, "LIMIT", 400_000)
    build.prompt("\U0001f98a" * 20_000)
    build.contestant("one")
    build.contestant("two")
    for number in range(20):
        build.sample(0, 0, number, picture(number, (200, 200)))
        build.sample(0, 1, number, state="refused", error="<" * 30_000)
    out = report.write(build.results(), build.store.pictures, tmp_path / "limit.html")
    assert out.stat().st_size <= 400_000
    assert "samples are shown" in out.read_text("utf-8")


def test_an_existing_file_is_replaced_only_when_asked(rich: Builder, tmp_path: Path) -> None:
    out = tmp_path / "mine.html"
    out.write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        report.write(rich.results(), rich.store.pictures, out)
    assert out.read_text() == "mine"
    report.write(rich.results(), rich.store.pictures, out, force=True)
    assert "<!doctype html>" in out.read_text("utf-8")


# The folder


def test_the_folder_holds_the_original_bytes(rich: Builder, tmp_path: Path) -> None:
    results = rich.results()
    index = report.write(results, rich.store.pictures, tmp_path / "full", full=True)
    assert index == tmp_path / "full" / "index.html"
    read = Page(index.read_text("utf-8"))
    linked = {image["src"] for image in read.all("img")}
    assert linked == {shot["href"] for shot in read.all("a") if "shot" in (shot.get("class") or "")}
    files = {f"pictures/{path.name}": path.read_bytes() for path in (tmp_path / "full" / "pictures").iterdir()}
    assert linked == set(files)
    kept = {rich.store.pictures.get(s.picture) for s in results.samples if s.picture}
    assert set(files.values()) == kept
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_folder_that_is_no_report_is_never_replaced(rich: Builder, tmp_path: Path) -> None:
    results, pictures = rich.results(), rich.store.pictures
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "diary.txt").write_text("dear diary")
    with pytest.raises(OutputError, match="no report"):
        report.write(results, pictures, mine, full=True, force=True)
    assert (mine / "diary.txt").read_text() == "dear diary"
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="is a file"):
        report.write(results, pictures, tmp_path / "file", full=True, force=True)


def test_a_report_is_replaced_whole(rich: Builder, tmp_path: Path) -> None:
    results, pictures = rich.results(), rich.store.pictures
    out = tmp_path / "full"
    report.write(results, pictures, out, full=True)
    (out / "pictures" / "of-before.png").write_bytes(b"")
    report.write(results, pictures, out, full=True, force=True)
    assert not (out / "pictures" / "of-before.png").exists()
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(("full", "."))) == ["full"]


def test_a_picture_that_is_gone_is_said_to_be(rich: Builder, tmp_path: Path) -> None:
    results: Results = rich.results()
    gone = change(results.samples[0], picture="ab" * 32)
    changed = change(results, samples=(gone, *results.samples[1:]))
    for name, full in (("one.html", False), ("full", True)):
        text = Page(report.write(changed, rich.store.pictures, tmp_path / name, full=full).read_text("utf-8")).text
        assert "Cannot be shown" in text
