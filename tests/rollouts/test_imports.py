"""Recorded demonstrations: real human ones, robomimic's layout, and files with every defect."""

import json
import pickle
import shutil
from pathlib import Path

import gymnasium
import h5py
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from paradp.envs import TASKS
from paradp.envs.rotations import rotation_6d_to_matrix
from paradp.policy.data.demonstrations import Demonstrations
from paradp.rollouts.imports.defects import remarks
from paradp.rollouts.imports.fitting import misfits, untold
from paradp.rollouts.imports.importing import import_file
from paradp.rollouts.imports.recordings import LOW_DIM_KEYS, read_file

HUMAN = Path(__file__).parents[1] / "data/robosuite_human"
LIFT, NUTS = HUMAN / "lift_panda.hdf5", HUMAN / "nut_assembly_panda.hdf5"
# The controller of robomimic's published files, and how those of 1.5 have it.
ARM = {
    "type": "OSC_POSE",
    "input_max": 1,
    "input_min": -1,
    "output_max": [0.05, 0.05, 0.05, 0.5, 0.5, 0.5],
    "output_min": [-0.05, -0.05, -0.05, -0.5, -0.5, -0.5],
    "kp": 150,
    "damping": 1,
    "impedance_mode": "fixed",
    "kp_limits": [0, 300],
    "damping_limits": [0, 10],
    "position_limits": None,
    "orientation_limits": None,
    "uncouple_pos_ori": True,
    "control_delta": True,
    "interpolation": None,
    "ramp_ratio": 0.2,
}
COMPOSITE = {
    "type": "BASIC",
    "body_parts": {"right": {**ARM, "input_ref_frame": "world", "gripper": {"type": "GRIP"}}},
}
KWARGS = {"robots": ["Panda"], "control_freq": 20, "reward_shaping": False, "controller_configs": ARM}
ENV_ARGS = {"env_name": "Lift", "env_version": "1.4.1", "type": 1, "env_kwargs": KWARGS}
LAYOUTS = {
    "0.1": {"env_name": "Lift", "type": 1, "env_kwargs": KWARGS},
    "1.4": ENV_ARGS,
    "1.5": {**ENV_ARGS, "env_version": "1.5.1", "env_kwargs": {**KWARGS, "controller_configs": COMPOSITE}},
}


@pytest.fixture(scope="module")
def human_lift(tmp_path_factory):
    out = tmp_path_factory.mktemp("lift") / "lift.zarr"
    return import_file(read_file(LIFT), out)


def read(demonstrations: Demonstrations) -> dict[str, np.ndarray]:
    return demonstrations.observations()


@pytest.fixture
def write(tmp_path, human_lift):
    """Writes a file in robomimic's layout with two short demonstrations, which tests can change."""

    def write(change=lambda data: None, name: str = "low_dim.hdf5") -> Path:
        rng, hand = np.random.default_rng(0), read(human_lift.demonstrations)["eef_pos"]
        with h5py.File(LIFT) as human, h5py.File(tmp_path / name, "w") as file:
            data = file.create_group("data")
            data.attrs["env_args"] = json.dumps(ENV_ARGS)
            data.attrs["total"] = 60
            for index, first in enumerate((0, 100)):
                demo = data.create_group(f"demo_{index}")
                demo.attrs["num_samples"] = 30
                for key in ("states", "actions"):
                    demo[key] = human["data/demo_1"][key][first : first + 30]
                demo["rewards"], demo["dones"] = np.zeros(30), np.zeros(30, int)
                for key, size in zip(LOW_DIM_KEYS, (3, 4, 2, 10), strict=True):
                    demo[f"obs/{key}"] = rng.standard_normal((30, size))
                demo["obs/robot0_eef_pos"][:] = hand[first : first + 30]
                demo["obs/agentview_image"] = np.zeros((30, 4, 4, 3), np.uint8)
            file.create_group("mask")["train"] = np.array([b"demo_1"])
            change(data)
        return tmp_path / name

    return write


def test_observations_of_replayed_states_equal_the_simulators(human_lift):
    seen = read(human_lift.demonstrations)
    with h5py.File(LIFT) as file:
        states = file["data/demo_1/states"][:]
    # The cube's pose and the fingers stand in the state itself.
    assert np.allclose(seen["cube_pos"], states[:, 10:13], atol=1e-6)
    assert np.allclose(seen["gripper_qpos"], states[:, 8:10], atol=1e-6)
    w, x, y, z = states[:, 13:17].T
    first_row = np.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], axis=1)
    assert np.allclose(seen["cube_rot6d"][:, :3], first_row, atol=1e-5)
    # The hand's pose is the robot's own observable's, of a simulator that nobody prepared.
    from paradp.envs.robosuite_import import make_robosuite

    simulator = make_robosuite(TASKS["lift"].task, {"input_type": "delta", "input_ref_frame": "base"})
    simulator.reset()
    for step in (0, 200, 411):
        simulator.sim.set_state_from_flattened(states[step])
        simulator.sim.forward()
        told = simulator._get_observations(force_update=True)
        assert np.allclose(seen["eef_pos"][step], told["robot0_eef_pos"], atol=1e-6)
        hand = Rotation.from_quat(told["robot0_eef_quat_site"]).as_matrix()
        assert np.allclose(rotation_6d_to_matrix(seen["eef_rot6d"][step].astype(float)), hand, atol=1e-5)
        relative = hand.T @ (told["cube_pos"] - told["robot0_eef_pos"])
        assert np.allclose(seen["cube_in_eef_pos"][step], relative, atol=1e-5)
        turned = hand.T @ Rotation.from_quat(told["cube_quat"]).as_matrix()
        assert np.allclose(rotation_6d_to_matrix(seen["cube_in_eef_rot6d"][step].astype(float)), turned, atol=1e-5)


def test_a_human_demonstration_lifts_the_cube(human_lift):
    [step] = human_lift.first_success
    assert len(human_lift.demonstrations) == 1 and human_lift.demonstrations.steps == 412
    heights = read(human_lift.demonstrations)["cube_pos"][:, 2]
    # Robosuite's rule: more than 4 cm above the table, whose top the cube first lies on.
    assert step == int((heights > 0.84).argmax()) > 350
    assert human_lift.demonstrations.info.task == "lift"
    assert human_lift.demonstrations.info.made_with["imported"] == "lift_panda.hdf5"


def test_absolute_goals_are_the_hands_pose_plus_the_delta(human_lift, tmp_path):
    seen, goals = read(human_lift.demonstrations), human_lift.demonstrations.actions()
    deltas = import_file(read_file(LIFT), tmp_path / "delta.zarr", action_convention="delta").demonstrations.actions()
    with h5py.File(LIFT) as file:
        assert np.array_equal(deltas, file["data/demo_1/actions"][:].astype(np.float32))
    assert np.allclose(goals[:, :3], seen["eef_pos"] + 0.05 * deltas[:, :3], atol=1e-6)
    turn = rotation_6d_to_matrix(goals[:, 3:9]) @ rotation_6d_to_matrix(seen["eef_rot6d"]).transpose(0, 2, 1)
    angles = np.arccos(((np.trace(turn, axis1=1, axis2=2) - 1) / 2).clip(-1, 1))
    turned = np.abs(deltas[:, 3:6]).max(1) > 0
    assert 10 < turned.sum() < 300
    assert np.allclose(angles[turned], 0.5 * np.linalg.norm(deltas[turned, 3:6], axis=1), atol=2e-3)
    # Robosuite 1.0 kept its goal's rotation in the other steps, while the hand went on towards it.
    still = np.flatnonzero(~turned[1:]) + 1
    assert np.allclose(goals[still, 3:9], goals[still - 1, 3:9], atol=1e-6)
    assert np.array_equal(goals[:, 9], deltas[:, 6])


def test_a_state_comes_before_its_action():
    """The action stored with a state explains the next state better than those before and after."""
    with h5py.File(LIFT) as file:
        states, actions = file["data/demo_1/states"][:], file["data/demo_1/actions"][:]
    env = gymnasium.make("paradp/Lift-v0", action_convention="delta").unwrapped
    env.reset(seed=0)
    steps = range(20, 320, 10)
    errors = {}
    for lag in (-1, 0, 1):
        miss = []
        for step in steps:
            there, _ = env.see(states[step + 1])
            env.see(states[step])
            here, *_ = env.step(actions[step + lag].astype(np.float32))
            miss.append(np.linalg.norm(here["eef_pos"] - there["eef_pos"]))
        errors[lag] = np.median(miss)
    env.close()
    assert errors[0] < min(errors[-1], errors[1]), errors


def test_the_square_nuts_insertion_is_found(tmp_path):
    with pytest.raises(ValueError, match="of 'NutAssembly', which is not a task of paradp; name one with --task: square"):
        import_file(read_file(NUTS), tmp_path / "nuts.zarr")
    imported = import_file(read_file(NUTS), tmp_path / "square.zarr", task="square")
    nut = read(imported.demonstrations)["nut_pos"]
    moved = int((np.linalg.norm(nut - nut[600], axis=1)[600:] > 1e-3).argmax()) + 600
    # In state 636, before the 637th action.
    assert moved == 636
    # The round nut, which is on its peg long before, is not Square's.
    [step] = imported.first_success
    assert moved < step <= 1025
    # The hole's half-width is 6.75 mm more than the peg's.
    assert (np.abs(nut[1025, :2] - [0.23, 0.10]) < 0.00675).all() and nut[1025, 2] < 0.87


def test_robomimics_layout_gives_the_same_arrays(write, tmp_path):
    path = write()
    imported = import_file(read_file(path), tmp_path / "own.zarr", action_convention="delta", observations="recorded")
    with h5py.File(path) as file:
        demos = [file["data/demo_0"], file["data/demo_1"]]
        for key, values in read(imported.demonstrations).items():
            assert np.array_equal(values, np.concatenate([d[f"obs/{key}"][:] for d in demos]).astype(np.float32))
        actions = np.concatenate([d["actions"][:] for d in demos]).astype(np.float32)
    assert list(imported.demonstrations.info.observation) == list(LOW_DIM_KEYS)
    assert np.array_equal(imported.demonstrations.actions(), actions) and imported.first_success == []
    assert imported.demonstrations.episode_ends.tolist() == [30, 60]
    replayed = import_file(read_file(path), tmp_path / "replayed.zarr", action_convention="delta")
    assert np.array_equal(replayed.demonstrations.actions(), actions) and replayed.first_success == [None, None]
    with pytest.raises(ValueError, match="can only be made absolute where observations are replayed"):
        import_file(read_file(path), tmp_path / "other.zarr", observations="recorded")


@pytest.mark.parametrize("said", [False, True])
def test_absolute_recordings_are_read_as_goals(write, tmp_path, said):
    """Even if the file declares deltas, as after Diffusion Policy's own conversion."""

    def absolute(data):
        told(data, control_delta=said)
        for demo in data.values():
            demo["actions"][:] = [0.1, 0.0, 0.9, np.pi, 0.0, 0.0, 1.0]

    file = read_file(write(absolute))
    assert ["they look absolute" in remark for remark in remarks(file) if "says" in remark] == [True] * said
    goals = import_file(file, tmp_path / "goals.zarr").demonstrations.actions()
    assert np.allclose(goals, [0.1, 0, 0.9, 1, 0, 0, 0, -1, 0, 1], atol=1e-6)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_published_layouts_are_recognised(write, tmp_path, layout, human_lift):
    """robomimic's files for 1.5 declare another frame, although they contain recordings of the old controller."""

    def as_in(data):
        data.attrs["env_args"] = json.dumps(LAYOUTS[layout])

    file = read_file(write(as_in))
    assert (file.settings.robot, file.settings.control_hz) == ("Panda", 20)
    assert untold(file, "lift") == [] and misfits(file, "lift") == []
    goals = import_file(file, tmp_path / "goals.zarr").demonstrations.actions()
    assert np.array_equal(goals[1:30], human_lift.demonstrations.actions()[1:30])


def test_settings_missing_in_a_file_are_reported(write):
    def bare(data):
        arguments = {"controller_configs": "BASIC/x"}
        data.attrs["env_args"] = json.dumps({"env_name": "Lift", "env_kwargs": arguments})

    file = read_file(write(bare))
    # The rate stands in the simulator's clock, with which a state begins.
    assert file.settings.control_hz == 20
    expected = ["kp 150.0", "damping_ratio 1.0", "robot Panda", "type OSC_POSE"]
    assert untold(file, "lift")[:-1] == expected and untold(file, "lift")[-1].startswith("output_max [0.05")


def absolute_in(frame, human_lift):
    """Adds absolute goals to a file: the hand's positions in a frame."""
    origin = {"world": np.zeros(3), "base": np.array([-0.56, 0.0, 0.912])}[frame]

    def change(data):
        seen = read(human_lift.demonstrations)
        turns = Rotation.from_matrix(rotation_6d_to_matrix(seen["eef_rot6d"].astype(float))).as_rotvec()
        poses = np.concatenate([seen["eef_pos"] - origin, turns, np.ones((412, 1))], axis=1)
        for demo, first in zip(data.values(), (0, 100), strict=True):
            put(demo, "actions_abs", poses[first : first + 30])

    return change


@pytest.mark.parametrize("frame", ["world", "base"])
def test_goals_are_read_in_the_frame_of_world_or_base(write, tmp_path, human_lift, frame):
    def change(data):
        absolute_in(frame, human_lift)(data)
        arm = {**ARM, "control_delta": False} if frame == "world" else {"type": "OSC_POSE", "input_type": "absolute"}
        version = {"world": "1.4.1", "base": "1.5.1"}[frame]
        arguments = {**KWARGS, "controller_configs": arm}
        data.attrs["env_args"] = json.dumps({**ENV_ARGS, "env_version": version, "env_kwargs": arguments})

    path = write(change)
    assert any("actions_abs was not read" in remark for remark in remarks(read_file(path)))
    file = read_file(path, "actions_abs")
    goals = import_file(file, tmp_path / "goals.zarr").demonstrations.actions()
    seen = read(human_lift.demonstrations)
    assert np.allclose(goals[:30, :9], np.concatenate([seen["eef_pos"], seen["eef_rot6d"]], axis=1)[:30], atol=1e-5)
    deltas = import_file(file, tmp_path / "deltas.zarr", action_convention="delta")
    assert np.allclose(deltas.demonstrations.actions()[:, :6], 0.0, atol=1e-3) and deltas.cut == 0
    if frame == "base":
        with pytest.raises(ValueError, match="can only be read where states are replayed"):
            import_file(file, tmp_path / "own.zarr", observations="recorded")


def test_goals_in_a_wrong_frame_are_refused(write, tmp_path, human_lift):
    path = write(absolute_in("base", human_lift))
    with pytest.raises(ValueError, match=r"goals cannot be in the frame of the world: that of step .* cm from the hand"):
        import_file(read_file(path, "actions_abs"), tmp_path / "out.zarr")


def test_goals_beyond_the_largest_delta_are_counted(write, tmp_path, human_lift):
    def change(data):
        absolute_in("world", human_lift)(data)
        actions = data["demo_1/actions_abs"][:]
        actions[4:7, 0] += 0.2
        put(data["demo_1"], "actions_abs", actions)

    path = write(change)
    imported = import_file(read_file(path, "actions_abs"), tmp_path / "out.zarr", action_convention="delta")
    assert imported.cut == 3 and imported.demonstrations.actions()[34:37, 0].tolist() == [1.0, 1.0, 1.0]


def test_a_mask_selects_its_demonstrations(write, tmp_path):
    file = read_file(write())
    assert file.masks == {"train": ["demo_1"]} and any("train (1)" in remark for remark in remarks(file))
    whole = import_file(file, tmp_path / "all.zarr").demonstrations
    chosen = import_file(file.masked("train"), tmp_path / "train.zarr").demonstrations
    assert len(whole) == 2 and np.array_equal(chosen.actions(), whole.actions()[30:])
    with pytest.raises(ValueError, match="unknown mask 'trian' — did you mean 'train'"):
        file.masked("trian")


@pytest.mark.parametrize("absent", [[b"demo_1", b"demo_7"], [b"demo_5", b"demo_6", b"demo_7", b"demo_8"], []])
def test_a_mask_that_names_missing_demonstrations_is_refused(write, absent):
    file = read_file(write(lambda data: put(data.parent["mask"], "train", np.array(absent, "S8")), "partly.hdf5"))
    named = ", ".join(name.decode() for name in absent if name != b"demo_1")
    are = "1 demonstration that is" if named.count("demo") == 1 else "4 demonstrations that are"
    message = f"{are} not in the file: {named[:22]}" if absent else "names no demonstration"
    with pytest.raises(ValueError, match=f"partly.hdf5: the mask 'train' .*{message}"):
        file.masked("train")


UNNEEDED = {
    "truth values": lambda demo: put(demo, "obs/extra", np.ones((30, 1), bool)),
    "texts": lambda demo: put(demo, "obs/extra", np.array([[b"lift"]] * 30)),
    "one text": lambda demo: put(demo, "obs/extra", "lift the cube"),
    "one axis": lambda demo: put(demo, "obs/extra", np.zeros(30)),
    "another number of steps": lambda demo: put(demo, "obs/extra", np.zeros((7, 2))),
    "not finite": lambda demo: put(demo, "obs/extra", np.full((30, 2), np.nan)),
    "a group": lambda demo: demo.create_group("obs/extra/inner"),
    "elsewhere": lambda demo: put(demo, "obs/extra", h5py.ExternalLink("/etc/passwd", "/")),
    "a link to nothing": lambda demo: put(demo, "obs/extra", h5py.SoftLink("/nowhere")),
    "huge and not stored": lambda demo: demo.create_dataset("obs/extra", (10**9, 3), "f8", chunks=(1, 3)),
    "objects": lambda demo: put(demo, "obs/extra", np.frombuffer(pickle.dumps([0] * 30)[:30], "V1")),
}


@pytest.mark.parametrize("odd", UNNEEDED)
@pytest.mark.parametrize("where", [("demo_0", "demo_1"), ("demo_1",)])
def test_an_unused_observation_may_be_anything(write, tmp_path, odd, where):
    path = write(lambda data: [UNNEEDED[odd](data[name]) for name in where], "odd.hdf5")
    file = read_file(path)
    assert odd == "not finite" or "extra" in file.unread
    settings = dict(action_convention="delta", observations="recorded")
    imported = import_file(file, tmp_path / "out.zarr", **settings)
    assert imported.demonstrations.steps == 60
    # A request for it gets the reason.
    with pytest.raises(ValueError, match=r"odd\.hdf5.*extra"):
        import_file(file, tmp_path / "other.zarr", keys=("extra",), **settings)


def test_a_group_beside_the_demonstrations_is_ignored(write):
    def beside(data):
        for name in ("demo_stats", "demonstration", "demo"):
            data.create_group(name)["x"] = 1

    assert [recording.name for recording in read_file(write(beside)).recordings] == ["demo_0", "demo_1"]


@pytest.mark.parametrize("key", ["action", "executed", "actions", "seeds"])
def test_an_observation_may_have_the_name_of_one_of_our_arrays(write, tmp_path, key):
    """robomimic's files may contain the last action as an observation."""

    def change(data):
        for demo in data.values():
            put(demo, f"obs/{key}", np.arange(210.0).reshape(30, 7))

    settings = dict(action_convention="delta", observations="recorded", keys=(key, "object"))
    path = write(change)
    made = import_file(read_file(path), tmp_path / "out.zarr", **settings).demonstrations
    with h5py.File(path) as file:
        actions = np.concatenate([demo["actions"][:] for demo in file["data"].values()])
    assert np.array_equal(made.observations()[key][:30], np.arange(210.0).reshape(30, 7))
    assert np.array_equal(made.actions(), actions.astype(np.float32)) and made.info.observation == {key: 7, "object": 10}


def put(demo, key, values):
    if key in demo:
        del demo[key]
    demo[key] = values


def changed(demo, step, column, value):
    actions = demo["actions"][:]
    actions[step, column] = value
    put(demo, "actions", actions)


def pickled(data):
    del data["demo_1/actions"]
    payload = np.frombuffer(pickle.dumps(np.zeros((30, 7))), "V1")
    data["demo_1"].create_dataset("actions", data=payload)


def mixed(data):
    put(data["demo_1"], "actions", np.tile([0.1, 0.0, 0.9, np.pi, 0.0, 0.0, 1.0], (30, 1)))


def shortened(data):
    for key in ("states", "actions", *(f"obs/{k}" for k in LOW_DIM_KEYS)):
        put(data["demo_1"], key, data[f"demo_1/{key}"][:1])


def told(data, **of_controller):
    arguments = json.loads(data.attrs["env_args"])
    for key in ("control_freq", "robots"):
        if key in of_controller:
            arguments["env_kwargs"][key] = of_controller.pop(key)
    arguments["env_kwargs"]["controller_configs"] |= of_controller
    data.attrs["env_args"] = json.dumps(arguments)


def huge(data):
    del data["demo_1/states"]
    data["demo_1"].create_dataset("states", shape=(10**9, 32), dtype="f8", chunks=(1, 32))


def elsewhere(data):
    del data["demo_1/states"]
    data["demo_1/states"] = h5py.ExternalLink("/etc/passwd", "/")


DEFECTS = {
    "demo_1/actions is not finite in step 3, column 2": lambda data: changed(data["demo_1"], 3, 2, np.nan),
    "demo_0/states is not finite in step 0, column 4": lambda data: put(
        data["demo_0"], "states", np.where(np.arange(32) == 4, np.inf, data["demo_0/states"][:])
    ),
    "demo_0 lacks 'actions'; it has: dones, obs, rewards, states": lambda data: data.__delitem__("demo_0/actions"),
    "demo_1 has 1 step; an episode needs two": shortened,
    "demo_1/states has 29 steps, its actions have 30": lambda data: put(
        data["demo_1"], "states", data["demo_1/states"][:29]
    ),
    "demo_1/actions holds |V1, not numbers; objects, pickled or not, are never read": pickled,
    "demo_1/states is a link to another place": elsewhere,
    "action conventions are mixed: demo_0 looks delta, demo_1 looks absolute": mixed,
    "neither steps in \\[-1, 1\\] nor absolute poses: step 3, column 2 is 1.5": lambda data: changed(
        data["demo_1"], 3, 2, 1.5
    ),
    "recorded with kp 300, the task 'lift' has 150": lambda data: told(data, kp=300),
    "recorded with control_hz 10, the task 'lift' has 20": lambda data: told(data, control_freq=10),
    "the control rate must be a whole number, not \\[20\\]": lambda data: told(data, control_freq=[20]),
    "the control rate must be a whole number, not inf": lambda data: told(data, control_freq=np.inf),
    "demo_0 is of another robot or scene: in step 9 its obs/robot0_eef_pos is 30 cm": lambda data: put(
        data["demo_0"], "obs/robot0_eef_pos", data["demo_0/obs/robot0_eef_pos"][:] + 0.3 * np.eye(30)[9, :, None] * [1, 0, 0]
    ),
    "mask/train is not a list of names": lambda data: put(data.parent["mask"], "train", np.zeros(2)),
    "recorded with robot Sawyer, the task 'lift' has Panda": lambda data: told(data, robots=["Sawyer"]),
    "recorded with type IK_POSE, the task 'lift' has OSC_POSE": lambda data: told(data, type="IK_POSE"),
    "recorded with output_max .*, the task 'lift' has": lambda data: told(data, output_max=[0.1] * 6),
    "demo_1/states claims to hold 3.2e\\+10 numbers": huge,
    "says that its actions are absolute, but they look delta": lambda data: told(data, control_delta=False),
    "demo_0 is of another scene: a state of the task 'lift' has 32 values, not \\(31,\\)": lambda data: [
        put(data[d], "states", data[f"{d}/states"][:, 1:]) for d in ("demo_0", "demo_1")
    ],
    "has no simulator states": lambda data: [data.__delitem__(f"{d}/states") for d in ("demo_0", "demo_1")],
    "it has no demonstrations": lambda data: [data.__delitem__(d) for d in ("demo_0", "demo_1")],
    "the environment is unknown": lambda data: data.attrs.__delitem__("env_args"),
    "what data says of its environment cannot be read": lambda data: data.attrs.__setitem__("env_args", "[1"),
}


@pytest.mark.parametrize("message", DEFECTS)
def test_a_defect_is_named_and_nothing_is_imported(write, tmp_path, message):
    path = write(DEFECTS[message])
    with pytest.raises(ValueError, match=message.replace("|", "\\|")) as error:
        import_file(read_file(path), tmp_path / "out.zarr")
    assert str(path) in str(error.value)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_the_number_of_arrays_is_limited(write, monkeypatch):
    path = write()
    read_file(path)
    monkeypatch.setattr("paradp.policy.files.hdf5.MOST_ARRAYS", 3)
    with pytest.raises(ValueError, match="it holds more than 3 arrays and groups"):
        read_file(path)


def test_a_truncated_file_and_one_of_another_kind_are_refused(tmp_path):
    cut, text = tmp_path / "cut.hdf5", tmp_path / "text.hdf5"
    cut.write_bytes(LIFT.read_bytes()[:100_000])
    text.write_text("not HDF5")
    for path in (cut, text):
        with pytest.raises(ValueError, match="not a readable HDF5 file, or is cut short"):
            read_file(path)
    with pytest.raises(ValueError, match="is not a file"):
        read_file(tmp_path / "nowhere.hdf5")


def test_existing_outputs_are_not_overwritten_and_left_over_ones_are(tmp_path):
    out = tmp_path / "lift.zarr"
    (tmp_path / ".lift.zarr.partial").mkdir()
    import_file(read_file(LIFT), out)
    before = sorted(p.stat().st_mtime_ns for p in out.rglob("*"))
    with pytest.raises(ValueError, match="exists; choose another --out"):
        import_file(read_file(LIFT), out)
    assert sorted(p.stat().st_mtime_ns for p in out.rglob("*")) == before
    assert [p.name for p in tmp_path.iterdir()] == ["lift.zarr"]
    shutil.rmtree(out)


def test_recordings_of_two_arms_are_refused(write, tmp_path):
    def of_two_arms(data):
        two = {**KWARGS, "robots": ["Panda", "Panda"]}
        data.attrs["env_args"] = json.dumps({**ENV_ARGS, "env_name": "TwoArmLift", "env_kwargs": two})
        for demo in data.values():
            actions = demo["actions"][:]
            del demo["actions"]
            demo["actions"] = np.hstack([actions, actions])

    with pytest.raises(ValueError, match=r"recordings of two arms cannot be imported \(task 'two-arm-lift'\)"):
        import_file(read_file(write(of_two_arms)), tmp_path / "pot.zarr")


def test_recordings_of_another_task_are_refused(write, tmp_path):
    def of_a_door(data):
        data.attrs["env_args"] = json.dumps({**ENV_ARGS, "env_name": "Door"})

    with pytest.raises(ValueError, match="lack a part of the scene of 'door'"):
        import_file(read_file(write(of_a_door, "door.hdf5")), tmp_path / "door.zarr")
    # A state of both nuts is as long as one of two cubes.
    with pytest.raises(ValueError, match="it is of 'NutAssembly'; the task 'stack' takes recordings of Stack"):
        import_file(read_file(NUTS), tmp_path / "stack.zarr", task="stack")
    with pytest.raises(ValueError, match="was recorded in robosuite, and the task 'pusht' is none of its"):
        import_file(read_file(write()), tmp_path / "pusht.zarr", task="pusht")


@pytest.mark.parametrize("seed", range(30))
def test_damaged_files_end_in_a_sentence(write, tmp_path, seed):
    """With bytes changed anywhere, a file is read or refused in a sentence."""
    path, rng = write(), np.random.default_rng(seed)
    content = bytearray(path.read_bytes())
    for place in rng.integers(0, min(len(content), 20_000), 40):
        content[place] = rng.integers(256)
    path.write_bytes(content)
    try:
        file = read_file(path)
    except ValueError as error:
        assert str(path) in str(error)
    else:
        assert all(len(recording) == 30 for recording in file.recordings)
