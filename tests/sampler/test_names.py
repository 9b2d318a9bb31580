"""Sampler names read and print, and mistakes are answered with what there is."""

import pytest

from paradp.sampler import Picard, SamplerChoice, Sequential, Speculative


def test_a_name_with_options_builds_its_solver(config):
    solver = SamplerChoice.parse("para-ddpm:window=8:tolerance=0.3").build(config)
    assert isinstance(solver, Picard) and (solver.window, solver.tolerance) == (8, 0.3)
    assert isinstance(SamplerChoice.parse("ddpm").build(config), Sequential)


def test_para_ddpm_is_the_papers(config):
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


@pytest.mark.parametrize("text", ["ddpm", "para-ddpm", "para-ddpm:tolerance=0.3:window=8"])
def test_what_is_printed_reads_back(text):
    assert str(SamplerChoice.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "para-dpm",
            r"unknown sampler 'para-dpm' — did you mean 'para-ddpm'\? There are: auto, auto-fast, ddpm, ddim-N",
        ),
        ("para-ddpm:windw=8", r"no option 'windw' — did you mean 'window'\?"),
        ("para-ddpm:window=eight", "window cannot be 'eight'; it is a whole number"),
        ("ddpm:window=8", "ddpm has no option 'window'"),
        ("", "unknown sampler ''"),
        ("ddim", "ddim needs a number of steps, such as ddim-10"),
        ("ddpm-10", "unknown sampler 'ddpm-10'"),
        ("ddim-ten", "unknown sampler 'ddim-ten' — did you mean 'ddim-N'"),
    ],
)
def test_mistakes_are_answered(text, message):
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
        ("ddim-10:eta=2", "eta must be between 0 and 1"),
        (
            "ddim-10:spacing=even",
            "timestep_spacing = 'even' is not supported: it must be 'leading', 'tr",
        ),
        ("para-ddpm:split=third", "split must be one of unit, linear"),
        ("para-ddpm:max-rounds=0", "max_rounds must be at least 1"),
        ("speculative-ddpm:max-rounds=0", "max_rounds must be at least 1"),
        ("speculative-ddpm:draft=wild", "draft must be one of secant, picard, frozen"),
        ("speculative-ddpm:gain=-1", "gain must be a finite number and at least 0"),
    ],
)
def test_options_that_cannot_work_are_named(text, message, config):
    with pytest.raises(ValueError, match=message):
        SamplerChoice.parse(text).build(config)


@pytest.mark.parametrize("name", ["auto", "auto-fast"])
def test_what_must_be_measured_is_not_built(name, config):
    choice = SamplerChoice.parse(name)
    assert choice.measured and not SamplerChoice.parse("ddpm").measured
    with pytest.raises(ValueError, match=f"{name} is chosen by measuring an engine"):
        choice.build(config)
    with pytest.raises(ValueError, match="has no option 'window'"):
        SamplerChoice.parse(f"{name}:window=3")
