"""Ways to ask a model for a picture; `local` is the only bridge to the engines."""
