"""LoRAs as trainers write them: names, scales and halves are held against diffusers' networks and conversions."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.loaders import lora_conversion_utils
from safetensors.torch import save_file
from torch import Tensor, nn

from diptych.engines.flow import layouts
from diptych.engines.flow.detection import LAYOUTS
from diptych.engines.flow.lora import METADATA, Adapted, read_lora
from diptych.engines.flow.weights import Transformer, build
from diptych.errors import WeightsError
from tests.engines.flow import reference

CONFIGS = {"flux1": reference.FLUX1, "flux2": reference.FLUX2, "flux3": reference.FLUX3}
THEIRS: dict[str, Callable[[], nn.Module]] = {
    "flux1": reference.flux1, "flux2": reference.flux2, "flux3": reference.flux3,
}  # fmt: skip
RANK = 3


def network(name: str, dtype: torch.dtype = torch.float32) -> Transformer:
    ours = build(CONFIGS[name]).to_empty(device="cpu")
    state = layouts.state_from_diffusers(LAYOUTS[type(CONFIGS[name])], THEIRS[name]().state_dict())
    ours.load_state_dict(state)
    return ours.to(dtype).eval().requires_grad_(False)


def matrices(module: nn.Module) -> dict[str, Tensor]:
    """The weights that a LoRA may change, by the name of their module."""
    return {key.removesuffix(".weight"): w for key, w in module.state_dict().items() if w.dim() == 2}


def lora(shapes: dict[str, Tensor], seed: int, name: Callable[[str], str], words: tuple[str, str]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for module, weight in shapes.items():
        rows, columns = weight.shape
        tensors[f"{name(module)}.{words[0]}.weight"] = torch.randn(RANK, columns, generator=generator)
        tensors[f"{name(module)}.{words[1]}.weight"] = torch.randn(rows, RANK, generator=generator)
    return tensors


def save(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> Path:
    save_file({key: value.clone().contiguous() for key, value in tensors.items()}, path, metadata)
    return path


def assert_states_equal(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float = 1e-5) -> None:
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, atol=tolerance, rtol=0, msg=key)


@pytest.mark.parametrize("prefix", ["transformer.", "base_model.model.", ""])
@pytest.mark.parametrize("name", CONFIGS)
def test_diffusers_names_change_what_they_change_there(name: str, prefix: str, tmp_path: Path) -> None:
    """Every matrix at once: fused projections by their parts, and the last modulation with its halves swapped."""
    theirs, ours = THEIRS[name](), network(name)
    weights = matrices(theirs)
    tensors = lora(weights, 1, lambda module: prefix + module, ("lora_A", "lora_B"))
    Adapted(ours).apply([(read_lora(save(tensors, tmp_path / "a.safetensors"), CONFIGS[name]), 0.5)])
    with torch.no_grad():
        for module, weight in weights.items():
            down, up = (tensors[f"{prefix}{module}.lora_{side}.weight"] for side in "AB")
            weight += 0.5 * up @ down
    expected = layouts.state_from_diffusers(LAYOUTS[type(CONFIGS[name])], theirs.state_dict())
    assert_states_equal(ours.state_dict(), expected)


STYLES: dict[str, tuple[Callable[[str], str], tuple[str, str]]] = {
    "BFL": (lambda module: f"diffusion_model.{module}", ("lora_A", "lora_B")),
    "BFL, bare": (lambda module: module, ("lora_down", "lora_up")),
    "kohya": (lambda module: "lora_unet_" + module.replace(".", "_"), ("lora_down", "lora_up")),
}


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("name", CONFIGS)
def test_bfl_and_kohya_names_and_alpha(name: str, style: str, tmp_path: Path) -> None:
    rename, words = STYLES[style]
    ours = network(name)
    expected = {key: value.clone() for key, value in ours.state_dict().items()}
    tensors = lora(matrices(ours), 2, rename, words)
    for i, module in enumerate(matrices(ours)):
        down, up = (tensors[f"{rename(module)}.{word}.weight"] for word in words)
        alpha = 1.0 + i % 4
        tensors[f"{rename(module)}.alpha"] = torch.tensor(alpha)
        expected[f"{module}.weight"] += alpha / RANK * up @ down
    Adapted(ours).apply([(read_lora(save(tensors, tmp_path / "a.safetensors"), CONFIGS[name]), 1.0)])
    assert_states_equal(ours.state_dict(), expected)


def convertible(name: str, module: str) -> bool:
    """What diffusers' conversions know: of FLUX.1 all but a layer that they take for full width; of others blocks."""
    blocks = module.startswith(("double_blocks", "single_blocks", "txt_mode_blocks", "content_mode_blocks"))
    return blocks and not (name == "flux1" and module.endswith("linear1"))


CONVERSIONS = {
    ("flux1", "kohya"): lora_conversion_utils._convert_kohya_flux_lora_to_diffusers,
    ("flux2", "kohya"): lora_conversion_utils._convert_kohya_flux2_lora_to_diffusers,
    ("flux2", "BFL"): lora_conversion_utils._convert_non_diffusers_flux2_lora_to_diffusers,
    ("flux3", "BFL"): lora_conversion_utils._convert_non_diffusers_flux3_lora_to_diffusers,
}


@pytest.mark.parametrize(("name", "style"), CONVERSIONS)
def test_a_file_and_what_diffusers_converts_it_to_do_the_same(name: str, style: str, tmp_path: Path) -> None:
    rename, words = STYLES[style]
    ours, again = network(name), network(name)
    shapes = {module: weight for module, weight in matrices(ours).items() if convertible(name, module)}
    tensors = lora(shapes, 3, rename, words)
    if style == "kohya":
        tensors |= {f"{rename(module)}.alpha": torch.tensor(2.0) for module in shapes}
    converted = CONVERSIONS[name, style](dict(tensors))
    assert all(key.startswith("transformer.") for key in converted)
    config = CONFIGS[name]
    Adapted(ours).apply([(read_lora(save(tensors, tmp_path / "a.safetensors"), config), 1.0)])
    Adapted(again).apply([(read_lora(save(converted, tmp_path / "b.safetensors"), config), 1.0)])
    assert_states_equal(ours.state_dict(), again.state_dict())
    changed = sum(not torch.equal(value, network(name).state_dict()[key]) for key, value in ours.state_dict().items())
    assert changed == len(shapes)


def files(tmp_path: Path) -> tuple[Any, Any]:
    ours = network("flux2")
    shapes = matrices(ours)
    some = {module: shapes[module] for module in list(shapes)[::2]}
    rename, words = STYLES["BFL"]
    paths = [
        save(lora(which, seed, rename, words), tmp_path / f"{seed}.safetensors")
        for seed, which in ((4, shapes), (5, some))
    ]
    first, second = (read_lora(path, reference.FLUX2) for path in paths)
    return first, second


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_several_are_added_up_and_undone_exactly(dtype: torch.dtype, tmp_path: Path) -> None:
    first, second = files(tmp_path)
    ours = network("flux2", dtype)
    before = {key: value.clone() for key, value in ours.state_dict().items()}
    adapted = Adapted(ours)
    adapted.apply([(first, 0.7), (second, -0.3)])
    expected = {key: value.float() for key, value in before.items()}
    for loaded, strength in ((first, 0.7), (second, -0.3)):
        for change in loaded.changes:
            expected[change.target.key] = expected[change.target.key] + strength * change.up @ change.down
    tolerance = 1e-5 if dtype == torch.float32 else 0.1  # half a unit in the last place of values up to 16
    assert_states_equal({k: v.float() for k, v in ours.state_dict().items()}, expected, tolerance)
    both = {key: value.clone() for key, value in ours.state_dict().items()}

    adapted.apply([(second, 1.0)])
    alone = network("flux2", dtype)
    Adapted(alone).apply([(second, 1.0)])
    assert_states_equal(ours.state_dict(), alone.state_dict(), 0)
    adapted.apply([(first, 0.7), (second, -0.3)])
    assert_states_equal(ours.state_dict(), both, 0)
    adapted.apply([])
    assert_states_equal(ours.state_dict(), before, 0)


def test_a_strength_must_be_a_number_and_released_weights_are_not_changed(tmp_path: Path) -> None:
    first, _ = files(tmp_path)
    ours = network("flux2")
    before = {key: value.clone() for key, value in ours.state_dict().items()}
    adapted = Adapted(ours)
    with pytest.raises(ValueError, match=r"strength of .* is nan"):
        adapted.apply([(first, 1.0), (first, float("nan"))])
    assert_states_equal(ours.state_dict(), before, 0)
    adapted.apply([(first, 1.0)])
    ours.release_modulation()
    with pytest.raises(RuntimeError, match="released"):
        adapted.apply([(first, 0.5)])
    adapted.apply([])
    assert_states_equal(ours.state_dict(), {key: before[key] for key in ours.state_dict()}, 0)


@pytest.mark.parametrize("prefix", ["", "transformer."])
@pytest.mark.parametrize(
    ("said", "scale"),
    [
        ({"r": RANK, "lora_alpha": 6}, 2.0),
        ({"lora_alpha": 6, "use_rslora": True}, 6 / RANK**0.5),
        ({"lora_alpha": 6, "alpha_pattern": {"attn.to_q": 9}}, 3.0),
        ({"lora_alpha": 6, "alpha_pattern": {"to_k": 9}}, 2.0),
        ({}, 1.0),
    ],
)
def test_alphas_that_diffusers_wrote_are_read(said: dict[str, Any], scale: float, prefix: str, tmp_path: Path) -> None:
    name = "transformer_blocks.0.attn.to_q"
    tensors = lora({name: torch.empty(32, 32)}, 6, lambda module: f"transformer.{module}", ("lora_A", "lora_B"))
    words = {METADATA: json.dumps({prefix + key: value for key, value in said.items()})}
    (change,) = read_lora(save(tensors, tmp_path / "a.safetensors", words), reference.FLUX2).changes
    assert change.scale == pytest.approx(scale)
    assert (change.target.key, change.target.rows) == ("double_blocks.0.img_attn.qkv.weight", slice(0, 32))


def pair(module: str, rows: int = 32, columns: int = 32, rank: int = 2) -> dict[str, Tensor]:
    return {f"{module}.lora_A.weight": torch.ones(rank, columns), f"{module}.lora_B.weight": torch.ones(rows, rank)}


GOOD = pair("transformer.transformer_blocks.0.attn.to_q")


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        (pair("transformer.transformer_blocks.7.attn.to_q"), "2 of 4 keys that match nothing in this FLUX2 network"),
        (pair("lora_unet_double_blocks_0_img_attn_qvk"), "lora_unet_double_blocks_0_img_attn_qvk.lora_A.weight"),
        ({"transformer.x_embedder.weight": torch.ones(1)}, "match nothing .* transformer.x_embedder.weight"),
        (pair("lora_te1_text_model_encoder_layers_0_mlp_fc1"), "changes a text encoder too: lora_te1_.*published"),
        (pair("text_encoder.text_model.encoder.layers.0.mlp.fc1"), "changes a text encoder too"),
        (
            pair("transformer.x_embedder", 32, 99),
            r"x_embedder is \(32, 2\) times \(2, 99\), the network's is \(32, 16\)",
        ),
        ({"transformer.x_embedder.lora_A.weight": torch.ones(2, 16)}, "transformer.x_embedder has no up matrix"),
        ({"transformer.x_embedder.alpha": torch.tensor(1.0)}, "has no down matrix"),
        ({**pair("img_in", 32, 16), "img_in.alpha": torch.ones(3)}, r"img_in.alpha is \(3,\), must be one number"),
        ({"img_in.lora_A.weight": torch.ones(2, 16).bool(), "img_in.lora_B.weight": torch.ones(32, 2)}, "is BOOL"),
        ({**pair("img_in", 32, 16), **pair("transformer.x_embedder", 32, 16)}, "transformer.x_embedder.* are the same"),
        ({"transformer.x_embedder.dora_scale": torch.ones(32)}, "It holds DoRA, which cannot be used"),
        ({"lora_unet_img_in.lokr_w1": torch.ones(2, 2)}, "It holds LoKr"),
    ],
)
def test_files_that_do_not_fit_are_refused_by_name(tensors: dict[str, Tensor], said: str, tmp_path: Path) -> None:
    path = save({**GOOD, **tensors}, tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match=said) as caught:
        read_lora(path, reference.FLUX2)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(("made_for", "given_to"), [("flux1", "flux2"), ("flux2", "flux3"), ("flux3", "flux1")])
def test_a_lora_for_another_model_is_refused(made_for: str, given_to: str, tmp_path: Path) -> None:
    rename, words = STYLES["kohya"]
    path = save(lora(matrices(network(made_for)), 7, rename, words), tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match="match nothing"):
        read_lora(path, CONFIGS[given_to])
    wider = replace(CONFIGS[made_for], text_width=48)
    with pytest.raises(WeightsError, match=re.escape("lora_unet_txt_in is (32, 3) times (3, 24)")):
        read_lora(path, wider)


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with pytest.raises(WeightsError, match="no weights file"):
        read_lora(path, reference.FLUX2)
    path.write_bytes(b"not a LoRA")
    with pytest.raises(WeightsError, match="not a complete safetensors file"):
        read_lora(path, reference.FLUX2)
    save({}, path)
    with pytest.raises(WeightsError, match="it is empty"):
        read_lora(path, reference.FLUX2)
    for words in ("{", "[]", '{"lora_alpha": "x"}', '{"alpha_pattern": {"(": 1}}', '{"alpha_pattern": 3}'):
        save(GOOD, path, {METADATA: words})
        with pytest.raises(WeightsError, match="diffusers wrote"):
            read_lora(path, reference.FLUX2)
    save(GOOD, path, {METADATA: '{"transformer.use_dora": true}'})
    with pytest.raises(WeightsError, match="is a DoRA"):
        read_lora(path, reference.FLUX2)
