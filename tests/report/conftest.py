"""Studies put into a real store through its tables, with small real pictures."""

from __future__ import annotations

import dataclasses
import io
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw
from sqlalchemy import insert

from diptych import catalogue, measure, store
from diptych.settings import HOME_VARIABLE
from diptych.store import schema
from diptych.store.database import Store
from diptych.studies import results
from diptych.studies.results import Results

CREATED = "2026-11-20T09:30:00.000+00:00"
HOSTILE = '<script>alert("x")</script><img src=x onerror=alert(1)> \'"&amp; </style></title> 🦊 {{ 7 * 7 }} $x_1$'
RTL = "\u05e9\u05d5\u05e2\u05dc \u05d1\u05e9\u05dc\u05d2 \u202e abc"


def picture(seed: int, size: tuple[int, int] = (64, 48), kind: str = "PNG") -> bytes:
    """Shapes that follow from `seed`; the same bytes for the same seed."""
    drawn = random.Random(seed)  # noqa: S311  # nothing is secret here
    noise = np.random.default_rng(seed).integers(60, 200, (size[1], size[0], 1), np.uint8)
    image = Image.fromarray(np.repeat(noise, 3, axis=2))
    draw = ImageDraw.Draw(image)
    for _ in range(5):
        x, y = drawn.randrange(size[0]), drawn.randrange(size[1])
        far = drawn.randrange(6, max(8, min(size) // 2))
        colour = tuple(drawn.randrange(256) for _ in range(3))
        draw.ellipse((x - far, y - far, x + far, y + far), fill=colour)
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()


class Builder:
    """Writes one study's rows. Ids of prompts and contestants are kept in the order in which they were added."""

    def __init__(self, store: Store, name: str = "study", **values: Any) -> None:
        self.store, self.name = store, name
        self.prompts: list[int] = []
        self.contestants: list[int] = []
        row = {
            "name": name,
            "fingerprint": name,
            "created": CREATED,
            "seed": 1,
            "settings": {"samples": 4, "prompts": "given", "set": {}},
            "versions": {"diptych": "0.1.0", "python": "3.11"},
        }
        self.id = self._insert(schema.studies, {**row, **values})

    def _insert(self, table: Any, values: dict[str, Any]) -> Any:
        with self.store.writing() as connection:
            key = connection.execute(insert(table).values(**values)).inserted_primary_key
        assert key is not None
        return key[0]

    def prompt(self, text: str, category: str | None = None) -> int:
        values = {"study_id": self.id, "position": len(self.prompts), "text": text, "category": category}
        self.prompts.append(self._insert(schema.prompts, values))
        return self.prompts[-1]

    def contestant(self, label: str, model: str | None = None, provider: str = "fake", **values: Any) -> int:
        """model: of the catalogue, whose entry is kept as facts; without it there are none."""
        facts = {} if model is None else catalogue.load().find(model).model_dump(mode="json")
        row = {
            "study_id": self.id,
            "position": len(self.contestants),
            "label": label,
            "model": model or label,
            "provider": provider,
            "values": {},
            "facts": facts,
        }
        self.contestants.append(self._insert(schema.contestants, {**row, **values}))
        return self.contestants[-1]

    def sample(
        self,
        prompt: int,
        contestant: int,
        number: int,
        data: bytes | None = None,
        *,
        measured: bool = False,
        request: dict[str, Any] | None = None,
        **values: Any,
    ) -> int:
        """prompt, contestant: counted from 0. data: of the picture; without it give `state` and `error`."""
        row: dict[str, Any] = {
            "study_id": self.id,
            "prompt_id": self.prompts[prompt],
            "contestant_id": self.contestants[contestant],
            "number": number,
            "request": request or {"prompt": "given", "seed": number + 1},
            "state": "planned",
        }
        if data is not None:
            with Image.open(io.BytesIO(data)) as image:
                width, height = image.size
                media_type = Image.MIME[image.format or ""]
            row |= {
                "state": "done",
                "finished": CREATED,
                "picture": self.store.pictures.put(data),
                "media_type": media_type,
                "width": width,
                "height": height,
                "bytes": len(data),
                "timing": {"total": values.get("seconds")},
            }
            if measured:
                self.measurement(row["picture"], measure.measure(data).to_dict())
        return self._insert(schema.samples, {**row, **values})

    def measurement(self, sha256: str, values: dict[str, Any]) -> None:
        row = {"picture": sha256, "version": measure.VERSION, "values": values}
        with self.store.writing() as connection:
            connection.execute(insert(schema.measurements).prefix_with("OR IGNORE").values(**row))

    def attempt(self, sample: int, outcome: str, charge: float) -> None:
        values = {"study_id": self.id, "sample_id": sample, "sent": CREATED, "reserved": charge, "charge": charge}
        self._insert(schema.attempts, {**values, "outcome": outcome, "ended": CREATED})

    def results(self) -> Results:
        return results.load(self.store, self.name, measure_version=measure.VERSION)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Store]:
    opened = store.open(f"sqlite:///{tmp_path / 'studies.sqlite'}", str(tmp_path / "pictures"))
    yield opened
    opened.close()


@pytest.fixture
def build(opened: Store) -> Builder:
    return Builder(opened)


@pytest.fixture(scope="session")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Builder]:
    """Three contestants on two prompts, with everything that can become of a sample, and texts that mean harm.

    Made once, and only read.
    """
    folder = tmp_path_factory.mktemp("rich")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(HOME_VARIABLE, str(folder / "home"))
        opened = store.open(f"sqlite:///{folder / 'studies.sqlite'}", str(folder / "pictures"))
        study = Builder(opened, "rich", budget=5.0)
        _fill(study)
    yield study
    opened.close()


def _fill(study: Builder) -> None:
    study.prompt("a red apple on a blue background", "things")
    study.prompt(f"{HOSTILE} {RTL}", "<b>animals</b>")
    study.contestant("quick steps=8", "builtin-flow", "local")
    study.contestant(
        "dear",
        "gemini-3.1-flash-image",
        "google",
        estimate=0.067,
        estimate_source={"dollars": 0.067, "basis": "price", "source": "LiteLLM price file", "date": "2026-09"},
    )
    study.contestant(f"evil {HOSTILE}", None, "import")
    for prompt in range(2):
        for number in range(4):
            seed = 10 * prompt + number
            study.sample(prompt, 0, number, picture(seed), measured=True, seconds=0.2 + seed / 1000)
            study.sample(
                prompt,
                1,
                number,
                picture(100 + seed, (160, 120), "JPEG"),
                measured=True,
                seconds=1.5 + seed / 100,
                cost=0.067,
                cost_basis="usage",
                request={"prompt": "given", "width": 160, "height": 120, "seed": number + 1},
            )
    refused = {"state": "refused", "error_kind": "Refused", "error": f"Not this one: {HOSTILE} {RTL}"}
    study.attempt(study.sample(0, 2, 0, **refused), "refused", 0.01)
    study.sample(0, 2, 1, state="failed", error="500 from the vendor", error_kind="ProviderError")
    study.attempt(study.sample(0, 2, 2, state="unknown", error="No answer.", error_kind="Unanswered"), "unknown", 0.02)
    study.sample(0, 2, 3)
    near = picture(77, (96, 96))
    for number in range(2):
        study.sample(
            1, 2, number, _touched(near, number), measured=True, request={"prompt": "x", "aspect_ratio": "16:9"}
        )
    return study


def _touched(data: bytes, times: int) -> bytes:
    """Nearly the same picture, in other bytes."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    image.putpixel((0, 0), (times, 0, 0))
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def change(record: Any, **values: Any) -> Any:
    return dataclasses.replace(record, **values)
