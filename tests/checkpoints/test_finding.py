"""For any path given as a checkpoint, the message says what it contains."""

import sys
from pathlib import Path

import pytest

from paradp.checkpoints import find_checkpoint, finding, pretrained


@pytest.mark.parametrize(
    ("files", "given", "message"),
    [
        (
            {"it/config.json": '{"input_features": {}}', "it/model.safetensors": ""},
            "it",
            "is a policy of LeRobot",
        ),
        ({"it/config.json": '{"type": "diffusion"}', "it/model.safetensors": ""}, "it", "config.json cannot be read: n_obs"),
        ({"run/pretrained_model/config.json": "{}"}, "run", "is of a training of LeRobot; its checkpoint is run/pretrained"),
        ({"data/meta/info.json": "{}"}, "data", "is a data set of LeRobot, not a policy"),
        ({"demos.zarr/zarr.json": "{}"}, "demos.zarr", "is a store of demonstrations, not a policy"),
        ({"epoch=1.ckpt": ""}, "epoch=1.ckpt", "epoch=1.ckpt is not a file that torch.save wrote since PyTorch 1.6"),
        ({"run/checkpoints/latest.ckpt": ""}, "run", "its checkpoints are files, as run/checkpoints/latest.ckpt"),
        ({"pipe/model_index.json": "{}"}, "pipe", "is a pipeline of diffusers"),
        ({"train/checkpoint/config.json": "{}"}, "train", "its checkpoint is"),
        ({"weights.pt": ""}, "weights.pt", "a file of weights from another program"),
        ({"half/config.json": "{}"}, "half", "lacks model.safetensors, statistics.json, README.md"),
        ({}, "sqare", "did you mean 'square'"),
    ],
)
def test_an_error_names_what_is_not_a_checkpoint_of_paradp(tmp_path, monkeypatch, files, given, message):
    monkeypatch.chdir(tmp_path)
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    with pytest.raises(ValueError) as refused:
        find_checkpoint(given)
    assert message in str(refused.value) and len(str(refused.value).splitlines()) == 1


@pytest.fixture
def no_tree(monkeypatch, tmp_path):
    """The situation of an installed paradp, with no other `paradp_weights` than those that a test makes."""
    monkeypatch.setattr(finding, "IN_TREE", tmp_path / "no tree")
    monkeypatch.delitem(sys.modules, "paradp_weights", raising=False)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if not (Path(place) / "paradp_weights").exists()])


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """A package `paradp_weights` with one policy, which must not be imported."""
    package = tmp_path / "site/paradp_weights"
    (package / "reach").mkdir(parents=True)
    (package / "reach/config.json").write_text("{}")
    (package / "__init__.py").write_text("raise RuntimeError('it was imported')")
    monkeypatch.syspath_prepend(package.parent)
    return package


def test_installed_policies_are_found_without_a_checkout(no_tree, installed):
    assert pretrained() == ["reach"]
    assert find_checkpoint("reach") == installed / "reach"
    with pytest.raises(ValueError, match=r"no checkpoint 'reech' — did you mean 'reach'\? Pretrained: reach"):
        find_checkpoint("reech")


def test_a_package_without_code_is_found_too(no_tree, installed):
    (installed / "__init__.py").unlink()
    assert find_checkpoint("reach") == installed / "reach"


def test_the_policies_of_a_checkout_hide_installed_ones(installed):
    assert "square" in pretrained() and "reach" not in pretrained()
    assert find_checkpoint("square") == Path(finding.__file__).parent / "pretrained/square"


@pytest.mark.parametrize("folder", ["no", "an empty one"])
def test_an_error_says_what_to_install_if_there_are_no_policies(no_tree, tmp_path, monkeypatch, folder):
    monkeypatch.chdir(tmp_path)
    if folder == "an empty one":
        (tmp_path / "no tree").mkdir()
    assert pretrained() == []
    with pytest.raises(ValueError) as refused:
        find_checkpoint("square")
    said = str(refused.value)
    assert "no checkpoint 'square'" in said and "pip install ./checkpoints/pretrained" in said and "directory" in said
    assert len(said.splitlines()) == 1
