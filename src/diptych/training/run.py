"""The trainings, stage after stage; killed anywhere, each goes on where it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from diptych.engines.flow.weights import write_model
from diptych.engines.tokens.weights import write_model as write_tokens
from diptych.training import codec as codec_stage
from diptych.training import tokens as tokens_stage
from diptych.training.autoencoder import polish_decoder, train_autoencoder
from diptych.training.classifier import Classifier, ClassifierPlan, load_classifier, save_classifier, train_classifier
from diptych.training.codec import CodecPlan, draw_scenes, every_render, polish_codec, train_codec
from diptych.training.data import fetch, load_renders, read_things
from diptych.training.edits import Scenes
from diptych.training.flow import train_flow
from diptych.training.library import load_library
from diptych.training.plan import SMOKE as FLOW_SMOKE
from diptych.training.plan import Plan
from diptych.training.scenes import Maker
from diptych.training.tokens import TokensPlan, train_tokens
from diptych.training.words import distil

MU = 0.0
"""Shift of the built-in schedule, chosen by eye on sample sheets: see docs/log.md."""
Say = Callable[[str], None]


def flow(data: Path, work: Path, out: Path, say: Say, *, plan: Plan | None = None, listing: str | None = None) -> None:
    """The flow model: word table, autoencoder, flow network, decoder. Writes the finished model to `out`.

    Fetches what is missing in `data`; checkpoints are in `work`. listing: things to learn, in the form of
    ``things.txt``; that file when None.
    """
    plan = plan or Plan()
    tokenizer, table = _begin(data, work, plan.text.table_width, say)
    things = read_things(data, listing)
    plan = replace(plan, text=replace(plan.text, vocabulary=len(table)))
    autoencoder = train_autoencoder(load_renders(data, None, plan.size), plan, work, say)
    library = load_library(data, listing=listing, size=plan.size)
    model = train_flow(autoencoder, library, table, tokenizer, plan, work, say)
    renders = load_renders(data, [thing.render for thing in things], plan.size)
    autoencoder = polish_decoder(autoencoder, renders, plan, work, say)
    write_model(
        out,
        transformer=(plan.flow, model.transformer.state_dict()),
        autoencoder=(plan.autoencoder, autoencoder.state_dict()),
        text=(plan.text, model.text.state_dict()),
        tokenizer=tokenizer.to_str(),
        mu=MU,
        settings=flow_settings(plan),
    )
    say(f"written to {out}")


def tokens(
    data: Path,
    work: Path,
    out: Path,
    say: Say,
    *,
    codec_plan: CodecPlan | None = None,
    plan: TokensPlan | None = None,
    listing: str | None = None,
) -> None:
    """The token model: word table, image tokenizer, network, the tokenizer's decoder. As `flow` else.

    Where a classifier was trained in `work`, its features help the decoder.
    """
    codec_plan, plan = codec_plan or CodecPlan(), plan or TokensPlan()
    tokenizer, table = _begin(data, work, plan.network.table_width, say)
    plan = replace(plan, network=replace(plan.network, vocabulary=len(table)))
    # Three quarters of the largest size: sharp enough, and half of the memory.
    size = plan.large * 3 // 4
    library = load_library(data, listing=listing, size=size)
    everything = load_library(data, listing=every_render(data), size=size) if listing is None else library
    draw = draw_scenes([Maker(library, codec_plan.seed), Maker(everything, codec_plan.seed)])
    codec = train_codec(draw, codec_plan, work, say)
    network = train_tokens(codec, Scenes(Maker(library, plan.seed)), table, tokenizer, plan, work, say)
    judge = _classifier(work)
    codec = polish_codec(codec, draw, codec_plan, work, say, None if judge is None else judge.maps)
    write_tokens(
        out,
        network=(plan.network, network.state_dict()),
        codec=(codec_plan.codec, codec.state_dict()),
        tokenizer=tokenizer.to_str(),
        settings=tokens_settings(plan),
    )
    say(f"written to {out}")


def classifier(data: Path, work: Path, say: Say, *, plan: ClassifierPlan | None = None) -> Path:
    """The classifier that evaluations look with; the folder that it is in."""
    plan = plan or ClassifierPlan()
    fetch(data)
    folder = work / CLASSIFIER
    save_classifier(train_classifier(load_library(data, size=plan.size * 2), plan, folder, say), folder)
    say(f"written to {folder}")
    return folder


CLASSIFIER = "classifier"


def smoke(data: Path, work: Path, out: Path, say: Say, stage: str, *, listing: str | None = None) -> None:
    """Everything of a training in seconds, at a size that learns nothing."""
    if stage == "flow":
        flow(data, work, out, say, plan=FLOW_SMOKE, listing=listing)
    else:
        tokens(data, work, out, say, codec_plan=codec_stage.SMOKE, plan=tokens_stage.SMOKE, listing=listing)


def _begin(data: Path, work: Path, width: int, say: Say) -> tuple[Tokenizer, Tensor]:
    """Data, work folder, the tokenizer and the table of word vectors."""
    fetch(data)
    work.mkdir(parents=True, exist_ok=True)
    torch.set_flush_denormal(True)
    tokenizer = Tokenizer.from_file(str(data / "teacher" / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    table_file = work / f"table-{width}.pt"
    if not table_file.exists():
        say("word table: asking the sentence encoder")
        torch.save(distil(data / "teacher", width), table_file)
    return tokenizer, torch.load(table_file, weights_only=True)


def _classifier(work: Path) -> Classifier | None:
    folder = work / CLASSIFIER
    if not (folder / "classifier.safetensors").is_file():
        return None
    return load_classifier(folder).eval().requires_grad_(False)


def flow_settings(plan: Plan) -> dict[str, Any]:
    """What a request may set, in the catalogue's form."""
    size = [plan.size, plan.size]
    return {
        "size": {"default": size, "choices": [size]},
        "steps": {"default": 25, "min": 1, "max": 200},
        "guidance": {"default": 3.0, "min": 1.0, "max": 20.0, "off": 1.0},
        "negative": True,
        "seed": True,
    }


def tokens_settings(plan: TokensPlan) -> dict[str, Any]:
    """The same of a token model; a step is a pass."""
    sizes = [[plan.size, plan.size], [plan.large, plan.large]]
    return {
        "size": {"default": sizes[0], "choices": sizes},
        "steps": {"default": 8, "min": 1, "max": 64},
        "guidance": {"default": 3.0, "min": 1.0, "max": 20.0, "off": 1.0},
        "negative": True,
        "seed": True,
    }
