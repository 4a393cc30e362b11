"""Files as they are published, written by diffusers and by hand: read, refused, and read in bounded memory."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderKLFlux2, Flux2Transformer2DModel, Flux3Transformer2DModel
from safetensors.torch import save_file
from torch import Tensor, nn

from diptych.engines.flow import flux1, flux2, flux3, layouts, weights
from diptych.engines.flow.autoencoder import FLUX1, FLUX2, Autoencoder, AutoencoderConfig
from diptych.engines.flow.detection import TransformerConfig, autoencoder_of, transformer_of
from diptych.engines.flow.flux2 import Flux2, positions
from diptych.engines.flow.flux3 import Flux3
from diptych.engines.flow.weights import load_autoencoder, load_into, load_transformer, open_checkpoint
from diptych.errors import WeightsError
from tests.engines.flow import reference

CPU, FULL, HALF = torch.device("cpu"), torch.float32, torch.bfloat16
TINY: dict[str, tuple[TransformerConfig, layouts.Layout, Callable[[], nn.Module]]] = {
    "flux1": (reference.FLUX1, layouts.FLUX1, reference.flux1),
    "flux2": (reference.FLUX2, layouts.FLUX2, reference.flux2),
    "flux2 dev": (
        replace(reference.FLUX2, guidance_embedding=True), layouts.FLUX2, lambda: reference.flux2(guidance=True),
    ),
    "flux3": (reference.FLUX3, layouts.FLUX3, reference.flux3),
    "flux3 base": (
        replace(reference.FLUX3, flow_map=False), layouts.FLUX3, lambda: reference.flux3(flow_map=False),
    ),
}  # fmt: skip


def same(network: nn.Module, state: dict[str, Tensor]) -> bool:
    found = network.state_dict()
    return found.keys() == state.keys() and all(torch.equal(found[key], state[key]) for key in state)


def save(state: dict[str, Tensor], path: Path) -> Path:
    save_file({key: value.contiguous() for key, value in state.items()}, path)
    return path


def bfl_file(name: str, path: Path) -> Path:
    """A tiny network in a file of Black Forest Labs' layout."""
    _, layout, build = TINY[name]
    return save(layouts.state_from_diffusers(layout, build().state_dict()), path)


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("size", ["10GB", "20KB"])
def test_folders_that_diffusers_saved_load(name: str, size: str, tmp_path: Path) -> None:
    """Whole or in shards, which may part a query projection from its key projection."""
    config, layout, build = TINY[name]
    theirs = build()
    theirs.save_pretrained(tmp_path, max_shard_size=size)
    assert (
        len(list(tmp_path.glob("*.safetensors"))) == 1 if size == "10GB" else len(list(tmp_path.glob("*.index.json")))
    )
    network = load_transformer(tmp_path, CPU, FULL)
    assert network.config == config
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert same(network, layouts.state_from_diffusers(layout, theirs.state_dict()))


@pytest.mark.parametrize("name", TINY)
def test_bfl_files_load(name: str, tmp_path: Path) -> None:
    config, layout, build = TINY[name]
    expected = layouts.state_from_diffusers(layout, build().state_dict())
    extra = {"repa_projectors.0.weight": torch.ones(2)} if name == "flux3" else {}
    path = save({**expected, **extra}, tmp_path / "flux.safetensors")
    network = load_transformer(path, CPU, FULL, config if name == "flux1" else None)
    assert network.config == config
    assert same(network, expected)
    half = load_transformer(path, CPU, HALF, config)
    assert same(half, {key: value.to(HALF) for key, value in expected.items()})


@pytest.mark.parametrize("name", ["flux2", "flux2 dev", "flux3", "flux3 base"])
@torch.inference_mode()
def test_bfl_files_that_load_here_load_in_diffusers_with_the_same_answer(name: str, tmp_path: Path) -> None:
    """FLUX.1 is in test_layouts: diffusers' conversion knows that network at full width only."""
    config = TINY[name][0]
    network = weights.build(config).to_empty(device=CPU)
    for parameter in network.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)
        else:
            nn.init.uniform_(parameter, 0.5, 1.5)
    path = save(network.state_dict(), tmp_path / "flux.safetensors")
    kind = Flux3Transformer2DModel if name.startswith("flux3") else Flux2Transformer2DModel
    TINY[name][2]().save_config(tmp_path / "transformer")
    theirs = kind.from_single_file(str(path), config=str(tmp_path), subfolder="transformer", local_files_only=True)
    ours = load_transformer(path, CPU, FULL)
    latents, text, t = torch.randn(2, 12, 16), torch.randn(2, 5, 24), torch.tensor([0.25, 0.75])
    more = {"guidance": t} if name == "flux2 dev" else {}
    target = {"target_timestep": t / 2} if name == "flux3" else {}
    at = ours.condition(text, 3, 4)
    rows = ours.modulation(t, t / 2 if target else None, **more)
    place = positions(5, 3, 4) * torch.tensor([1, 0.5, 0.5, 1] if name.startswith("flux3") else [1.0])
    expected = theirs(
        hidden_states=latents,
        encoder_hidden_states=text,
        timestep=t,
        txt_ids=place[:5],
        img_ids=place[5:],
        **more,
        **target,
    ).sample
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(ours(latents, at, rows), expected, atol=1e-5, rtol=0)


def test_a_whole_pipeline_and_a_folder_of_bfl_are_told_apart(tmp_path: Path) -> None:
    reference.flux2().save_pretrained(tmp_path / "theirs" / "transformer")
    reference.autoencoder().save_pretrained(tmp_path / "theirs" / "vae")
    (tmp_path / "theirs" / "model_index.json").write_text("{}")
    (tmp_path / "bfl").mkdir()
    bfl_file("flux3", tmp_path / "bfl" / "model.safetensors")
    save(reference.autoencoder_keys(reference.autoencoder().state_dict()), tmp_path / "bfl" / "ae.safetensors")
    assert load_transformer(tmp_path / "theirs", CPU, FULL).config == reference.FLUX2
    assert load_transformer(tmp_path / "bfl", CPU, FULL).config == reference.FLUX3
    assert open_checkpoint(tmp_path / "bfl", "vae").path.name == "ae.safetensors"
    assert open_checkpoint(tmp_path / "theirs", "vae").path.name == "vae"
    bfl_file("flux3", tmp_path / "bfl" / "other.safetensors")
    with pytest.raises(WeightsError, match=r"Found: model\.safetensors, other\.safetensors"):
        open_checkpoint(tmp_path / "bfl")
    with pytest.raises(WeightsError, match="holds no transformer"):
        open_checkpoint(tmp_path)


def test_our_own_folder_loads(tiny_model: Path) -> None:
    network, pixels = load_transformer(tiny_model, CPU, FULL), load_autoencoder(tiny_model, CPU, HALF)
    model = weights.read_model(tiny_model)
    assert (network.config, pixels.config) == (model.transformer, model.autoencoder)
    assert next(pixels.parameters()).dtype == HALF


TINY_VAE = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (32, 64, 64, 64),
    "layers_per_block": 1,
    "latent_channels": 4,
    "sample_size": 32,
}


@pytest.mark.parametrize("kind", ["flux1", "flux2"])
@torch.inference_mode()
def test_autoencoders_load_from_both_layouts(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs: Any
    if kind == "flux1":
        theirs = AutoencoderKL(
            **TINY_VAE, use_quant_conv=False, use_post_quant_conv=False, scaling_factor=0.3611, shift_factor=0.1159
        )
    else:
        theirs = AutoencoderKLFlux2(**TINY_VAE)
    reference.randomised(theirs).save_pretrained(tmp_path / "vae")
    shape = AutoencoderConfig(
        channels=32,
        multipliers=(1, 2, 2, 2),
        blocks_per_level=1,
        latent_channels=4,
        quant_convolutions=kind == "flux2",
        batch_norm=kind == "flux2",
    )
    ours = load_autoencoder(tmp_path / "vae", CPU, FULL)
    assert ours.config == shape
    z = torch.randn(1, 4, 4, 6)
    torch.testing.assert_close(ours.decoder(z), theirs.decode(z).sample, atol=1e-5, rtol=0)
    path = save(ours.state_dict(), tmp_path / "ae.safetensors")
    again = load_autoencoder(path, CPU, FULL)
    assert again.config == shape
    assert same(again, ours.state_dict())
    if kind == "flux1":  # what diffusers converts of ours; it does not convert FLUX.2's
        back = AutoencoderKL.from_single_file(str(path), config=str(tmp_path), subfolder="vae", local_files_only=True)
        torch.testing.assert_close(back.decode(z).sample, theirs.decode(z).sample, atol=1e-5, rtol=0)


RELEASED = [flux1.DEV, flux1.SCHNELL, flux1.FILL, flux1.CANNY, flux2.DEV, flux2.KLEIN_4B, flux2.KLEIN_9B]


@pytest.mark.parametrize(
    "config", [*RELEASED, flux3.KLEIN, flux3.KLEIN_BASE, replace(flux3.KLEIN, reference_branch=False)]
)
def test_released_shapes_are_recognised(config: TransformerConfig) -> None:
    shapes = {key: tuple(value.shape) for key, value in weights.build(config).state_dict().items()}
    assert transformer_of(shapes, "a file") == config


@pytest.mark.parametrize("config", [FLUX1, FLUX2])
def test_released_autoencoders_are_recognised(config: AutoencoderConfig) -> None:
    with torch.device("meta"):
        network = Autoencoder(config)
    assert autoencoder_of({key: tuple(value.shape) for key, value in network.state_dict().items()}, "a file") == config


def edited(change: Callable[[dict[str, Tensor]], None], path: Path) -> Path:
    state = layouts.state_from_diffusers(layouts.FLUX2, reference.flux2().state_dict())
    change(state)
    return save(state, path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.pop("txt_in.weight"), "missing: 'txt_in.weight'|'txt_in.weight' is missing"),
        (lambda s: s.pop("single_blocks.0.linear2.weight"), "missing single_blocks.0.linear2.weight"),
        (lambda s: s.update(bonus=torch.ones(1)), "unknown bonus"),
        (lambda s: s.update({"single_blocks.999999999.x": torch.ones(1)}), "'single_blocks.2' is missing"),
        (
            lambda s: s.update({"double_blocks.1.img_attn.proj.weight": torch.ones(3, 5)}),
            r"double_blocks.1.img_attn.proj.weight is \(3, 5\), must be \(32, 32\)",
        ),
        (
            lambda s: s.update({"img_in.weight": s["img_in.weight"].to(torch.float8_e4m3fn)}),
            "wrong type: img_in.weight is F8_E4M3, must be BF16 or F16 or F32",
        ),
        (lambda s: s.update({"img_in.weight": s["img_in.weight"].int()}), "img_in.weight is I32"),
        (lambda s: [s.pop(k) for k in list(s) if k.startswith("double_blocks")], "is missing"),
        (lambda s: [s.pop(k) for k in list(s) if k.startswith("single_blocks.1")], None),
        (
            lambda s: [s.pop(k) for k in list(s) if k.startswith("single_blocks.0")],
            "'single_blocks.0' is missing",
        ),
        (lambda s: [s.update({k: v.long()}) for k, v in list(s.items())], "and 33 more"),
    ],
)
def test_files_that_do_not_fit_are_refused_by_name(
    change: Callable[[dict[str, Tensor]], None], said: str | None, tmp_path: Path
) -> None:
    path = edited(change, tmp_path / "flux.safetensors")
    if said is None:
        assert load_transformer(path, CPU, FULL).config.single_blocks == 1  # a smaller network, but a whole one
        return
    with pytest.raises(WeightsError, match=said) as caught:
        load_transformer(path, CPU, FULL)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("kept", [0, 4, 100, 5000, -1])
def test_truncated_files_are_refused(kept: int, tmp_path: Path) -> None:
    path = bfl_file("flux2", tmp_path / "flux.safetensors")
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(WeightsError, match="is not a complete safetensors file"):
        load_transformer(path, CPU, FULL)


def test_what_is_not_a_transformer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "flux.safetensors"
    with pytest.raises(WeightsError, match="There is no weights file"):
        load_transformer(path, CPU, FULL)
    path.write_bytes(b"<html>404</html>" * 100)
    with pytest.raises(WeightsError, match="is not a complete safetensors file"):
        load_transformer(path, CPU, FULL)
    torch.save({"img_in.weight": torch.ones(3)}, path)
    with pytest.raises(WeightsError, match="is not a complete safetensors file"):
        load_transformer(path, CPU, FULL)
    save(reference.flux2().state_dict(), path)
    with pytest.raises(WeightsError, match="diffusers' key names: give the folder"):
        load_transformer(path, CPU, FULL)
    save({"double_blocks.0.img_attn.qkv.lora_A.weight": torch.ones(3)}, path)
    with pytest.raises(WeightsError, match="It is a LoRA"):
        load_transformer(path, CPU, FULL)
    save({"model.layers.0": torch.ones(3)}, path)
    with pytest.raises(WeightsError, match=r"Its first keys: model\.layers\.0"):
        load_transformer(path, CPU, FULL)
    with pytest.raises(WeightsError, match="no autoencoder"):
        load_autoencoder(path, CPU, FULL)
    bfl_file("flux1", path)
    with pytest.raises(WeightsError, match="heads 16 wide, not 128"):
        load_transformer(path, CPU, FULL)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"_class_name": "SD3Transformer2DModel"}, "describes a 'SD3Transformer2DModel'; what runs here"),
        ({"_class_name": None}, "describes a None"),
        ({"_class_name": "AutoencoderKLFlux2"}, "in_channels is 16; what runs here has 3"),
        ({"patch_size": 2}, "patch_size is 2; what runs here has 1"),
        ({"num_layers": -1}, "double_blocks is -1"),
        ({"num_layers": "2"}, "double_blocks is '2'"),
        ({"num_layers": 3}, "missing transformer_blocks.2"),
        ({"num_layers": 10**9}, "too few for 1000000002 blocks"),
        ({"num_attention_heads": 2**26}, "impossible size"),
        ({"axes_dims_rope": [4, 4]}, "axes"),
        ({"guidance_embeds": True}, "missing time_guidance_embed.guidance_embedder.linear_1.weight"),
        ({"num_attention_heads": []}, "does not describe a Flux2Transformer2DModel"),
    ],
)
def test_descriptions_that_do_not_fit_are_refused(values: dict[str, Any], said: str, tmp_path: Path) -> None:
    reference.flux2().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | values))
    with pytest.raises(WeightsError, match=re.escape(said)):
        load_transformer(tmp_path, CPU, FULL)


def test_broken_folders_are_refused(tmp_path: Path) -> None:
    reference.flux2().save_pretrained(tmp_path, max_shard_size="20KB")
    shards = sorted(tmp_path.glob("*.safetensors"))
    index = tmp_path / "diffusion_pytorch_model.safetensors.index.json"
    said = json.loads(index.read_text())
    content = shards[1].read_bytes()
    shards[1].write_bytes(content[:-10])
    with pytest.raises(WeightsError, match=f"{shards[1].name} is not a complete safetensors file"):
        load_transformer(tmp_path, CPU, FULL)
    shards[1].unlink()
    with pytest.raises(WeightsError, match=f"no weights file .*{shards[1].name}"):
        load_transformer(tmp_path, CPU, FULL)
    shards[1].write_bytes(shards[0].read_bytes())
    with pytest.raises(WeightsError, match=r"which another file .* holds too"):
        load_transformer(tmp_path, CPU, FULL)
    shards[1].write_bytes(content)
    lost = next(key for key, file in said["weight_map"].items() if file == shards[0].name)
    left = {key: file for key, file in said["weight_map"].items() if file != shards[0].name}
    index.write_text(json.dumps({"weight_map": left}))
    with pytest.raises(WeightsError, match=f"missing {lost}|more"):
        load_transformer(tmp_path, CPU, FULL)
    for wrong in ({"weight_map": {"a": "../elsewhere.safetensors"}}, {"weight_map": ["a"]}, {}):
        index.write_text(json.dumps(wrong))
        with pytest.raises(WeightsError, match="does not say in which file"):
            load_transformer(tmp_path, CPU, FULL)
    index.write_text("{")
    with pytest.raises(WeightsError, match="is not JSON"):
        load_transformer(tmp_path, CPU, FULL)
    index.unlink()
    with pytest.raises(WeightsError, match="has no weights"):
        load_transformer(tmp_path, CPU, FULL)


def test_a_network_of_another_kind_is_refused(tmp_path: Path) -> None:
    reference.flux2().save_pretrained(tmp_path / "transformer")
    reference.autoencoder().save_pretrained(tmp_path / "vae")
    with pytest.raises(WeightsError, match="holds an autoencoder"):
        load_transformer(tmp_path / "vae", CPU, FULL)
    with pytest.raises(WeightsError, match="holds a transformer"):
        load_autoencoder(tmp_path / "transformer", CPU, FULL)
    with torch.device("meta"):
        network: nn.Module = Flux3(reference.FLUX3)
    with pytest.raises(WeightsError, match="does not fit the network"):
        load_into(network, bfl_file("flux2", tmp_path / "flux.safetensors"), CPU, FULL)
    assert all(parameter.is_meta for parameter in network.parameters())


MEASURE = """
import sys
from pathlib import Path
import torch
from diptych.engines.compute import forget_peak, peak_memory
from diptych.engines.flow.weights import load_transformer

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

path, dtype = Path(sys.argv[1]), getattr(torch, sys.argv[2])
load_transformer(Path(sys.argv[3]), torch.device("cpu"), dtype)  # whatever is loaded once is loaded now
forget_peak(torch.device("cpu"))
before = resident()
network = load_transformer(path, torch.device("cpu"), dtype)
bytes = sum(p.numel() * p.element_size() for p in network.parameters())
print(bytes, peak_memory(torch.device("cpu")) - before)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read as Linux says it")
@pytest.mark.parametrize("layout", ["bfl", "diffusers", "shards"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_loading_takes_little_more_memory_than_the_weights(layout: str, dtype: str, tmp_path: Path) -> None:
    """On a file of about 100 MB, in the stored type and in another, with layers that are put together from parts."""
    config = replace(flux2.KLEIN_4B, hidden=512, heads=4, double_blocks=2, single_blocks=10, text_width=512)
    torch.manual_seed(0)
    network = Flux2(config).to(HALF)
    path = tmp_path / "flux.safetensors"
    if layout == "bfl":
        save(network.state_dict(), path)
    else:
        path = tmp_path / "transformer"
        theirs = Flux2Transformer2DModel(
            num_layers=2,
            num_single_layers=10,
            num_attention_heads=4,
            joint_attention_dim=512,
            guidance_embeds=False,
        ).to(HALF)
        theirs.load_state_dict(layouts.state_to_diffusers(layouts.FLUX2, network.state_dict()))
        theirs.save_pretrained(path, max_shard_size="20MB" if layout == "shards" else "1GB")
    small = bfl_file("flux2", tmp_path / "small.safetensors")
    command = [sys.executable, "-c", MEASURE, str(path), dtype, str(small)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    held, peak = map(int, done.stdout.split())
    assert held >= (90e6 if dtype == "bfloat16" else 180e6)
    assert held <= peak <= 1.1 * held
