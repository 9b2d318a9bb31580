from importlib import import_module


def register_third_party_plugins():
    import_module("lerobot_robot_dials")
