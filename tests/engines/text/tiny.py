# ruff: noqa: S106  # tokens of vocabularies are no passwords
"""Tiny text encoders of the real classes with random weights, and small vocabularies trained on the spot, in folders
laid out as on the hub."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import nn

PROMPTS = [
    "",
    "A red fox in deep snow, golden hour",
    'A sign that says "naïve café – 50 %" in Zürich\n\n  with two   spaces; l\'été',
    "狐と雪 🦊 <|endoftext|> [IMG] </s> end",
]
CORPUS = [
    "a red fox in deep snow at golden hour, photograph, sharp focus",
    "user assistant system think the of and in on with a picture that shows two foxes",
    "an old sign above a cafe says open; people walk past it in the rain",
    "You are an AI that reasons about image descriptions.",
]
QWEN_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"]
QWEN_TOKENS += ["<|vision_pad|>", "<|image_pad|>", "<|video_pad|>", "<think>", "</think>"]
QWEN_CHAT = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
MISTRAL_TOKENS = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[IMG]"]
MISTRAL_TOKENS += ["[IMG_BREAK]", "[IMG_END]", "<pad>"]
MISTRAL_CHAT = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m.role == 'system' %}[SYSTEM_PROMPT]{% for b in m.content %}{{ b.text }}{% endfor %}[/SYSTEM_PROMPT]"
    "{% else %}[INST]{% for b in m.content %}{{ b.text }}{% endfor %}[/INST]{% endif %}{% endfor %}"
)


def randomised(module: nn.Module, seed: int = 0) -> Any:
    """Every weight drawn anew, those of norms too: ones and zeros hide errors."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in sorted(module.named_parameters()):
            drawn = torch.randn(weight.shape, generator=generator)
            weight.copy_(1 + 0.2 * drawn if weight.dim() == 1 and "bias" not in name else 0.15 * drawn)
    return module.eval()


# Vocabularies


def byte_level(special: list[str]) -> Tokenizer:
    """A byte-level BPE, as those of Qwen and Mistral are."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def qwen_tokenizer(folder: Path) -> int:
    """Write one to `folder`; the size of its vocabulary."""
    return save_tokenizer(byte_level(QWEN_TOKENS), folder, pad_token="<|endoftext|>", chat_template=QWEN_CHAT)


def mistral_tokenizer(folder: Path, side: str = "right") -> int:
    tokenizer = byte_level(MISTRAL_TOKENS)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return save_tokenizer(
        tokenizer,
        folder,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        padding_side=side,
        chat_template=MISTRAL_CHAT,
    )


def clip_tokenizer(folder: Path) -> int:
    """In the older layout that FLUX.1 has: vocab.json and merges.txt, and no tokenizer.json."""
    source = transformers.CLIPTokenizer().backend_tokenizer
    trained = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    trained.normalizer, trained.pre_tokenizer = source.normalizer, source.pre_tokenizer
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=700, initial_alphabet=alphabet, end_of_word_suffix="</w>")
    trained.train_from_iterator(CORPUS, trainer)
    model = json.loads(trained.to_str())["model"]
    pieces = dict(model["vocab"])
    for piece in alphabet:  # every byte can end a word
        pieces.setdefault(f"{piece}</w>", len(pieces))
    for piece in ("<|startoftext|>", "<|endoftext|>"):
        pieces[piece] = len(pieces)
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps(pieces, ensure_ascii=False), "utf-8")
    merges = "\n".join(" ".join(pair) for pair in model["merges"])
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}\n", "utf-8")
    config = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": 77,
        "bos_token": "<|startoftext|>",
        "eos_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")
    return len(pieces)


def t5_tokenizer(folder: Path) -> int:
    """A small Unigram vocabulary behind transformers' own T5 tokenizer."""
    trained = Tokenizer(models.Unigram())
    trained.normalizer = normalizers.Sequence([])
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=120, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>")
    trained.train_from_iterator(CORPUS, trainer)
    pieces = [tuple(pair) for pair in json.loads(trained.to_str())["model"]["vocab"]]
    tokenizer = transformers.T5Tokenizer(vocab=pieces, extra_ids=0)
    tokenizer.save_pretrained(folder)
    return len(tokenizer)


def save_tokenizer(tokenizer: Tokenizer, folder: Path, **settings: Any) -> int:
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **settings).save_pretrained(folder)
    return tokenizer.get_vocab_size()


# Encoders


def flux1(root: Path) -> Path:
    rows = t5_tokenizer(root / "tokenizer_2")
    t5 = transformers.T5Config(
        vocab_size=rows,
        d_model=24,
        d_kv=8,
        d_ff=40,
        num_layers=3,
        num_heads=3,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
    )
    randomised(transformers.T5EncoderModel(t5), 1).save_pretrained(root / "text_encoder_2")
    rows = clip_tokenizer(root / "tokenizer")
    clip = transformers.CLIPTextConfig(
        vocab_size=rows,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        projection_dim=16,
        bos_token_id=rows - 2,
        eos_token_id=rows - 1,
    )
    randomised(transformers.CLIPTextModel(clip), 2).save_pretrained(root / "text_encoder")
    return root


LANGUAGE = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2}


def klein(root: Path, *, tie: bool = True, shard: str = "50GB", layers: int = 29) -> Path:
    rows = qwen_tokenizer(root / "tokenizer")
    config = transformers.Qwen3Config(
        vocab_size=rows + 8, num_hidden_layers=layers, head_dim=8, tie_word_embeddings=tie, **LANGUAGE
    )
    randomised(transformers.Qwen3ForCausalLM(config)).save_pretrained(root / "text_encoder", max_shard_size=shard)
    return root


def dev(root: Path, side: str = "right") -> Path:
    rows = mistral_tokenizer(root / "tokenizer", side)
    config = transformers.Mistral3Config(
        text_config={"model_type": "mistral", "vocab_size": rows, "num_hidden_layers": 32, "head_dim": 8, **LANGUAGE},
        vision_config={
            "model_type": "pixtral",
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 28,
            "patch_size": 14,
        },
        image_token_index=MISTRAL_TOKENS.index("[IMG]"),
    )
    randomised(transformers.Mistral3ForConditionalGeneration(config)).save_pretrained(root / "text_encoder")
    return root


def flux3(root: Path) -> Path:
    rows = qwen_tokenizer(root / "tokenizer")
    config = transformers.Qwen3VLConfig(
        text_config={
            "vocab_size": rows,
            "num_hidden_layers": 34,
            "head_dim": 8,
            "rope_scaling": {"rope_type": "default", "mrope_section": [2, 1, 1], "mrope_interleaved": True},
            **LANGUAGE,
        },
        vision_config={
            "depth": 1,
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_heads": 2,
            "out_hidden_size": 16,
            "deepstack_visual_indexes": [0],
        },
        image_token_id=QWEN_TOKENS.index("<|image_pad|>"),
        video_token_id=QWEN_TOKENS.index("<|video_pad|>"),
        vision_start_token_id=QWEN_TOKENS.index("<|vision_start|>"),
        vision_end_token_id=QWEN_TOKENS.index("<|vision_end|>"),
    )
    randomised(transformers.Qwen3VLForConditionalGeneration(config)).save_pretrained(root / "text_encoder")
    return root


def flux3_own_layout(source: Path, root: Path) -> Path:
    """Black Forest Labs' layout: the tokenizer lies with the encoder."""
    shutil.copytree(source / "text_encoder", root / "text_encoder")
    for path in (source / "tokenizer").iterdir():
        shutil.copy(path, root / "text_encoder" / path.name)
    return root
