"""Whole pictures, from files of both layouts, beside diffusers' pipelines with the same noise."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLFlux2,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Pipeline,
    Flux2Transformer2DModel,
    Flux3Transformer2DModel,
    FluxControlPipeline,
    FluxFillPipeline,
    FluxImg2ImgPipeline,
    FluxInpaintPipeline,
    FluxKontextPipeline,
    FluxPipeline,
    FluxTransformer2DModel,
)
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModel, AutoTokenizer, CLIPTextModel, CLIPTokenizer, T5EncoderModel

from diptych.engines.flow import latents
from diptych.engines.flow.pipeline import Parameters, Pipeline
from diptych.engines.runner import Runner
from diptych.errors import InvalidRequest, WeightsError
from tests.engines.flow import reference
from tests.engines.text import tiny

CPU = torch.device("cpu")
PROMPT, UNWANTED = "a red fox in deep snow", "an old sign"
WIDTH, HEIGHT, STEPS = 80, 48, 4

FLUX1 = {"num_single_layers": 2, "joint_attention_dim": 24, "pooled_projection_dim": 16, "axes_dims_rope": (4, 4, 8)}


def vae(kind: type) -> Any:
    torch.manual_seed(1)
    own: dict[str, Any] = {}
    if kind is AutoencoderKL:
        own = {"use_quant_conv": False, "use_post_quant_conv": False, "scaling_factor": 0.3611, "shift_factor": 0.1159}
    network = kind(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 16, 16, 16),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=32,
        **own,
    )
    return reference.randomised(network)


def scheduler(**changes: Any) -> FlowMatchEulerDiscreteScheduler:
    settings = {"use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 1.15} | changes
    return FlowMatchEulerDiscreteScheduler(base_image_seq_len=256, max_image_seq_len=4096, shift=3.0, **settings)


def flux1_folder(root: Path, *, in_channels: int = 16, guidance: bool = True) -> Path:
    tiny.flux1(root)
    torch.manual_seed(0)
    network = FluxTransformer2DModel(
        in_channels=in_channels, out_channels=16, guidance_embeds=guidance, **FLUX1, **reference.TINY
    )
    reference.randomised(network).save_pretrained(root / "transformer")
    vae(AutoencoderKL).save_pretrained(root / "vae")
    (root / "model_index.json").write_text("{}")
    return root


def flux2_folder(root: Path, *, dev: bool = False) -> Path:
    (tiny.dev if dev else tiny.klein)(root)
    torch.manual_seed(0)
    network = Flux2Transformer2DModel(
        in_channels=16,
        num_single_layers=2,
        joint_attention_dim=48,
        timestep_guidance_channels=32,
        axes_dims_rope=reference.AXES,
        guidance_embeds=dev,
        **reference.TINY,
    )
    reference.randomised(network).save_pretrained(root / "transformer")
    vae(AutoencoderKLFlux2).save_pretrained(root / "vae")
    (root / "model_index.json").write_text("{}")
    return root


def flux3_folder(root: Path, *, flow_map: bool) -> Path:
    tiny.flux3(root)
    torch.manual_seed(0)
    network = Flux3Transformer2DModel(
        in_channels=16,
        cond_in_channels=16,
        num_single_layers=2,
        joint_attention_dim=128,
        timestep_channels=32,
        axes_dims_rope=reference.AXES,
        flow_map=flow_map,
        **reference.TINY,
    )
    reference.randomised(network).save_pretrained(root / "transformer")
    vae(AutoencoderKLFlux2).save_pretrained(root / "vae")
    (root / "model_index.json").write_text("{}")
    return root


@pytest.fixture(scope="module")
def flux1(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return flux1_folder(tmp_path_factory.mktemp("flux1"))


@pytest.fixture(scope="module")
def klein(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return flux2_folder(tmp_path_factory.mktemp("klein"))


def flux1_parts(folder: Path, **changes: Any) -> dict[str, Any]:
    return {
        "scheduler": scheduler(),
        "vae": AutoencoderKL.from_pretrained(folder / "vae"),
        "text_encoder": CLIPTextModel.from_pretrained(folder / "text_encoder"),
        "tokenizer": CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        "text_encoder_2": T5EncoderModel.from_pretrained(folder / "text_encoder_2"),
        "tokenizer_2": AutoTokenizer.from_pretrained(folder / "tokenizer_2"),
        "transformer": FluxTransformer2DModel.from_pretrained(folder / "transformer"),
    } | changes


def asked(**changes: Any) -> Parameters:
    given = {"prompt": PROMPT, "width": WIDTH, "height": HEIGHT, "steps": STEPS, "seed": 3, "guidance": 3.5}
    return Parameters(**{**given, **changes})


def picture(seed: int, width: int = WIDTH, height: int = HEIGHT) -> Image.Image:
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC)


def square_mask() -> Image.Image:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[16:40, 24:64] = 255
    return Image.fromarray(mask)


def theirs(pipeline: Any, **settings: Any) -> np.ndarray:
    pipeline.set_progress_bar_config(disable=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of diffusers about itself
        given = {"prompt": PROMPT, "width": WIDTH, "height": HEIGHT, "num_inference_steps": STEPS, "output_type": "np"}
        image = pipeline(**{**given, **settings}).images[0]
    return np.asarray(image)


def same(ours: Tensor, expected: np.ndarray) -> None:
    """Within one 8-bit level; and not a flat picture, which many mistakes would give."""
    assert ours.shape == expected.shape
    levels = np.round(expected * 255)
    assert levels.std() > 5
    assert np.abs(ours.numpy().astype(int) - levels).max() <= 1


def load(folder: Path) -> Pipeline:
    return Pipeline.load(folder, CPU, torch.float32)


def test_flux1_dev(flux1: Path) -> None:
    pipeline = load(flux1)
    noise = pipeline.noise(asked())
    expected = theirs(FluxPipeline(**flux1_parts(flux1)), latents=noise, guidance_scale=3.5)
    same(pipeline(asked()), expected)


def test_flux1_schnell(tmp_path: Path) -> None:
    folder = flux1_folder(tmp_path, guidance=False)
    pipeline = load(folder)
    parts = flux1_parts(folder, scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0))
    expected = theirs(FluxPipeline(**parts), latents=pipeline.noise(asked()), max_sequence_length=256)
    same(pipeline(asked(guidance=1.0)), expected)


def test_flux1_with_true_guidance_beside_the_embedded_one(flux1: Path) -> None:
    pipeline = load(flux1)
    expected = theirs(
        FluxPipeline(**flux1_parts(flux1)),
        latents=pipeline.noise(asked()),
        guidance_scale=3.5,
        true_cfg_scale=2.5,
        negative_prompt=UNWANTED,
    )
    same(pipeline(asked(true_guidance=2.5, negative=UNWANTED)), expected)


def test_flux1_image_to_image_and_inpainting(flux1: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = load(flux1)
    noise = pipeline.noise(asked())
    given = picture(1)
    parts = flux1_parts(flux1)
    _take_means(parts["vae"], monkeypatch)

    from diffusers.pipelines.flux import pipeline_flux_img2img, pipeline_flux_inpaint

    for module in (pipeline_flux_img2img, pipeline_flux_inpaint):
        monkeypatch.setattr(module, "randn_tensor", lambda *a, **k: _unpacked(noise))
    steps = {"num_inference_steps": 8, "guidance_scale": 3.5, "strength": 0.6}
    expected = theirs(FluxImg2ImgPipeline(**parts), image=given, **steps)
    same(pipeline(asked(steps=8, picture=given, strength=0.6)), expected)
    expected = theirs(FluxInpaintPipeline(**parts), image=given, mask_image=square_mask(), **steps)
    same(pipeline(asked(steps=8, picture=given, strength=0.6, mask=square_mask())), expected)


def test_flux1_fill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = flux1_folder(tmp_path, in_channels=16 + 16 + 256)
    pipeline = load(folder)
    parts = flux1_parts(folder)
    _take_means(parts["vae"], monkeypatch)
    expected = theirs(
        FluxFillPipeline(**parts),
        image=picture(1),
        mask_image=square_mask(),
        latents=pipeline.noise(asked()),
        guidance_scale=30.0,
    )
    same(pipeline(asked(picture=picture(1), mask=square_mask(), guidance=30.0)), expected)


def test_flux1_canny_and_depth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = flux1_folder(tmp_path, in_channels=32)
    pipeline = load(folder)
    parts = flux1_parts(folder)
    _take_means(parts["vae"], monkeypatch)
    noise = pipeline.noise(asked())
    expected = theirs(FluxControlPipeline(**parts), control_image=picture(1), latents=noise, guidance_scale=10.0)
    same(pipeline(asked(picture=picture(1), guidance=10.0)), expected)


def test_kontext(flux1: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = load(flux1)
    given = picture(1, 100, 70)
    ours = pipeline(asked(references=(given,)))
    parts = flux1_parts(flux1)
    expected = theirs(
        FluxKontextPipeline(**parts),
        image=given,
        latents=pipeline.noise(asked()),
        guidance_scale=3.5,
        max_area=WIDTH * HEIGHT,
        _auto_resize=True,
    )
    same(ours, expected)


def klein_parts(folder: Path, **changes: Any) -> dict[str, Any]:
    return {
        "scheduler": scheduler(),
        "vae": AutoencoderKLFlux2.from_pretrained(folder / "vae"),
        "text_encoder": AutoModel.from_pretrained(folder / "text_encoder"),
        "tokenizer": AutoTokenizer.from_pretrained(folder / "tokenizer"),
        "transformer": Flux2Transformer2DModel.from_pretrained(folder / "transformer"),
    } | changes


def _klein(folder: Path, *, distilled: bool = True) -> Flux2KleinPipeline:
    from transformers import Qwen3ForCausalLM

    parts = klein_parts(folder, text_encoder=Qwen3ForCausalLM.from_pretrained(folder / "text_encoder"))
    return Flux2KleinPipeline(**parts, is_distilled=distilled)


def test_klein(klein: Path) -> None:
    pipeline = load(klein)
    noise = latents.unpack(pipeline.noise(asked()), HEIGHT // 16, WIDTH // 16)
    same(pipeline(asked(guidance=1.0)), theirs(_klein(klein), latents=noise))


def test_klein_base_with_true_guidance(klein: Path) -> None:
    pipeline = load(klein)
    noise = latents.unpack(pipeline.noise(asked()), HEIGHT // 16, WIDTH // 16)
    expected = theirs(_klein(klein, distilled=False), latents=noise, guidance_scale=4.0)
    same(pipeline(asked(guidance=4.0)), expected)


def test_klein_with_references(klein: Path) -> None:
    pipeline = load(klein)
    noise = latents.unpack(pipeline.noise(asked()), HEIGHT // 16, WIDTH // 16)
    for references in ((picture(1, 100, 70),), (picture(1, 100, 70), picture(2, 64, 96))):
        expected = theirs(_klein(klein), latents=noise, image=list(references))
        same(pipeline(asked(guidance=1.0, references=references)), expected)


def test_flux2_dev(tmp_path: Path) -> None:
    folder = flux2_folder(tmp_path, dev=True)
    pipeline = load(folder)
    noise = latents.unpack(pipeline.noise(asked()), HEIGHT // 16, WIDTH // 16)
    parts = klein_parts(folder, text_encoder=None, tokenizer=None)
    embeds = pipeline.text.encode_each([PROMPT])[0].hidden
    expected = theirs(Flux2Pipeline(**parts), prompt=None, prompt_embeds=embeds, latents=noise, guidance_scale=4.0)
    same(pipeline(asked(guidance=4.0)), expected)


def _take_means(autoencoder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """diffusers draws a sample of what goes in; here the mean is taken: nothing of a recipe is left to chance."""
    from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

    monkeypatch.setattr(DiagonalGaussianDistribution, "sample", lambda self, generator=None: self.mean)


def _unpacked(noise: Tensor) -> Tensor:
    """As FLUX.1 draws it: (1, C, H/8, W/8)."""
    return torch.nn.functional.pixel_shuffle(latents.unpack(noise, HEIGHT // 16, WIDTH // 16), 2)


def _flux3_network(folder: Path) -> Flux3Transformer2DModel:
    """Not by from_pretrained, which wants accelerate for this class."""
    network = Flux3Transformer2DModel.from_config(Flux3Transformer2DModel.load_config(folder))
    network.load_state_dict(load_file(folder / "diffusion_pytorch_model.safetensors"))
    return network.eval()


def _flux3(folder: Path, noise: Tensor, pipeline: Pipeline, prompts: list[str], **settings: Any) -> np.ndarray:
    from diffusers.modular_pipelines import flux3 as modular

    flow_map = pipeline.transformer.config.flow_map
    blocks = (modular.Flux3DistilledAutoBlocks if flow_map else modular.Flux3AutoBlocks)()
    for name in ("prompt_upsampler", "text_encoder"):
        blocks.sub_blocks.pop(name, None)
    built = blocks.init_pipeline()
    built.update_components(
        transformer=_flux3_network(folder / "transformer"),
        vae=AutoencoderKLFlux2.from_pretrained(folder / "vae"),
    )
    states = [state.hidden for state in pipeline.text.encode_each(prompts)]
    embeds = {"prompt_embeds": states[0]} | ({} if flow_map else {"negative_prompt_embeds": states[1]})
    built.set_progress_bar_config(disable=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        images = built(
            **embeds,
            latents=latents.unpack(noise, HEIGHT // 16, WIDTH // 16),
            width=WIDTH,
            height=HEIGHT,
            num_inference_steps=STEPS,
            output_type="np",
            output="images",
            **settings,
        )
    return np.asarray(images[0])


@pytest.mark.parametrize("references", [0, 2])
def test_flux3_distilled(tmp_path: Path, references: int) -> None:
    folder = flux3_folder(tmp_path, flow_map=True)
    pipeline = load(folder)
    given = tuple(picture(i, 96, 64) for i in range(references))
    noise = pipeline.noise(asked())
    expected = _flux3(folder, noise, pipeline, [PROMPT], **({"image": list(given)} if given else {}))
    same(pipeline(asked(guidance=1.0, references=given)), expected)


def test_flux3_base_with_true_guidance(tmp_path: Path) -> None:
    folder = flux3_folder(tmp_path, flow_map=False)
    pipeline = load(folder)
    expected = _flux3(folder, pipeline.noise(asked()), pipeline, [PROMPT, ""], guidance_scale=3.5)
    same(pipeline(asked()), expected)


# What no reference has


def test_pictures_stepped_together_are_those_alone(klein: Path) -> None:
    pipeline = load(klein)
    many = [
        asked(guidance=1.0),
        asked(guidance=1.0, prompt=UNWANTED, steps=7, seed=4),
        asked(guidance=3.0, seed=5, steps=3),
        asked(guidance=1.0, width=64, height=64, seed=6),
        asked(guidance=2.0, solver="heun", seed=7),
    ]
    alone = [pipeline(one) for one in many]
    runner = Runner(pipeline, active=8, together=4)
    tickets = [runner.submit(lambda one=one: pipeline.begin(one)) for one in many]
    for ticket, expected in zip(tickets, alone, strict=True):
        assert (ticket.result(120).int() - expected.int()).abs().max() <= 1
    runner.close()


def test_a_callback_sees_every_step_and_may_change_latents(klein: Path) -> None:
    pipeline = load(klein)
    seen: list[float] = []

    def watch(state: Any) -> None:
        seen.append(state.t)
        assert state.estimate.shape == state.latents.shape

    plain = pipeline(asked(guidance=1.0), watch)
    assert len(seen) == STEPS
    assert seen[-1] == 0
    assert sorted(seen, reverse=True) == seen
    assert not torch.equal(pipeline(asked(guidance=1.0), lambda state: state.latents * 0.9), plain)


def test_latents_in_and_out(klein: Path) -> None:
    pipeline = load(klein)
    own = pipeline.noise(asked())
    assert torch.equal(pipeline(asked(seed=99, guidance=1.0, latents=own)), pipeline(asked(guidance=1.0)))
    state = pipeline.begin(asked(guidance=1.0))
    while not state.done:
        (state,) = pipeline.step([state])
    assert torch.equal(pipeline.finish(state), pipeline(asked(guidance=1.0)))


def test_blends_walks_and_variations(flux1: Path) -> None:
    pipeline = load(flux1)
    first, second = pipeline(asked()), pipeline(asked(prompt=UNWANTED))
    assert torch.equal(pipeline(asked(blend=((UNWANTED, 0.0),))), first)
    assert (pipeline(asked(blend=((UNWANTED, 1.0),))).int() - second.int()).abs().max() <= 1
    between = pipeline(asked(blend=((UNWANTED, 0.5),))).float()
    assert not torch.equal(between, first.float())
    other = pipeline(asked(seed=8))
    assert (pipeline(asked(towards=(8, 1.0))).int() - other.int()).abs().max() <= 1
    assert torch.equal(pipeline(asked(towards=(8, 0.0))), first)
    near = (pipeline(asked(towards=(8, 0.05))).float() - first.float()).abs().mean()
    assert 0 < near < (other.float() - first.float()).abs().mean()


def test_inpainting_keeps_what_is_outside(klein: Path) -> None:
    pipeline = load(klein)
    given = picture(1)
    state = pipeline.begin(asked(guidance=1.0, picture=given, mask=square_mask()))
    kept = state.course.kept
    while not state.done:
        (state,) = pipeline.step([state])
    outside = (kept.mask == 0).expand_as(state.latents)
    assert outside.any()
    assert not outside.all()
    assert torch.equal(state.latents[outside], kept.picture[outside])
    assert (state.latents[~outside] != kept.picture[~outside]).all()


def test_guidance_only_within_its_interval(klein: Path) -> None:
    pipeline = load(klein)
    plain, guided = pipeline(asked(guidance=1.0)), pipeline(asked(guidance=4.0))
    assert torch.equal(pipeline(asked(guidance=4.0, interval=(0.0, 0.0))), plain)
    part = pipeline(asked(guidance=4.0, interval=(0.9, 1.0)))
    assert not torch.equal(part, plain)
    assert not torch.equal(part, guided)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 70}, "multiples of 16"),
        ({"solver": "dpm"}, "euler, heun"),
        ({"negative": "x", "guidance": 1.0}, "no effect"),
        ({"references": (None,) * 11}, "11 pictures; FLUX.2 takes at most 10"),
        ({"interval": (0.8, 0.2)}, "within 0 to 1"),
        ({"blend": (("x", 1.5),)}, "weigh 1.5"),
        ({"mask": "m"}, "picture to which it belongs"),
        ({"shift": 0.0}, "shift is 0.0"),
        ({"latents": torch.zeros(1, 4, 16)}, "this size takes"),
        ({"towards": (3, 1.5)}, "weight between two seeds"),
    ],
)
def test_what_cannot_be_is_refused(klein: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        load(klein).begin(asked(**changes))


def test_parts_that_do_not_go_together(klein: Path, flux1: Path, tmp_path: Path) -> None:
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    (mixed / "model_index.json").write_text("{}")
    for name in ("text_encoder", "tokenizer", "transformer"):
        (mixed / name).symlink_to(klein / name)
    (mixed / "vae").symlink_to(tmp_path / "other")
    with pytest.raises(WeightsError, match="vae"):
        load(mixed)
    tiny.klein(tmp_path / "wide", layers=29)
    (mixed / "vae").unlink()
    (mixed / "vae").symlink_to(klein / "vae")
    assert load(mixed).identity == load(klein).identity
    assert load(flux1).identity != load(klein).identity


def test_the_same_parameters_give_the_same_picture(flux1: Path) -> None:
    one = asked()
    assert torch.equal(load(flux1)(one), load(flux1)(dataclasses.replace(one)))
