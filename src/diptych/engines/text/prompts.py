"""Prompts to tokens: the chat templates, padding and masks that the models of the FLUX family were trained with.

A prompt that is too long is an error that says how long it is. The references cut it: diffusers' FLUX.1 with a warning,
its FLUX.2 and FLUX 3 pipelines and Black Forest Labs' own code without a word.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diptych.errors import InvalidRequest, WeightsError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MISTRAL_SYSTEM = (
    "You are an AI that reasons about image descriptions. You give structured responses focusing on object "
    "relationships, object\nattribution and actions without speculation."
)
"""Source: black-forest-labs/flux2, system_messages.py; the line break is theirs."""
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "spiece.model")


@dataclass(frozen=True)
class Style:
    """How prompts become tokens for one kind of encoder."""

    pad: str
    """The token that fills a prompt up, where `tokenizer_config.json` names none."""
    longest: int
    """Tokens, with those of the template."""
    before: str = ""
    """The chat template as it is rendered for one turn of a user: what comes before the prompt, and what after it."""
    after: str = ""
    needs: tuple[str, ...] = ()
    """Tokens that the vocabulary must have whole: by them a wrong tokenizer is known."""
    removed: tuple[str, ...] = ()
    """Taken out of prompts, as the references do: these words stand for pictures."""
    multiple: int | None = None
    """Prompts are padded to a multiple of so many tokens; None: to `longest`."""
    side: str | None = None
    """left or right; None: as `tokenizer_config.json` says, else right."""
    cut: bool = False
    """Whether what is too long is cut. Only for CLIP, which sums a prompt up while T5 reads all of it."""


_CHAT = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
T5 = Style(pad="<pad>", longest=512, needs=("</s>", "<pad>"))
CLIP = Style(pad="<|endoftext|>", longest=77, needs=("<|startoftext|>", "<|endoftext|>"), cut=True)
MISTRAL = Style(
    pad="<pad>",
    longest=512,
    before=f"<s>[SYSTEM_PROMPT]{MISTRAL_SYSTEM}[/SYSTEM_PROMPT][INST]",
    after="[/INST]",
    needs=("<s>", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[INST]", "[/INST]"),
    removed=("[IMG]",),
)
QWEN3 = Style(
    pad="<|endoftext|>",
    longest=512,
    before="<|im_start|>user\n",
    after="<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
    needs=(*_CHAT, "<think>", "</think>"),
)
QWEN3_VL = Style(
    pad="<|endoftext|>",
    longest=4096,  # Black Forest Labs' own limit; diffusers cuts at 8192
    before="<|im_start|>user\n",
    after="<|im_end|>\n<|im_start|>assistant\n",
    needs=_CHAT,
    multiple=80,
    side="right",
)


@dataclass(frozen=True)
class Tokens:
    """One prompt. ids, mask: (1, L); the mask is true for tokens and false for padding."""

    ids: Tensor
    mask: Tensor


@dataclass(frozen=True)
class PromptTokenizer:
    """A folder's vocabulary, used in one `Style`. Build it with `open_tokenizer`."""

    style: Style
    vocabulary: Tokenizer
    pad: int
    side: str

    @property
    def overhead(self) -> int:
        """Tokens that are not the prompt's own: those of the template, or the ends of a sentence."""
        return len(self._encode(""))

    def count(self, prompt: str) -> int:
        """Tokens of `prompt`, with those of the template."""
        return len(self._encode(prompt))

    def __call__(self, prompt: str) -> Tokens:
        """Tokens of one prompt, padded. Raises InvalidRequest for one that is too long; see `Style.cut`."""
        style, ids = self.style, self._encode(prompt)
        if len(ids) > style.longest and style.cut:
            ids = [*ids[: style.longest - 1], ids[-1]]  # the token that ends a sentence stays
        if len(ids) > style.longest:
            overhead = self.overhead
            raise InvalidRequest(
                f"The prompt {prompt[:40]!r}... has {len(ids) - overhead} tokens; this model's text encoder reads at "
                f"most {style.longest - overhead} (about {(style.longest - overhead) * 3 // 4} words)."
            )
        multiple = style.multiple
        length = style.longest if multiple is None else min(-(-len(ids) // multiple) * multiple, style.longest)
        empty = length - len(ids)
        fill, mask = [self.pad] * empty, [True] * len(ids)
        if self.side == "left":
            ids, mask = fill + ids, [False] * empty + mask
        else:
            ids, mask = ids + fill, mask + [False] * empty
        return Tokens(torch.tensor([ids]), torch.tensor([mask]))

    def _encode(self, prompt: str) -> list[int]:
        style = self.style
        for word in style.removed:
            prompt = prompt.replace(word, "")
        templated = bool(style.before or style.after)
        return list(
            self.vocabulary.encode(f"{style.before}{prompt}{style.after}", add_special_tokens=not templated).ids
        )


def open_tokenizer(folder: Path, style: Style, *, rows: int) -> PromptTokenizer:
    """The tokenizer of a folder: `tokenizer.json` as it is, else what transformers makes of the older files.

    rows: of the encoder's table of tokens. Raises WeightsError for a tokenizer that is missing, broken or another's.
    """
    config = _read_config(folder / "tokenizer_config.json")
    vocabulary = _read_vocabulary(folder)
    vocabulary.no_truncation()
    vocabulary.no_padding()
    pad = _content(config.get("pad_token")) or style.pad
    missing = [token for token in dict.fromkeys((*style.needs, pad)) if vocabulary.token_to_id(token) is None]
    if missing:
        raise WeightsError(
            f"The tokenizer in {folder} is not the one of this text encoder: its vocabulary has no "
            f"{', '.join(missing)}."
        )
    highest = max(vocabulary.get_vocab(with_added_tokens=True).values())
    if highest >= rows:
        raise WeightsError(
            f"The tokenizer in {folder} is not the one of this text encoder: its tokens go up to {highest}, and the "
            f"encoder's table has {rows} rows."
        )
    side = style.side or config.get("padding_side") or "right"
    if side not in ("left", "right"):
        raise WeightsError(f"{folder / 'tokenizer_config.json'}: padding_side is {side!r}; it is left or right.")
    number = vocabulary.token_to_id(pad)
    assert number is not None
    tokenizer = PromptTokenizer(style, vocabulary, number, side)
    split = [token for token in style.needs if style.before and len(_plain(vocabulary, token)) != 1]
    if split:
        raise WeightsError(
            f"The tokenizer in {folder} cannot read the template: it takes {', '.join(split)} apart, each of which "
            "must be one token."
        )
    if tokenizer.overhead >= style.longest:
        raise WeightsError(f"The tokenizer in {folder} needs {tokenizer.overhead} tokens for an empty prompt.")
    return tokenizer


def _plain(vocabulary: Tokenizer, text: str) -> Sequence[int]:
    return vocabulary.encode(text, add_special_tokens=False).ids


def _read_config(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}.") from None
    except ValueError as error:
        raise WeightsError(f"{path} is not JSON: {error}.") from None
    if not isinstance(values, dict):
        raise WeightsError(f"{path} holds no table of settings.")
    return values


def _content(token: Any) -> str | None:
    """A token is written as text, or as a table of its properties."""
    token = token.get("content") if isinstance(token, dict) else token
    return token if isinstance(token, str) else None


def _read_vocabulary(folder: Path) -> Tokenizer:
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json"
    if path.is_file():
        try:
            return Tokenizer.from_file(str(path))
        except Exception as error:  # noqa: BLE001  # the library raises nothing narrower
            raise WeightsError(f"{path} is not a tokenizer: {error}.") from None
    older = [name for name in TOKENIZER_FILES if (folder / name).is_file()]
    if not {"vocab.json", "spiece.model"} & set(older):
        here = f"it has {', '.join(older)}" if older else "it has no file of one"
        raise WeightsError(f"There is no tokenizer in {folder}: {here}; tokenizer.json is looked for.")
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        vocabulary: Tokenizer = tokenizer.backend_tokenizer
    except Exception as error:  # noqa: BLE001  # whatever its many readers raise
        message = str(error).strip().splitlines()
        raise WeightsError(
            f"The tokenizer files {', '.join(older)} in {folder} cannot be read: {message[0] if message else error!r}."
        ) from None
    return vocabulary


def tokenizer_files(folder: Path) -> list[Path]:
    """The files that decide what tokens a prompt becomes."""
    return [folder / name for name in TOKENIZER_FILES if (folder / name).is_file()]
