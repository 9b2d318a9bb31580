"""How many control steps a policy observes, predicts and executes."""

from dataclasses import dataclass, replace

from paradp.policy.errors import SettingError
from paradp.policy.files.limits import MOST_HORIZON, MOST_OBSERVED, within


@dataclass(frozen=True)
class Horizons:
    """The numbers of observed, predicted and executed steps (Chi et al. 2023, §3.1).

    At control step t, with the default horizons:

        observed    t−1  t
        predicted   t−1  t  t+1  …  t+7  t+8  …  t+14
        executed         t  t+1  …  t+7

    The first predicted action belongs to the first observed step and is already past.
    """

    observe: int = 2
    predict: int = 16
    execute: int = 8

    def __post_init__(self) -> None:
        if self.observe < 1 or self.execute < 1:
            raise ValueError(f"horizons must be positive: {self}")
        if self.observe - 1 + self.execute > self.predict:
            said = f"{self} execute steps that are not predicted: observe − 1 + execute must be ≤ predict"
            raise SettingError(said, "observe", "execute", "predict")
        within("predict", self.predict, 1, MOST_HORIZON)
        within("observe", self.observe, 1, MOST_OBSERVED)
        within("execute", self.execute, 1, MOST_HORIZON)

    def with_execute(self, execute: int | None) -> "Horizons":
        """A copy with another number of executed steps; unchanged for `None`.

        Raises:
            SettingError: the number exceeds the predicted steps.
        """
        most = self.predict - self.observe + 1
        if execute is not None and not 1 <= execute <= most:
            said = f"execute must be from 1 to {most}, not {execute}: it would execute steps that are not predicted"
            raise SettingError(said, "execute")
        return self if execute is None else replace(self, execute=execute)


DEFAULT_HORIZONS = Horizons()
