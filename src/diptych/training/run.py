"""The whole training, stage after stage; killed anywhere, it goes on where it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from diptych.engines.flow.weights import write_model
from diptych.training.autoencoder import polish_decoder, train_autoencoder
from diptych.training.data import fetch, load_renders, read_things
from diptych.training.flow import train_flow
from diptych.training.library import load_library
from diptych.training.plan import Plan
from diptych.training.words import distil

MU = 0.0
"""Shift of the built-in schedule, chosen by eye on sample sheets: see docs/log.md."""


def train(
    data: Path, work: Path, out: Path, plan: Plan, say: Callable[[str], None], *, listing: str | None = None
) -> None:
    """Fetch what is missing in `data`, train with checkpoints in `work`, write the finished model to `out`.

    listing: things to learn, in the form of ``things.txt``; that file when None.
    """
    fetch(data)
    work.mkdir(parents=True, exist_ok=True)
    torch.set_flush_denormal(True)
    things = read_things(data, listing)
    tokenizer = Tokenizer.from_file(str(data / "teacher" / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()

    table_file = work / "table.pt"
    if not table_file.exists():
        say("word table: asking the sentence encoder")
        torch.save(distil(data / "teacher", plan.text.table_width), table_file)
    table = torch.load(table_file, weights_only=True)
    plan = replace(plan, text=replace(plan.text, vocabulary=len(table)))

    autoencoder = train_autoencoder(load_renders(data, None, plan.size), plan, work, say)
    renders = load_renders(data, [thing.render for thing in things], plan.size)
    library = load_library(data, listing=listing, size=plan.size)
    model = train_flow(autoencoder, library, table, tokenizer, plan, work, say)
    autoencoder = polish_decoder(autoencoder, renders, plan, work, say)
    write_model(
        out,
        transformer=(plan.flow, model.transformer.state_dict()),
        autoencoder=(plan.autoencoder, autoencoder.state_dict()),
        text=(plan.text, model.text.state_dict()),
        tokenizer=tokenizer.to_str(),
        mu=MU,
        settings=settings(plan),
    )
    say(f"written to {out}")


def settings(plan: Plan) -> dict[str, Any]:
    """What a request may set, in the catalogue's form."""
    size = [plan.size, plan.size]
    return {
        "size": {"default": size, "choices": [size]},
        "steps": {"default": 25, "min": 1, "max": 200},
        "guidance": {"default": 3.0, "min": 1.0, "max": 20.0, "off": 1.0},
        "negative": True,
        "seed": True,
    }
