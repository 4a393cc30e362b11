"""A study as data: JSON of all of it, CSV of its samples. Neither holds recipes, which repeat what stands here.

Columns of the CSV, and keys of a sample in the JSON:

    study, prompt (counted from 1), text, category, contestant, model, provider, number (counted from 0), state
    seed, asked_width, asked_height, width, height, media_type, bytes, picture (SHA-256 of the original bytes)
    seconds, queued, first_byte, download, per_step     seconds; peak_memory in bytes
    cost in dollars, cost_basis (stated, usage, price or machine), finished (UTC), request_id
    error_kind, error                                   of what was refused, failed or never answered
    original.*, common.*, bits_per_pixel, ...           what `diptych measure` prints, at both sizes

An empty cell is unknown, or does not apply; it never stands for zero.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Iterator, Mapping
from typing import Any

from diptych import settings
from diptych.measure import QUANTITIES
from diptych.report.summary import Line, summarise
from diptych.studies.results import Results, SampleRow

TIMES = ("queued", "first_byte", "download", "per_step", "peak_memory")
AT_SIZE = ("width", "height", *(quantity.name for quantity in QUANTITIES))
MEASURES = (
    *(f"{size}.{name}" for size in ("original", "common") for name in AT_SIZE),
    "bits_per_pixel",
    "perceptual_hash",
    "version",
)


def to_json(results: Results) -> str:
    """Indented; the summary of each contestant, and every sample with its request and measures."""
    facts = {
        "study": {
            "name": results.name,
            "created": results.created,
            "budget": results.budget,
            "seed": results.seed,
            "settings": dict(results.settings),
            "versions": dict(results.versions),
            "spent": results.spent,
            "possibly_not_charged": results.unsure,
        },
        "prompts": [{"prompt": p.position + 1, "text": p.text, "category": p.category} for p in results.prompts],
        "contestants": [_contestant(line) for line in summarise(results).lines],
        "samples": [
            {**row, "request": dict(sample.request), "text_beside": sample.text, "usage": dict(sample.usage)}
            for row, sample in zip(_rows(results), results.samples, strict=True)
        ],
    }
    return settings.redact(json.dumps(facts, ensure_ascii=False, indent=1, default=str))


def to_csv(results: Results) -> str:
    """A header and one line a sample, in the order of prompt, contestant and number."""
    out = io.StringIO()
    rows = list(_rows(results))
    writer = csv.DictWriter(out, fieldnames=[*ALWAYS, *MEASURES], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return settings.redact(out.getvalue())


ALWAYS = (
    *("study", "prompt", "text", "category", "contestant", "model", "provider", "number", "state"),
    *("seed", "asked_width", "asked_height", "width", "height", "media_type", "bytes", "picture"),
    *("seconds", *TIMES, "cost", "cost_basis", "finished", "request_id", "error_kind", "error"),
)


def _rows(results: Results) -> Iterator[dict[str, Any]]:
    prompts = {prompt.id: prompt for prompt in results.prompts}
    contestants = {contestant.id: contestant for contestant in results.contestants}
    for sample in results.samples:
        prompt, contestant = prompts[sample.prompt_id], contestants[sample.contestant_id]
        yield {
            "study": results.name,
            "prompt": prompt.position + 1,
            "text": prompt.text,
            "category": prompt.category,
            "contestant": contestant.label,
            "model": contestant.model,
            "provider": contestant.provider,
            **_sample(sample),
        }


def _sample(sample: SampleRow) -> dict[str, Any]:
    return {
        "number": sample.number,
        "state": sample.state,
        "seed": sample.request.get("seed"),
        "asked_width": sample.request.get("width"),
        "asked_height": sample.request.get("height"),
        "width": sample.width,
        "height": sample.height,
        "media_type": sample.media_type,
        "bytes": sample.bytes,
        "picture": sample.picture,
        "seconds": sample.seconds,
        **{name: sample.timing.get(name) for name in TIMES},
        "cost": sample.cost,
        "cost_basis": sample.cost_basis,
        "finished": sample.finished,
        "request_id": sample.request_id,
        "error_kind": sample.error_kind,
        "error": sample.error,
        **dict.fromkeys(MEASURES),
        **(_flat(sample.measures) if sample.measures is not None else {}),
    }


def _flat(measures: Mapping[str, Any]) -> dict[str, Any]:
    flat = {
        f"{name}.{inner}" if isinstance(value, Mapping) else name: inner_value
        for name, value in measures.items()
        for inner, inner_value in (value.items() if isinstance(value, Mapping) else [("", value)])
    }
    return {name: flat.get(name) for name in MEASURES}


def _contestant(line: Line) -> dict[str, Any]:
    row = line.row
    return {
        "label": row.label,
        "model": row.model,
        "provider": row.provider,
        "settings": dict(row.values),
        "facts": dict(row.facts),
        "samples": {**dataclasses.asdict(line.counts), "asked": line.counts.asked},
        "cost": {
            **dataclasses.asdict(line.money),
            "per_1000": line.money.per_1000,
            "dearer_than_estimated": line.money.difference,
        },
        "seconds": _plain(line.seconds),
        "seconds_per_step": _plain(line.per_step),
        "peak_memory": line.peak_memory,
        "sizes": dataclasses.asdict(line.sizes),
        "near_duplicates": {**dataclasses.asdict(line.duplicates), "pictures": line.duplicates.pictures},
        "detail": {name: _plain(spread) for name, spread in line.detail.items()},
    }


def _plain(record: Any) -> dict[str, Any] | None:
    return None if record is None else dataclasses.asdict(record)
