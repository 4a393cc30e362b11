"""The sitting over HTTP, against the real server."""

from __future__ import annotations

import concurrent.futures
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text

from diptych.arena.stopping import Rule
from diptych.judging.app import MOST_BYTES, PAGE
from diptych.store.database import Store
from tests.judging.conftest import DEAR, PROMPTS, QUICK, Judge, Served, a_study, served, the_votes


@pytest.fixture
def on(judged: Store) -> Iterator[Served]:
    a_study(judged)
    with served(judged) as running:
        yield running


# The page and its headers


def test_the_page_and_its_parts(on: Served) -> None:
    with Judge(on.url) as judge:
        for path, (name, kind) in PAGE.items():
            answer = judge.get(path)
            assert (answer.status_code, answer.headers["content-type"]) == (200, kind), name
        assert judge.get("/").text.startswith("<!doctype html>")
        assert judge.get("/nothing").status_code == 404
        for path in ("/docs", "/openapi.json", "/redoc", "/app.py", "/../app.py", "/page/app.js"):
            assert judge.get(path).status_code == 404


def test_nothing_on_the_page_comes_from_elsewhere() -> None:
    page = Path(__file__).parents[2] / "src/diptych/judging/page"
    for part in page.iterdir():
        words = part.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in words, part.name
        assert "https://" not in words, part.name
        assert "innerHTML" not in words, part.name
        assert "eval(" not in words, part.name


def test_every_answer_has_the_same_headers(on: Served) -> None:
    with Judge(on.url) as judge:
        state = judge.following()
        name = state["trials"][0]["whole"]["pictures"][0]
        answers = [judge.get(path) for path in ("/", "/app.js", "/api/next", f"/p/{name}", "/p/none", "/nothing")]
        answers += [judge.vote("none"), judge.post("/api/vote", content=b"{"), judge.get("/", headers={"Host": "evil"})]
    for answer in answers:
        found = {key.lower() for key in answer.headers}
        assert found == {
            *("content-type", "content-length", "cache-control", "content-security-policy"),
            *("cross-origin-opener-policy", "cross-origin-resource-policy", "referrer-policy"),
            "x-content-type-options",
        }, answer.url
        assert answer.headers["cache-control"] == "no-store"
        assert "'unsafe" not in answer.headers["content-security-policy"]


# Pictures


def test_both_pictures_of_a_trial_are_served_alike(on: Served) -> None:
    with Judge(on.url) as judge:
        left, right = (judge.get(f"/p/{name}") for name in judge.following()["trials"][0]["whole"]["pictures"])
    assert left.headers == right.headers
    assert left.headers["content-type"] == "image/png"
    assert len(left.content) == len(right.content)
    assert left.content != right.content


def test_conditions_and_ranges_change_nothing(on: Served) -> None:
    with Judge(on.url) as judge:
        name = judge.following()["trials"][0]["whole"]["pictures"][0]
        plain = judge.get(f"/p/{name}")
        for asked in (
            {"If-None-Match": "*"},
            {"If-Modified-Since": "Sun, 22 Nov 2099 00:00:00 GMT"},
            {"Range": "bytes=0-9"},
            {"Accept-Encoding": "gzip, br"},
        ):
            again = judge.get(f"/p/{name}", headers=asked)
            assert (again.status_code, again.headers) == (200, plain.headers)
            assert len(again.content) == len(plain.content)


def test_nobody_sees_the_pictures_of_another(on: Served) -> None:
    with Judge(on.url) as judge, Judge(on.url) as other:
        name = judge.following()["trials"][0]["whole"]["pictures"][0]
        assert other.get(f"/p/{name}").status_code == 403  # nobody yet
        other.following()
        assert other.get(f"/p/{name}").status_code == 404


# Judges and votes


def test_a_judge_is_a_cookie(on: Served) -> None:
    with Judge(on.url) as judge:
        first = judge.get("/api/next")
        cookie = first.headers["set-cookie"]
        assert cookie.startswith("diptych_judge=")
        for part in ("HttpOnly", "SameSite=strict", "Path=/"):
            assert part in cookie
        again = judge.get("/api/next")
        assert "set-cookie" not in again.headers
        assert again.json()["trials"][0] == first.json()["trials"][0]
        judge.cookies.set("diptych_judge", "somebody-elses")
        judge.cookies = httpx.Cookies({"diptych_judge": "x" * 5000})
        assert "set-cookie" in judge.get("/api/next").headers


def test_a_sitting_over_http(on: Served, judged: Store) -> None:
    with Judge(on.url) as judge:
        state = judge.following()
        assert (state["criterion"], state["reveals"], state["last"]) == ("overall", False, None)
        assert state["progress"]["votes"] == 0
        trial = state["trials"][0]
        assert set(trial) == {"trial", "prompt", "whole", "detail"}
        assert trial["prompt"] in PROMPTS
        assert trial["detail"] is None

        done = judge.vote(trial["trial"], "left", "key-00000001", seconds=2.5).json()
        assert done["status"] == "kept"
        assert "names" not in done
        assert (done["progress"]["mine"], done["last"]) == (1, "key-00000001")
        assert judge.vote(trial["trial"], "left", "key-00000001").json()["status"] == "kept"
        assert judge.vote(trial["trial"], "right").json()["status"] == "already"
        assert judge.vote("no-such-trial").status_code == 404

        back = judge.post("/api/back", json={"of": "key-00000001", "key": "key-00000002"})
        assert back.json() == {"done": True}
        assert judge.following()["trials"][0]["trial"] == trial["trial"]
        judge.vote(trial["trial"], "tie", "key-00000003")

        end = judge.post("/api/end", json={}).json()["reveal"]
        assert {one["label"] for one in end["models"]} == {QUICK, DEAR}
        assert on.ended == [None]
        again = judge.following()
        assert again["reveal"] == end
        assert "trials" not in again
        assert judge.vote(trial["trial"]).status_code == 409
        shown = end["review"][0]["pictures"][0]
        assert judge.get(f"/p/{shown}").content.startswith(b"\x89PNG")
    assert [choice for _, choice, _ in the_votes(judged)] == ["left", None, "tie"]
    with judged.reading() as connection:
        assert connection.scalar(text("SELECT seconds FROM votes WHERE id = 1")) == 2.5


def test_names_after_each_vote_where_it_is_wanted(judged: Store) -> None:
    a_study(judged)
    with served(judged, reveals=True) as running, Judge(running.url) as judge:
        state = judge.following()
        assert state["reveals"] is True
        done = judge.vote(state["trials"][0]["trial"]).json()
        assert set(done["names"]) == {QUICK, DEAR}
        assert done["last"] is None


def test_many_judges_at_once(on: Served, judged: Store) -> None:
    def sit(number: int) -> int:
        with Judge(on.url, timeout=30) as judge:
            kept = 0
            while trials := judge.following()["trials"]:
                key = f"judge-{number}-{kept:08}"
                for _ in range(2):
                    assert judge.vote(trials[0]["trial"], "left", key).json()["status"] == "kept"
                kept += 1
        return kept

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        kept = list(pool.map(sit, range(8)))
    assert kept == [3 * 2 * 2] * 8
    rows = the_votes(judged)
    assert len(rows) == len({key for _, _, key in rows}) == 8 * 12


def test_a_new_start_of_the_program_goes_on(judged: Store) -> None:
    a_study(judged)
    with served(judged) as running, Judge(running.url) as judge:
        state = judge.following()
        port, cookies, stale = int(running.url.rpartition(":")[2]), judge.cookies, dict(judge.headers)
    with served(judged, port=port, seed=9) as running, Judge(running.url, cookies=cookies) as judge:
        judge.headers.update(stale)
        trial = state["trials"][0]["trial"]
        assert judge.vote(trial, key="key-00000001").status_code == 403  # with the token of before
        assert judge.following()["trials"][0]["trial"] == trial
        assert judge.vote(trial, key="key-00000001").json()["status"] == "kept"


def test_the_end_comes_back_after_a_new_start_where_the_evidence_suffices(judged: Store) -> None:
    a_study(judged)
    budget = Rule(budget=2)
    with served(judged, rule=budget) as running, Judge(running.url) as judge, Judge(running.url) as other:
        for who in (judge, other):
            who.vote(who.following()["trials"][0]["trial"])
        assert other.following()["progress"]["enough"] is True
        end = judge.post("/api/end", json={})
        assert "HttpOnly" in end.headers["set-cookie"]
        cookies, others = judge.cookies, other.cookies
    with served(judged, rule=budget, seed=9) as running:
        with Judge(running.url, cookies=others) as other:  # has not asked for the end, and is not shown it
            assert "reveal" not in other.following()
        with Judge(running.url, cookies=cookies) as judge:
            state = judge.following()
            assert state["reveal"]["headline"] == end.json()["reveal"]["headline"]
            assert judge.vote("any").status_code == 409
            assert judge.post("/api/on", json={}).json() == {"done": True}
            state = judge.following()
            assert judge.vote(state["trials"][0]["trial"]).json()["status"] == "kept"
            assert "trials" in judge.following()
            cookies = judge.cookies
    with served(judged, rule=budget, seed=9) as running, Judge(running.url, cookies=cookies) as judge:
        assert "trials" in judge.following()  # who went on goes on


def test_the_end_does_not_come_back_where_more_votes_are_wanted(judged: Store) -> None:
    a_study(judged)
    a_study(judged, name="another")
    with served(judged, name="study", rule=Rule(budget=1)) as running, Judge(running.url) as judge:
        judge.vote(judge.following()["trials"][0]["trial"])
        judge.post("/api/end", json={})
        cookies = judge.cookies
    with served(judged, name="study") as running, Judge(running.url, cookies=cookies) as judge:
        assert "trials" in judge.following()
    with served(judged, name="another", rule=Rule(budget=1)) as running:
        with Judge(running.url) as other:
            other.vote(other.following()["trials"][0]["trial"])
        with Judge(running.url, cookies=cookies) as judge:  # it is another study's end that was seen
            state = judge.following()
            assert state["progress"]["enough"] is True
            assert "trials" in state


def test_going_on_is_for_this_page_alone(on: Served) -> None:
    with Judge(on.url) as judge:
        judge.following()
        judge.post("/api/end", json={})
        with httpx.Client(base_url=on.url, cookies=judge.cookies) as bare:
            assert bare.post("/api/on", json={}).status_code == 403
        assert "reveal" in judge.following()
        assert judge.post("/api/on", json={"more": 1}).status_code == 422


# Who may not


def test_other_names_are_not_answered(on: Served) -> None:
    with Judge(on.url) as judge:
        for path in ("/", "/api/next"):
            assert judge.get(path, headers={"Host": "evil.example"}).status_code == 421
            assert judge.get(path, headers={"Host": "localhost:1"}).status_code == 200


def test_another_sites_page_cannot_vote(on: Served, judged: Store) -> None:
    with Judge(on.url) as judge:
        state = judge.following()
        body = {"trial": state["trials"][0]["trial"], "choice": "left", "criterion": "overall", "key": "key-00000001"}
        # What a form or a simple request of another site's page can send: cookies, but no header of ours.
        with httpx.Client(base_url=on.url, cookies=judge.cookies) as bare:
            assert bare.post("/api/vote", json=body).status_code == 403
            plain = {"Content-Type": "text/plain"}
            assert bare.post("/api/vote", content=json.dumps(body), headers=plain).status_code in (403, 422)
            assert bare.post("/api/end", json={}).status_code == 403
            assert bare.get("/api/next").status_code == 403
            assert "access-control-allow-origin" not in bare.options("/api/vote").headers
        wrong = {"X-Diptych": "0" * 32}
        assert judge.post("/api/vote", json=body, headers=wrong).status_code == 403
        assert judge.post("/api/vote", json=body).status_code == 200
        with Judge(on.url) as other:  # the token is of one judge
            other.following()
            other.headers["X-Diptych"] = judge.headers["X-Diptych"]
            assert other.vote("any").status_code == 403
    assert len(the_votes(judged)) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"trial": 1}',
        b"\xff\xfe",
        b'{"trial": "x", "choice": "left", "criterion": "overall", "key": "short"}',
        b'{"trial": "x", "choice": "left", "criterion": "overall", "key": "key-00000001", "seconds": -1}',
        b'{"trial": "x", "choice": "left", "criterion": "overall", "key": "key-00000001", "seconds": 1e999}',
        b'{"trial": "x", "choice": "left", "criterion": "overall", "key": "key-00000001", "more": 1}',
        b'{"trial": "x", "choice": "middle", "criterion": "overall", "key": "key-00000001"}',
        b'{"trial": "x", "choice": "left", "criterion": "beauty", "key": "key-00000001"}',
    ],
)
def test_what_is_no_vote_is_refused(on: Served, judged: Store, body: bytes) -> None:
    with Judge(on.url) as judge:
        judge.following()
        answer = judge.post("/api/vote", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 422
        assert "error" in answer.json()
    assert the_votes(judged) == []


def test_a_body_says_how_long_it_is_and_is_short(on: Served) -> None:
    with Judge(on.url) as judge:
        judge.following()
        assert judge.post("/api/vote", content=b"x" * (MOST_BYTES + 1)).status_code == 413
        assert judge.post("/api/vote", content=iter([b"{}"])).status_code == 411


def test_a_store_that_fails_is_no_traceback(on: Served, judged: Store) -> None:
    with Judge(on.url) as judge:
        state = judge.following()
        with judged.writing() as connection:
            connection.execute(text("ALTER TABLE votes RENAME TO gone"))
        answer = judge.vote(state["trials"][0]["trial"])
        assert (answer.status_code, answer.json()) == (503, {"error": "store"})
        with judged.writing() as connection:
            connection.execute(text("ALTER TABLE gone RENAME TO votes"))
        assert judge.vote(state["trials"][0]["trial"]).status_code == 200


# The join code


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_code_is_needed_once(judged: Store) -> None:
    a_study(judged)
    clock = Clock()
    with served(judged, code="KXQ-TMR", clock=clock) as running, Judge(running.url) as judge:
        assert judge.get("/").status_code == 200
        assert judge.following() == {"needs": "code"}
        assert "set-cookie" not in judge.get("/api/next").headers
        assert judge.vote("any").status_code == 401
        assert judge.get("/p/any").status_code == 401
        for _ in range(6):
            assert judge.post("/api/join", json={"code": "AAA-AAA"}).json() == {"joined": False}
        assert judge.post("/api/join", json={"code": "KXQ-TMR"}).json() == {"joined": False, "wait": 61}
        clock.now += 61
        with httpx.Client(base_url=running.url) as bare:
            assert bare.post("/api/join", json={"code": "KXQ-TMR"}).status_code == 403  # another site's page
        joined = judge.post("/api/join", json={"code": "kxqtmr"})
        assert joined.json() == {"joined": True}
        assert "HttpOnly" in joined.headers["set-cookie"]
        assert len(judge.following()["trials"]) == 1
        with Judge(running.url) as other:
            assert other.following() == {"needs": "code"}
            other.cookies.set("diptych_judge", judge.cookies["diptych_judge"])  # an id alone is no pass
            assert other.following() == {"needs": "code"}
