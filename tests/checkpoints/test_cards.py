"""Model cards tell how a policy was made, to people and to studies."""

import pytest

from paradp.checkpoints import find_checkpoint, pretrained
from paradp.checkpoints.cards import MEASURED, UNMEASURED, read_facts


@pytest.mark.parametrize("name", pretrained())
def test_the_card_of_every_shipped_policy_tells_data_training_and_success(name):
    facts = read_facts(find_checkpoint(name))
    assert facts.episodes >= 200 and facts.steps > 30 * facts.episodes and "steps of batch 256" in facts.training
    card = (find_checkpoint(name) / "README.md").read_text()
    assert MEASURED in card and UNMEASURED not in card and "ddpm: success" in card


def test_somebody_elses_card_is_named(tmp_path):
    (tmp_path / "README.md").write_text("# A policy\nIt works.\n")
    with pytest.raises(ValueError, match=r"README\.md does not say what the policy learned from"):
        read_facts(tmp_path)
