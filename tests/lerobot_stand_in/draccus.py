"""The part of draccus with which LeRobot's robots are made; see `lerobot/__init__.py`."""


class DecodingError(Exception): ...


def decode(kind, settings):
    settings = dict(settings)
    try:
        return kind.choices[settings.pop("type")](**settings)
    except TypeError as error:
        raise DecodingError(str(error)) from error
