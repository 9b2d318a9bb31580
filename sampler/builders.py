"""The functions behind sampler names: kind of steps → step table, and way of computing them → solver."""

from collections.abc import Callable, Mapping
from functools import partial

from paradp.sampler.schedules import consistency_table, ddim_table, ddpm_table, dpm_solver_table, flow_table
from paradp.sampler.solution import Solver
from paradp.sampler.solvers.picard import Picard
from paradp.sampler.solvers.sequential import Sequential
from paradp.sampler.solvers.speculative import Speculative
from paradp.sampler.table import StepTable

# Each is called with a scheduler or its config, the number of steps or `None`, and the options of the steps.
TABLES: Mapping[str, Callable[..., StepTable]] = {
    "ddpm": ddpm_table,
    "ddim": ddim_table,
    "dpm-solver": dpm_solver_table,
    "sde-dpm-solver": partial(dpm_solver_table, eta=1.0),
    "consistency": consistency_table,
    "flow": flow_table,
}
# Each is called with a table and the options of the way.
SOLVERS: Mapping[str, Callable[..., Solver]] = {"": Sequential, "para-": Picard, "speculative-": Speculative}
