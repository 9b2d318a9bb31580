import sys
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(kw_only=True)
class RobotConfig:
    choices: ClassVar[dict[str, type]] = {}
    id: str | None = None

    @classmethod
    def register_subclass(cls, name):
        return lambda kind: cls.choices.setdefault(name, kind)

    @classmethod
    def get_known_choices(cls):
        return cls.choices


class Robot:
    def __init__(self, config: Any): ...


def make_robot_from_config(config):
    kind = type(config)
    return getattr(sys.modules[kind.__module__], kind.__name__.removesuffix("Config"))(config)
