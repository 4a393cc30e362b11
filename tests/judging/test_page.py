"""The page in a real browser: by keyboard, by finger, without a network, in two tabs, and for everybody."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from diptych.arena.stopping import Rule
from diptych.store import schema
from diptych.store.database import Store
from tests.judging.conftest import DEAR, PROMPTS, QUICK, Served, a_study, served, the_votes
from tests.needs import chromium

WIDE, NARROW = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
PHONE = {"viewport": NARROW, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}
LOOKS = [
    pytest.param({"viewport": WIDE, "color_scheme": "light"}, id="wide light"),
    pytest.param({"viewport": WIDE, "color_scheme": "dark"}, id="wide dark"),
    pytest.param({**PHONE, "color_scheme": "light"}, id="phone light"),
    pytest.param({**PHONE, "color_scheme": "dark"}, id="phone dark"),
]
AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text("utf-8")
SOON = 0.26
"""Seconds that a pair is shown before a press counts for it."""
OFFLINE = "net::ERR_INTERNET_DISCONNECTED"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    path = chromium()
    with sync_playwright() as running:
        opened = running.chromium.launch(executable_path=path)
        yield opened
        opened.close()


class Tab:
    """One page, and everything that it complained about."""

    def __init__(self, context: Any, url: str) -> None:
        self.context, self.url = context, url
        self.page = context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(dialog.message))

    def open(self, *, pair: bool = True) -> Tab:
        self.page.goto(self.url)
        if pair:
            self.page.wait_for_selector("#judging[data-pair]")
        return self

    @property
    def pair(self) -> str | None:
        return self.page.evaluate("document.getElementById('judging').dataset.pair")  # type: ignore[no-any-return]

    def do(self, act: Callable[[], None]) -> None:
        """A vote, and the wait for the next pair, or for there being none."""
        before = self.pair
        time.sleep(SOON)
        act()
        self.page.wait_for_function("old => document.getElementById('judging').dataset.pair !== old", arg=before)

    def wait_ahead(self) -> None:
        """Until the next pair is loaded, too."""
        fetched = "performance.getEntriesByType('resource').filter((one) => one.name.includes('/p/'))"
        self.page.wait_for_function(f"() => {fetched}.length >= 4")
        self.page.wait_for_timeout(150)  # decoded

    def press(self, key: str) -> None:
        self.do(lambda: self.page.keyboard.press(key))

    def text(self, selector: str) -> str:
        return self.page.inner_text(selector)  # type: ignore[no-any-return]

    def until(self, selector: str, words: str) -> None:
        self.page.wait_for_function(
            "([selector, words]) => document.querySelector(selector).innerText.includes(words)", arg=[selector, words]
        )

    def sheets(self) -> list[dict[str, Any]]:
        """Where both pictures are, how large, and which are seen."""
        return self.page.evaluate("""() => [...document.querySelectorAll(".view")].map((view) => {
            const sheet = view.querySelector(".sheet"), box = view.getBoundingClientRect();
            const shown = (one) => getComputedStyle(one).visibility !== "hidden";
            const seen = [...sheet.querySelectorAll("img")].filter(shown);
            return { transform: sheet.style.transform, width: sheet.getBoundingClientRect().width,
                     box: [box.width, box.height], at: [box.left, box.top],
                     seen: seen.map((one) => one.src), natural: seen[0].naturalWidth };
        })""")  # type: ignore[no-any-return]

    def violations(self) -> list[str]:
        """What axe-core finds wrong, in every one of its rules but those that are only experiments."""
        self.page.evaluate(AXE)
        found = self.page.evaluate("axe.run(document, { resultTypes: ['violations'] })")["violations"]
        return [f"{one['id']}: {node['html'][:160]} {node['failureSummary']}" for one in found for node in one["nodes"]]

    def end(self) -> None:
        self.page.click("#end")
        self.page.click("#ending button[value=end]")
        self.page.wait_for_selector("#revealed h1")


@pytest.fixture
def on(judged: Store) -> Iterator[Served]:
    a_study(judged, size=(320, 240))
    with served(judged) as running:
        yield running


@pytest.fixture
def open_tab(browser: Any, on: Served) -> Iterator[Callable[..., Tab]]:
    contexts: list[Any] = []

    def opened(url: str | None = None, context: Any = None, **look: Any) -> Tab:
        if context is None:
            context = browser.new_context(**(look or {"viewport": WIDE}))
            contexts.append(context)
        return Tab(context, (url or on.url) + "/")

    yield opened
    for context in contexts:
        context.close()


Open = Callable[..., Tab]


def said(opened: Store) -> list[str | None]:
    return [choice for _, choice, _ in the_votes(opened)]


# A whole sitting


def test_a_whole_sitting_by_keyboard_alone(open_tab: Open, judged: Store, on: Served) -> None:
    tab = open_tab().open()
    page = tab.page
    assert tab.text("#question").lower() == "which is better?"
    assert tab.text("#prompt").strip("“”") in PROMPTS
    for key in ("1", "2", "=", "0", "Space", "1"):
        tab.press(key)
    tab.until("#progress", "5 votes.")
    before = tab.pair
    page.keyboard.press("z")
    page.wait_for_function("old => document.getElementById('judging').dataset.pair !== old", arg=before)
    tab.until("#progress", "4 votes.")
    while tab.pair is not None:
        tab.press("2")
    tab.until("#waiting", "You have seen every pair there is.")
    page.wait_for_function("() => document.getElementById('end').classList.contains('strong')")
    page.focus("#stage")
    for _ in range(40):
        page.keyboard.press("Shift+Tab")
        if page.evaluate("document.activeElement.id") == "end":
            break
    page.keyboard.press("Enter")
    page.wait_for_selector("#ending[open]")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector("#revealed h1")
    assert QUICK in tab.text("#revealed")
    assert DEAR in tab.text("#revealed")
    assert tab.complaints == []
    kept = said(judged)
    assert kept[:7] == ["left", "right", "tie", "both_bad", "skip", "left", None]
    assert kept[7:] == ["right"] * (3 * 2 * 2 - 5)


def test_buttons_are_in_order_and_pressed_by_keyboard(open_tab: Open, judged: Store) -> None:
    tab = open_tab().open()
    page, order = tab.page, []
    for _ in range(12):
        page.keyboard.press("Tab")
        order.append(page.evaluate("document.activeElement.dataset.choice ?? (document.activeElement.id || 'link')"))
    there = ["link", "end", "stage", "left", "tie", "both_bad", "right", "loupe", "flicker", "skip"]
    assert [one for one in order if one in there][
        : len(there)
    ] == there  # "back" has nothing to take back yet, but is there
    page.focus("[data-choice=both_bad]")
    page.keyboard.press("Shift+Tab")  # so that it is the keyboard that focuses
    tab.press("Space")
    assert page.evaluate("document.activeElement.dataset.choice") == "tie"
    tab.until("#progress", "1 vote.")
    assert said(judged) == ["tie"]
    assert tab.complaints == []


def test_the_space_bar_skips_after_a_click(open_tab: Open, judged: Store) -> None:
    tab = open_tab().open()
    tab.do(lambda: tab.page.click("[data-choice=left]"))
    tab.press("Space")
    tab.page.wait_for_timeout(200)
    assert said(judged) == ["left", "skip"]


def test_a_press_that_comes_too_soon_is_no_vote(open_tab: Open, judged: Store) -> None:
    tab = open_tab().open()
    time.sleep(SOON)
    tab.page.evaluate("""() => { for (const key of ["1", "1", "1"])
        document.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true })); }""")
    tab.until("#progress", "1 vote.")
    tab.page.wait_for_timeout(200)
    assert said(judged) == ["left"]


def test_a_whole_sitting_by_finger_on_a_phone(open_tab: Open, judged: Store) -> None:
    tab = open_tab(**PHONE).open()
    page = tab.page
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate("document.documentElement.scrollHeight <= innerHeight")
    for button in page.query_selector_all("#choices button, .tools button"):
        assert button.bounding_box()["height"] >= 44
    upper, lower = tab.sheets()
    assert upper["at"][1] + upper["box"][1] <= lower["at"][1]  # one above the other
    assert tab.text("[data-choice=left]") == "Upper"

    page.tap("#loupe")
    assert tab.text("#zoom").endswith(":1")
    x, y = middle(tab)
    touch(tab, [(x, y)], [(x - 60, y - 40)])()
    one, other = tab.sheets()
    assert one["transform"] == other["transform"] != upper["transform"]
    page.tap("#loupe")
    touch(tab, *([(x - reach, y), (x + reach, y)] for reach in (30, 40, 55, 70)))()
    assert tab.sheets()[0]["width"] > upper["width"] * 1.3
    assert tab.sheets()[0]["transform"] == tab.sheets()[1]["transform"]

    place = page.query_selector("#flicker").bounding_box()
    lift = touch(tab, [(place["x"] + 5, place["y"] + 5)])
    held = tab.sheets()
    lift()
    assert held[0]["seen"] == tab.sheets()[1]["seen"] != held[1]["seen"]

    for choice in ("left", "tie", "both_bad", "right", "skip"):
        tab.do(lambda choice=choice: page.tap(f"[data-choice={choice}]"))  # type: ignore[misc]
    tab.until("#progress", "4 votes.")
    page.tap("#back")
    page.wait_for_timeout(300)
    while tab.pair is not None:
        tab.do(lambda: page.tap("[data-choice=right]"))
    page.tap("#end")
    page.tap("#ending button[value=end]")
    page.wait_for_selector("#revealed h1")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert tab.complaints == []
    assert said(judged) == ["left", "tie", "both_bad", "right", "skip", None] + ["right"] * 8


Points = list[tuple[float, float]]


def touch(tab: Tab, *moves: Points) -> Any:
    """Fingers that go down at the first points and then move; gives what lifts them."""
    session = tab.context.new_cdp_session(tab.page)

    def send(kind: str, points: Points) -> None:
        fingers = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers})

    send("touchStart", moves[0])
    for points in moves[1:]:
        send("touchMove", points)

    def lift() -> None:
        send("touchEnd", [])
        session.detach()

    return lift


def middle(tab: Tab) -> tuple[float, float]:
    box = tab.page.query_selector(".view").bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


# Looking closely


def test_zoom_and_place_are_shared_and_whole_pixels_are_whole(open_tab: Open) -> None:
    tab = open_tab().open()
    page, fitted = tab.page, tab.sheets()
    assert fitted[0]["transform"] == fitted[1]["transform"]
    assert fitted[0]["box"] == fitted[1]["box"]
    assert tab.text("#zoom") == ""
    page.mouse.move(*middle(tab))
    page.keyboard.press("l")
    closer = tab.sheets()
    times = closer[0]["width"] / closer[0]["natural"]
    assert times == round(times) >= 1
    assert tab.text("#zoom") == f"{round(times)}:1"
    assert page.get_attribute("#loupe", "aria-pressed") == "true"
    for act in (
        lambda: page.keyboard.press("ArrowRight"),
        lambda: page.mouse.wheel(0, -200),
        lambda: page.keyboard.press("+"),
        lambda: drag(page, tab, -50, 30),
        lambda: page.keyboard.press("-"),
        lambda: page.dblclick(".view >> nth=1"),
    ):
        before = tab.sheets()
        act()
        page.wait_for_timeout(60)
        now = tab.sheets()
        assert now[0]["transform"] == now[1]["transform"]
        assert now[0]["width"] == now[1]["width"]
        assert now != before
    page.keyboard.press("Escape")
    assert tab.sheets() == fitted
    assert tab.complaints == []


def drag(page: Any, tab: Tab, dx: float, dy: float) -> None:
    x, y = middle(tab)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + dx, y + dy)
    page.mouse.up()


@pytest.mark.parametrize("ratio", [1, 1.5, 2, 3])
def test_whole_pixels_on_every_screen(open_tab: Open, ratio: float) -> None:
    tab = open_tab(viewport={"width": 900, "height": 700}, device_scale_factor=ratio).open()
    tab.page.keyboard.press("l")
    sheet = tab.sheets()[0]
    on_screen = sheet["width"] * ratio / sheet["natural"]
    assert on_screen == pytest.approx(round(on_screen), abs=0.01)
    left, top = map(float, re.findall(r"-?[\d.]+", sheet["transform"]))
    assert (left * ratio, top * ratio) == (
        pytest.approx(round(left * ratio), abs=0.02),
        pytest.approx(round(top * ratio), abs=0.02),
    )


def test_flicker_lets_the_pictures_change_places(open_tab: Open) -> None:
    tab = open_tab().open()
    page, still = tab.page, tab.sheets()
    page.keyboard.down("f")
    held = tab.sheets()
    assert [one["seen"] for one in held] == [one["seen"] for one in reversed(still)]
    assert [one["transform"] for one in held] == [one["transform"] for one in still]
    page.keyboard.up("f")
    assert tab.sheets() == still
    page.focus("#flicker")
    page.keyboard.press("Enter")  # by keyboard it stays until it is pressed again
    assert tab.sheets() == held
    page.keyboard.press("Enter")
    assert tab.sheets() == still


def test_pictures_of_two_sizes_have_a_view_at_their_own_pixels(browser: Any, judged: Store, open_tab: Open) -> None:
    a_study(judged, name="sizes", sizes={QUICK: (320, 240), DEAR: (500, 500)})
    with served(judged, name="sizes") as running:
        tab = open_tab(running.url).open()
        assert tab.sheets()[0]["natural"] == 500
        tab.page.keyboard.press("l")
        one, other = tab.sheets()
        assert one["natural"] == other["natural"] == 320
        assert one["transform"] == other["transform"]
        assert tab.text("#zoom").endswith(":1")
        tab.page.keyboard.press("l")
        assert tab.sheets()[0]["natural"] == 500
        assert tab.complaints == []


def test_a_pair_appears_only_when_both_are_there_and_the_next_is_loaded_before(open_tab: Open) -> None:
    tab = open_tab()
    held: list[Any] = []
    asked: list[str] = []
    tab.page.route("**/p/*", lambda route: held.append(route) if not held else (asked.append("p"), route.continue_()))
    tab.open(pair=False)
    tab.until("#waiting", "Preparing two pictures.")
    tab.page.wait_for_timeout(300)
    assert asked  # one of the two is there
    assert tab.page.query_selector(".view img") is None
    assert tab.page.get_attribute("[data-choice=left]", "aria-disabled") == "true"
    tab.page.keyboard.press("1")
    held[0].continue_()
    tab.page.wait_for_selector("#judging[data-pair]")
    assert len(tab.page.query_selector_all(".view img.own")) == 2
    assert tab.page.evaluate("[...document.images].every((one) => one.complete && one.naturalWidth)")
    deadline = time.monotonic() + 20
    while len(asked) < 3 and time.monotonic() < deadline:
        tab.page.wait_for_timeout(20)
    assert len(asked) == 3  # the second of this pair, and both of the next one
    time.sleep(SOON)
    tab.page.unroute("**/p/*")
    tab.page.route("**/p/*", lambda route: held.append(route))
    before = tab.pair
    tab.page.keyboard.press("1")
    tab.page.wait_for_function("old => document.getElementById('judging').dataset.pair !== old", arg=before)
    assert tab.pair is not None  # though no picture can be fetched any more
    tab.page.unroute_all(behavior="ignoreErrors")


# When things go wrong


def test_votes_without_a_network_are_sent_later_and_once(open_tab: Open, judged: Store) -> None:
    tab = open_tab().open()
    page = tab.page
    tab.wait_ahead()
    tab.press("1")
    tab.until("#progress", "1 vote.")
    page.wait_for_timeout(400)  # the one after that is loaded
    tab.context.set_offline(True)
    tab.press("2")  # a pair that is loaded already is shown
    time.sleep(SOON)
    page.keyboard.press("=")
    tab.until("#progress", "No connection. 2 votes wait here and will be sent.")
    page.keyboard.press("z")
    tab.until("#progress", "No connection. 1 vote waits here and will be sent.")
    time.sleep(SOON)
    page.keyboard.press("0")
    tab.until("#progress", "No connection. 2 votes wait")
    assert len(the_votes(judged)) == 1
    tab.context.set_offline(False)
    tab.until("#progress", "3 votes.")
    page.wait_for_selector("#judging[data-pair]")
    assert said(judged) == ["left", "right", "tie", None, "both_bad"]
    assert page.evaluate("localStorage.length") == 0
    assert {one for one in tab.complaints if OFFLINE not in one} == set()


def test_a_server_that_was_stopped_and_started_again(browser: Any, judged: Store) -> None:
    a_study(judged)
    with served(judged) as running:
        port = int(running.url.rpartition(":")[2])
        tab = Tab(browser.new_context(viewport=WIDE), running.url + "/").open()
        tab.page.wait_for_timeout(400)
    time.sleep(SOON)
    tab.page.keyboard.press("1")
    tab.until("#progress", "No connection. 1 vote waits here and will be sent.")
    assert said(judged) == []
    with served(judged, port=port, seed=2):
        tab.until("#progress", "1 vote.")
        tab.press("2")
        tab.until("#progress", "2 votes.")
        tab.context.close()
    assert said(judged) == ["left", "right"]


def test_a_reload_in_mid_vote_counts_it_once(open_tab: Open, judged: Store) -> None:
    tab = open_tab().open()
    page = tab.page
    sent: list[Any] = []
    tab.wait_ahead()
    # The first one is on its way, and has no answer.
    page.route("**/api/vote", lambda route: route.continue_() if sent else sent.append(route))
    voted = tab.pair
    tab.press("1")
    page.wait_for_timeout(100)
    assert len(sent) == 1
    assert page.evaluate("localStorage.length") == 1
    page.reload()
    page.wait_for_selector("#judging[data-pair]")
    assert tab.pair != voted
    tab.until("#progress", "1 vote.")
    assert said(judged) == ["left"]
    assert page.evaluate("localStorage.length") == 0


def test_an_answer_that_is_lost_counts_the_vote_once(open_tab: Open, judged: Store) -> None:
    tab = open_tab().open()
    lost: list[int] = []

    def lose(route: Any) -> None:
        if lost:
            route.continue_()
            return
        lost.append(route.fetch().status)  # the server has it
        route.abort()

    tab.page.route("**/api/vote", lose)
    tab.press("1")
    tab.until("#progress", "1 vote.")
    assert lost == [200]
    assert said(judged) == ["left"]
    kept = the_votes(judged)
    assert len(kept) == 1


def test_a_reload_shows_the_same_pair_and_takes_back_what_was_before(open_tab: Open, judged: Store) -> None:
    tab = open_tab().open()
    first = tab.pair
    tab.press("1")
    tab.until("#progress", "1 vote.")
    second = tab.pair
    pictures = tab.page.evaluate("[...document.images].map((one) => one.naturalWidth)")
    tab.page.reload()
    tab.page.wait_for_selector("#judging[data-pair]")
    assert tab.pair == second
    assert tab.page.evaluate("[...document.images].map((one) => one.naturalWidth)") == pictures
    tab.page.keyboard.press("z")
    tab.page.wait_for_function("old => document.getElementById('judging').dataset.pair === old", arg=first)
    tab.press("2")
    tab.until("#progress", "1 vote.")
    assert said(judged) == ["left", None, "right"]


def test_two_tabs_of_one_judge(open_tab: Open, judged: Store) -> None:
    one = open_tab().open()
    other = open_tab(context=one.context).open()
    assert one.pair == other.pair
    one.press("1")
    one.until("#progress", "1 vote.")
    time.sleep(SOON)
    other.page.keyboard.press("2")  # on the pair that the other tab has voted on
    other.until("#progress", "1 vote.")
    other.page.wait_for_function("old => document.getElementById('judging').dataset.pair === old", arg=one.pair)
    other.press("2")
    other.until("#progress", "2 votes.")
    one.page.bring_to_front()
    one.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    one.page.wait_for_function("old => document.getElementById('judging').dataset.pair === old", arg=other.pair)
    assert said(judged) == ["left", "right"]
    assert one.complaints + other.complaints == []


def test_two_tabs_that_come_first_at_once_are_one_judge(open_tab: Open, judged: Store) -> None:
    one = open_tab()
    other = open_tab(context=one.context)
    asked: list[Any] = []
    # The first answer is late; whoever asks meanwhile would be somebody new.
    one.context.route("**/api/next", lambda route: (asked.append(route), len(asked) > 1 and route.continue_()))
    for tab in (one, other):
        tab.page.goto(tab.url)
    one.page.wait_for_timeout(300)
    assert len(asked) == 1
    asked[0].continue_()
    for tab in (one, other):
        tab.page.wait_for_selector("#judging[data-pair]")
    assert one.pair == other.pair
    with judged.reading() as connection:
        assert connection.scalar(select(func.count()).select_from(schema.judges)) == 1
    one.context.unroute_all(behavior="ignoreErrors")


def test_two_judges_at_once(open_tab: Open, judged: Store) -> None:
    tabs = [open_tab().open(), open_tab().open()]
    for _ in range(4):
        for tab, key in zip(tabs, "12", strict=True):
            tab.press(key)
    for tab in tabs:
        tab.page.reload()
        tab.page.wait_for_selector("#judging[data-pair]")
        tab.until("#progress", "4 of 8 votes.")
    rows = the_votes(judged)
    assert sorted(Counter(judge for judge, _, _ in rows).values()) == [4, 4]
    assert len({judge for judge, _, _ in rows}) == 2
    tabs[0].end()  # one who ends does not end the other
    tabs[1].press("1")
    assert tabs[0].complaints + tabs[1].complaints == []


# Before and after


def test_no_name_is_anywhere_before_the_end(open_tab: Open) -> None:
    tab = open_tab()
    came: list[str] = []
    tab.page.on("response", lambda answer: came.append(f"{answer.url} {answer.all_headers()} {answer.body()!r}"))
    tab.open()
    for key in "12=":
        tab.press(key)
    tab.page.wait_for_timeout(300)
    everything = "\n".join(
        [
            *came,
            tab.page.content(),
            tab.page.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie])"),
        ]
    )
    assert len(came) > 12
    assert "quick" not in everything
    assert "dear" not in everything
    assert "diptych_judge" not in tab.page.evaluate("document.cookie")
    tab.end()
    assert QUICK in tab.page.content()
    tab.page.reload()
    tab.page.wait_for_selector("#revealed h1")


def test_the_end_comes_back_after_a_new_start_and_one_can_go_on(browser: Any, judged: Store) -> None:
    a_study(judged)
    budget = Rule(budget=2)
    with served(judged, rule=budget) as running:
        port = int(running.url.rpartition(":")[2])
        tab = Tab(browser.new_context(viewport=WIDE), running.url + "/").open()
        tab.press("1")
        tab.press("2")
        tab.until("#progress", "2 votes.")
        tab.end()
    page = tab.page
    page.click("#again")  # while there is no server
    tab.until("#again-said", "`diptych judge` starts it again")
    with served(judged, port=port, rule=budget, seed=2):
        page.reload()
        page.wait_for_selector("#revealed h1")
        assert QUICK in tab.text("#revealed")
        page.click("#again")
        page.wait_for_selector("#judging[data-pair]")
        assert page.inner_html("#revealed") == ""
        assert QUICK not in page.content()
        page.keyboard.press("z")  # what was named cannot be taken back
        tab.press("=")
        tab.until("#progress", "3 votes.")
        page.reload()
        page.wait_for_selector("#judging[data-pair]")
        tab.until("#progress", "3 votes.")
        tab.end()
        page.focus("#again")
        page.keyboard.press("Enter")
        page.wait_for_selector("#judging[data-pair]")
        tab.press("1")
        tab.until("#progress", "4 votes.")
        assert {one for one in tab.complaints if "ERR_CONNECTION_REFUSED" not in one} == set()
        tab.context.close()
    assert said(judged) == ["left", "right", "tie", "left"]


def test_after_the_last_pair_the_end_is_in_the_middle(open_tab: Open, judged: Store) -> None:
    tab = open_tab().open()
    page = tab.page
    assert page.is_hidden("#finish")
    while tab.pair is not None:
        tab.press("2")
    page.wait_for_selector("#finish:visible")
    assert tab.text("#waiting") == "You have seen every pair there is."
    assert page.is_hidden("#choices")
    assert tab.violations() == []
    page.keyboard.press("z")  # the last one comes back
    page.wait_for_selector("#judging[data-pair]")
    assert page.is_hidden("#finish")
    assert page.is_visible("#choices")
    tab.press("1")
    page.click("#finish")
    page.click("#ending button[value=end]")
    page.wait_for_selector("#revealed h1")
    assert page.query_selector("#again") is None  # nothing is left to go on with
    assert tab.complaints == []


def test_nothing_jumps_while_a_pair_is_waited_for(open_tab: Open) -> None:
    tab = open_tab().open()
    place = [one["at"] for one in tab.sheets()]
    held: list[Any] = []
    tab.wait_ahead()
    tab.page.route("**/p/*", lambda route: held.append(route))
    tab.press("1")
    tab.press("2")  # whose pictures do not come
    tab.until("#waiting", "Preparing two pictures.")
    panels = "[...document.querySelectorAll('.view')].map((one) => [one.getBoundingClientRect().left, "
    assert tab.page.evaluate(panels + "one.getBoundingClientRect().top])") == place
    tab.page.set_viewport_size(NARROW)  # on another screen there is no place to keep
    tab.page.wait_for_function("() => !document.querySelector('.view[style]')")
    tab.page.unroute_all(behavior="ignoreErrors")


def test_the_names_after_each_vote_where_it_is_wanted(browser: Any, judged: Store, open_tab: Open) -> None:
    with served(judged, reveals=True) as running:
        tab = open_tab(running.url).open()
        page, first = tab.page, tab.pair
        time.sleep(SOON)
        page.keyboard.press("1")
        page.wait_for_selector("#named:not([hidden])")
        assert {tab.text("#name-left"), tab.text("#name-right")} == {QUICK, DEAR}
        assert tab.pair == first
        page.keyboard.press("2")  # no second vote
        page.keyboard.press("z")
        page.keyboard.press("Space")
        page.wait_for_function("old => document.getElementById('judging').dataset.pair !== old", arg=first)
        assert page.is_hidden("#named")
        assert page.is_hidden("#back")
        assert tab.violations() == []
        assert tab.complaints == []
    assert said(judged) == ["left"]


@pytest.mark.parametrize("look", LOOKS)
def test_everybody_can_use_it(open_tab: Open, judged: Store, look: dict[str, Any]) -> None:
    """axe-core finds nothing, in any state."""
    a_study(judged, name="long", prompts={f"{'a very long prompt about a fox ' * 40}{i}": "x" for i in range(2)})
    with served(judged, code="KXQ-TMR", name="long") as running:
        tab = open_tab(running.url, **look).open(pair=False)
        tab.page.wait_for_selector("#code")
        assert tab.violations() == []
        tab.page.fill("#code", "no")
        tab.page.click("#join button")
        tab.until("#join-said", "That is not the code.")
        assert tab.violations() == []
        tab.page.fill("#code", "kxq-tmr")
        tab.page.keyboard.press("Enter")
        tab.page.wait_for_selector("#judging[data-pair]")
        assert tab.violations() == []
        tab.page.keyboard.press("l")
        tab.page.keyboard.down("f")
        assert tab.violations() == []
        tab.page.keyboard.up("f")
        tab.press("1")
        tab.page.click("#end")
        assert tab.violations() == []
        tab.page.click("#ending button[value=stay]")
        while tab.pair is not None:
            tab.press("2")
        assert tab.violations() == []
        tab.end()
        tab.page.wait_for_function("() => [...document.images].every((one) => one.complete)")
        assert tab.violations() == []
        assert tab.complaints == []
        tab.page.route("**/api/next", lambda route: route.abort())
        tab.page.reload()
        tab.page.wait_for_selector("#trouble:not([hidden])")
        assert tab.violations() == []


def test_nothing_moves_for_those_who_want_it_so(open_tab: Open) -> None:
    """Nor for anybody else: there is no animation at all."""
    tab = open_tab(viewport=WIDE, reduced_motion="no-preference").open()
    tab.press("1")
    tab.page.keyboard.press("l")
    moving = "[...document.querySelectorAll('*')].filter((one) => one.getAnimations({ subtree: true }).length).length"
    assert tab.page.evaluate(moving) == 0
    place = tab.sheets()[0]["at"]
    tab.page.keyboard.press("l")
    where = [one["at"] for one in tab.sheets()]
    for key in "21":
        tab.press(key)
        assert [one["at"] for one in tab.sheets()] == where  # the next pair is where the last one was
    assert place


def test_the_vote_is_said_to_those_who_do_not_see(open_tab: Open) -> None:
    tab = open_tab().open()
    assert tab.page.get_attribute("#live", "aria-live") == "polite"
    tab.press("1")
    assert tab.text("#live") == "Kept: the left one."
    tab.page.keyboard.press("z")
    tab.until("#live", "Taken back.")
    alternatives = tab.page.evaluate("[...document.querySelectorAll('.own')].map((one) => one.alt)")
    assert alternatives == ["Left picture", "Right picture"]


@pytest.mark.parametrize("size", [(1440, 900), (390, 844), (844, 390), (1024, 600), (360, 640)])
def test_it_fits_without_scrolling(open_tab: Open, size: tuple[int, int]) -> None:
    tab = open_tab(viewport={"width": size[0], "height": size[1]}).open()
    page = tab.page
    assert page.evaluate("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]") == list(size)
    for view in page.query_selector_all(".view"):
        box = view.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= size[0]
        assert box["width"] > 120
    for button in page.query_selector_all("#choices button, .tools button, #end"):
        box = button.bounding_box()
        assert box["y"] + box["height"] <= size[1]
        assert box["x"] + box["width"] <= size[0]
