"""Memory while weights are read, measured on this process."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import save_file

from diptych.engines.compute import forget_peak, peak_memory
from diptych.engines.text.encoders import FLUX2_KLEIN, TextEncoder
from tests.engines.text import tiny

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder of 60 million parameters in bfloat16, a tenth of them past the last tap."""
    root = tmp_path_factory.mktemp("large")
    rows = tiny.qwen_tokenizer(root / "tokenizer")
    config = transformers.Qwen3Config(
        vocab_size=rows,
        num_hidden_layers=30,
        hidden_size=448,
        intermediate_size=1152,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        tie_word_embeddings=True,
    )
    with torch.device("meta"):
        shapes = transformers.Qwen3ForCausalLM(config).state_dict()
    state = {key: torch.randn(value.shape).bfloat16() for key, value in shapes.items() if key != "lm_head.weight"}
    config.save_pretrained(root / "text_encoder")
    save_file(state, root / "text_encoder/model.safetensors", metadata={"format": "pt"})
    return root


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux lets a process measure its peak")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
def test_loading_takes_hardly_more_than_what_is_kept(large: Path, dtype: torch.dtype) -> None:
    encoder = TextEncoder.open(FLUX2_KLEIN, large, CPU, dtype)
    warm = torch.zeros(2**20).to(dtype)  # what torch needs once
    gc.collect()
    forget_peak(CPU)
    before = peak_memory(CPU)
    encoder.load()
    (network,) = encoder.networks
    assert network.module is not None
    total = sum(float(weight.flatten()[::2000].sum()) for weight in network.module.parameters())  # every page is there
    after = peak_memory(CPU)
    assert before is not None
    assert after is not None
    assert encoder.nbytes > 90_000_000
    assert after - before <= 1.1 * encoder.nbytes
    assert total != 0
    del warm
