"""Model cards describe how a policy was made, for people and for studies."""

import re

import pytest

from paradp.checkpoints import find_checkpoint, pretrained
from paradp.checkpoints.cards import MEASURED, UNMEASURED, ModelCard, converted_card, read_trainings
from paradp.policy.learning.config import TrainingConfig


@pytest.mark.parametrize("name", pretrained())
def test_the_card_of_every_shipped_policy_contains_data_training_and_success(name):
    for trained in read_trainings(find_checkpoint(name)):
        assert trained.episodes >= 200 and trained.control_steps > 30 * trained.episodes
        assert trained.batch_size == (1024 if name == "pusht" else 256)
        # Older cards do not contain it.
        assert re.match(r"\d+ minutes on (\d threads? of |NVIDIA )", trained.took) or name in ("square", "lift")
    card = (find_checkpoint(name) / "README.md").read_text()
    assert MEASURED in card and UNMEASURED not in card and "ddpm: success" in card


def test_the_card_of_a_converted_policy_names_its_source(tmp_path):
    (tmp_path / "README.md").write_text("# A policy\nIt works.\n")
    with pytest.raises(ValueError, match=r"README\.md does not list the policy"):
        read_trainings(tmp_path)


def test_the_card_of_a_policy_that_started_from_another_describes_both_trainings():
    last, first = read_trainings(find_checkpoint("can"))
    assert (last.steps, last.control_steps) == (5000, 91606)
    assert (first.steps, first.control_steps) == (7000, 45348)
    assert first.describe() == "7000 steps of batch 256, 44 minutes on 1 thread of AMD EPYC (2 cores)"


def card_after(earlier, spec, info) -> str:
    made = ModelCard(spec, info, 6, 75, TrainingConfig(steps=20), "paradp train", "Took 1 minute on it.", earlier)
    return made.render()


@pytest.mark.parametrize("edited", ["", "Mine.\n", "# Mine\n\n## Data\nfrom my robot\n\n### Data\n"])
def test_the_card_of_a_policy_that_started_from_a_converted_one_names_its_source(edited, spec, info, tmp_path):
    earlier = edited or converted_card(spec, "my_policy")
    (tmp_path / "README.md").write_text(card_after(earlier, spec, info))
    card = (tmp_path / "README.md").read_text()
    assert "## Started from an earlier policy\n> " in card
    assert ("> Mine." if edited == "Mine.\n" else "> # Mine" if edited else "> Converted from my_policy") in card
    assert [trained.steps for trained in read_trainings(tmp_path)] == [20]
    assert card.count(MEASURED) == 1

    (tmp_path / "README.md").write_text(card_after(card, spec, info))
    assert [trained.steps for trained in read_trainings(tmp_path)] == [20, 20]
