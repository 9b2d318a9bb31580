"""Of draccus what LeRobot's robots are made with; see `lerobot/__init__.py`."""


class DecodingError(Exception): ...


def decode(kind, settings):
    settings = dict(settings)
    try:
        return kind.choices[settings.pop("type")](**settings)
    except TypeError as error:
        raise DecodingError(str(error)) from error
