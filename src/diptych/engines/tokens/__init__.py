"""Encoder-decoder transformers over the codes of an image tokenizer: masked codes are decoded in parallel passes."""
