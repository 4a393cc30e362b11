"""What every model of an engine takes beside the settings of its own entry: the engine's knobs.

They are the engine's, not the model's, so they stand here once. What one network cannot do with them (Heun's method on
one that is distilled to Euler's, say) the engine refuses by name.
"""

from __future__ import annotations

from typing import Any

FLOW: dict[str, dict[str, Any]] = {
    "sampler": {"type": "text", "choices": ["euler", "heun"], "note": "Heun takes two passes a step; euler without"},
    "shift": {
        "type": "number",
        "min": 0.01,
        "max": 100,
        "note": "how long to stay near noise; 1 is evenly spaced; the model's own without",
    },
    "strength": {
        "type": "number",
        "min": 0.0,
        "max": 1.0,
        "note": "how much of the first reference changes: begins from it in place of taking things from it",
    },
    "true_guidance": {
        "type": "number",
        "min": 1.0,
        "max": 20.0,
        "note": "guidance by a second pass, away from the negative prompt, where guidance is told to the network",
    },
    "guidance_from": {"type": "number", "min": 0.0, "max": 1.0, "note": "share of the way at which guidance begins"},
    "guidance_until": {"type": "number", "min": 0.0, "max": 1.0, "note": "share of the way at which guidance ends"},
    "blend": {"type": "text", "note": "a second prompt, mixed in by weight"},
    "blend_weight": {"type": "number", "min": 0.0, "max": 1.0, "note": "of the second prompt; 0.5 without"},
    "walk_seed": {"type": "whole number", "min": 0, "note": "another seed, to walk towards"},
    "walk": {
        "type": "number",
        "min": 0.0,
        "max": 1.0,
        "note": "how far: 0.05 to 0.2 varies the picture, 1 is the other seed's",
    },
    "lora": {"type": "text", "note": "FILE or FILE:STRENGTH, several with a comma between"},
}

TOKENS: dict[str, dict[str, Any]] = {
    "temperature": {"type": "number", "min": 0.0, "max": 10.0, "note": "how much chance has a say; 1 without"},
    "strength": {
        "type": "number",
        "min": 0.0,
        "max": 1.0,
        "note": "share of the reference that is made anew; without it the prompt says what is to be done to it",
    },
}
ENGINES = {"flow": FLOW, "tokens": TOKENS}


def with_engine(engine: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of a local entry with those of its engine: options, a mask, a picture to begin from."""
    size = settings.get("size")
    given = dict(settings.get("options") or {})
    return {
        **settings,
        **({"size": {"follows_reference": "choices" not in size, **size}} if isinstance(size, dict) else {}),
        "references": settings.get("references") or {"max": 1, "begin": True},
        "mask": True,
        "options": {**ENGINES[engine], **given},
    }


def without_engine(engine: str, settings: dict[str, Any]) -> dict[str, Any]:
    """What `with_engine` did, undone: what an entry says of its own."""
    own = {key: value for key, value in settings.items() if key not in ("mask", "source", "date")}
    own["options"] = {
        name: option for name, option in (own.get("options") or {}).items() if name not in ENGINES[engine]
    }
    if not own["options"]:
        del own["options"]
    if (own.get("references") or {}).get("begin"):
        del own["references"]
    if "size" in own:
        own["size"] = {key: value for key, value in own["size"].items() if key != "follows_reference"}
    return own
