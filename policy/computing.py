"""How a network is computed: read and checked before PyTorch is loaded."""

from dataclasses import dataclass

from paradp.policy.choices import EngineName, Precision, engine_names
from paradp.policy.settings import Limits, Settings, setting

MOST_THREADS = 4096


@dataclass(frozen=True, kw_only=True)
class Computing(Settings):
    """How a network is computed.

    Attributes:
        device: where the network computes: cpu or cuda; over several, as in cuda:0,cuda:1, the rows of its calls are spread.
        engine: what computes the network; auto takes the fastest for the device.
        precision: of the network's arithmetic; bf16 changes plans a little, and is faster on CPUs and GPUs with
            instructions for it.
        threads: of the network; all cores by default.
    """

    device: str = "cpu"
    engine: EngineName = setting("auto", names=engine_names)
    precision: Precision = "fp32"
    threads: int | None = setting(None, Limits(1, MOST_THREADS))
