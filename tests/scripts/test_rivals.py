"""The study of rivals and the command that distils: checks of their inputs."""

import dataclasses

import numpy as np
import pytest

from paradp.checkpoints import save_checkpoint
from paradp.scripts.studies import rivals
from paradp.scripts.studies.context import Context


def test_the_study_reports_rounds_of_parallel_few_step_samplers():
    drawn = rivals.Drawn(np.zeros((1, 2, 4)), rounds=3.14, evaluations=5.02)
    said = rivals._parallel({("flow", "para-flow-4"): drawn, ("flow", "flow-4"): drawn, ("d", "consistency-2"): drawn})
    assert "`para-flow-4` (flow): 3.1 rounds and 5.0 evaluations instead of 4" in said and said.count("rounds and") == 1


def test_without_rivals_the_error_says_how_to_train_them(tmp_path):
    with pytest.raises(ValueError, match="holds no rivals; give the folder of `paradp distill square"):
        rivals.study_rivals(Context("square", tmp_path, tmp_path))


def test_the_jerk_of_plans_is_their_third_difference(trained, spec):
    policy = dataclasses.make_dataclass("Policy", ["spec"])(spec)
    steps = np.arange(spec.horizons.predict, dtype=float)
    cubic = np.stack([steps**3, 0 * steps], 1).reshape(1, 1, -1).repeat(2, 1)
    assert rivals._jerk(cubic, policy) == pytest.approx([6 / 2**0.5])


def test_the_picture_is_drawn_from_the_table(tmp_path):
    row = ["0.0100 (0.0050 to 0.0150)", "0.970 (0.960 to 0.980)", "1.00 (0.90 to 1.10)", "1.00 (0.90 to 1.10)", ""]
    samplers = {"ddpm-25": "shipped", "consistency-4": "distilled", "speculative-consistency-4": "distilled"}
    rows = [[policy, f"`{sampler}`", "25.0", "25.0", *row] for sampler, policy in samplers.items()]
    header = [*rivals.HEADER, rivals.SUCCESS]
    page = tmp_path / "rivals.md"
    page.write_text("\n".join("| " + " | ".join(line) + " |" for line in [header, ["---"] * len(header), *rows]) + "\n")
    figure = rivals.draw(page)
    assert page.with_suffix(".png").exists()
    # A parallel form is drawn without a label beside its sequential one.
    assert [text.get_text() for text in figure.axes[0].texts] == ["ddpm-25", "consistency-4"]
    markers = [line.get_marker() for line in figure.axes[0].lines if line.get_marker() not in (None, "None")]
    assert markers == ["o", "o", "D"]


def test_a_policy_that_cannot_be_distilled_is_refused_in_a_sentence(paradp, trained, tmp_path):
    flow = dataclasses.replace(
        trained.spec, schedule={"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 100}
    )
    save_checkpoint(dataclasses.replace(trained, spec=flow), tmp_path / "flow", "card")
    for words, sentence in (
        ([str(tmp_path / "flow")], "cannot be distilled: the network was trained by flow matching"),
        (["square", "--teacher-steps", "0"], "--teacher-steps must be from 1"),
        (["square", "--data", str(tmp_path / "none.zarr")], "none.zarr holds no demonstrations"),
        (["sqare"], "sqare"),
    ):
        code, _, said = paradp("distill", *words, "--out", str(tmp_path / "out"))
        assert code == 2 and sentence in said and "Traceback" not in said
    assert not (tmp_path / "out").exists()
    code, _, said = paradp("rollout", "square", "--sampler", "consistency-2", "--out", str(tmp_path / "out"))
    assert code == 2 and "consistency-2: the network is a diffusion model, neither distilled nor a flow" in said
