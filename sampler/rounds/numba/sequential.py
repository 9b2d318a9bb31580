"""All steps of a sequential solve as compiled loops."""

from paradp.sampler.rounds.base import Watch
from paradp.sampler.rounds.memory import copy, zeros
from paradp.sampler.rounds.numba import loops
from paradp.sampler.rounds.numba.flat_rows import arrays
from paradp.sampler.rounds.torch.sequential import Pass
from paradp.sampler.solution import predict


class NumbaPass(Pass):
    """Computes the same steps as `Pass`, on the same buffers, with compiled loops."""

    def advance(self) -> None:
        (table,), noise, bound = arrays(self.table.columns), self.noise.numpy(), self.table.clip_bound.numpy()[()]
        state = self.initial.flatten(1).clone()
        clean = zeros((self.table.steps, *state.shape), state)
        x, cleans = arrays(state, clean)
        watch, self.done = Watch(self.deadline), self.table.steps
        for k, t in enumerate(self.timesteps):
            if watch.over():
                self.done = k
                break
            prediction = predict(self.denoiser, state.reshape(self.shape), t, self.condition).detach()
            loops.step(table, k, bound, x, prediction.flatten(1).numpy(), cleans[max(k - 1, 0)], noise[:, k], cleans[k])
        copy(self.clean, clean.transpose(0, 1))
        copy(self.sample, state if self.done == self.table.steps else self.complete(state, self.done))
