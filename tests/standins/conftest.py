from __future__ import annotations

from tests.standins.fixtures import (  # noqa: F401
    black_forest_labs,
    fal,
    google,
    huggingface,
    no_client_settings,
    one_certificate,
    openai,
    replicate,
)
