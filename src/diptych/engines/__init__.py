"""The models that run here: tensors in, tensors out."""
