"""`paradp collect`: demonstrations by the scripted expert."""

from pathlib import Path

from paradp.envs import find_task
from paradp.envs.lookup import find
from paradp.policy.wording import counted
from paradp.scripts.call import Count, Seed, Several, TaskName
from paradp.scripts.console import loading, progress, say
from paradp.scripts.places import check_folder, check_simulator


# Long: its parameters are the command's options, and its docstring is their help.
def collect(
    task: TaskName,
    episodes: Count = 200,
    out: Path | None = None,
    action_convention: str | None = None,
    seed: Seed = 1_000_000,
    workers: Several | None = None,
    observation: str | None = None,
) -> None:
    """Collect demonstrations: the task's scripted expert runs on all cores, and successful episodes are kept.

    The same command continues an interrupted collection.

        paradp collect square --episodes 200 --out demos/square.zarr
        paradp collect pusht --observation image --episodes 300

    Args:
        task: the task's name; `paradp tasks` lists them.
        episodes: number of successful episodes.
        out: the zarr group; demos/TASK.zarr by default, or demos/TASK-OBSERVATION.zarr.
        action_convention: meaning of the actions; the task's first by default, `paradp tasks TASK` lists them.
        seed: seed of the first attempt. Evaluations count up from 0, so they use other episodes.
        workers: processes; one per core by default.
        observation: kind of observation to store, such as image; the task's first by default, `paradp tasks TASK` lists
            them. It does not affect the episodes.
    """
    entry = find_task(task)
    _ = entry.demonstrator  # raises where there is none
    conventions = dict.fromkeys(entry.task.conventions)
    convention = action_convention or entry.task.conventions[0]
    find(conventions, convention, "action convention")
    check_simulator(task)
    entry.task.check_drawn(observation)
    path = out or Path("demos", f"{task}-{observation}.zarr" if observation else f"{task}.zarr")
    check_folder(path)
    with loading("the simulator and what writes demonstrations"):
        from paradp.rollouts.collect import DEFAULT_ACTION_NOISE
        from paradp.rollouts.collect import collect as run
    with progress(f"{task} demonstrations", episodes) as report:
        done = run(
            task,
            episodes,
            path,
            convention,
            DEFAULT_ACTION_NOISE,
            seed,
            workers,
            lambda kept, tried: report(kept, f"{tried} tried"),
            observation,
        )
    say(f"{counted(len(done), 'episode')}, {counted(done.steps, 'step')} in {path}")
