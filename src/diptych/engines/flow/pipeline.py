"""Prompt to picture with a flow model: tensors in, tensors out.

    pipeline = Pipeline.load(folder, device, dtype)
    pixels = pipeline(Parameters(prompt="a fox in snow", width=1024, height=1024, steps=4, seed=1))

is the same as

    state = pipeline.begin(parameters)          text, references, noise, schedule
    while not state.done:
        (state,) = pipeline.step([state])       one step; of many pictures at once, if there are
    pixels = pipeline.finish(state)             latents to pixels

which is what `runner.Runner` does with many pictures at a time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from diptych.engines.files import DESCRIPTION, fingerprint
from diptych.engines.flow import inputs, latents
from diptych.engines.flow.autoencoder import Autoencoder
from diptych.engines.flow.families import Family, family_of
from diptych.engines.flow.flux3 import Flux3Config
from diptych.engines.flow.lora import Adapted, Lora, read_lora
from diptych.engines.flow.network import Condition
from diptych.engines.flow.preview import Preview
from diptych.engines.flow.readers import CachedText, TableText, Text
from diptych.engines.flow.sampling import SOLVERS, Course, Kept, Solver, State, StepCallback, denoise, step
from diptych.engines.flow.schedule import from_strength, mu_of, schedule, shift_to_mu
from diptych.engines.flow.weights import (
    AUTOENCODER_PART,
    TOKENIZER,
    TRANSFORMER,
    Transformer,
    build,
    load_autoencoder,
    load_into,
    load_transformer,
    open_checkpoint,
    read_model,
    transformer_config,
)
from diptych.engines.text.cache import EmbeddingCache
from diptych.engines.text.encoders import TextEncoder, TextStates, joined
from diptych.errors import InvalidRequest, WeightsError


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """One picture, asked of a pipeline. Lengths in pixels."""

    prompt: str
    width: int
    height: int
    steps: int
    seed: int
    guidance: float = 1.0
    """Told to the network where it has an embedding for it, else true guidance: 1 is none."""
    negative: str | None = None
    """What true guidance leads away from; the empty prompt without it."""
    true_guidance: float = 1.0
    """For networks with embedded guidance: guidance by a second pass beside it."""
    interval: tuple[float, float] = (0.0, 1.0)
    """Times, from 0 (picture) to 1 (noise), between which true guidance acts."""
    solver: Solver = "euler"
    shift: float | None = None
    """How much longer to stay near noise: the factor of the schedule. None: the model's own."""
    picture: Image.Image | None = None
    """To begin from (`strength`), to fill in (`mask`), or edges or depth to follow, as the network is made."""
    strength: float = 1.0
    """How much of `picture` changes: 1 is all of it."""
    mask: Image.Image | None = None
    """Where `picture` may change; see `inputs.mask_of`."""
    references: tuple[Image.Image, ...] = ()
    """Pictures to take things from, for networks that read them."""
    blend: tuple[tuple[str, float], ...] = ()
    """Further prompts, each with its weight beside the first one's, which is 1 less their sum."""
    towards: tuple[int, float] | None = None
    """Another seed, and how far to walk to its noise: 0 to 1, along the sphere."""
    latents: Tensor | None = field(default=None, compare=False)
    """(1, tokens, channels) to begin from in place of the seed's noise."""


@dataclass(frozen=True)
class Pipeline:
    """A flow model, loaded. Deterministic: the same parameters give the same tensors."""

    transformer: Transformer
    autoencoder: Autoencoder
    text: Text
    family: Family | None
    """None: the built-in kind, whose schedule is `mu`."""
    mu: float
    identity: str
    """SHA-256 that names the weights exactly."""
    device: torch.device
    dtype: torch.dtype

    @cached_property
    def _adapted(self) -> Adapted:
        return Adapted(self.transformer)

    def read_lora(self, path: Path) -> Lora:
        """Read a LoRA for this network. Raises WeightsError for one that is for another, or that names what is not."""
        return read_lora(path, self.transformer.config)

    def use(self, loras: Sequence[tuple[Lora, float]]) -> None:
        """Merge these LoRAs into the weights, each at its strength, and no others: none puts the originals back."""
        self._adapted.apply(loras)

    @cached_property
    def _preview(self) -> Preview:
        return Preview.fit(self.autoencoder)

    def preview(self, state: State) -> Tensor:
        """The picture as expected at the last step, small and at no cost: (height / 8, width / 8, 3), uint8, CPU."""
        scale = self.autoencoder.config.scale
        width, height = state.course.size
        estimate = state.latents if state.estimate is None else state.estimate
        return self._preview(estimate, height // scale, width // scale)[0].cpu()

    @classmethod
    def load(
        cls, folder: Path, device: torch.device, dtype: torch.dtype, cache: EmbeddingCache | None = None
    ) -> Pipeline:
        """Read a model's folder: our own, diffusers', or Black Forest Labs' files beside the text encoders' folders.

        cache: where embeddings of prompts are kept. Raises WeightsError when anything is missing, truncated, altered
        or does not fit.
        """
        if not folder.is_dir():
            raise WeightsError(f"There is no folder {folder}: the weights were moved or removed.")
        if (folder / DESCRIPTION).is_file() or (folder / TOKENIZER).is_file():
            return cls._own(folder, device, dtype)
        checkpoint = open_checkpoint(folder)
        config = transformer_config(checkpoint)
        family = family_of(config)
        # Text first: opening it checks everything and reads nothing.
        encoder = TextEncoder.open(family.text, folder, device, dtype, longest=family.longest)
        wide = {"text_width": encoder.width, "pooled_width": encoder.pooled_width}
        for name, width in wide.items():
            expected = getattr(config, name, width)
            if width != expected:
                raise WeightsError(f"The text encoder in {folder} is {width} wide; the transformer reads {expected}.")
        autoencoder = load_autoencoder(folder, device, dtype)
        if autoencoder.config.packed_channels != _latent_channels(config):
            raise WeightsError(
                f"The autoencoder in {folder} has {autoencoder.config.packed_channels} packed channels; the "
                f"transformer {_latent_channels(config)}."
            )
        transformer = load_transformer(folder, device, dtype)
        identity = _identity(folder, encoder)
        return cls(transformer, autoencoder, CachedText(encoder, cache), family, 0.0, identity, device, dtype)

    @classmethod
    def _own(cls, folder: Path, device: torch.device, dtype: torch.dtype) -> Pipeline:
        model = read_model(folder)
        transformer = build(model.transformer)
        load_into(transformer, folder / TRANSFORMER, device, dtype)
        autoencoder = load_autoencoder(folder, device, dtype)
        text = TableText.load(folder, model.text, device, dtype)
        return cls(transformer, autoencoder, text, None, model.mu, model.identity, device, dtype)

    # The steps of a picture

    def check(self, p: Parameters) -> None:
        """Raise InvalidRequest for what this model cannot do, and for prompts that are too long. Computes nothing."""
        self._refuse(p)
        self.text.check([p.prompt, p.negative or "", *(prompt for prompt, _ in p.blend)])

    @torch.inference_mode()
    def begin(self, p: Parameters) -> State:
        """Everything before the first step. Raises InvalidRequest for what this model cannot do."""
        self._refuse(p)
        config = self.autoencoder.config
        rows, columns = p.height // config.scale, p.width // config.scale
        # 1. Text: the prompt, blended with others where asked, and what true guidance leads away from.
        true = p.true_guidance if self._embedded else p.guidance
        prompts = [p.prompt, *(prompt for prompt, _ in p.blend)]
        unwanted = [p.negative or ""] if true != 1.0 else []
        states = self.text.encode_each([*prompts, *unwanted])
        wanted = _blended(states[: len(prompts)], [weight for _, weight in p.blend])
        # 2. Pictures that go in.
        references = self._references(p)
        control = self._control(p)

        def condition(text: TextStates) -> Condition:
            return self.transformer.condition(text.hidden, rows, columns, references, control)

        # 3. Times, and everything the blocks need of them: once for the whole schedule.
        times = self._times(p, rows * columns)
        # 4. Noise, or a picture that is partly noise.
        start = noise = self.noise(p) if p.latents is None else p.latents.to(self.device, torch.float32)
        kept = None
        if p.picture is not None and (self.family is None or self.family.control is None):
            pixels = inputs.pixels_of(p.picture, (p.width, p.height))
            picture = latents.pack(self.encode(pixels)).float()
            start = latents.at_time(picture, noise, times[0])
            if p.mask is not None:
                mask = inputs.latent_mask(inputs.mask_of(p.mask, (p.width, p.height)), config)
                kept = Kept(picture, noise, mask.to(self.device))
        course = Course(
            times=tuple(times),
            rows=self._rows(times, p.guidance, wanted),
            condition=condition(wanted),
            negative=condition(states[-1]) if unwanted else None,
            negative_rows=self._rows(times, p.guidance, states[-1])
            if unwanted and states[-1].pooled is not None
            else None,
            guidance=true,
            interval=p.interval,
            solver=p.solver,
            kept=kept,
            size=(p.width, p.height),
        )
        return State(course, start)

    def step(self, states: Sequence[State]) -> list[State]:
        """Each picture one step on; see `sampling.step`."""
        return step(self.transformer, states)

    def group(self, state: State) -> Hashable:
        """Pictures of one group can be stepped in one batch."""
        c = state.course
        return (state.latents.shape, c.condition.text.shape, c.condition.rotary[0].shape, c.negative is not None)

    def done(self, state: State) -> bool:
        return state.done

    def finish(self, state: State) -> Tensor:
        """(height, width, 3), uint8, on the CPU."""
        return self.decode(state.latents, *state.course.size)

    def __call__(self, p: Parameters, on_step: StepCallback | None = None) -> Tensor:
        """One picture: (height, width, 3), uint8, on the CPU. Raises InvalidRequest."""
        state = self.begin(p)
        return self.decode(denoise(self.transformer, state, on_step), p.width, p.height)

    # Latents and pixels

    def noise(self, p: Parameters) -> Tensor:
        """What a picture starts from: (1, tokens, channels), float32, drawn on the CPU: every device starts alike."""
        order = "packed" if self.family is None else self.family.noise
        dtype = torch.float32 if self.family is None else self.family.noise_dtype

        def of(seed: int) -> Tensor:
            return latents.noise(seed, p.width, p.height, self.autoencoder.config, order, dtype)

        drawn = of(p.seed)
        if p.towards is not None:
            drawn = latents.slerp(drawn, of(p.towards[0]), p.towards[1])
        return drawn.to(self.device)

    @torch.inference_mode()
    def encode(self, pixels: Tensor) -> Tensor:
        """(1, 3, H, W) in -1..1 to normalised packed latents (1, C, h, w)."""
        return self.autoencoder.encode(pixels.to(self.device, self.dtype))

    @torch.inference_mode()
    def decode(self, packed: Tensor, width: int, height: int) -> Tensor:
        """Packed latents (1, tokens, channels) to (height, width, 3), uint8, on the CPU."""
        scale = self.autoencoder.config.scale
        grid = latents.unpack(packed.to(self.dtype), height // scale, width // scale)
        pixels = self.autoencoder.decode(grid)[0].float().clamp(-1, 1)
        return ((pixels + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).cpu()

    @property
    def _embedded(self) -> bool:
        return self.family is not None and self.family.embedded_guidance

    def _times(self, p: Parameters, tokens: int) -> list[float]:
        if p.shift is not None:
            mu = shift_to_mu(p.shift)
        else:
            mu = self.mu if self.family is None else mu_of(self.family.schedule, tokens, p.steps)
        times = schedule(p.steps, mu)
        whole = p.picture is None or (self.family is not None and self.family.control is not None)
        return times if whole else from_strength(times, p.strength)

    def _rows(self, times: Sequence[float], guidance: float, text: TextStates) -> Tensor:
        t = torch.tensor(times[:-1], dtype=torch.float32, device=self.device)
        config = self.transformer.config
        following = isinstance(config, Flux3Config) and config.flow_map
        with torch.inference_mode():
            return self.transformer.modulation(
                t,
                t_next=torch.tensor(times[1:], dtype=torch.float32, device=self.device) if following else None,
                guidance=torch.full_like(t, guidance) if self._embedded else None,
                pooled=text.pooled,
            )

    def _references(self, p: Parameters) -> list[Tensor]:
        if not p.references:
            return []
        assert self.family is not None
        assert self.family.references is not None
        return [self.encode(one.pixels) for one in self.family.references(list(p.references))]

    def _control(self, p: Parameters) -> Tensor | None:
        if self.family is None or self.family.control is None or p.picture is None:
            return None
        pixels = inputs.pixels_of(p.picture, (p.width, p.height))
        if self.family.control == "picture":
            return latents.pack(self.encode(pixels))
        assert p.mask is not None
        mask = inputs.mask_of(p.mask, (p.width, p.height))
        return inputs.fill_condition(latents.pack(self.encode(pixels * (1 - mask))), mask.to(self.device))

    def _refuse(self, p: Parameters) -> None:
        """Raise InvalidRequest for what this network cannot do, before anything is computed."""
        scale = self.autoencoder.config.scale
        name = "this model" if self.family is None else self.family.title
        if p.width % scale or p.height % scale or min(p.width, p.height) < scale:
            raise InvalidRequest(f"size is {p.width}x{p.height}; sides must be multiples of {scale}.")
        if p.solver not in SOLVERS:
            raise InvalidRequest(f"sampler is {p.solver!r}; it must be one of {', '.join(SOLVERS)}.")
        config = self.transformer.config
        if p.solver == "heun" and isinstance(config, Flux3Config) and config.flow_map:
            raise InvalidRequest("sampler is heun; this model is distilled to steps of Euler's method.")
        most = 0 if self.family is None else self.family.most_references
        if len(p.references) > most:
            takes = f"at most {most}" if most else "none"
            raise InvalidRequest(f"references are {len(p.references)} pictures; {name} takes {takes}.")
        control = None if self.family is None else self.family.control
        if control is not None and p.picture is None:
            raise InvalidRequest(f"This {name} model needs a picture{' and a mask' if control == 'fill' else ''}.")
        if p.mask is not None and p.picture is None:
            raise InvalidRequest("A mask needs the picture to which it belongs.")
        if control == "fill" and p.mask is None:
            raise InvalidRequest(f"This {name} model fills in: it needs a mask that says where.")
        if p.true_guidance != 1.0 and not self._embedded:
            raise InvalidRequest(f"true_guidance is {p.true_guidance:g}; {name} has it under the name guidance.")
        true = p.true_guidance if self._embedded else p.guidance
        if p.negative and true == 1.0:
            knob = "true_guidance" if self._embedded else "guidance"
            raise InvalidRequest(f"negative is {p.negative[:40]!r}, which has no effect at {knob} 1.")
        low, high = p.interval
        if not 0 <= low <= high <= 1:
            raise InvalidRequest(f"The guidance interval is {low:g} to {high:g}; it lies within 0 to 1.")
        total = sum(weight for _, weight in p.blend)
        if any(weight < 0 for _, weight in p.blend) or total > 1:
            raise InvalidRequest(f"The blended prompts weigh {total:g} in all; weights are at least 0 and at most 1.")
        if p.latents is not None:
            shape = (1, p.width // scale * (p.height // scale), self.autoencoder.config.packed_channels)
            if tuple(p.latents.shape) != shape:
                raise InvalidRequest(f"latents are {tuple(p.latents.shape)}; this size takes {shape}.")


def _blended(states: Sequence[TextStates], weights: Sequence[float]) -> TextStates:
    """The first one's weight is what the others leave."""
    if len(states) == 1:
        return states[0]
    together = joined(states)
    shares = together.hidden.new_tensor([1 - sum(weights), *weights])
    hidden = torch.einsum("b,blw->lw", shares, together.hidden)[None]
    pooled = None if together.pooled is None else torch.einsum("b,bw->w", shares, together.pooled)[None]
    return TextStates(hidden, pooled)


def _latent_channels(config: object) -> int:
    return int(getattr(config, "out_channels", None) or getattr(config, "in_channels"))  # noqa: B009


def _identity(folder: Path, encoder: TextEncoder) -> str:
    """SHA-256 of what tells the weights of all parts apart."""
    checkpoints = (open_checkpoint(folder), open_checkpoint(folder, AUTOENCODER_PART))
    files = sorted({stored.file for checkpoint in checkpoints for stored in checkpoint.tensors.values()})
    return hashlib.sha256(f"{fingerprint(files)} {encoder.identity}".encode()).hexdigest()
