"""A study as JSON and as CSV."""

from __future__ import annotations

import csv
import io
import json

from diptych import report, settings
from diptych.report import data
from tests.report.conftest import HOSTILE, RTL, Builder, change


def test_json_holds_all_of_it(rich: Builder) -> None:
    results = rich.results()
    read = json.loads(report.to_json(results))
    assert read["study"]["name"] == "rich"
    assert read["study"]["spent"] == 0.03
    assert read["prompts"][1] == {"prompt": 2, "text": f"{HOSTILE} {RTL}", "category": "<b>animals</b>"}
    assert [one["label"] for one in read["contestants"]][:2] == ["quick steps=8", "dear"]
    assert len(read["samples"]) == len(results.samples)
    first = read["samples"][0]
    assert (first["seconds"], first["cost"], first["seed"], first["state"]) == (0.2, None, 1, "done")
    assert first["common.contrast"] == results.samples[0].measures["common"]["contrast"]  # type: ignore[index]
    dear = read["contestants"][1]
    assert (dear["cost"]["mean"], dear["cost"]["per_1000"], dear["samples"]["done"]) == (0.067, 67.0, 8)
    assert dear["seconds"]["n"] == 8


def test_csv_has_a_line_for_each_sample(rich: Builder) -> None:
    results = rich.results()
    rows = list(csv.DictReader(io.StringIO(report.to_csv(results))))
    assert len(rows) == len(results.samples)
    assert rows[0]["contestant"] == "quick steps=8"
    assert rows[0]["cost"] == ""  # unknown, and no zero
    assert float(rows[0]["common.tenengrad"]) > 0
    refused = [row for row in rows if row["state"] == "refused"]
    assert [row["error"] for row in refused] == [f"Not this one: {HOSTILE} {RTL}"]
    assert refused[0]["original.contrast"] == ""
    assert {row["text"] for row in rows} == {prompt.text for prompt in results.prompts}


def test_every_column_is_described() -> None:
    described = data.__doc__ or ""
    for column in data.ALWAYS:
        assert column in described, column


def test_no_recipe_and_no_key_gets_out(rich: Builder) -> None:
    settings.store_key("openai", "sk-secret-0123456789")
    results = rich.results()
    samples = tuple(
        change(s, recipe={"secret": "sauce"}, text="sk-secret-0123456789", error="sk-secret-0123456789")
        for s in results.samples
    )
    for text in (report.to_json(change(results, samples=samples)), report.to_csv(change(results, samples=samples))):
        assert "sauce" not in text
        assert "sk-secret" not in text
