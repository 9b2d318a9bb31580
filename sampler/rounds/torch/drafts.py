"""Guesses at the network's next predictions, and the draft states computed from them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from paradp.sampler.draft_model import DraftModel, Levels
from paradp.sampler.options import SECANTS, Draft
from paradp.sampler.rounds.windows import PerStep, Window
from paradp.sampler.table import StepTable


@dataclass(frozen=True, eq=False)  # tensors have no single truth value
class Recalled:
    """The earlier predictions from which a window's drafts are computed, `[B, p, D]` each.

    Attributes:
        held: D, the last prediction at each step, or another step's prediction in its place.
        made_at: s, the state at which the network predicted D.
        moved, changed: changes of s and D since the step's previous prediction; 0 if the step had fewer than two.
        own: `[B, p, 1]`, whether D is the step's own prediction.
        source: `[B, p]`, the step of D; T for the first guess.
    """

    held: Tensor
    made_at: Tensor
    moved: Tensor
    changed: Tensor
    own: Tensor
    source: Tensor


# From i and a draft of the window's i-th state `[B, D]` to the guess at the prediction there, `[B, D]`.
Guess = Callable[[int, Tensor], Tensor]


@dataclass(frozen=True, eq=False)  # tensors have no single truth value
class Drafts:
    """The drafts of a round, `[B, p, D]` each unless noted.

    Attributes:
        x: the states x̃_j.
        guess: G_j, the guesses at the predictions there, not clipped but finite.
        following: the states x̃_{j+1}.
        before: `[B, D]`, the prediction at the exact state before the window; `None` if the table does not look back.
    """

    x: Tensor
    guess: Tensor
    following: Tensor
    before: Tensor | None

    def one_earlier(self, predictions: Tensor) -> Tensor | None:
        """The prediction of the step before, for each of the window's `[B, p, D]`."""
        return None if self.before is None else torch.cat([self.before[:, None], predictions[:, :-1]], 1)


class Guesses:
    """Guesses at the network's prediction at each step j. They depend on x_0 and the noise before step j only.

    For every step this stores its last prediction D_j (not clipped), the state s_j of that prediction, and, for secant
    drafts, the changes of both since the step's previous prediction. A step that was never evaluated uses the prediction of
    the furthest evaluated step; before the first evaluation, the first guess, or 0. A guess must never use the noise of its
    own or a later step: docs/exactness.md explains why.

    Args:
        table: the steps.
        data_variance: v of `Speculative`.
        draft: as in `Speculative`.
        like: `[B, D]`, flat samples.
        model: for trained drafts.

    Attributes:
        kept: `[B, T, 4, D]`, for every step: D_j, s_j, the change of s_j and the change of D_j.
        evaluated: `[B, 1]`, number of evaluated steps.
        slope: `[T, 1]`, J_j, the scalar slope of a prediction with respect to its state.
    """

    def __init__(self, table: StepTable, data_variance: float, draft: Draft, like: Tensor, model: DraftModel | None = None):
        batch, size = like.shape
        bar = table.alpha_bar
        self._table = table
        self.slope = (bar.sqrt() * data_variance / (bar * data_variance + 1 - bar))[:, None]
        self._draft = draft
        self._model = model
        self.kept = PerStep(batch, table.steps, 4, size, like=like)
        self.evaluated = torch.zeros(batch, 1, dtype=torch.int64, device=like.device)

    @property
    def predictions(self) -> Tensor:
        """D of all steps, `[B, T, D]`."""
        return self.kept.all[:, :, 0]

    @cached_property
    def levels(self) -> Levels:
        """The table's noise levels, for trained drafts."""
        return Levels(self._table)

    def start(self, first: Tensor) -> None:
        """Stores a first guess `[B, D]` at the sample; values that are not finite become 0."""
        self.kept.all[:, 0, 0] = first.nan_to_num(0, 0, 0)

    def clear(self) -> None:
        """Clears all predictions."""
        self.kept.all.zero_()
        self.evaluated.zero_()

    def recall(self, window: Window, base: Tensor) -> Recalled:
        """The earlier predictions for the steps of a window; `base` `[B]` is the first undecided step."""
        source = self._source(window, base)
        own = ((source == window.step) & (window.step < self.evaluated))[..., None]
        held, made_at, moved, changed = self.kept[source].unbind(2)
        source = torch.where(self.evaluated > 0, source, self._table.steps)
        return Recalled(held, made_at, torch.where(own, moved, 0), torch.where(own, changed, 0), own, source)

    def before(self, base: Tensor) -> Tensor | None:
        """x̂0_{b−1} `[B, D]` for windows that begin at b = `base` `[B]`; `None` if the table does not look back.

        It is the prediction at an exact state, because a decided step is not evaluated again.
        """
        return self.kept[(base[:, None] - 1).clamp_(min=0)][:, 0, 0] if self._table.looks_back else None

    def draft(self, window: Window, recalled: Recalled, first: Tensor, before: Tensor | None, noise: Tensor) -> Drafts:
        """Rolls exact states `[B, D]` forward through a window, with guessed predictions and the path's noise.

        Args:
            window, recalled: the steps, and the earlier predictions there.
            first: the exact states at the windows' first steps.
            before: result of the method `before`.
            noise: `[B, p, D]`, ξ of the window's steps.
        """
        guess_at = self.guesses_at(window, recalled)
        step = window.coefficients
        parts = (step.a, step.c, step.r, step.d, step.sigma * noise)
        x, states, guesses, last = first, [first], [], before
        for i, (a, c, r, d, pushed) in enumerate(zip(*(part.unbind(1) for part in parts), strict=True)):
            # A prediction at a draft far from any exact state may not be finite; it must not spread to exact states.
            guess = guess_at(i, x).nan_to_num_(0, 0, 0)
            x = torch.addcmul(pushed, a, x).addcmul_(c, self._table.bound(guess))
            if self._table.keeps_unclipped:
                x.addcmul_(r, guess)
            if last is not None:
                x.addcmul_(d, self._table.bound(last))
                last = guess
            states.append(x)
            guesses.append(guess)
        path = torch.stack(states, 1)
        return Drafts(path[:, :-1], torch.stack(guesses, 1), path[:, 1:], before)

    def guesses_at(self, window: Window, recalled: Recalled) -> Guess:
        """The guesses at a window's predictions, as a function of their states."""
        if self._model is None:
            return self._secant(window, recalled)
        return learned(self._model, self.levels, window.step, recalled)

    def _secant(self, window: Window, recalled: Recalled) -> Guess:
        """Held predictions, corrected by a scalar slope, and by the measured slope along the line of the last two states."""
        slope = self.slope[window.step] * recalled.own
        kink = recalled.changed - slope * recalled.moved
        parts = (recalled.held, recalled.made_at, slope, _per_length(recalled.moved), kink)
        held, made_at, follows, along, bends = (part.unbind(1) for part in parts)

        def guess(i: int, x: Tensor) -> Tensor:
            away = x - made_at[i]
            return torch.addcmul(held[i], follows[i], away).addcmul_(_share(along[i], away), bends[i])

        return guess

    def keep(self, window: Window, recalled: Recalled, x: Tensor, clean: Tensor) -> None:
        """Stores the network's predictions x̂0 `[B, p, D]` at states x `[B, p, D]`."""
        if self._draft in SECANTS:
            moved = torch.where(recalled.own, x - recalled.made_at, 0)
            changed = torch.where(recalled.own, clean - recalled.held, 0)
        else:
            moved = changed = torch.zeros_like(x)
        self.kept.put(window, torch.stack([clean, x, moved, changed], 2))
        reached = torch.where(window.inside, window.step + 1, 0).amax(1, keepdim=True)
        torch.maximum(self.evaluated, reached, out=self.evaluated)

    def _source(self, window: Window, base: Tensor) -> Tensor:
        """The step whose prediction each step of the window uses, `[B, p]`: its own or an earlier one, never a later one."""
        usable = base[:, None] if self._draft == "frozen" else self.evaluated
        return torch.minimum(window.step, usable - 1).clamp_(min=0)


def learned(model: DraftModel, levels: Levels, step: Tensor, recalled: Recalled) -> Guess:
    """Guesses corrected by a model; arguments as in `corrected`."""
    snr, snr_held = levels.snr[step][..., None], levels.snr[recalled.source][..., None]
    gains = gains_of(model, recalled.held, recalled.made_at, snr, snr_held)
    into, out = (matrix.to(gains.dtype) for matrix in (model.into, model.out))
    gain = gains.unbind(1)
    return corrected(levels, step, recalled, lambda i, innovation: (gain[i] * (innovation @ into)) @ out)


def corrected(levels: Levels, step: Tensor, recalled: Recalled, follow: Guess) -> Guess:
    """Held predictions, corrected by a matrix, and by the measured change along the line of the last two states.

    Args:
        levels: the table's noise levels.
        step: `[B, p]`, the window's steps.
        recalled: the earlier predictions there.
        follow: √S times the correction at the window's i-th step, for an innovation ν `[B, D]` as in `DraftModel`; linear.
    """
    source = recalled.source
    root, share_of_state = levels.root[step][..., None], (levels.follows[step] / levels.root[step])[..., None]
    since = (levels.snr[step] - levels.snr[source])[..., None] * recalled.held
    foreseen = (levels.follows[source][..., None] * recalled.made_at + since) / root
    parts = (
        recalled.held,
        recalled.made_at,
        _per_length(recalled.moved),
        share_of_state * recalled.moved,
        recalled.changed,
        foreseen,
        share_of_state,
        root,
    )
    held, made_at, along, moved, changed, foreseen_at, by, size = (part.unbind(1) for part in parts)

    def guess(i: int, x: Tensor) -> Tensor:
        share = _share(along[i], x - made_at[i])
        innovation = by[i] * x - share * moved[i] - foreseen_at[i]
        return held[i] + share * changed[i] + follow(i, innovation) / size[i]

    return guess


def gains_of(model: DraftModel, held: Tensor, made_at: Tensor, snr: Tensor, snr_held: Tensor) -> Tensor:
    """A model's gains for predictions `[…, D]`, computed in the model's type and converted to that of the samples."""
    rows = (part.reshape(-1, part.shape[-1]).to(model.into.dtype) for part in (held, made_at, snr, snr_held))
    return model.gains(*rows).to(held.dtype).unflatten(0, held.shape[:-1])


def _per_length(moved: Tensor) -> Tensor:
    """s'/‖s'‖²; 0 where s' is 0."""
    return moved / moved.square().sum(-1, keepdim=True).clamp_(min=torch.finfo(moved.dtype).tiny)


def _share(along: Tensor, away: Tensor) -> Tensor:
    """w `[B, 1]`: the position of a state along the last change, clipped to ±1, beyond which the secant extrapolates."""
    return (along * away).sum(-1, keepdim=True).clamp_(-1, 1)
