"""A study as a page, or as data.

    evidence.py    quantiles, the sign test
    summary.py     a study in numbers
    answer.py      the answer in a sentence
    ballots.py     the votes of a study, of people and of models
    judged.py      what blind votes say
    voting.py      the sections on votes
    tradeoff.py    quality, cost and time in one view
    claims.py      what is published, beside what was measured
    plots.py       strips and panels as SVG
    gallery.py     which pictures are shown, in how many bytes
    sections.py    what each section says
    page.py        the page
    data.py        JSON and CSV

Importing this room is cheap: matplotlib, Jinja2 and Pillow come with the first page.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diptych.report.ballots import Ballots
    from diptych.store.pictures import Pictures
    from diptych.studies.results import Results


def write(
    results: Results,
    pictures: Pictures,
    out: Path,
    *,
    votes: Ballots | None = None,
    full: bool = False,
    force: bool = False,
) -> Path:
    """Write the report of a study, and return the page.

    votes: `report.ballots.load(store, results.id)`; without them the report says that nobody has judged yet.
    results: `studies.results.load(..., measure_version=measure.VERSION)`. pictures: those of its store. out: an HTML
    file of at most 25 MB that needs nothing else; with `full` a folder with `index.html` and the original pictures.
    An earlier report there is replaced, any other file only with `force`, any other folder never. Raises OutputError.
    """
    from diptych.report import judged, page

    jury = judged.hear(votes)
    if full:
        return page.write_folder(results, pictures, out, jury)
    return page.write_page(results, pictures, out, jury, force=force)


def is_report(path: Path) -> bool:
    """Whether this file is a page that was written here, which may be replaced."""
    from diptych.report import page

    return page.is_report(path)


def to_json(results: Results) -> str:
    """All of a study but its pictures; what the keys mean is in `diptych.report.data`."""
    from diptych.report import data

    return data.to_json(results)


def to_csv(results: Results) -> str:
    """A line for each sample; what the columns mean is in `diptych.report.data`."""
    from diptych.report import data

    return data.to_csv(results)
