"""The table of word vectors, distilled from a sentence encoder."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn


@torch.inference_mode()
def distil(teacher: Path, width: int, batch: int = 1024) -> Tensor:
    """What the sentence encoder in `teacher` says of every piece of its vocabulary alone: (vocabulary, width).

    Each piece is embedded as a sentence of one word (mean over its positions); the vectors are reduced to their
    first `width` principal components and scaled to unit variance overall.
    """
    from transformers import AutoTokenizer, BertModel

    model: nn.Module = BertModel.from_pretrained(teacher, add_pooling_layer=False)
    model.eval()
    tokenizer = AutoTokenizer.from_pretrained(teacher)
    pieces = torch.arange(len(tokenizer))
    first, last = torch.tensor(tokenizer.cls_token_id), torch.tensor(tokenizer.sep_token_id)
    rows = []
    for chunk in pieces.split(batch):
        ids = torch.stack([first.expand_as(chunk), chunk, last.expand_as(chunk)], dim=1)
        hidden = model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
        rows.append(torch.nn.functional.normalize(hidden.mean(dim=1), dim=-1))
    vectors = torch.cat(rows).double()
    vectors -= vectors.mean(dim=0)
    _, components = torch.linalg.eigh(vectors.T @ vectors)  # ascending: the last are the widest
    table = vectors @ components[:, -width:].flip(-1)
    # The widest components tell kinds of words apart, the narrow ones tell a penguin from an owl: bring them closer.
    table /= table.std(dim=0).sqrt()
    return (table / table.std()).float()
