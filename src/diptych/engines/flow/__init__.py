"""Rectified-flow transformers: FLUX.2's network, which the built-in flow model shares at small size."""
