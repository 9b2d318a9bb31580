"""How a network is computed: read and checked before PyTorch is loaded."""

from dataclasses import dataclass

from paradp.policy.choices import EngineName, Precision, engine_names
from paradp.policy.settings import Limits, Settings, setting

MOST_THREADS = 4096


@dataclass(frozen=True, kw_only=True)
class Computing(Settings):
    """How a network is computed.

    Attributes:
        device: device of the network: cpu, cuda, or several such as cuda:0,cuda:1, which share the rows of each call.
        engine: software that computes the network; auto chooses the fastest for the device.
        precision: number format of the network; bf16 changes plans slightly, and is faster on CPUs and GPUs with
            instructions for it.
        threads: CPU threads of the network; all cores by default.
    """

    device: str = "cpu"
    engine: EngineName = setting("auto", names=engine_names)
    precision: Precision = "fp32"
    threads: int | None = setting(None, Limits(1, MOST_THREADS))
