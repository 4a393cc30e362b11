"""The encoders against transformers' whole models and diffusers' pipelines: the same tokens, masks and numbers."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from diptych.engines.text.encoders import FLUX1, FLUX2_DEV, FLUX2_KLEIN, FLUX3, Kind, TextEncoder, joined
from diptych.engines.text.prompts import MISTRAL_SYSTEM
from diptych.errors import InvalidRequest, WeightsError
from tests.engines.text import tiny

CPU, FLOAT = torch.device("cpu"), torch.float32


@pytest.fixture(scope="module", autouse=True)
def few_words() -> Iterator[None]:
    """transformers' progress bars and diffusers' remarks on truncation are not what is tested."""
    transformers.utils.logging.disable_progress_bar()
    yield
    transformers.utils.logging.enable_progress_bar()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny model's folder of each kind, as diffusers lays them out. Read only: break a copy."""
    root = tmp_path_factory.mktemp("encoders")
    made = {name: getattr(tiny, name)(root / name) for name in ("flux1", "klein", "dev", "flux3")}
    return {**made, "left": tiny.dev(root / "left", side="left")}


def opened(kind: Kind, root: Path, **more: Any) -> TextEncoder:
    return TextEncoder.open(kind, root, CPU, FLOAT, **more)


def tapped(model: Any, ids: Tensor, taps: tuple[int, ...], **more: Any) -> Tensor:
    """The whole model's hidden states, as transformers gives them."""
    with torch.no_grad():
        states = model(input_ids=ids, output_hidden_states=True, use_cache=False, **more).hidden_states
    return torch.cat([states[tap] for tap in taps], dim=-1)


# Against transformers


@pytest.mark.parametrize("prompt", tiny.PROMPTS)
@pytest.mark.parametrize(
    ("name", "kind", "whole"),
    [
        ("klein", FLUX2_KLEIN, transformers.Qwen3ForCausalLM),
        ("dev", FLUX2_DEV, transformers.Mistral3ForConditionalGeneration),
        ("left", FLUX2_DEV, transformers.Mistral3ForConditionalGeneration),
    ],
)
def test_a_cut_model_gives_the_hidden_states_of_the_whole_one(
    folders: dict[str, Path], name: str, kind: Kind, whole: Any, prompt: str
) -> None:
    encoder = opened(kind, folders[name])
    tokens = encoder.networks[0].tokenizer(prompt)
    model = whole.from_pretrained(folders[name] / "text_encoder", dtype=FLOAT)
    expected = tapped(model, tokens.ids, kind.parts[0].taps, attention_mask=tokens.mask.long())
    assert torch.equal(encoder.encode_one(prompt).hidden, expected)


@pytest.mark.parametrize(("name", "kind"), [("klein", FLUX2_KLEIN), ("dev", FLUX2_DEV), ("flux3", FLUX3)])
def test_nothing_past_the_last_tap_is_there(folders: dict[str, Path], name: str, kind: Kind) -> None:
    encoder = opened(kind, folders[name])
    encoder.load()
    (network,) = encoder.networks
    assert network.module is not None
    names = [key for key, _ in network.module.named_parameters()]
    assert len(network.module.get_submodule("layers")) == max(kind.parts[0].taps)  # type: ignore[arg-type]
    assert {key.split(".")[0] for key in names} == {"embed_tokens", "layers"}
    assert encoder.nbytes == sum(p.numel() * p.element_size() for p in network.module.parameters())


# Against diffusers


@pytest.mark.parametrize("longest", [512, 256])
def test_flux1_equals_diffusers(folders: dict[str, Path], longest: int) -> None:
    from diffusers import FluxPipeline

    root = folders["flux1"]
    pipeline = FluxPipeline(
        scheduler=None,
        vae=None,
        transformer=None,
        text_encoder=transformers.CLIPTextModel.from_pretrained(root / "text_encoder"),
        text_encoder_2=transformers.T5EncoderModel.from_pretrained(root / "text_encoder_2"),
        tokenizer=transformers.CLIPTokenizer.from_pretrained(root / "tokenizer"),
        tokenizer_2=transformers.T5Tokenizer.from_pretrained(root / "tokenizer_2"),
    )
    with torch.no_grad():
        hidden, pooled, _ = pipeline.encode_prompt(tiny.PROMPTS, device=CPU, max_sequence_length=longest)
    encoder = opened(FLUX1, root, longest=longest)
    ours = encoder.encode(tiny.PROMPTS)
    assert ours.hidden.shape == (len(tiny.PROMPTS), longest, encoder.width)
    assert ours.pooled is not None
    assert ours.pooled.shape == (len(tiny.PROMPTS), encoder.pooled_width)
    assert_close(ours.hidden, hidden)
    assert_close(ours.pooled, pooled)


def test_clip_reads_the_beginning_of_a_long_prompt_as_in_diffusers(folders: dict[str, Path]) -> None:
    from diffusers import FluxPipeline

    root, prompt = folders["flux1"], "a red fox " * 40
    clip = transformers.CLIPTextModel.from_pretrained(root / "text_encoder")
    pipeline = FluxPipeline(
        scheduler=None,
        vae=None,
        transformer=None,
        text_encoder=clip,
        text_encoder_2=None,
        tokenizer=transformers.CLIPTokenizer.from_pretrained(root / "tokenizer"),
        tokenizer_2=None,
    )
    logging.getLogger("diffusers").setLevel(logging.ERROR)
    with torch.no_grad():
        expected = pipeline._get_clip_prompt_embeds(prompt, device=CPU)
    encoder = opened(FLUX1, root)
    ours = encoder.encode_one(prompt)
    assert ours.pooled is not None
    assert_close(ours.pooled, expected)
    (note,) = encoder.notes(prompt)
    count = encoder.networks[1].tokenizer.count(prompt) - 2
    assert note.startswith(f"CLIP reads the first 75 of this prompt's {count} tokens")
    assert encoder.notes("a red fox") == []


def test_klein_equals_diffusers(folders: dict[str, Path]) -> None:
    from diffusers import Flux2KleinPipeline

    root = folders["klein"]
    model = transformers.Qwen3ForCausalLM.from_pretrained(root / "text_encoder")
    tokenizer = transformers.AutoTokenizer.from_pretrained(root / "tokenizer")
    with torch.no_grad():
        expected = Flux2KleinPipeline._get_qwen3_prompt_embeds(model, tokenizer, tiny.PROMPTS)
    ours = opened(FLUX2_KLEIN, root).encode(tiny.PROMPTS)
    assert ours.hidden.shape == (len(tiny.PROMPTS), 512, 3 * 16)
    assert ours.pooled is None
    assert_close(ours.hidden, expected)


@pytest.mark.parametrize("name", ["dev", "left"])
def test_flux2_dev_equals_diffusers(folders: dict[str, Path], name: str) -> None:
    from diffusers import Flux2Pipeline
    from diffusers.pipelines.flux2.system_messages import SYSTEM_MESSAGE

    assert MISTRAL_SYSTEM == SYSTEM_MESSAGE
    # The processor itself needs torchvision; for text it renders the template and calls this tokenizer.
    root = folders[name]
    model = transformers.Mistral3ForConditionalGeneration.from_pretrained(root / "text_encoder")
    tokenizer = transformers.AutoTokenizer.from_pretrained(root / "tokenizer")
    seen: list[Tensor] = []
    model.register_forward_pre_hook(
        lambda _m, _a, kw: seen.extend([kw["input_ids"], kw["attention_mask"]]), with_kwargs=True
    )
    with torch.no_grad():
        expected = Flux2Pipeline._get_mistral_3_small_prompt_embeds(model, tokenizer, tiny.PROMPTS)
    encoder = opened(FLUX2_DEV, root)
    ids, mask = seen
    for row, prompt in enumerate(tiny.PROMPTS):
        tokens = encoder.networks[0].tokenizer(prompt)
        assert tokens.ids[0].tolist() == ids[row].tolist()
        assert tokens.mask[0].tolist() == mask[row].bool().tolist()
    assert_close(encoder.encode(tiny.PROMPTS).hidden, expected)


@pytest.mark.parametrize("own_layout", [False, True])
def test_flux3_equals_diffusers(folders: dict[str, Path], tmp_path: Path, own_layout: bool) -> None:
    from diffusers.modular_pipelines.flux3.encoders import Flux3TextEncoderStep

    root = folders["flux3"]
    model = transformers.Qwen3VLForConditionalGeneration.from_pretrained(root / "text_encoder")
    tokenizer = transformers.AutoTokenizer.from_pretrained(root / "tokenizer")
    tokenizer.tokenizer = tokenizer  # what a processor is to the step: a template, and the tokenizer inside
    encoder = opened(FLUX3, tiny.flux3_own_layout(root, tmp_path / "own") if own_layout else root)
    for prompt in [*tiny.PROMPTS, "a red fox in deep snow " * 12]:
        with torch.no_grad():
            expected = Flux3TextEncoderStep._get_qwen3_vl_prompt_embeds(model, tokenizer, prompt)
        ours = encoder.encode_one(prompt).hidden
        assert ours.shape[1] % 80 == 0
        assert ours.shape[2] == 8 * 16
        assert_close(ours, expected)


def assert_close(ours: Tensor, theirs: Tensor) -> None:
    assert ours.dtype == theirs.dtype
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= 1e-6 * theirs.abs().max()


# Batches


def test_a_prompt_says_the_same_in_company(folders: dict[str, Path]) -> None:
    encoder = opened(FLUX2_KLEIN, folders["klein"])
    together = encoder.encode(tiny.PROMPTS).hidden
    for row, prompt in enumerate(tiny.PROMPTS):
        assert torch.equal(together[row], encoder.encode_one(prompt).hidden[0])


def test_windows_of_two_lengths_are_no_batch(folders: dict[str, Path]) -> None:
    encoder = opened(FLUX3, folders["flux3"])
    with pytest.raises(InvalidRequest, match="Prompts of 80 and 160 tokens do not go into one batch"):
        encoder.encode(["", "a red fox in deep snow " * 12])
    with pytest.raises(InvalidRequest, match="no tokens"):
        joined([])


def test_weights_come_with_the_first_prompt_and_go(folders: dict[str, Path]) -> None:
    encoder = opened(FLUX1, folders["flux1"])
    assert not encoder.loaded
    encoder.check(["a fox"])
    assert not encoder.loaded
    first = encoder.encode_one("a fox").hidden
    assert encoder.loaded
    encoder.release()
    assert not encoder.loaded
    assert torch.equal(encoder.encode_one("a fox").hidden, first)


@pytest.mark.parametrize(
    ("name", "kind", "template"), [("flux1", FLUX1, 1), ("klein", FLUX2_KLEIN, 16), ("dev", FLUX2_DEV, 86)]
)
def test_a_prompt_too_long_is_refused_with_its_length(
    folders: dict[str, Path], name: str, kind: Kind, template: int
) -> None:
    encoder = opened(kind, folders[name])
    tokenizer = encoder.networks[0].tokenizer
    assert tokenizer.overhead == template
    prompt = "fox " * 600
    count = tokenizer.count(prompt) - template
    with pytest.raises(InvalidRequest, match=rf"has {count} tokens; .* reads at most {512 - template} "):
        encoder.encode_one(prompt)
    assert not encoder.loaded


def test_the_longest_prompt_is_read_whole(folders: dict[str, Path]) -> None:
    encoder = opened(FLUX2_KLEIN, folders["klein"], longest=40)
    tokenizer = encoder.networks[0].tokenizer
    words = 0
    while tokenizer.count("x" * (words + 1)) <= 40:
        words += 1
    tokens = tokenizer("x" * words)
    assert tokens.mask.all()
    with pytest.raises(InvalidRequest):
        tokenizer("x" * (words + 1))


# dtypes


def test_bfloat16_is_that_of_transformers(folders: dict[str, Path]) -> None:
    root = folders["klein"]
    encoder = TextEncoder.open(FLUX2_KLEIN, root, CPU, torch.bfloat16)
    tokens = encoder.networks[0].tokenizer("a fox")
    model = transformers.Qwen3ForCausalLM.from_pretrained(root / "text_encoder", dtype=torch.bfloat16)
    expected = tapped(model, tokens.ids, (9, 18, 27), attention_mask=tokens.mask.long())
    ours = encoder.encode_one("a fox").hidden
    assert ours.dtype == torch.bfloat16
    assert torch.equal(ours, expected)
    assert 2 * encoder.nbytes == opened(FLUX2_KLEIN, root).nbytes


def test_t5_keeps_in_float32_what_overflows_float16(folders: dict[str, Path]) -> None:
    root = folders["flux1"]
    encoder = TextEncoder.open(FLUX1, root, CPU, torch.float16)
    tokens = encoder.networks[0].tokenizer("a fox")
    model = transformers.T5EncoderModel.from_pretrained(root / "text_encoder_2", dtype=torch.float16)
    with torch.no_grad():
        expected = model(input_ids=tokens.ids).last_hidden_state
    assert torch.equal(encoder.encode_one("a fox").hidden, expected)
    module = encoder.networks[0].module
    assert module is not None
    assert {str(p.dtype) for k, p in module.named_parameters() if ".wo." in k} == {"torch.float32"}
    assert encoder.networks[0].nbytes == sum(p.numel() * p.element_size() for p in module.parameters())


# Layouts of files


def copied(source: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(source, tmp_path / "copy"))


def rewrite(path: Path, change: Any) -> None:
    state = load_file(path)
    change(state)
    save_file(state, path, metadata={"format": "pt"})


def test_sharded_files_are_read(folders: dict[str, Path], tmp_path: Path) -> None:
    root = tiny.klein(tmp_path / "sharded", tie=False, shard="60KB")
    parts = list((root / "text_encoder").glob("model-*.safetensors"))
    assert len(parts) > 4
    with safe_open(parts[0], "pt") as file:
        assert file.keys()
    model = transformers.Qwen3ForCausalLM.from_pretrained(root / "text_encoder")
    encoder = opened(FLUX2_KLEIN, root)
    tokens = encoder.networks[0].tokenizer("a fox")
    expected = tapped(model, tokens.ids, (9, 18, 27), attention_mask=tokens.mask.long())
    assert torch.equal(encoder.encode_one("a fox").hidden, expected)


def test_an_encoder_in_a_folder_of_its_own_is_read(folders: dict[str, Path], tmp_path: Path) -> None:
    root = tmp_path / "Qwen3"
    shutil.copytree(folders["klein"] / "text_encoder", root)
    shutil.copytree(folders["klein"] / "tokenizer", root, dirs_exist_ok=True)
    ours = opened(FLUX2_KLEIN, root).encode_one("a fox").hidden
    assert torch.equal(ours, opened(FLUX2_KLEIN, folders["klein"]).encode_one("a fox").hidden)


def test_keys_of_other_releases_of_transformers_are_known(folders: dict[str, Path], tmp_path: Path) -> None:
    root = copied(folders["flux1"], tmp_path)

    def older(state: dict[str, Tensor]) -> None:
        for key in list(state):
            state[f"text_model.{key.removeprefix('text_model.')}"] = state.pop(key)
        state["text_model.embeddings.position_ids"] = torch.arange(77)[None]
        state["text_projection.weight"] = torch.zeros(16, 16)
        state["vision_model.embeddings.class_embedding"] = torch.zeros(3)
        state["logit_scale"] = torch.tensor(1.0)

    def whole(state: dict[str, Tensor]) -> None:
        state["encoder.embed_tokens.weight"] = state["shared.weight"].clone()
        state["decoder.final_layer_norm.weight"] = torch.zeros(3)
        state["lm_head.weight"] = torch.zeros(3)

    rewrite(root / "text_encoder/model.safetensors", older)
    rewrite(root / "text_encoder_2/model.safetensors", whole)
    ours, plain = opened(FLUX1, root).encode_one("a fox"), opened(FLUX1, folders["flux1"]).encode_one("a fox")
    assert torch.equal(ours.hidden, plain.hidden)
    assert ours.pooled is not None
    assert plain.pooled is not None
    assert torch.equal(ours.pooled, plain.pooled)

    root = copied(folders["dev"], tmp_path / "dev")

    def newer(state: dict[str, Tensor]) -> None:
        for key in list(state):
            name = key.replace("language_model.model.", "model.language_model.").replace("language_model.lm_h", "lm_h")
            state[f"model.{name}" if name.startswith(("vision", "multi")) else name] = state.pop(key)

    rewrite(root / "text_encoder/model.safetensors", newer)
    ours = opened(FLUX2_DEV, root).encode_one("a fox")
    assert torch.equal(ours.hidden, opened(FLUX2_DEV, folders["dev"]).encode_one("a fox").hidden)


# What is wrong is said before memory is filled


def break_key(key: str, change: Any) -> Any:
    def apply(state: dict[str, Tensor]) -> None:
        state[key] = change(state[key])

    return apply


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("model.layers.3.mlp.up_proj.weight"), "missing model.layers.3.mlp.up_proj.weight"),
        (lambda s: s.update({"model.extra": torch.zeros(1)}), "unknown model.extra"),
        (lambda s: s.update({"model.layers.29.mlp.up_proj.weight": torch.zeros(1)}), "unknown model.layers.29.mlp"),
        (
            break_key("model.embed_tokens.weight", lambda t: t[:, :8].contiguous()),
            r"is \(\d+, 8\), must be \(\d+, 16\)",
        ),
        (break_key("model.layers.0.mlp.up_proj.weight", lambda t: t.to(torch.int8)), "is of type I8, must be one of"),
        (break_key("model.layers.0.mlp.up_proj.weight", lambda t: t.to(torch.float8_e4m3fn)), "is of type F8_E4M3"),
    ],
)
def test_every_wrong_key_is_named(folders: dict[str, Path], tmp_path: Path, change: Any, message: str) -> None:
    root = copied(folders["klein"], tmp_path)
    rewrite(root / "text_encoder/model.safetensors", change)
    with pytest.raises(WeightsError, match=message):
        opened(FLUX2_KLEIN, root)


def test_layers_that_are_not_read_may_be_missing(folders: dict[str, Path], tmp_path: Path) -> None:
    root = copied(folders["klein"], tmp_path)
    rewrite(
        root / "text_encoder/model.safetensors",
        lambda state: [state.pop(key) for key in list(state) if ".layers.28." in key or key == "model.norm.weight"],
    )
    ours = opened(FLUX2_KLEIN, root).encode_one("a fox").hidden
    assert torch.equal(ours, opened(FLUX2_KLEIN, folders["klein"]).encode_one("a fox").hidden)


def test_files_that_are_none(folders: dict[str, Path], tmp_path: Path) -> None:
    root = copied(folders["klein"], tmp_path)
    path = root / "text_encoder/model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(WeightsError, match="is not a complete safetensors file"):
        opened(FLUX2_KLEIN, root)
    path.write_bytes(b"PK\x03\x04 not at all")
    with pytest.raises(WeightsError, match="is not a complete safetensors file"):
        opened(FLUX2_KLEIN, root)
    path.rename(path.with_name("pytorch_model.bin"))
    with pytest.raises(WeightsError, match=r"no model.safetensors in .*pytorch_model.bin is a pickle"):
        opened(FLUX2_KLEIN, root)
    shutil.rmtree(root / "text_encoder")
    with pytest.raises(WeightsError, match="There is no folder text_encoder in"):
        opened(FLUX2_KLEIN, root)


def test_a_part_that_does_not_hold_what_the_index_says(tmp_path: Path) -> None:
    root = tiny.klein(tmp_path / "sharded", shard="60KB")
    index = root / "text_encoder/model.safetensors.index.json"
    content = json.loads(index.read_text("utf-8"))
    first = sorted(set(content["weight_map"].values()))[0]
    taken = next(key for key, name in content["weight_map"].items() if name == first)
    rewrite(root / "text_encoder" / first, lambda state: state.pop(taken))
    with pytest.raises(WeightsError, match=f"does not hold what model.safetensors.index.json says: missing {taken}"):
        opened(FLUX2_KLEIN, root)
    (root / "text_encoder" / first).unlink()
    with pytest.raises(WeightsError, match=f"There is no file .*{first}"):
        opened(FLUX2_KLEIN, root)
    content["weight_map"][taken] = "../secret.safetensors"
    index.write_text(json.dumps(content), "utf-8")
    with pytest.raises(WeightsError, match="which is not a file beside it"):
        opened(FLUX2_KLEIN, root)
    index.write_text("[]", "utf-8")
    with pytest.raises(WeightsError, match="holds no table"):
        opened(FLUX2_KLEIN, root)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "llama"}, "is of a llama network; this model reads prompts with qwen3"),
        ({"num_hidden_layers": 20}, "has 20 layers; the output of layer 27 is wanted"),
        ({"quantization_config": {"quant_method": "fp8"}}, "is of quantised weights"),
        ({"hidden_size": "wide"}, "describes no qwen3 network"),
    ],
)
def test_another_network_is_known_by_its_description(
    folders: dict[str, Path], tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    root = copied(folders["klein"], tmp_path)
    path = root / "text_encoder/config.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **change}), "utf-8")
    with pytest.raises(WeightsError, match=message):
        opened(FLUX2_KLEIN, root)


def test_a_wrong_tokenizer_is_known(folders: dict[str, Path], tmp_path: Path) -> None:
    root = copied(folders["klein"], tmp_path)
    shutil.rmtree(root / "tokenizer")
    shutil.copytree(folders["dev"] / "tokenizer", root / "tokenizer")
    with pytest.raises(WeightsError, match=r"is not the one of this text encoder: .* no <\|im_start\|>, <\|im_end\|>"):
        opened(FLUX2_KLEIN, root)
    shutil.rmtree(root / "tokenizer")
    with pytest.raises(WeightsError, match=r"There is no tokenizer in .*: it has no file of one"):
        opened(FLUX2_KLEIN, root)
    (root / "tokenizer").mkdir()
    (root / "tokenizer/tokenizer.json").write_text("{}", "utf-8")
    with pytest.raises(WeightsError, match="is not a tokenizer"):
        opened(FLUX2_KLEIN, root)
    (root / "tokenizer/tokenizer.json").unlink()
    (root / "tokenizer/vocab.json").write_text("{", "utf-8")
    with pytest.raises(WeightsError, match=r"vocab.json in .* cannot be read"):
        opened(FLUX2_KLEIN, root)


def test_a_tokenizer_with_more_tokens_than_the_encoder_has_rows(folders: dict[str, Path], tmp_path: Path) -> None:
    root = copied(folders["flux3"], tmp_path)
    path = root / "tokenizer/tokenizer.json"
    content = json.loads(path.read_text("utf-8"))
    content["added_tokens"].append({**content["added_tokens"][0], "id": 100_000, "content": "<far>"})
    content["model"]["vocab"]["<far>"] = 100_000
    path.write_text(json.dumps(content), "utf-8")
    with pytest.raises(WeightsError, match=r"its tokens go up to 100000, and the encoder's table has \d+ rows"):
        opened(FLUX3, root)


def test_the_identity_tells_encoders_apart(folders: dict[str, Path], tmp_path: Path) -> None:
    first = opened(FLUX2_KLEIN, folders["klein"]).identity
    assert opened(FLUX2_KLEIN, copied(folders["klein"], tmp_path)).identity == first
    assert opened(FLUX2_KLEIN, folders["klein"], longest=300).identity != first
    root = copied(folders["klein"], tmp_path / "trained")
    rewrite(
        root / "text_encoder/model.safetensors",
        lambda state: [weight.mul_(1.01) for weight in state.values()],
    )
    assert opened(FLUX2_KLEIN, root).identity != first
    root = copied(folders["klein"], tmp_path / "words")
    path = root / "tokenizer/tokenizer.json"
    path.write_text(path.read_text("utf-8") + "\n", "utf-8")
    assert opened(FLUX2_KLEIN, root).identity != first
