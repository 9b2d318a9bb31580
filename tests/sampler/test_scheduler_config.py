"""Every setting of a diffusers scheduler is used as in diffusers, has no effect, or is refused by name."""

import inspect
import json
from unittest import mock

import diffusers.schedulers
import numpy as np
import pytest
import torch
from diffusers import (
    DDIMParallelScheduler,
    DDIMScheduler,
    DDPMParallelScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    LCMScheduler,
)

from paradp.sampler import NoisePath, SamplerChoice, Sequential, step_table
from paradp.sampler.options import MOST_TIMESTEPS
from paradp.sampler.schedules.described import KINDS
from paradp.sampler.schedules.reading import OF_OTHER_SCHEDULERS

SOURCES = {
    "DDPMScheduler": DDPMScheduler,
    "DDIMScheduler": DDIMScheduler,
    "DPMSolverMultistepScheduler": DPMSolverMultistepScheduler,
}
# A sampler and the class of diffusers that does the same, one step after another.
TARGETS = {"ddpm": DDPMScheduler, "ddim-5": DDIMScheduler, "dpm-solver-5": DPMSolverMultistepScheduler}
PARALLEL = {
    "para-ddpm": "ddpm",
    "speculative-ddpm": "ddpm",
    "para-ddim-5": "ddim-5",
    "para-dpm-solver-5": "dpm-solver-5",
}
BASE = {"num_train_timesteps": 20, "beta_start": 0.01, "beta_end": 0.4}
BETAS = np.linspace(0.02, 0.3, 20)
EVERY, DDPM, DDIM, DPM, NONE = ("ddpm", "ddim-5", "dpm-solver-5"), ("ddpm",), ("ddim-5",), ("dpm-solver-5",), ()
# Settings that come together; the samplers whose samples they change, for a network trained with DDPM's class; those that
# refuse them.
SETTINGS = [
    ({"num_train_timesteps": 16}, EVERY, NONE),
    ({"num_train_timesteps": 16.0}, EVERY, NONE),
    ({"beta_start": 0.05}, EVERY, NONE),
    ({"beta_end": 0.3}, EVERY, NONE),
    ({"beta_schedule": "scaled_linear"}, EVERY, NONE),
    ({"beta_schedule": "squaredcos_cap_v2"}, EVERY, NONE),
    ({"trained_betas": BETAS.tolist()}, EVERY, NONE),
    ({"trained_betas": tuple(BETAS)}, EVERY, NONE),
    ({"trained_betas": BETAS}, EVERY, NONE),
    ({"trained_betas": torch.tensor(BETAS)}, EVERY, NONE),
    ({"trained_betas": None}, NONE, NONE),
    ({"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}, EVERY, NONE),
    ({"prediction_type": "sample"}, EVERY, NONE),
    ({"prediction_type": "v_prediction"}, EVERY, NONE),
    ({"prediction_type": "flow_prediction"}, NONE, EVERY),
    ({"timestep_spacing": "trailing"}, ("ddim-5", "dpm-solver-5"), NONE),
    ({"timestep_spacing": "leading", "steps_offset": 1}, ("ddim-5", "dpm-solver-5"), DDPM),
    ({"clip_sample": False}, EVERY, NONE),
    ({"clip_sample_range": 0.5}, EVERY, NONE),
    ({"clip_sample": False, "clip_sample_range": 0.5}, EVERY, NONE),
    ({"clip_sample": np.True_, "clip_sample_range": np.float32(1)}, NONE, NONE),
    ({"set_alpha_to_one": False}, DDIM, NONE),
    ({"variance_type": None}, NONE, NONE),
    ({"variance_type": "fixed_large"}, NONE, DDPM),
    ({"variance_type": "fixed_small_log"}, NONE, DDPM),
    ({"variance_type": "learned"}, NONE, EVERY),
    ({"variance_type": "learned_range"}, NONE, EVERY),
    ({"thresholding": True}, NONE, EVERY),
    ({"thresholding": False, "dynamic_thresholding_ratio": 0.5, "sample_max_value": 3}, NONE, NONE),
    ({"solver_order": 1}, DPM, NONE),
    ({"solver_order": 3}, NONE, DPM),
    ({"algorithm_type": "sde-dpmsolver++"}, DPM, NONE),
    ({"algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"}, NONE, DPM),
    ({"algorithm_type": "deis"}, NONE, DPM),
    ({"solver_type": "heun"}, DPM, NONE),
    ({"solver_type": "bh2"}, NONE, DPM),
    ({"final_sigmas_type": "sigma_min"}, DPM, NONE),
    ({"lower_order_final": False, "final_sigmas_type": "sigma_min"}, DPM, NONE),
    ({"euler_at_final": True, "lower_order_final": False, "final_sigmas_type": "sigma_min"}, DPM, NONE),
    ({"lambda_min_clipped": -1.5}, DPM, NONE),
    *(({f"use_{kind}": True}, NONE, DPM) for kind in ("karras_sigmas", "exponential_sigmas", "beta_sigmas", "lu_lambdas")),
    ({"use_flow_sigmas": True}, NONE, DPM),
    ({"use_dynamic_shifting": True}, NONE, DPM),
    ({"flow_shift": 3.0, "time_shift_type": "exponential"}, NONE, NONE),
    ({"skip_prk_steps": True, "sigma_min": 0.1, "_diffusers_version": "9"}, NONE, NONE),
    ({"smooth_the_sample": True}, NONE, EVERY),
    ({"smooth_the_sample": False}, NONE, EVERY),
]
# A setting has no value that is none of its kind.
MALFORMED = [
    ({"num_train_timesteps": 0}, "num_train_timesteps = 0"),
    ({"num_train_timesteps": -3}, "num_train_timesteps = -3"),
    ({"num_train_timesteps": 20.5}, r"num_train_timesteps = 20\.5"),
    ({"num_train_timesteps": "20"}, "num_train_timesteps = '20'"),
    ({"num_train_timesteps": None}, "num_train_timesteps = None"),
    ({"num_train_timesteps": True}, "num_train_timesteps = True"),
    ({"num_train_timesteps": float("inf")}, "num_train_timesteps = inf"),
    ({"num_train_timesteps": MOST_TIMESTEPS + 1}, "num_train_timesteps = 10001"),
    ({"num_train_timesteps": 10**30}, "num_train_timesteps = 1000000"),
    ({"beta_start": -0.1}, r"beta_start = -0\.1"),
    ({"beta_start": 0}, "beta_start = 0"),
    ({"beta_end": 1.0}, r"beta_end = 1\.0"),
    ({"beta_end": float("nan")}, "beta_end = nan"),
    ({"beta_end": "0.02"}, r"beta_end = '0\.02'"),
    ({"beta_schedule": "cubic"}, "beta_schedule = 'cubic'"),
    ({"beta_schedule": None}, "beta_schedule = None"),
    ({"beta_schedule": ["linear"]}, r"beta_schedule = \['linear'\]"),
    ({"trained_betas": BETAS[:19].tolist()}, "trained_betas has 19 entries for num_train_timesteps = 20"),
    ({"trained_betas": np.append(BETAS, 0.3)}, "trained_betas has 21 entries for num_train_timesteps = 20"),
    ({"trained_betas": []}, "trained_betas has 0 entries"),
    ({"trained_betas": [*BETAS[:19], 1.0]}, r"trained_betas\[19\] = 1\.0: every β must lie between 0 and 1"),
    ({"trained_betas": [0, *BETAS[:19]]}, r"trained_betas\[0\] = 0\.0: every β"),
    ({"trained_betas": [*BETAS[:19], -0.5]}, r"trained_betas\[19\] = -0\.5"),
    ({"trained_betas": [*BETAS[:19], float("nan")]}, r"trained_betas\[19\] = nan"),
    ({"trained_betas": [*BETAS[:19], "0.3"]}, r"trained_betas\[19\] = '0\.3'"),
    ({"trained_betas": [*BETAS[:19], None]}, r"trained_betas\[19\] = None"),
    ({"trained_betas": BETAS[None]}, r"trained_betas\[0\]"),
    ({"trained_betas": 0.3}, r"trained_betas = 0\.3"),
    ({"trained_betas": "betas.npy"}, r"trained_betas = 'betas\.npy'"),
    ({"rescale_betas_zero_snr": "no"}, "rescale_betas_zero_snr = 'no'"),
    ({"prediction_type": "score"}, "prediction_type = 'score'"),
    ({"prediction_type": None}, "prediction_type = None"),
    ({"timestep_spacing": "even"}, "timestep_spacing = 'even' .* 'leading', 'trailing', 'linspace' or 'sine'"),
    ({"steps_offset": 0.5}, r"steps_offset = 0\.5"),
    ({"steps_offset": -1}, "steps_offset = -1"),
    ({"clip_sample": "True"}, "clip_sample = 'True'"),
    ({"clip_sample": None}, "clip_sample = None"),
    ({"clip_sample_range": 0}, "clip_sample_range = 0"),
    ({"clip_sample_range": -1.0}, r"clip_sample_range = -1\.0"),
    ({"clip_sample_range": float("nan")}, "clip_sample_range = nan"),
    ({"clip_sample_range": [1.0]}, r"clip_sample_range = \[1\.0\]"),
    ({"thresholding": "yes"}, "thresholding = 'yes'"),
]


def network(x, t, condition):
    """A smooth function as network."""
    return 0.7 * torch.tanh(x * (1 + t.reshape(-1, 1, 1) / 100) + condition[:, :1, None])


def draws(steps):
    generators = [torch.Generator().manual_seed(s) for s in range(3)]
    return torch.zeros(3, 1, dtype=torch.float64), NoisePath.draw(generators, steps, (4, 2), dtype=torch.float64)


def ours(table):
    return Sequential(table).solve(network, *draws(table.steps)).sample


def sampled_by_diffusers(kind, config, steps, clip):
    """The loop over `step` of diffusers' scheduler, in double precision.

    Args:
        clip: bound of |x̂0| for DPM-Solver, which has none of its own.
    """
    scheduler = kind.from_config(config)
    scheduler.alphas_cumprod = bar = scheduler.alphas_cumprod.double()
    for name in ("one", "final_alpha_cumprod"):
        if hasattr(scheduler, name):
            setattr(scheduler, name, getattr(scheduler, name).double())
    scheduler.set_timesteps(steps)
    if kind is DPMSolverMultistepScheduler:
        sigma = ((1 - bar) / bar).sqrt()
        last = sigma[:1] if scheduler.config.final_sigmas_type == "sigma_min" else torch.zeros_like(sigma[:1])
        scheduler.sigmas = torch.cat([sigma[scheduler.timesteps], last])
        convert = scheduler.convert_model_output
        scheduler.convert_model_output = lambda *args, **kwargs: (
            convert(*args, **kwargs) if clip is None else convert(*args, **kwargs).clamp(-clip, clip)
        )
    condition, noise = draws(len(scheduler.timesteps))
    x = noise.initial
    for k, t in enumerate(scheduler.timesteps):
        prediction = network(x, t.expand(len(x)), condition)
        drawn = noise.steps[:, k]
        with (
            mock.patch("diffusers.schedulers.scheduling_ddpm.randn_tensor", lambda *_, drawn=drawn, **__: drawn),
            mock.patch.object(torch, "float32", torch.float64),  # diffusers rounds DPM-Solver's samples to float32
        ):
            more = {"variance_noise": drawn} if kind is DPMSolverMultistepScheduler else {}
            x = scheduler.step(prediction, t, x, **more).prev_sample
    return x


def clip_wanted(source, config):
    if source == "DPMSolverMultistepScheduler" and "clip_sample" not in config:
        return None
    return config.get("clip_sample_range", 1.0) if config.get("clip_sample", True) else None


@pytest.mark.parametrize(("settings", "changed", "refused"), SETTINGS, ids=lambda value: str(value)[:60])
def test_every_setting_is_used_as_in_diffusers_or_refused(settings, changed, refused):
    for source in SOURCES:
        base = {"_class_name": source, **BASE}
        if source == "DPMSolverMultistepScheduler":
            base["timestep_spacing"] = "leading"
        config = base | settings
        for name, kind in TARGETS.items():
            if name in refused:
                key = list(settings)[-1] if "steps_offset" in settings else next(iter(settings))
                with pytest.raises(ValueError, match=key):
                    SamplerChoice.parse(name).build(config)
                continue
            table = SamplerChoice.parse(name).build(config).table
            steps = 5 if name != "ddpm" else int(config["num_train_timesteps"])
            readable = json.loads(json.dumps(config, default=lambda value: value.tolist()))  # by diffusers
            readable["num_train_timesteps"] = int(config["num_train_timesteps"])
            expected = sampled_by_diffusers(kind, readable, steps, clip_wanted(source, readable))
            assert (ours(table) - expected).abs().max() < 1e-10 * max(1, table.from_state.abs().max()), (source, name)
            if source == "DDPMScheduler":
                before = ours(SamplerChoice.parse(name).build(base).table)
                assert ((ours(table) - before).abs().max() > 1e-6) == (name in changed), name


@pytest.mark.parametrize(("settings", "changed", "refused"), SETTINGS, ids=lambda value: str(value)[:60])
def test_parallel_samplers_read_settings_like_their_sequential_ones(settings, changed, refused):
    for source in SOURCES:
        config = {"_class_name": source, **BASE, **settings}
        for name, sequential in PARALLEL.items():
            if sequential in refused and "steps_offset" not in settings:
                with pytest.raises(ValueError, match=next(iter(settings))):
                    SamplerChoice.parse(name).build(config)
            elif sequential not in refused:
                table, same = (SamplerChoice.parse(text).build(config).table for text in (name, sequential))
                assert torch.equal(table.columns, same.columns) and table.clip == same.clip


@pytest.mark.parametrize(("settings", "message"), MALFORMED, ids=str)
def test_malformed_settings_are_named_by_every_sampler(settings, message):
    for source in SOURCES:
        config = {"_class_name": source, **BASE, **settings}
        with pytest.raises(ValueError, match=message):
            step_table(config, 5)
        for name in (*TARGETS, *PARALLEL):
            with pytest.raises(ValueError, match=message):
                SamplerChoice.parse(name).build(config)


def test_a_malformed_setting_of_dpm_solver_is_named():
    for settings in ({"lambda_min_clipped": float("nan")}, {"lambda_min_clipped": "-inf"}, {"euler_at_final": 1}):
        with pytest.raises(ValueError, match=next(iter(settings))):
            SamplerChoice.parse("dpm-solver-5").build({"_class_name": "DPMSolverMultistepScheduler", **BASE, **settings})


def test_a_long_value_is_shortened_in_the_message():
    with pytest.raises(ValueError, match="beta_schedule") as refused:
        step_table({"_class_name": "DDPMScheduler", "beta_schedule": "x" * 1_000_000})
    assert len(str(refused.value)) < 300


def test_every_setting_of_the_installed_diffusers_is_known():
    """A later diffusers may have new settings; after an upgrade their meaning here must be decided."""
    known = OF_OTHER_SCHEDULERS.union(*(settings.model_fields for settings in KINDS.values()))
    for kind in DDPMScheduler._get_compatibles():
        settings = set(inspect.signature(kind.__init__).parameters) - {"self", "args", "kwargs"}
        assert settings <= known, kind


def test_defaults_are_those_of_diffusers():
    for kind, settings in KINDS.items():
        defaults = kind().config
        for name, field in settings.model_fields.items():
            if name in defaults and field.default is not None:
                assert field.default == defaults[name], (kind, name)


@pytest.mark.parametrize("kind", KINDS)
def test_a_scheduler_its_config_and_its_file_give_the_same_table(kind, tmp_path):
    noise = {"beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction"}
    scheduler = kind(num_train_timesteps=40, **({} if kind is FlowMatchEulerDiscreteScheduler else noise))
    scheduler.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "scheduler_config.json").read_text())
    by_file = step_table(saved, 10)
    for given in (scheduler, scheduler.config, dict(scheduler.config)):
        if kind is LCMScheduler and given is not scheduler:
            given = {**given, "_class_name": "LCMScheduler"}  # its settings are those of another class, too
        table = step_table(given, 10)
        assert torch.equal(table.columns, by_file.columns) and table.clip == by_file.clip
    if KINDS[kind].process == "diffusion":
        built = SamplerChoice.parse("ddim-10").build(scheduler).table
        assert torch.equal(built.alpha_bar, step_table(DDIMScheduler.from_config(scheduler.config), 10).alpha_bar)


def test_the_class_is_never_guessed():
    """Of all schedulers of diffusers, only those with a table are accepted."""
    taken = {kind.__name__ for kind in KINDS}
    seen = set()
    refusals = r"no step table|pass the scheduler itself|a diffusers scheduler or its config is needed"
    for name in [name for name in dir(diffusers.schedulers) if name.endswith("Scheduler") and not name.startswith("Flax")]:
        try:
            scheduler = getattr(diffusers.schedulers, name)()
        except (AttributeError, ImportError, TypeError):  # is not there, needs a package that is not, or arguments
            continue
        seen.add(name)
        for given in (scheduler, getattr(scheduler, "config", None)):
            # The settings of LCMScheduler are those of TCDScheduler: without a class they are refused.
            if name in taken and not (name == "LCMScheduler" and given is not scheduler):
                assert step_table(given, 10).steps == 10
            else:
                with pytest.raises(ValueError, match=refusals):
                    step_table(given, 10)
    assert seen > taken | {"DDIMInverseScheduler", "EulerDiscreteScheduler", "PNDMScheduler"}


def test_a_converted_scheduler_keeps_its_own_class():
    config = {"_class_name": "DDPMScheduler", "num_train_timesteps": 20, "variance_type": "fixed_large"}
    scheduler = DDIMScheduler.from_config(config)
    for given in (scheduler, scheduler.config):
        assert (step_table(given, 5).sigma == 0).all()  # DDIM's


def test_a_changed_default_has_an_effect():
    """diffusers drops a setting that its config lists as a default: here DDPM must not clip, against its default."""
    config = {**DDPMScheduler(num_train_timesteps=20).config, "_class_name": "DDPMScheduler", "clip_sample": False}
    assert "clip_sample" in config["_use_default_values"]
    assert step_table(config).clip is None


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        ({}, "does not contain its class"),
        ({"num_train_timesteps": 20}, "pass the scheduler itself, or add _class_name"),
        ({"_class_name": "EulerDiscreteScheduler"}, "no step table for the scheduler 'EulerDiscreteScheduler'"),
        ({"_class_name": ["DDPMScheduler"]}, r"no step table for the scheduler \['DDPMScheduler'\]"),
        ({"_class_name": ""}, "no step table for the scheduler ''"),
        ({"_class_name": "DDPMScheduler", "_use_default_values": 3, "thresholding": True}, "thresholding"),
        ("ddpm", "a diffusers scheduler or its config is needed, not 'ddpm'"),
        (None, "a diffusers scheduler or its config is needed, not None"),
        (DDPMScheduler, "a diffusers scheduler or its config is needed"),
        (type("DDPMScheduler", (DDPMScheduler,), {})(), "only for diffusers' own"),
        (type("Mine", (DDPMScheduler,), {})(), "no step table for the scheduler 'Mine'"),
    ],
    ids=str,
)
def test_an_object_that_is_not_a_scheduler_is_refused(scheduler, message):
    with pytest.raises(ValueError, match=message):
        step_table(scheduler, 5)


def test_a_scheduler_keeps_the_timesteps_that_it_was_set_to():
    for kind in KINDS:
        # diffusers' own grids of a flow are whole numbers for few numbers of steps.
        trained, steps = (36, 8) if kind is FlowMatchEulerDiscreteScheduler else (50, 8)
        scheduler = kind(num_train_timesteps=trained)
        scheduler.set_timesteps(steps)
        assert step_table(scheduler).timesteps.tolist() == scheduler.timesteps.tolist()
        assert step_table(scheduler, 5).steps == 5
    scheduler = DDPMScheduler(num_train_timesteps=40)
    assert step_table(scheduler).steps == 40
    scheduler.set_timesteps(timesteps=[30, 20, 4])
    assert step_table(scheduler).timesteps.tolist() == [30, 20, 4]


@pytest.mark.parametrize("kind", [DDPMParallelScheduler, DDIMParallelScheduler])
def test_diffusers_classes_for_paradigms_take_the_same_steps(kind):
    config = {**BASE, "prediction_type": "v_prediction"}
    steps = 20 if kind is DDPMParallelScheduler else 5
    with mock.patch("diffusers.schedulers.scheduling_ddpm_parallel.randn_tensor", lambda *_, **__: torch.zeros(3, 4, 2)):
        scheduler = kind.from_config(config)
        scheduler.alphas_cumprod = scheduler.alphas_cumprod.double()
        scheduler.set_timesteps(steps)
        condition, noise = draws(steps)
        x = noise.initial
        for t in scheduler.timesteps:
            x = scheduler.step(network(x, t.expand(len(x)), condition), t, x).prev_sample
    still = NoisePath(noise.initial, torch.zeros_like(noise.steps), noise.uniforms)
    sample = Sequential(step_table(scheduler)).solve(network, condition, still).sample
    assert (sample - x).abs().max() < 1e-6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 5.0}, r"the number of steps must be a whole number, not 5\.0"),
        ({"steps": "5"}, "the number of steps must be a whole number, not '5'"),
        ({"steps": True}, "the number of steps must be a whole number, not True"),
        ({"steps": -1}, "at least one step, not -1"),
        ({"steps": 5, "timesteps": [3, 1]}, "cannot both be given"),
        ({"timesteps": [9.5, 0]}, r"a timestep must be a whole number, not 9\.5"),
        ({"timesteps": np.array([5, 9])}, "step 1 goes from 5 to 9"),
        ({"timesteps": np.array([])}, "no timesteps"),
        ({"timesteps": torch.tensor([20, 3])}, "step 0 is at timestep 20, outside 0 … 19"),
    ],
)
def test_steps_and_timesteps_are_whole_numbers(arguments, message):
    with pytest.raises(ValueError, match=message):
        step_table({"_class_name": "DDPMScheduler", **BASE}, **arguments)


def test_numpys_and_torchs_numbers_are_steps_and_timesteps():
    config = {"_class_name": "DDPMScheduler", **BASE}
    assert step_table(config, np.int64(5)).steps == step_table(config, torch.tensor(5)).steps == 5
    for grid in (np.array([9, 4, 0]), torch.tensor([9, 4, 0]), (9, 4, 0), range(9, -1, -3)):
        assert step_table(config, timesteps=grid).timesteps[0] == 9


@pytest.mark.parametrize("clip", [0, -1.0, float("nan"), float("inf")])
def test_a_clip_that_clips_nothing_or_everything_is_refused(clip):
    with pytest.raises(ValueError, match="clip must be positive"):
        step_table({"_class_name": "DPMSolverMultistepScheduler", **BASE}, 5, clip=clip)
