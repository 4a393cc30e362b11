"""Text encoders of the FLUX family: prompts to the hidden states that the transformers of `engines.flow` read.

prompts.py    templates, tokens, padding
loading.py    the wanted tensors of a folder of safetensors files, and nothing else
encoders.py   which encoder reads what; T5 with CLIP, and language models cut after their last tapped layer
cache.py      embeddings of prompts on disk
"""
