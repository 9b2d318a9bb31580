"""A release contains one checkpoint and the files that belong to it."""

from dataclasses import replace

from paradp.checkpoints.finding import FILES
from paradp.scripts.release import copy_checkpoint, name_of

OPTIONAL = ("fidelity.json", "draft.json", "draft.safetensors")


def test_measurements_of_a_checkpoint_are_released_with_it(tmp_path):
    new, old = tmp_path / "new", tmp_path / "old"
    for place, names in ((new, (*FILES, OPTIONAL[0])), (old, (*FILES, *OPTIONAL))):
        place.mkdir()
        for name in names:
            (place / name).write_text(f"{name} of {place.name}")
    copy_checkpoint(new, old)
    assert {path.name: path.read_text() for path in old.iterdir()} == {
        name: f"{name} of new" for name in (*FILES, OPTIONAL[0])
    }


def test_a_policy_with_images_does_not_replace_the_tasks_policy(spec):
    assert name_of(spec) == "reach"
    assert name_of(replace(spec, observation={"camera": (6, 6, 1), "position": 2})) == "reach-image"
