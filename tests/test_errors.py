"""Errors: one tree, messages that help, exit codes."""

from __future__ import annotations

import re

import pytest

from diptych import errors
from diptych.errors import DiptychError, MissingExtra, UnknownModel, near

CLASSES = [thing for thing in vars(errors).values() if isinstance(thing, type) and issubclass(thing, DiptychError)]
MODELS = ("builtin-flow", "flux-2-pro", "flux-2-klein-4b", "Imagen-4", "gpt-image-2")


def tree_in_docstring() -> dict[str, str | None]:
    """Each name in the tree and the name above it."""
    above: dict[int, str] = {}
    parents: dict[str, str | None] = {}
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"    ([│├└─ ]*)([A-Z]\w+)  ", line)
        if found:
            depth = len(found[1]) // 4
            above[depth] = found[2]
            parents[found[2]] = above[depth - 1] if depth else None
    return parents


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    real = {c.__name__: c.__bases__[0].__name__ for c in CLASSES}
    assert tree_in_docstring() == {**real, "DiptychError": None}
    assert len(real) > 5


@pytest.mark.parametrize("kind", CLASSES)
def test_what_was_typed_is_2_and_what_failed_is_1(kind: type[DiptychError]) -> None:
    assert kind.exit_code == (2 if issubclass(kind, errors.InvalidRequest) else 1)


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (errors.InvalidRequest, ValueError),
        (UnknownModel, ValueError),
        (MissingExtra, ImportError),
        (errors.OutputError, OSError),
    ],
)
def test_errors_are_also_what_python_calls_them(kind: type[DiptychError], builtin: type[Exception]) -> None:
    assert issubclass(kind, builtin)


@pytest.mark.parametrize(
    ("name", "suggested"),
    [
        ("builtin-flwo", ["builtin-flow"]),
        ("FLUX-2-PRO", ["flux-2-pro"]),
        ("imagen", ["Imagen-4"]),
        ("klein", ["flux-2-klein-4b"]),
        ("2", ["flux-2-pro", "gpt-image-2", "flux-2-klein-4b"]),
        ("zzz", []),
        ("", []),
    ],
)
def test_near_names(name: str, suggested: list[str]) -> None:
    assert near(name, MODELS) == suggested


def test_no_more_names_than_asked_for() -> None:
    assert len(near("model", [f"model-{i}" for i in range(9)])) == 3
    assert len(near("model", [f"model-{i}" for i in range(9)], count=1)) == 1


def test_an_unknown_model_suggests() -> None:
    error = UnknownModel("flux-2-prp", MODELS)
    assert error.name == "flux-2-prp"
    assert error.suggestions[0] == "flux-2-pro"
    assert str(error) == "There is no model named 'flux-2-prp'. Did you mean flux-2-pro?"


def test_several_names_may_be_meant() -> None:
    assert str(UnknownModel("flux-2", MODELS)).endswith("Did you mean flux-2-pro or flux-2-klein-4b?")


def test_an_unknown_model_like_nothing_says_where_to_look() -> None:
    assert str(UnknownModel("zzz", MODELS)) == "There is no model named 'zzz'. `diptych models` lists them."


def test_a_missing_extra_says_how_to_install_it() -> None:
    assert str(MissingExtra("Training", "train", "torch")) == (
        'Training needs torch, which is not installed. Install it with: pip install "diptych[train]"'
    )
