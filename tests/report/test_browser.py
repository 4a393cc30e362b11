"""The page in a real browser, opened from disk: wide and narrow, light and dark, by keyboard and by finger."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from diptych import report
from tests.report.conftest import Builder

WIDE, NARROW = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
LOOKS = [(WIDE, "light"), (WIDE, "dark"), (NARROW, "light"), (NARROW, "dark")]


def chromium() -> str | None:
    return next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = chromium()
    if path is None and not os.environ.get("CI"):
        pytest.skip("there is no Chromium: apt-get install chromium")
    assert path is not None, "there is no Chromium, and on CI nothing is skipped"
    from playwright.sync_api import sync_playwright

    with sync_playwright() as running:
        opened = running.chromium.launch(executable_path=path)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def files(rich: Builder, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    results, pictures = rich.results(), rich.store.pictures
    return {
        "one": report.write(results, pictures, folder / "one.html"),
        "folder": report.write(results, pictures, folder / "full", full=True),
    }


class Opened:
    """A page, and everything that it complained about."""

    def __init__(self, browser: Any, path: Path, viewport: dict[str, int], scheme: str, **more: Any) -> None:
        self.context = browser.new_context(viewport=viewport, color_scheme=scheme, offline=True, **more)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        self.page.goto(path.as_uri())
        self.page.wait_for_load_state("load")

    def transforms(self) -> list[str]:
        return list(self.page.eval_on_selector_all("#viewer .sheet", "all => all.map(one => one.style.transform)"))

    def zoom(self) -> str:
        return str(self.page.locator("#viewer-zoom").inner_text())

    def open(self) -> bool:
        return bool(self.page.evaluate("document.getElementById('viewer').open"))


@pytest.fixture
def visit(browser: Any, files: dict[str, Path]) -> Iterator[Any]:
    opened: list[Opened] = []

    def visit(viewport: dict[str, int], scheme: str = "light", which: str = "one", **more: Any) -> Opened:
        opened.append(Opened(browser, files[which], viewport, scheme, **more))
        return opened[-1]

    yield visit
    for one in opened:
        assert one.complaints == []
        one.context.close()


@pytest.mark.parametrize("which", ["one", "folder"])
@pytest.mark.parametrize(("viewport", "scheme"), LOOKS)
def test_it_fits_and_every_picture_is_there(visit: Any, viewport: dict[str, int], scheme: str, which: str) -> None:
    page = visit(viewport, scheme, which).page
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.eval_on_selector_all(
        "img", "all => Promise.all(all.map(one => { one.loading = 'eager'; return one.decode(); }))"
    )
    sizes = page.eval_on_selector_all(
        "img", "all => all.map(one => [one.naturalWidth, one.clientWidth, one.clientHeight])"
    )
    assert len(sizes) == 20
    assert all(natural > 0 and width > 60 and height > 30 for natural, width, height in sizes)
    shown = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(int(part) for part in shown[4:-1].split(",")) < 200) == (scheme == "dark")
    visible = page.eval_on_selector_all(".plot svg", "all => all.filter(one => one.clientWidth > 0).length")
    assert visible == page.locator(".plot").count() == 2  # seconds and detail; every picture cost the same


def test_pictures_of_a_set_have_one_size(visit: Any) -> None:
    page = visit(WIDE).page
    sets = page.eval_on_selector_all(
        ".set",
        "all => all.map(set => [...set.querySelectorAll('.shot, .none')]"
        ".map(one => [one.offsetWidth, one.offsetHeight]))",
    )
    assert len(sets) == 8
    for sizes in sets:
        assert max(w for w, _ in sizes) - min(w for w, _ in sizes) <= 1
        assert max(h for _, h in sizes) - min(h for _, h in sizes) <= 1


def test_the_view_at_1_to_1_by_keyboard(visit: Any) -> None:
    opened = visit(WIDE)
    page = opened.page
    first = page.locator(".set .shot").first
    first.focus()
    page.keyboard.press("Enter")
    assert opened.open()
    assert page.locator("#viewer .view").count() == 3
    assert page.locator("#viewer .view .none").count() == 1  # what was refused is there too
    before = opened.transforms()
    assert len(before) == 2
    page.keyboard.press("1")
    assert opened.zoom() == "1:1"
    page.keyboard.press("+")
    assert opened.zoom() != "1:1"
    scales = {one.rpartition("scale")[2] for one in opened.transforms()}
    assert scales == {"(1.25)"}  # all together
    zoomed = opened.transforms()
    page.keyboard.press("Shift+ArrowRight")
    assert all(a != b for a, b in zip(zoomed, opened.transforms(), strict=True))
    page.keyboard.press("-")
    page.keyboard.press("0")
    fits = page.eval_on_selector_all(
        "#viewer .sheet",
        "all => all.every(one => {"
        " const a = one.getBoundingClientRect(), b = one.parentElement.getBoundingClientRect();"
        " return a.width <= b.width + 1 && a.height <= b.height + 1; })",
    )
    assert fits
    title = page.locator("#viewer-title").inner_text()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    assert page.locator("#viewer-title").inner_text() != title
    for _ in range(4):
        page.keyboard.press("ArrowLeft")
    assert page.locator("#viewer-title").inner_text() == title
    page.keyboard.press("Escape")
    assert not opened.open()
    assert first.evaluate("one => one === document.activeElement")


def test_a_click_opens_it_and_the_mouse_zooms_and_moves_all(visit: Any) -> None:
    opened = visit(WIDE, which="folder")
    page = opened.page
    page.locator(".hero .shot").first.click()
    assert opened.open()
    page.locator("[data-do=one]").click()
    box = page.locator("#viewer .view").first.bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(*middle)
    before = opened.transforms()
    page.mouse.wheel(0, -300)
    page.wait_for_function("document.getElementById('viewer-zoom').textContent !== '1:1'")
    after = opened.transforms()
    assert all(a != b for a, b in zip(before, after, strict=True))
    page.mouse.down()
    page.mouse.move(middle[0] - 30, middle[1] - 20)
    page.mouse.up()
    assert all(a != b for a, b in zip(after, opened.transforms(), strict=True))
    page.locator("[data-do=close]").click()
    assert not opened.open()


def test_the_view_on_a_phone(visit: Any) -> None:
    opened = visit(NARROW, "dark", has_touch=True, is_mobile=True, device_scale_factor=2)
    page = opened.page
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.locator(".set .shot").first.tap()
    assert opened.open()
    inside = page.eval_on_selector_all(
        "#viewer .view, #viewer button",
        "all => all.every(one => {"
        " const a = one.getBoundingClientRect(); return a.left >= 0 && a.right <= innerWidth + 1; })",
    )
    assert inside
    page.locator("[data-do=in]").tap()
    page.locator("[data-do=close]").tap()
    assert not opened.open()


def test_it_is_read_without_scripts(visit: Any) -> None:
    page = visit(WIDE, java_script_enabled=False).page
    assert page.locator("h1").inner_text()
    assert not page.locator("#viewer").is_visible()


def test_on_paper_it_is_black_on_white(visit: Any) -> None:
    page = visit(WIDE, "dark").page
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    assert not page.locator("nav").is_visible()
    assert page.pdf(format="A4").startswith(b"%PDF")
