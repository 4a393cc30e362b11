"""What many tests share: a home folder of the test's own, and a tiny model of the real classes with random weights."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from diptych import catalogue, settings
from diptych.settings import HOME_VARIABLE
from tests.servers import postgres

if TYPE_CHECKING:
    from torch import Tensor, nn

WORDS = ("a", "red", "green", "fox", "apple", "penguin", "rocket", "in", "on", "snow", "blue", "background", "blur")
TINY_SETTINGS: dict[str, Any] = {
    "size": {"default": [32, 32], "choices": [[32, 32], [64, 32]]},
    "steps": {"default": 3, "min": 1, "max": 50},
    "guidance": {"default": 2.0, "min": 1.0, "max": 20.0, "off": 1.0},
    "negative": True,
    "seed": True,
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder of the test's own: nothing of the user's is read or written."""
    folder = tmp_path / "home"
    monkeypatch.setenv(HOME_VARIABLE, str(folder))
    return folder


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a PostgreSQL for the whole session; `servers.fresh_database` makes a test its own database there."""
    with postgres() as url:
        yield url


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model that makes a picture of noise in milliseconds. Read only: break a copy of it."""
    import torch

    from diptych.engines.flow.autoencoder import Autoencoder
    from diptych.engines.flow.flux2 import Flux2
    from diptych.engines.flow.text import TableEncoder
    from diptych.engines.flow.weights import write_model
    from diptych.training.plan import SMOKE

    tokenizer = _tokenizer()
    flow, pixels = SMOKE.flow, SMOKE.autoencoder
    words = dataclasses.replace(SMOKE.text, vocabulary=tokenizer.get_vocab_size())
    generator = torch.Generator().manual_seed(0)

    def random_state(module: nn.Module) -> dict[str, Tensor]:
        """Values of about the size that trained ones have, and statistics that are not those of a fresh BatchNorm."""
        state = {}
        for key, value in module.state_dict().items():
            if not value.is_floating_point():
                state[key] = value
            elif key.endswith("running_var"):
                state[key] = torch.rand(value.shape, generator=generator) + 0.5
            else:
                fan_in = value[0].numel() if value.dim() > 1 else 1
                state[key] = torch.randn(value.shape, generator=generator) / max(1, fan_in) ** 0.5
        return state

    folder = tmp_path_factory.mktemp("models") / "tiny"
    write_model(
        folder,
        transformer=(flow, random_state(Flux2(flow))),
        autoencoder=(pixels, random_state(Autoencoder(pixels))),
        text=(words, random_state(TableEncoder(words))),
        tokenizer=tokenizer.to_str(),
        mu=0.0,
        settings=TINY_SETTINGS,
    )
    return folder


@pytest.fixture
def tiny(tiny_model: Path) -> str:
    """The name under which the tiny model is in this test's catalogue; it is loaded anew, and runs in float32."""
    from diptych.engines.compute import _machine, best_device
    from diptych.providers.local import _loaded

    # As if measured before: what a busy machine measures now must not decide what a picture looks like.
    settings.probe_cache().parent.mkdir(parents=True, exist_ok=True)
    settings.probe_cache().write_text(json.dumps({_machine(best_device()): "float32"}), "utf-8")
    _loaded.cache_clear()
    return catalogue.add(str(tiny_model), name="tiny").name


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS]
    tokenizer = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))  # noqa: S106
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer
