"""Sampler names are parsed and printed, and mistakes are answered with the alternatives."""

from dataclasses import replace

import pytest

from paradp.sampler import SAMPLERS, Picard, SamplerChoice, Sequential, Speculative, sampler_names
from paradp.sampler.lookup import note_renamed


def test_a_name_with_options_builds_its_solver(config):
    solver = SamplerChoice.parse("para-ddpm:window=8:tolerance=0.3").build(config)
    assert isinstance(solver, Picard) and (solver.window, solver.tolerance) == (8, 0.3)
    assert isinstance(SamplerChoice.parse("ddpm").build(config), Sequential)


def test_para_ddpm_has_the_papers_settings(config):
    solver = SamplerChoice.parse("para-ddpm").build(config)
    assert (solver.window, solver.tolerance) == (20, 0.1)


@pytest.mark.parametrize(
    ("text", "kind", "steps"),
    [
        ("ddpm", Sequential, 100),
        ("ddim-10", Sequential, 10),
        ("ddim-15:eta=0.5", Sequential, 15),
        ("ddim-15:spacing=trailing", Sequential, 15),
        ("dpm-solver-15", Sequential, 15),
        ("para-ddpm:max-rounds=9:split=linear", Picard, 100),
        ("para-ddim-15:eta=1.0:window=5", Picard, 15),
        ("para-ddim-15:spacing=linspace:window=5", Picard, 15),
        ("para-dpm-solver-15:anderson=2", Picard, 15),
        ("speculative-ddpm:draft=frozen:window=4", Speculative, 100),
        ("speculative-ddpm:max-rounds=9:window=4", Speculative, 100),
        ("ddpm-25", Sequential, 25),
        ("ddpm-4:timesteps=99-60-30-5", Sequential, 4),
        ("para-ddpm-25:window=5", Picard, 25),
        ("speculative-ddpm-25:spacing=linspace:window=8", Speculative, 25),
        ("sde-dpm-solver-20", Sequential, 20),
        ("para-sde-dpm-solver-20", Picard, 20),
        ("speculative-sde-dpm-solver-20:window=8", Speculative, 20),
        ("sde-dpm-solver-6:eta=2.5:spacing=sine", Sequential, 6),
        ("speculative-ddim-16:eta=0.7", Speculative, 16),
    ],
)
def test_every_name_builds_its_solver(config, text, kind, steps):
    solver = SamplerChoice.parse(text).build(config)
    assert isinstance(solver, kind) and solver.table.steps == steps
    assert str(SamplerChoice.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "first", "last"), [("ddim-10", 90, 0), ("ddim-10:spacing=trailing", 99, 9), ("ddim-10:spacing=linspace", 99, 0)]
)
def test_spacing_places_the_timesteps(config, text, first, last):
    for name in (text, f"para-{text}"):
        timesteps = SamplerChoice.parse(name).build(config).table.timesteps
        assert (timesteps[0], timesteps[-1]) == (first, last)


SCHEDULES = {
    "consistency": {"_class_name": "LCMScheduler", "num_train_timesteps": 100, "prediction_type": "sample"},
    "flow": {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 100},
}


def test_every_family_builds(config):
    """Every listed name works with a number for N; where noise is needed, DDIM needs its option."""
    for family, known in SAMPLERS.items():
        if known.measured:
            continue
        text = f"{family}-12" + (":eta=1" if family == "speculative-ddim" else "")
        choice = SamplerChoice.parse(text)
        assert choice.build(SCHEDULES.get(known.kind, config)).table.steps == 12
        assert choice.family == family and f"{family}-N" in sampler_names()


@pytest.mark.parametrize("name", ["ddpm", "sde-dpm-solver", "speculative-ddpm", "speculative-ddim", "para-sde-dpm-solver"])
def test_fewer_steps_are_trailing_by_default(config, name):
    noise = ":eta=1" if "ddim" in name else ""

    def grid(text):
        return SamplerChoice.parse(text + noise).build(config).table.timesteps.tolist()

    assert grid(f"{name}-25") == list(range(99, 0, -4)) == grid(f"{name}-25:spacing=trailing")
    assert grid(f"{name}-5:timesteps=98-70-20-7-0") == [98, 70, 20, 7, 0]
    assert grid(f"{name}-4:spacing=leading")[-1] != 24
    # Rounding gives diffusers' trailing grids of 29 steps an entry below 0.
    assert len(grid(f"{name}-29")) == 29 and grid(f"{name}-29")[-1] == 2


def test_with_all_training_steps_ddpm_n_equals_ddpm(config):
    one, other = (SamplerChoice.parse(name).build(config).table for name in ("ddpm", "ddpm-100"))
    assert all(one.columns.eq(other.columns).flatten()) and one.timesteps.equal(other.timesteps)


@pytest.mark.parametrize(
    ("text", "sequential"),
    [
        ("speculative-ddpm-25:window=8", "ddpm-25"),
        ("para-ddim-15:eta=0.5:tolerance=0.3", "ddim-15:eta=0.5"),
        ("speculative-ddim-15:eta=0.5", "ddim-15:eta=0.5:spacing=trailing"),
        ("speculative-sde-dpm-solver-3:timesteps=90-40-5", "sde-dpm-solver-3:timesteps=90-40-5"),
        ("speculative-sde-dpm-solver-20:spacing=linspace", "sde-dpm-solver-20:spacing=linspace"),
        ("speculative-sde-dpm-solver-6:eta=2.5:spacing=sine:window=2", "sde-dpm-solver-6:eta=2.5:spacing=sine"),
        ("ddpm", "ddpm"),
    ],
)
def test_a_parallel_sampler_has_the_sequential_one_of_its_steps(config, text, sequential):
    choice = SamplerChoice.parse(text)
    assert str(choice.sequential) == sequential
    ours, theirs = (one.build(config).table for one in (choice, choice.sequential))
    assert ours.timesteps.equal(theirs.timesteps) and ours.columns.equal(theirs.columns)


@pytest.mark.parametrize(
    ("text", "exact"),
    [
        ("ddpm", True),
        ("ddim-10", True),
        ("speculative-ddpm:window=8", True),
        ("speculative-ddpm:max-rounds=5", False),
        ("para-ddpm", False),
        ("auto", True),
        ("auto-fast", False),
    ],
)
def test_a_sampler_knows_whether_it_is_exact(text, exact):
    assert SamplerChoice.parse(text).exact == exact


def test_tables_and_solvers_can_be_compared(config):
    one, other = (SamplerChoice.parse("para-ddpm").build(config) for _ in range(2))
    assert one == one and one != other and one.table != other.table


@pytest.mark.parametrize("text", ["ddpm", "para-ddpm", "para-ddpm:tolerance=0.3:window=8"])
def test_a_printed_name_is_parsed_to_the_same_sampler(text):
    assert str(SamplerChoice.parse(text)) == text


def test_an_older_spelling_of_an_option_is_accepted_with_a_note(config, caplog):
    note_renamed.cache_clear()
    older = [SamplerChoice.parse("speculative-ddpm:gain=0.01:window=4") for _ in range(2)]
    now = SamplerChoice.parse("speculative-ddpm:data-variance=0.01:window=4")
    assert older == [now, now] and older[0].build(config).data_variance == 0.01
    assert caplog.messages == ["the option gain of speculative-ddpm is now data-variance"]
    with pytest.raises(ValueError, match="is given data-variance twice"):
        SamplerChoice.parse("speculative-ddpm:gain=0.01:data-variance=0.01")
    with pytest.raises(ValueError, match="no option 'gain'"):
        SamplerChoice.parse("para-ddpm:gain=0.01")


def test_older_names_of_arguments_are_accepted_with_a_note(config, caplog):
    note_renamed.cache_clear()
    table = SamplerChoice.parse("speculative-ddpm").build(config).table
    solver = Speculative(table, gain=0.01)
    assert solver == Speculative(table, data_variance=0.01) and replace(solver, window=4).data_variance == 0.01
    with pytest.raises(TypeError, match="given both data_variance and its older name gain"):
        Speculative(table, gain=0.01, data_variance=0.01)
    assert caplog.messages == ["the argument gain of Speculative is now data_variance"]
    with pytest.raises(TypeError, match="unexpected keyword argument 'gane'"):
        Speculative(table, gane=0.01)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "para-dpm",
            r"unknown sampler 'para-dpm' — did you mean 'para-ddpm'\? There are: auto, auto-fast, ddpm, ddpm-N, ddim-N",
        ),
        ("ddmi-10", "unknown sampler 'ddmi-10' — did you mean 'ddim-N'"),
        ("ddmp", r"unknown sampler 'ddmp' — did you mean 'ddpm'\?"),
        ("ddmp-20", "unknown sampler 'ddmp-20' — did you mean 'ddpm-N'"),
        ("DDPM", r"unknown sampler 'DDPM' — did you mean 'ddpm'\?"),
        ("Para-DDIM-8", "unknown sampler 'Para-DDIM-8' — did you mean 'para-ddim-N'"),
        ("xyz", r"unknown sampler 'xyz'\. There are"),
        ("para-ddpm:windw=8", r"no option 'windw' — did you mean 'window'\?"),
        ("para-ddpm:window=eight", "window cannot be 'eight'; it is a whole number"),
        ("ddpm:window=8", "ddpm has no option 'window'"),
        ("", "unknown sampler ''"),
        ("ddim", "ddim needs a number of steps, such as ddim-10"),
        ("auto-10", "unknown sampler 'auto-10'"),
        ("sde-dpm-solver", "sde-dpm-solver needs a number of steps, such as sde-dpm-solver-10"),
        ("speculative-dpm-solver-10", "unknown sampler .* did you mean 'speculative-sde-dpm-solver-N'"),
        ("ddpm-25:eta=1", "ddpm-25 has no option 'eta'"),
        ("ddpm-3:timesteps=90-x", "timesteps cannot be '90-x'; it is timesteps from high to low, such as 99-66-33"),
        ("ddpm-3:timesteps=90-10", "with 2 timesteps the sampler must be called ddpm-2"),
        ("ddpm:timesteps=90-10", "with 2 timesteps the sampler must be called ddpm-2"),
        ("ddpm-2:timesteps=90-10:spacing=leading", "ddpm is given spacing and timesteps: timesteps are the whole grid"),
        ("ddim-ten", "unknown sampler 'ddim-ten' — did you mean 'ddim-N'"),
    ],
)
def test_errors_name_the_alternatives(text, message):
    with pytest.raises(ValueError, match=message):
        SamplerChoice.parse(text)


@pytest.mark.parametrize("text", ["para-ddpm:window=0", "para-ddpm:tolerance=-1"])
def test_values_out_of_range_are_refused(text, config):
    with pytest.raises(ValueError, match="must be at least"):
        SamplerChoice.parse(text).build(config)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ddim-0", "at least one step"),
        ("ddim-101", "101"),
        ("speculative-ddpm-0", "at least one step"),
        ("ddpm-101", "101 steps are too many: the network was trained with 100 timesteps"),
        ("sde-dpm-solver-101", "101 steps are too many: the network was trained with 100 timesteps"),
        ("ddpm-3:timesteps=90-60-60", "timesteps must decrease, but step 2 goes from 60 to 60"),
        ("speculative-ddpm-3:timesteps=10-50-0", "timesteps must decrease, but step 1 goes from 10 to 50"),
        ("ddpm-2:timesteps=100-50", "step 0 is at timestep 100, outside 0 … 99"),
        ("speculative-ddim-10", "needs noise at every step but the last, and step 0 has none: .* DDIM with eta above 0"),
        ("speculative-ddim-10:eta=0", "DDIM with eta above 0"),
        ("ddim-10:eta=2", "eta must be between 0 and 1"),
        ("sde-dpm-solver-10:eta=-1", "eta must be a number that is at least 0, not -1"),
        ("sde-dpm-solver-10:eta=nan", "eta must be a number that is at least 0, not nan"),
        ("sde-dpm-solver-10:eta=inf", "eta must be a number that is at least 0, not inf"),
        ("speculative-sde-dpm-solver-10:eta=0", "step 0 has none: .* SDE-DPM-Solver\\+\\+ and DDIM with eta above 0"),
        (
            "ddim-10:spacing=even",
            "timestep_spacing = 'even' is not supported: it must be 'leading', 'tr",
        ),
        ("para-ddpm:split=third", "split must be one of unit, linear"),
        ("para-ddpm:max-rounds=0", "max_rounds must be at least 1"),
        ("speculative-ddpm:max-rounds=0", "max_rounds must be at least 1"),
        ("speculative-ddpm:draft=wild", "draft must be one of secant, picard, frozen"),
        ("speculative-ddpm:ahead=0", "ahead must be at least 1"),
        ("speculative-ddpm:data-variance=-1", "data_variance must be a finite number and at least 0"),
    ],
)
def test_options_that_do_not_fit_are_named(text, message, config):
    with pytest.raises(ValueError, match=message):
        SamplerChoice.parse(text).build(config)


@pytest.mark.parametrize(
    ("text", "trained", "message"),
    [
        ("consistency-2", "diffusion", "is a diffusion model, neither distilled nor a flow; use a sampler such as"),
        ("flow-10", "diffusion", "is a diffusion model, neither distilled nor a flow; use a sampler such as ddpm"),
        ("ddpm", "consistency", "ddpm: the network was distilled into a consistency model; use consistency-N"),
        ("speculative-ddpm-25", "consistency", "was distilled into a consistency model; use consistency-N"),
        ("dpm-solver-10", "consistency", "was distilled into a consistency model"),
        ("para-flow-4", "consistency", "was distilled into a consistency model"),
        ("ddim-10", "flow", "ddim-10: the network was trained by flow matching; use flow-N, such as flow-10"),
        ("sde-dpm-solver-10", "flow", "was trained by flow matching"),
        ("consistency-4", "flow", "was trained by flow matching"),
        ("auto", "consistency", "^auto: the network was distilled into a consistency model"),
        ("auto-fast", "flow", "^auto-fast: the network was trained by flow matching"),
        ("consistency-101", "consistency", "101 steps are too many: the network was trained with 100 timesteps"),
        ("flow-101", "flow", "101 steps are too many: the network was trained with 100 timesteps"),
        ("flow-0", "flow", "at least one step"),
        ("flow-2:timesteps=100-0", "flow", "step 1 is at timestep 0: it must be above 0 and at most 100"),
        ("consistency-2:timesteps=100-50", "consistency", "step 0 is at timestep 100, outside 0 … 99"),
    ],
)
def test_a_sampler_is_refused_by_a_network_that_was_trained_for_another(config, text, trained, message):
    with pytest.raises(ValueError, match=message):
        SamplerChoice.parse(text).build_first(SCHEDULES.get(trained, config))


def test_a_measured_sampler_is_compared_with_ddpm(config):
    table = SamplerChoice.parse("auto").build_first(config).table
    assert table.columns.equal(SamplerChoice.parse("ddpm").build(config).table.columns)


@pytest.mark.parametrize(
    "text", ["auto-fast:energy=-1", "auto-fast:spread=nan", "auto-fast:coverage=x", "auto-fast:energy=inf"]
)
def test_bounds_are_numbers_that_are_at_least_0(text):
    with pytest.raises(ValueError, match="it is a number that is at least 0"):
        SamplerChoice.parse(text)


def test_bounds_are_options_of_auto_fast_alone():
    text = "auto-fast:coverage=0.03:energy=0.02"
    choice = SamplerChoice.parse(text)
    assert choice.measured and dict(choice.options) == {"coverage": 0.03, "energy": 0.02} and str(choice) == text
    with pytest.raises(ValueError, match="auto has no option 'energy'"):
        SamplerChoice.parse("auto:energy=0.02")


@pytest.mark.parametrize("name", ["auto", "auto-fast"])
def test_a_sampler_that_must_be_measured_is_not_built(name, config):
    choice = SamplerChoice.parse(name)
    assert choice.measured and not SamplerChoice.parse("ddpm").measured
    with pytest.raises(ValueError, match=f"{name} is chosen by measuring an engine"):
        choice.build(config)
    with pytest.raises(ValueError, match=f"{name} is chosen by measuring"):
        _ = choice.sequential
    with pytest.raises(ValueError, match="has no option 'window'"):
        SamplerChoice.parse(f"{name}:window=3")
