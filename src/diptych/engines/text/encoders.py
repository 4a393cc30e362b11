"""The text encoders of FLUX.1, FLUX.2 and FLUX 3, run by transformers and cut after the last layer that is read.

| kind       | networks                           | what the transformer reads                                |
|------------|------------------------------------|-----------------------------------------------------------|
| FLUX1      | T5 v1.1 encoder, CLIP text         | T5's last hidden state, not masked; CLIP's pooled output  |
| FLUX2_DEV  | Mistral-Small-3.2, its text model  | hidden states 10, 20, 30, side by side                    |
| FLUX2_KLEIN| Qwen3                              | hidden states 9, 18, 27                                   |
| FLUX3      | Qwen3-VL, its text model           | hidden states 4, 8, ..., 32                               |

Hidden state k is what layer k gives, before the final norm; 0 would be the table of tokens. Sources: diffusers'
pipelines for FLUX.1 and FLUX.2 and its modular blocks for FLUX 3, with which the tests compare every number.

Opening an encoder reads headers alone and checks everything that can be checked; weights come with the first prompt.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diptych.engines.text.loading import Checkpoint, match, open_checkpoint, read_json, read_tensors
from diptych.engines.text.prompts import (
    CLIP,
    MISTRAL,
    QWEN3,
    QWEN3_VL,
    T5,
    PromptTokenizer,
    Style,
    Tokens,
    open_tokenizer,
    tokenizer_files,
)
from diptych.errors import InvalidRequest, WeightsError


@dataclass(frozen=True)
class TextStates:
    """What an encoder says of prompts. hidden: (B, L, width); pooled: (B, width of its own), with CLIP alone."""

    hidden: Tensor
    pooled: Tensor | None = None


def joined(states: Sequence[TextStates]) -> TextStates:
    """Several as one batch. Raises InvalidRequest where they differ in length, as FLUX 3's may (`Style.multiple`)."""
    lengths = sorted({one.hidden.shape[1] for one in states})
    if len(lengths) != 1:
        raise InvalidRequest(
            f"Prompts of {' and '.join(map(str, lengths)) or 'no'} tokens do not go into one batch: the transformer "
            "attends to the padding, so each must be run by itself."
        )
    pooled = [one.pooled for one in states if one.pooled is not None]
    return TextStates(torch.cat([one.hidden for one in states]), torch.cat(pooled) if pooled else None)


@dataclass(frozen=True)
class Part:
    """One network of a kind of encoder: where it lies, what it is, and which of its tensors are left out."""

    folder: str
    tokenizer: str
    model_types: tuple[str, ...]
    """As `config.json` says, and the class of transformers that each is; see `_build`."""
    style: Style
    prefixes: tuple[str, ...]
    """Of its keys in the files: releases of transformers differ."""
    left_out: tuple[str, ...]
    taps: tuple[int, ...] = ()
    """Hidden states that are read; none: the output."""


@dataclass(frozen=True)
class Kind:
    """What the models of one family read prompts with."""

    name: str
    parts: tuple[Part, ...]
    """The first gives the hidden states, the second, if any, the pooled one."""


TEXT_TYPES = {"clip": "clip_text_model", "mistral3": "mistral", "qwen3_vl": "qwen3_vl_text"}
"""The type of the text network in one that sees pictures too."""
_HEAD = (r"(language_model\.)?lm_head\.weight", r"{p}norm\.weight", r".*\.rotary_emb\.inv_freq")
FLUX1 = Kind(
    "flux1",
    (
        Part(
            "text_encoder_2",
            "tokenizer_2",
            ("t5",),
            T5,
            ("encoder.",),
            (r"encoder\.embed_tokens\.weight", r"decoder\..*", r"lm_head\.weight"),
        ),
        Part(
            "text_encoder",
            "tokenizer",
            ("clip_text_model", "clip"),
            CLIP,
            ("text_model.", ""),
            (
                r"(text_model\.)?embeddings\.position_ids",
                r"text_projection\.weight",
                r"logit_scale",
                r"vision_model\..*",
                r"visual_projection\.weight",
            ),
        ),
    ),
)
FLUX2_DEV = Kind(
    "flux2-dev",
    (
        Part(
            "text_encoder",
            "tokenizer",
            ("mistral3", "mistral"),
            MISTRAL,
            ("model.language_model.", "language_model.model.", "model."),
            (*_HEAD, r"(model\.)?vision_tower\..*", r"(model\.)?multi_modal_projector\..*"),
            (10, 20, 30),
        ),
    ),
)
FLUX2_KLEIN = Kind(
    "flux2-klein", (Part("text_encoder", "tokenizer", ("qwen3",), QWEN3, ("model.", ""), _HEAD, (9, 18, 27)),)
)
FLUX3 = Kind(
    "flux3",
    (
        Part(
            "text_encoder",
            "tokenizer",
            ("qwen3_vl", "qwen3_vl_text"),
            QWEN3_VL,
            ("model.language_model.", "language_model.model.", "model."),
            (*_HEAD, r"(model\.)?visual\..*"),
            tuple(range(4, 33, 4)),
        ),
    ),
)


class TextEncoder:
    """A text encoder in a folder. Weights are in memory from the first prompt, or `load`, until `release`.

    Prompts are encoded one at a time, so that what is said of one does not depend on its company.
    """

    def __init__(self, kind: Kind, networks: Sequence[Network], device: torch.device, dtype: torch.dtype) -> None:
        self.kind = kind
        self.networks = tuple(networks)
        self.device = device
        self.dtype = dtype

    @classmethod
    def open(
        cls, kind: Kind, root: Path, device: torch.device, dtype: torch.dtype, *, longest: int | None = None
    ) -> TextEncoder:
        """The encoder of a model's folder: diffusers' layout, Black Forest Labs' (FLUX 3), or an encoder's own folder.

        longest: tokens, where a model reads fewer than its kind (FLUX.1 schnell: 256; see `Style.longest`).
        Raises WeightsError for anything missing, broken, unknown or misshapen, before weights are read.
        """
        parts = kind.parts
        if longest is not None:
            parts = (replace(parts[0], style=replace(parts[0].style, longest=longest)), *parts[1:])
        return cls(kind, [Network.open(part, root, dtype, alone=len(parts) == 1) for part in parts], device, dtype)

    @property
    def width(self) -> int:
        """Of the hidden states that `encode` gives."""
        return self.networks[0].width

    @property
    def pooled_width(self) -> int | None:
        return self.networks[1].width if len(self.networks) > 1 else None

    @property
    def longest(self) -> int:
        """Tokens of a prompt, with those of the template."""
        return self.networks[0].tokenizer.style.longest

    @property
    def nbytes(self) -> int:
        """Bytes that the weights take in memory, loaded."""
        return sum(network.nbytes for network in self.networks)

    @cached_property
    def identity(self) -> str:
        """A digest of everything that decides what a prompt becomes: weights, shapes, tokenizers, templates, layers."""
        content = [self.kind.name, *(network.identity() for network in self.networks)]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    @property
    def loaded(self) -> bool:
        return all(network.module is not None for network in self.networks)

    def load(self) -> None:
        """Read the weights, if they are not there yet. Raises WeightsError."""
        for network in self.networks:
            network.load(self.device)

    def release(self) -> None:
        """Let the weights go, on the device too; the next prompt reads them again."""
        for network in self.networks:
            network.module = None
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def check(self, prompts: Sequence[str]) -> None:
        """Raise InvalidRequest for a prompt that is too long. Needs no weights."""
        for prompt in prompts:
            self.networks[0].tokenizer(prompt)

    def notes(self, prompt: str) -> list[str]:
        """What a person should know of this prompt: that CLIP, which sums it up, does not read all of it."""
        found = []
        for network in self.networks:
            style, count = network.tokenizer.style, network.tokenizer.count(prompt)
            if style.cut and count > style.longest:
                overhead = network.tokenizer.overhead
                found.append(
                    f"CLIP reads the first {style.longest - overhead} of this prompt's {count - overhead} tokens, as "
                    "in every FLUX.1 engine; T5 reads all of them."
                )
        return found

    def encode(self, prompts: Sequence[str]) -> TextStates:
        """hidden (B, L, width), and pooled (B, width) with CLIP, on the encoder's device in its dtype.

        Raises InvalidRequest for a prompt that is too long, or prompts that do not share a length; WeightsError.
        """
        return joined([self.encode_one(prompt) for prompt in prompts])

    @torch.no_grad()
    def encode_one(self, prompt: str) -> TextStates:
        """As `encode`, of one prompt: B is 1."""
        tokens = [network.tokenizer(prompt) for network in self.networks]
        self.load()
        outputs = [network(one) for network, one in zip(self.networks, tokens, strict=True)]
        return TextStates(outputs[0], outputs[1] if len(outputs) > 1 else None)


class Network:
    """One network of an encoder, and its tokenizer."""

    def __init__(
        self,
        part: Part,
        config: Any,
        checkpoint: Checkpoint,
        names: dict[str, str],
        tokenizer: PromptTokenizer,
        tokenizer_folder: Path,
        dtype: torch.dtype,
    ) -> None:
        self.part = part
        self.config = config
        self.checkpoint = checkpoint
        self.names = names
        self.tokenizer = tokenizer
        self.tokenizer_folder = tokenizer_folder
        self.dtype = dtype
        self.module: nn.Module | None = None

    @classmethod
    def open(cls, part: Part, root: Path, dtype: torch.dtype, *, alone: bool) -> Network:
        """Raises WeightsError; see `TextEncoder.open`."""
        folder = root / part.folder
        if not folder.is_dir():
            if not (alone and (root / "config.json").is_file()):
                raise WeightsError(f"There is no folder {part.folder} in {root}.")
            folder = root
        tokenizer_folder = root / part.tokenizer
        if not tokenizer_folder.is_dir():
            tokenizer_folder = folder
        config, layers = _config(part, folder / "config.json")
        checkpoint = open_checkpoint(folder)
        shapes = {key: tuple(value.shape) for key, value in _build(part, config).state_dict().items()}
        cut = [rf"{{p}}layers\.{i}\..*" for i in range(max(part.taps, default=layers), layers)]
        names = match(
            checkpoint,
            shapes,
            prefixes=part.prefixes,
            left_out=(*part.left_out, *cut),
            renamed={"embed_tokens.weight": "shared.weight"} if "t5" in part.model_types else {},
        )
        tokenizer = open_tokenizer(tokenizer_folder, part.style, rows=config.vocab_size)
        return cls(part, config, checkpoint, names, tokenizer, tokenizer_folder, dtype)

    @property
    def width(self) -> int:
        return int(self.config.hidden_size) * max(1, len(self.part.taps))

    @property
    def nbytes(self) -> int:
        total = 0
        for key, name in self.names.items():
            numbers = 1
            for side in self.checkpoint.tensors[name].shape:
                numbers *= side
            total += numbers * self._dtype(key).itemsize
        return total

    def identity(self) -> list[Any]:
        digest = hashlib.sha256()
        for path in tokenizer_files(self.tokenizer_folder):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
        style = self.part.style
        return [
            self.config.to_json_string(use_diff=False),
            self.checkpoint.fingerprint(),
            digest.hexdigest(),
            list(self.part.taps),
            [style.before, style.after, style.longest, style.multiple],
        ]

    def _dtype(self, key: str) -> torch.dtype:
        # T5 overflows float16 in these products, and transformers keeps them in float32: T5PreTrainedModel.
        kept = self.dtype is torch.float16 and "t5" in self.part.model_types and ".wo." in key
        return torch.float32 if kept else self.dtype

    def load(self, device: torch.device) -> None:
        """Raises WeightsError."""
        if self.module is not None:
            return
        module = _build(self.part, self.config)
        module.load_state_dict(read_tensors(self.checkpoint, self.names, device, self._dtype), assign=True)
        _fill(module, device)
        self.module = module.eval().requires_grad_(False)

    def __call__(self, tokens: Tokens) -> Tensor:
        """The hidden states (1, L, width) that are read, or CLIP's pooled output (1, width)."""
        module = self.module
        assert module is not None, "load() comes first"
        device = next(module.parameters()).device
        ids, mask = tokens.ids.to(device), tokens.mask.to(device)
        if self.part.taps:
            return _tapped(module, self.part.taps, ids, mask, padding_at_one="qwen3_vl" in self.part.model_types)
        if "t5" in self.part.model_types:
            return module(input_ids=ids).last_hidden_state  # no mask: T5 attends to the padding, as in training
        return module(input_ids=ids).pooler_output  # causal, so the padding after the end is not seen


def _tapped(module: nn.Module, taps: Sequence[int], ids: Tensor, mask: Tensor, *, padding_at_one: bool) -> Tensor:
    """Hidden states of the layers in `taps`, side by side for each token: (1, L, len(taps) * hidden)."""
    kept: dict[int, Tensor] = {}

    def keep(tap: int) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            kept[tap] = output

        return hook

    positions = torch.arange(ids.shape[1], device=ids.device)[None]
    if padding_at_one:  # as transformers had it when FLUX 3 was trained; the transformer attends to the padding
        positions = positions.masked_fill(~mask, 1)
    layers = module.get_submodule("layers")
    assert isinstance(layers, nn.ModuleList)
    hooks = [layers[tap - 1].register_forward_hook(keep(tap)) for tap in taps]
    try:
        module(input_ids=ids, attention_mask=mask.long(), position_ids=positions, use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    return torch.stack([kept[tap] for tap in taps], dim=2).flatten(2)


def _config(part: Part, path: Path) -> tuple[Any, int]:
    """The text network's configuration with the layers that are wanted, and how many there were."""
    import transformers

    values = read_json(path)
    kind = values.get("model_type")
    if kind not in part.model_types:
        raise WeightsError(f"{path} is of a {kind} network; this model reads prompts with {part.model_types[0]}.")
    if values.get("quantization_config") or values.get("quantization"):
        raise WeightsError(f"{path} is of quantised weights, which are not read; take those in bfloat16.")
    classes: dict[str, Any] = {
        "t5": transformers.T5Config,
        "clip_text_model": transformers.CLIPTextConfig,
        "mistral": transformers.MistralConfig,
        "qwen3": transformers.Qwen3Config,
        "qwen3_vl_text": transformers.Qwen3VLTextConfig,
    }
    if kind in TEXT_TYPES:  # with a vision tower: its text network is described inside
        inner = values.get("text_config")
        if not isinstance(inner, dict) or inner.get("model_type", TEXT_TYPES[kind]) != TEXT_TYPES[kind]:
            raise WeightsError(f"{path} describes no {TEXT_TYPES[kind]} network under text_config.")
        kind, values = TEXT_TYPES[kind], inner
    values = dict(values)
    for unused in ("architectures", "dtype", "torch_dtype", "output_hidden_states"):
        values.pop(unused, None)
    try:
        layers = int(values.get("num_hidden_layers") or values.get("num_layers") or 0)
        if part.taps:
            if layers < max(part.taps):
                raise WeightsError(f"{path} has {layers} layers; the output of layer {max(part.taps)} is wanted.")
            values["num_hidden_layers"] = max(part.taps)
            if isinstance(values.get("layer_types"), list):
                values["layer_types"] = values["layer_types"][: max(part.taps)]
        return classes[kind].from_dict(values), layers
    except WeightsError:
        raise
    except Exception as error:  # noqa: BLE001  # its validators raise what several libraries define
        message = str(error).strip().splitlines()
        raise WeightsError(f"{path} describes no {kind} network: {message[0] if message else error!r}.") from None


def _build(part: Part, config: Any) -> nn.Module:
    """The network without weights: on the meta device, without what comes after the last tapped layer."""
    import transformers

    classes: dict[str, Any] = {
        "t5": transformers.T5EncoderModel,
        "clip_text_model": transformers.CLIPTextModel,
        "mistral": transformers.MistralModel,
        "qwen3": transformers.Qwen3Model,
        "qwen3_vl_text": transformers.Qwen3VLTextModel,
    }
    with torch.device("meta"):
        module: nn.Module = classes[config.model_type](config)
    if config.model_type == "t5":
        return module.get_submodule("encoder")
    if part.taps:
        module.norm = nn.Identity()  # the last tap is what the layer gives
    return module


def _fill(module: nn.Module, device: torch.device) -> None:
    """Compute what is in no file: the frequencies of the rotary embedding, CLIP's positions."""
    for part in list(module.modules()):
        rotary = getattr(part, "rotary_emb", None)
        if isinstance(rotary, nn.Module):
            part.rotary_emb = type(rotary)(part.config).to(device)
        positions = getattr(part, "position_ids", None)
        if isinstance(positions, Tensor) and positions.is_meta:
            part.position_ids = torch.arange(positions.shape[-1], device=device)[None]
    empty = [name for name, value in [*module.named_parameters(), *module.named_buffers()] if value.is_meta]
    assert not empty, f"nothing fills {', '.join(empty)}"
