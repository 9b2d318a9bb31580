"""Sampler names read and print, and mistakes are answered with what there is."""

import pytest

from paradp.sampler import SAMPLERS, Picard, SamplerChoice, Sequential


def test_a_name_with_options_builds_its_solver(config):
    solver = SamplerChoice.parse("para-ddpm:window=8:tolerance=0.3").build(config)
    assert isinstance(solver, Picard) and (solver.window, solver.tolerance) == (8, 0.3)
    assert isinstance(SamplerChoice.parse("ddpm").build(config), Sequential)


def test_para_ddpm_is_the_papers(config):
    solver = SamplerChoice.parse("para-ddpm").build(config)
    assert (solver.window, solver.tolerance) == (20, 0.1)


@pytest.mark.parametrize("text", ["ddpm", "para-ddpm", "para-ddpm:tolerance=0.3:window=8"])
def test_what_is_printed_reads_back(text):
    assert str(SamplerChoice.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("para-dpm", r"unknown sampler 'para-dpm' — did you mean 'para-ddpm'\? There are: ddpm, para-ddpm"),
        ("para-ddpm:windw=8", r"no option 'windw' — did you mean 'window'\?"),
        ("para-ddpm:window=eight", "window cannot be 'eight'; it is a whole number"),
        ("ddpm:window=8", "ddpm has no option 'window'"),
        ("", "unknown sampler ''"),
    ],
)
def test_mistakes_are_answered(text, message):
    with pytest.raises(ValueError, match=message):
        SamplerChoice.parse(text)


@pytest.mark.parametrize("text", ["para-ddpm:window=0", "para-ddpm:tolerance=-1"])
def test_values_out_of_range_are_refused(text, config):
    with pytest.raises(ValueError, match="must be at least"):
        SamplerChoice.parse(text).build(config)


def test_every_family_builds_with_its_defaults(config):
    for name in SAMPLERS:
        assert SamplerChoice.parse(name).build(config).table.steps == 100
