"""Whatever goes wrong: one message that names the thing and what is possible, an exit code, nothing half-written."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from diptych import catalogue, cli
from diptych.cli import terminal
from diptych.images import LARGEST_SEED
from diptych.providers import local
from tests.cli.conftest import Run

TINY = ("generate", "a red fox", "-m", "tiny")


def check(result: tuple[int, str, str], code: int, *said: str) -> None:
    """Exit code, an empty standard output, and a standard error that is our one message."""
    found, out, err = result
    assert (found, out) == (code, ""), err
    assert "Traceback" not in err
    assert len(re.findall(r"^(?:diptych|Error): ", err, re.MULTILINE)) == 1, err
    for part in said:
        assert part in err


@pytest.mark.usefixtures("tiny")
class TestWhatIsTyped:
    """Usage: exit code 2, before anything is made."""

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (("generate", "", "-m", "tiny"), ["The prompt is empty", "say in a few words"]),
            (("generate", " \n", "-m", "tiny"), ["The prompt is empty"]),
            (("generate",), ["What shall it show?"]),
            (("generate", "fox " * 8001), ["has 32,004 characters", "no model takes more than 32,000"]),
            (("generate", "fox " * 100, "-m", "tiny"), ["has 100 word pieces; this model reads at most 30"]),
            (("generate", "a fox \udcff", "-m", "tiny"), [r"not Unicode text: 'a fox \udcff'", "UTF-8"]),
            (("generate", "a fox", "-m", "tini"), ["There is no model named 'tini'. Did you mean tiny?"]),
            (("generate", "a fox", "-m", "builtin"), ["no model named 'builtin'. Did you mean builtin-flow"]),
            (("generate", "a fox", "-m", ""), ["no model named ''", "`diptych models` lists them"]),
            ((*TINY, "--size", "big"), ["size is 'big'; it is written WIDTHxHEIGHT in pixels, as in 1024x768"]),
            ((*TINY, "--size", ""), ["size is ''; it is written WIDTHxHEIGHT"]),
            ((*TINY, "--size", "0x32"), ["width is 0; it must be a whole number of at least 1"]),
            ((*TINY, "--size", "33x33"), ["size is 33x33; tiny makes 32x32 or 64x32"]),
            ((*TINY, "--size", "99999x99999"), ["size is 99999x99999; tiny makes 32x32 or 64x32"]),
            (
                ("generate", "a fox", "-m", "flux-2-klein-4b", "--size", "1000x1000"),
                ["size is 1000x1000", "multiples of 16", "Nearest: 992x992 or 1008x1008"],
            ),
            ((*TINY, "--steps", "0"), ["steps is 0; it must be a whole number of at least 1"]),
            ((*TINY, "--steps", "1000"), ["steps is 1,000; tiny takes 1 to 50"]),
            ((*TINY, "--steps", "abc"), ["--steps", "valid integer"]),
            ((*TINY, "--guidance", "-1"), ["guidance is -1.0; it must be a number of at least 0"]),
            ((*TINY, "--guidance", "99"), ["guidance is 99; tiny takes 1 to 20"]),
            ((*TINY, "--guidance", "nan"), ["guidance is nan; it must be a number of at least 0"]),
            ((*TINY, "--guidance", "1", "--negative", "blur"), ["no effect at guidance 1", "set guidance above 1"]),
            (
                ("generate", "a fox", "-m", "flux-2-klein-4b", "--guidance", "3"),
                ["flux-2-klein-4b has no setting guidance; it has size, steps, seed"],
            ),
            ((*TINY, "--seed", "-1"), [f"seed is -1; it must be a whole number from 0 to {LARGEST_SEED}"]),
            ((*TINY, "--seed", LARGEST_SEED + 1), [f"seed is {LARGEST_SEED + 1}; it must be"]),
            ((*TINY, "--seed", LARGEST_SEED, "-n", "2"), [f"with 2 pictures it must be at most {LARGEST_SEED - 1}"]),
            ((*TINY, "-n", "0"), ["The number of pictures is 0; it must be at least 1"]),
            ((*TINY, "-o", "fox.jpg"), ["The output is fox.jpg; pictures are written as .png, or into a folder"]),
            ((*TINY, "--colour", "red"), ["No such option", "--colour"]),
            (("generat", "a fox"), ["No such command 'generat'"]),
            (("show",), ["Missing argument"]),
        ],
    )
    def test_it(self, arguments: tuple[Any, ...], said: list[str], run_cli: Run, folder: Path) -> None:
        check(run_cli(*arguments), 2, *said)
        assert os.listdir(folder) == []

    def test_one_wrong_prompt_ends_a_demo_before_it_starts(self, run_cli: Run, folder: Path) -> None:
        check(run_cli("demo", "a fox", " "), 2, "The prompt is empty")
        assert os.listdir(folder) == []


@pytest.mark.usefixtures("tiny")
class TestWhereItGoes:
    @pytest.mark.parametrize(
        ("out", "said"),
        [
            ("file/fox.png", "file is not a folder"),
            ("file", "file is not a folder"),
            ("/proc/fox.png", "/proc/fox.png cannot be written"),
            ("x" * 300 + ".png", "File name too long"),
            ("x" * 300, "File name too long"),
        ],
    )
    def test_it_cannot_be_written(self, out: str, said: str, run_cli: Run, folder: Path) -> None:
        (folder / "file").write_bytes(b"kept")
        check(run_cli(*TINY, "--seed", 1, "-o", out), 1, said)
        assert os.listdir(folder) == ["file"]
        assert (folder / "file").read_bytes() == b"kept"

    def test_there_is_no_permission(self, run_cli: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "access", lambda path, _: path != folder)  # the administrator may write anywhere
        check(run_cli(*TINY, "-o", "new/fox.png"), 1, "new/fox.png cannot be written: no permission to write in")
        assert os.listdir(folder) == []

    def test_an_existing_file_is_kept(self, run_cli: Run, folder: Path) -> None:
        (folder / "fox-2.png").write_bytes(b"kept")
        check(run_cli(*TINY, "-o", "fox.png", "-n", 3), 1, "fox-2.png exists already", "--force")
        assert os.listdir(folder) == ["fox-2.png"], "known before the first picture is made"
        assert (folder / "fox-2.png").read_bytes() == b"kept"

    def test_with_force_it_is_replaced(self, run_cli: Run, folder: Path) -> None:
        (folder / "fox.png").write_bytes(b"old")
        code, out, _ = run_cli(*TINY, "-o", "fox.png", "--force")
        assert (code, out) == (0, "fox.png\n")
        with Image.open("fox.png") as image:
            assert image.size == (32, 32)
        assert os.listdir(folder) == ["fox.png"]


@pytest.mark.usefixtures("tiny")
class TestStopping:
    def test_ctrl_c(self, run_cli: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(terminal.Progress, "step", interrupt)
        code, out, err = run_cli(*TINY)
        assert (code, out) == (130, "")
        assert "Traceback" not in err
        assert os.listdir(folder) == []

    def test_what_was_made_before_is_said(self, run_cli: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def step(progress: Any, index: int, total: int, preview: Any) -> None:
            if os.listdir(folder):
                raise KeyboardInterrupt

        monkeypatch.setattr(terminal.Progress, "step", step)
        code, out, _ = run_cli(*TINY, "-o", "fox.png", "-n", 3)
        assert (code, out) == (130, "fox-1.png\n")
        assert os.listdir(folder) == ["fox-1.png"]


def interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.usefixtures("tiny")
class TestWhatCannotRunHere:
    @pytest.mark.parametrize("package", ["torch", "tokenizers"])
    @pytest.mark.parametrize("verb", ["generate", "demo"])
    def test_an_extra_is_missing(
        self, verb: str, package: str, run_cli: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("diptych.cli.demo.MODELS", ("tiny",))
        monkeypatch.setitem(sys.modules, package, None)
        for name in [n for n in sys.modules if n.startswith(("diptych.engines.", "diptych.providers.local."))]:
            monkeypatch.delitem(sys.modules, name)
        result = run_cli(*(TINY if verb == "generate" else ["demo"]))
        check(result, 1, f"Running a model here needs {package}", 'pip install "diptych[local]"')
        assert os.listdir(folder) == []

    def test_training_needs_an_extra(self, run_cli: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "torch", None)
        for name in [n for n in sys.modules if n.startswith(("diptych.engines.", "diptych.training."))]:
            monkeypatch.delitem(sys.modules, name)
        check(run_cli("train", "flow", "-o", "mine"), 1, "Training needs torch", 'pip install "diptych[train]"')
        assert os.listdir(folder) == []

    def test_a_hosted_model(self, run_cli: Run, folder: Path) -> None:
        said = ["openai needs a key: set OPENAI_API_KEY", "diptych keys set openai", "https://platform.openai.com"]
        check(run_cli("generate", "a fox", "-m", "gpt-image-2"), 1, *said)
        assert os.listdir(folder) == []

    def test_an_open_model_without_weights(self, run_cli: Run, folder: Path) -> None:
        said = ["flux-2-klein-4b has no weights here", "diptych weights pull", "flux-2-klein-4b@black_forest_labs"]
        check(run_cli("generate", "a fox", "-m", "flux-2-klein-4b"), 1, *said)
        assert os.listdir(folder) == []


WEIGHTS = ("transformer.safetensors", "autoencoder.safetensors", "text.safetensors")
FILES = (*WEIGHTS, "tokenizer.json")


@pytest.fixture
def mine(tiny_model: Path, tmp_path: Path) -> Path:
    """The folder of a model named "mine" that may be broken."""
    folder = tmp_path / "mine"
    shutil.copytree(tiny_model, folder)
    catalogue.add(str(folder), name="mine")
    local._loaded.cache_clear()
    return folder


def describe(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change what model.json says."""
    path = folder / "model.json"
    content = json.loads(path.read_text("utf-8"))
    change(content)
    path.write_text(json.dumps(content), "utf-8")


def rehash(folder: Path, name: str) -> None:
    """Say in model.json that a changed file is the right one."""
    digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    describe(folder, lambda content: content["files"].update({name: digest}))


class TestBrokenModels:
    @pytest.fixture
    def refusal(self, run_cli: Run, folder: Path, mine: Path) -> Callable[..., None]:
        def refused(*said: str) -> None:
            check(run_cli("generate", "a red fox", "-m", "mine"), 1, str(mine), *said)
            assert os.listdir(folder) == []

        return refused

    @pytest.mark.parametrize("name", FILES)
    def test_a_file_is_missing(self, name: str, mine: Path, refusal: Callable[..., None]) -> None:
        (mine / name).unlink()
        refusal(f"{name} cannot be read: No such file")

    @pytest.mark.parametrize("name", FILES)
    def test_a_file_is_truncated(self, name: str, mine: Path, refusal: Callable[..., None]) -> None:
        os.truncate(mine / name, (mine / name).stat().st_size // 2)
        refusal(f"{name} was truncated or altered", "Install diptych again")

    @pytest.mark.parametrize("name", FILES)
    def test_a_file_is_altered(self, name: str, mine: Path, refusal: Callable[..., None]) -> None:
        data = bytearray((mine / name).read_bytes())
        data[-1] ^= 1
        (mine / name).write_bytes(data)
        refusal(f"{name} was truncated or altered", "SHA-256")

    def test_the_whole_folder_is_missing(self, mine: Path, refusal: Callable[..., None]) -> None:
        shutil.rmtree(mine)
        refusal("There is no folder", "moved or removed")

    @pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"[]", b"null", b"{}"])
    def test_the_description_is_malformed(self, data: bytes, mine: Path, refusal: Callable[..., None]) -> None:
        (mine / "model.json").write_bytes(data)
        refusal("model.json does not describe a model")

    def test_the_description_is_of_another_format(self, mine: Path, refusal: Callable[..., None]) -> None:
        describe(mine, lambda content: content.update(format=2))
        refusal("model.json has format 2; this version of diptych reads 1")

    @pytest.mark.parametrize("key", ["format", "transformer", "autoencoder", "text", "schedule", "files"])
    def test_the_description_lacks_something(self, key: str, mine: Path, refusal: Callable[..., None]) -> None:
        describe(mine, lambda content: content.pop(key))
        refusal("model.json does not describe a model", key)

    @pytest.mark.parametrize(
        ("part", "change", "said"),
        [
            ("transformer", {"hidden": 33}, "must add up to the width of a head"),
            ("transformer", {"colour": "red"}, "colour"),
            ("schedule", {"mu": "steep"}, "steep"),
            ("transformer", {"heads": 0}, "heads"),
            ("transformer", {"double_blocks": "two"}, "double_blocks"),
            ("text", {"heads": 3}, "heads"),
            ("text", {"pad_multiple": 0}, "pad_multiple"),
            ("autoencoder", {"norm_groups": 3}, "norm_groups"),
            ("autoencoder", {"multipliers": []}, "multipliers"),
            ("files", {"tokenizer.json": 5}, "tokenizer.json"),
            ("transformer", {"hidden": -32}, "hidden"),
            ("transformer", {"guidance_embedding": 1}, "guidance_embedding"),
            ("schedule", {"mu": float("nan")}, "mu"),
        ],
    )
    def test_the_description_is_impossible(
        self, part: str, change: dict[str, Any], said: str, mine: Path, refusal: Callable[..., None]
    ) -> None:
        describe(mine, lambda content: content[part].update(change))
        refusal("model.json does not describe a model", said)

    @pytest.mark.parametrize("files", [None, 3])
    def test_the_description_lists_no_files(self, files: Any, mine: Path, refusal: Callable[..., None]) -> None:
        describe(mine, lambda content: content.update(files=files))
        refusal("model.json does not describe a model")

    def test_the_description_lists_too_few_files(self, mine: Path, refusal: Callable[..., None]) -> None:
        describe(mine, lambda content: content["files"].pop("tokenizer.json"))
        refusal("lists no tokenizer.json; it lists autoencoder.safetensors, text.safetensors")

    @pytest.mark.parametrize("name", WEIGHTS)
    @pytest.mark.parametrize("damage", ["missing", "unknown", "misshapen"])
    def test_weights_that_do_not_fit(self, damage: str, name: str, mine: Path, refusal: Callable[..., None]) -> None:
        import torch
        from safetensors.torch import load_file, save_file

        tensors = load_file(mine / name)
        key = max(tensors, key=lambda key: tensors[key].numel())
        shape = tuple(tensors[key].shape)
        if damage == "missing":
            del tensors[key]
            said = f"missing {key}"
        elif damage == "unknown":
            tensors["stray.weight"] = torch.zeros(3)
            said = "unknown stray.weight"
        else:
            tensors[key] = torch.zeros(3, 5)
            said = f"{key} is (3, 5), must be {shape}"
        save_file(tensors, mine / name)
        rehash(mine, name)
        refusal(f"{name} does not fit the network: {said}.")

    @pytest.mark.parametrize("name", WEIGHTS)
    def test_a_file_that_holds_no_weights(self, name: str, mine: Path, refusal: Callable[..., None]) -> None:
        (mine / name).write_bytes(b"not weights")
        rehash(mine, name)
        refusal(f"{name} is not a complete safetensors file")

    def test_a_file_that_holds_no_tokenizer(self, mine: Path, refusal: Callable[..., None]) -> None:
        (mine / "tokenizer.json").write_text("{}", "utf-8")
        rehash(mine, "tokenizer.json")
        refusal("tokenizer.json is not a tokenizer")


def photograph() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "PNG")
    return out.getvalue()


class TestShow:
    @pytest.mark.parametrize(
        ("data", "said"),
        [
            (photograph(), "carries no recipe: it was not made here by diptych, or its metadata was removed"),
            (photograph()[:40], "is not a picture"),
            (b"a fox", "is not a picture"),
        ],
    )
    @pytest.mark.parametrize("form", [(), ("--json",)])
    def test_it_is_not_ours(self, data: bytes, said: str, form: tuple[str], run_cli: Run, folder: Path) -> None:
        (folder / "fox.png").write_bytes(data)
        check(run_cli("show", "fox.png", *form), 1, f"diptych: fox.png {said}")

    def test_it_is_not_there(self, run_cli: Run) -> None:
        check(run_cli("show", "fox.png"), 1, "diptych: There is no file fox.png.")

    def test_it_is_a_folder(self, run_cli: Run, folder: Path) -> None:
        check(run_cli("show", folder), 1, f"{folder} is not a picture that can be read: Is a directory.")


class TestModels:
    def test_what_cannot_be_added_is_said_once(self, run_cli: Run, home: Path) -> None:
        check(run_cli("models", "add", "missing", "--name", "mine"), 1, "no file or folder 'missing'", "--provider")
        assert not home.exists()

    def test_an_unknown_name(self, run_cli: Run) -> None:
        check(run_cli("models", "show", "flux-2-prp"), 2, "no model named 'flux-2-prp'. Did you mean flux-2-pro")

    def test_a_damaged_catalogue_of_your_own(self, run_cli: Run, home: Path, folder: Path) -> None:
        home.mkdir()
        (home / "models.toml").write_text("[[models]", "utf-8")
        check(run_cli(*TINY), 1, f"{home}/models.toml is not valid TOML")
        assert os.listdir(folder) == []


def test_a_reader_that_has_seen_enough(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def closed(**_: Any) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(cli, "app", closed)
    with (tmp_path / "out").open("w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        stream.write("lost")
        assert ended.value.code == 1
