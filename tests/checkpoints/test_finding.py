"""Whatever is given as a checkpoint, the answer says what it is."""

import pytest

from paradp.checkpoints import find_checkpoint


@pytest.mark.parametrize(
    ("files", "given", "message"),
    [
        (
            {"it/config.json": '{"input_features": {}}', "it/model.safetensors": ""},
            "it",
            "is a policy of LeRobot",
        ),
        ({"it/config.json": '{"type": "diffusion"}', "it/model.safetensors": ""}, "it", "is a policy of LeRobot"),
        ({"run/pretrained_model/config.json": "{}"}, "run", "is a policy of LeRobot"),
        ({"data/meta/info.json": "{}"}, "data", "is a data set of LeRobot, not a policy"),
        ({"demos.zarr/zarr.json": "{}"}, "demos.zarr", "is a store of demonstrations, not a policy"),
        ({"epoch=1.ckpt": ""}, "epoch=1.ckpt", "which paradp cannot read (it would run code in it)"),
        ({"run/checkpoints/latest.ckpt": ""}, "run", "is a training of Diffusion Policy or PyTorch Lightning"),
        ({"pipe/model_index.json": "{}"}, "pipe", "is a pipeline of diffusers"),
        ({"train/checkpoint/config.json": "{}"}, "train", "its checkpoint is"),
        ({"weights.pt": ""}, "weights.pt", "a file of weights from another program"),
        ({"half/config.json": "{}"}, "half", "lacks model.safetensors, statistics.json, README.md"),
        ({}, "sqare", "did you mean 'square'"),
    ],
)
def test_what_is_no_checkpoint_of_ours_is_named(tmp_path, monkeypatch, files, given, message):
    monkeypatch.chdir(tmp_path)
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    with pytest.raises(ValueError) as refused:
        find_checkpoint(given)
    assert message in str(refused.value) and len(str(refused.value).splitlines()) == 1
