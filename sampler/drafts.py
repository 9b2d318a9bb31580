"""Guesses at predictions that have not been made yet, and the drafts of states that follow from them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from paradp.sampler.options import Draft
from paradp.sampler.table import StepTable
from paradp.sampler.windows import PerStep, Window


@dataclass(frozen=True)
class Recalled:
    """What a window's drafts start from, `[B, p, D]` each.

    Attributes:
        held: D, the last prediction at each step, or the one that stands in for it.
        made_at: s, the state that it was made at.
        moved, changed: how both differ from the prediction before; 0 where the step had no two of its own.
        own: `[B, p, 1]`, whether it was made at this step.
    """

    held: Tensor
    made_at: Tensor
    moved: Tensor
    changed: Tensor
    own: Tensor


@dataclass(frozen=True)
class Drafts:
    """What a round drafts, `[B, p, D]` each unless said otherwise.

    Attributes:
        x: the states x̃_j.
        guess: G_j, what the network is guessed to predict there, not clipped but finite.
        following: the states x̃_{j+1}.
        before: `[B, D]`, the prediction at the exact state before the window; `None` where the table does not look back.
    """

    x: Tensor
    guess: Tensor
    following: Tensor
    before: Tensor | None

    def one_earlier(self, predictions: Tensor) -> Tensor | None:
        """The prediction of the step before, for each of the window's `[B, p, D]`."""
        return None if self.before is None else torch.cat([self.before[:, None], predictions[:, :-1]], 1)


class Guesses:
    """What a draft takes the network to predict at step j: a function of x_0 and of noise before step j, nothing else.

    Every step keeps its last prediction D_j (not clipped), the state s_j that it was made at, and, for secant drafts, how
    both changed since the prediction before. A step that was never evaluated is taken to have the prediction of the furthest
    one that was; before any, that is the first guess, or 0. Nothing here may look at a later step: docs/exactness.md says
    why.

    Args:
        table: the steps.
        gain: v of `Speculative`.
        draft: as in `Speculative`.
        like: `[B, D]`, flat samples.

    Attributes:
        kept: `[B, T, 4, D]`, of every step: D_j, s_j, and how they changed.
        evaluated: `[B, 1]`, how many steps were evaluated.
        slope: `[T, 1]`, J_j: how far a prediction follows its state.
    """

    def __init__(self, table: StepTable, gain: float, draft: Draft, like: Tensor):
        batch, size = like.shape
        bar = table.alpha_bar
        self._table = table
        self.slope = (bar.sqrt() * gain / (bar * gain + 1 - bar))[:, None]
        self._draft = draft
        self.kept = PerStep(batch, table.steps, 4, size, like=like)
        self.evaluated = torch.zeros(batch, 1, dtype=torch.int64, device=like.device)

    @property
    def predictions(self) -> Tensor:
        """D of all steps, `[B, T, D]`."""
        return self.kept.all[:, :, 0]

    def start(self, first: Tensor) -> None:
        """Takes a first guess `[B, D]` at the sample."""
        self.kept.all[:, 0, 0] = first

    def clear(self) -> None:
        """Forgets everything."""
        self.kept.all.zero_()
        self.evaluated.zero_()

    def recall(self, window: Window, base: Tensor) -> Recalled:
        """What is known for a window, of windows that stand at `base` `[B]`."""
        source = self._source(window, base)
        own = ((source == window.step) & (window.step < self.evaluated))[..., None]
        held, made_at, moved, changed = self.kept[source].unbind(2)
        return Recalled(held, made_at, torch.where(own, moved, 0), torch.where(own, changed, 0), own)

    def before(self, base: Tensor) -> Tensor | None:
        """x̂0_{b−1} `[B, D]` of windows that stand at b = `base` `[B]`; `None` where the table does not look back.

        It was made at an exact state: a step is not evaluated again once it is decided.
        """
        return self.kept[(base[:, None] - 1).clamp_(min=0)][:, 0, 0] if self._table.looks_back else None

    def draft(self, window: Window, recalled: Recalled, first: Tensor, before: Tensor | None, noise: Tensor) -> Drafts:
        """Rolls exact states `[B, D]` forward through a window, by guessed predictions and known noise `[B, p, D]`.

        Args:
            window, recalled: which steps, and what is known there.
            first: the exact states.
            before: the predictions at the exact states before, as `before` gives them.
            noise: ξ of the window's steps.
        """
        moved, slope = recalled.moved, self.slope[window.step] * recalled.own
        kink = recalled.changed - slope * moved
        along = moved / moved.square().sum(-1, keepdim=True).clamp_(min=torch.finfo(moved.dtype).tiny)
        known = (
            recalled.held,
            recalled.made_at,
            slope,
            along,
            kink,
            window.table.a,
            window.table.c,
            window.table.r,
            window.table.d,
            window.table.sigma * noise,
        )
        x, states, guesses, last = first, [first], [], before
        for held, made_at, slope_j, along_j, kink_j, a, c, r, d, pushed in zip(*(k.unbind(1) for k in known), strict=True):
            away = x - made_at
            # Beyond the last change itself the secant would extrapolate.
            share = (along_j * away).sum(-1, keepdim=True).clamp_(-1, 1)
            guess = torch.addcmul(held, slope_j, away).addcmul_(share, kink_j)
            # A prediction at a draft far from any exact state may fail to be finite; an exact state must not inherit that.
            guess.nan_to_num_(0, 0, 0)
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

    def keep(self, window: Window, recalled: Recalled, x: Tensor, clean: Tensor) -> None:
        """Takes predictions x̂0 `[B, p, D]` that the network made at states x `[B, p, D]`."""
        if self._draft == "secant":
            moved = torch.where(recalled.own, x - recalled.made_at, 0)
            changed = torch.where(recalled.own, clean - recalled.held, 0)
        else:
            moved = changed = torch.zeros_like(x)
        self.kept.put(window, torch.stack([clean, x, moved, changed], 2))
        reached = torch.where(window.inside, window.step + 1, 0).amax(1, keepdim=True)
        torch.maximum(self.evaluated, reached, out=self.evaluated)

    def _source(self, window: Window, base: Tensor) -> Tensor:
        """Whose prediction stands in at each step of the window, `[B, p]`: never a later step's."""
        known = base[:, None] if self._draft == "frozen" else self.evaluated
        return torch.minimum(window.step, known - 1).clamp_(min=0)
