"""Documents contain their format version; one without is of the first; newer ones are refused with a remedy."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from paradp.checkpoints import checkpoint_digest, read_draft, read_info, save_checkpoint, write_draft
from paradp.policy.data.demonstrations import Demonstrations
from paradp.policy.fidelity import Fidelity
from paradp.policy.identity import describe
from paradp.policy.learning.draft import DraftTraining
from paradp.policy.networks.draft import build_draft, draft_config
from paradp.policy.spec import DEFAULT_SCHEDULE
from paradp.rollouts.episodes.directory import RunDirectory
from paradp.rollouts.evaluation.identity import MARKER, GridIdentity, check_evaluation
from paradp.scripts.places import check_continues


@pytest.fixture
def checkpoint(tmp_path, trained):
    save_checkpoint(trained, tmp_path / "policy", "# a card")
    return tmp_path / "policy"


def _config(checkpoint: Path, spec) -> tuple[Path, Callable]:
    return checkpoint / "config.json", lambda: read_info(checkpoint)


def _draft(checkpoint: Path, spec) -> tuple[Path, Callable]:
    torch.manual_seed(0)
    digest = checkpoint_digest(checkpoint)
    write_draft(build_draft(spec, draft_config(spec)), DraftTraining(64, 1, 1.0, 7.0, 8.0), checkpoint, digest)
    return checkpoint / "draft.json", lambda: read_draft(checkpoint, spec, digest)


def _fidelity(checkpoint: Path, spec) -> tuple[Path, Callable]:
    path, digest = checkpoint / "fidelity.json", checkpoint_digest(checkpoint)
    Fidelity(digest, "paradp fidelity", "demonstrations", 4, 4, 0, 0.9, "eager fp32", {}, {}).write(path)
    return path, lambda: Fidelity.read(path, digest, DEFAULT_SCHEDULE)


def _run(checkpoint: Path, spec) -> tuple[Path, Callable]:
    folder, identity = checkpoint.parent / "run", {"task": "lift"}
    RunDirectory(folder).open(identity, range(3)).release()

    def read() -> None:
        RunDirectory(folder).check(identity, range(3))
        check_continues(folder, "run.json", identity)

    return folder / "run.json", read


DOCUMENTS = {"config.json": _config, "draft.json": _draft, "fidelity.json": _fidelity, "run.json": _run}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_document_has_a_format_and_a_newer_one_is_refused(checkpoint, spec, document):
    path, read = DOCUMENTS[document](checkpoint, spec)
    written = json.loads(path.read_text())
    assert path.name == document and written["format"] == 1
    read()
    path.write_text(json.dumps({key: value for key, value in written.items() if key != "format"}))
    if document != "config.json":  # of which the digest is
        read()
    # Of a later format nothing else can be relied on.
    for newer in (2, 10):
        path.write_text(json.dumps({"format": newer, "other": "things"}))
        with pytest.raises(ValueError) as refused:
            read()
        assert str(refused.value) == f"{path} has the format {newer}, and this paradp reads up to 1: update paradp"
    for wrong in ("2", 0, 1.5, None, True):
        path.write_text(json.dumps(written | {"format": wrong}))
        with pytest.raises(ValueError, match=f"{document} cannot be read: format should be a whole number"):
            read()


def test_a_checkpoint_without_a_format_is_read(checkpoint):
    written = json.loads((checkpoint / "config.json").read_text())
    info = read_info(checkpoint)
    del written["format"]
    (checkpoint / "config.json").write_text(json.dumps(written))
    assert read_info(checkpoint) == info


GRID = GridIdentity("lift", "weights", "c" * 64, 0, 2, None, ("ddpm",))


@pytest.mark.parametrize(
    "continued", [lambda out: check_evaluation(out, GRID, 3), lambda out: check_continues(out, MARKER, {"task": "lift"})]
)
def test_a_newer_evaluation_is_not_continued_and_an_old_one_is(tmp_path, continued):
    path = tmp_path / MARKER
    for old in ({}, {"format": 1}):
        path.write_text(json.dumps(describe(GRID) | {"episodes": 3, **old}))
        continued(tmp_path)
    path.write_text(json.dumps(describe(GRID) | {"episodes": 3, "format": 2}))
    with pytest.raises(ValueError, match=r"evaluation\.json has the format 2, and this paradp reads up to 1: update paradp"):
        continued(tmp_path)


@pytest.mark.parametrize(
    ("layout", "said"),
    [(3, "they have the layout 3, and this paradp reads up to 2: update paradp"), ("2", "there is no layout '2'")],
)
def test_demonstrations_of_another_layout_are_refused(demonstrations, layout, said):
    root = demonstrations.path / "zarr.json"
    content = json.loads(root.read_text())
    assert content["attributes"]["layout"] == 2
    content["attributes"]["layout"] = layout
    root.write_text(json.dumps(content))
    with pytest.raises(ValueError) as refused:
        Demonstrations.open(demonstrations.path)
    assert said in str(refused.value) and str(demonstrations.path) in str(refused.value)
