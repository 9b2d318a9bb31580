"""Models converted for OpenVINO: cached on disk, and compiled for each batch size."""

import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import openvino as ov
import torch
from torch import Tensor, nn

from paradp.policy.cache import cache_folder, digest, sha256
from paradp.policy.choices import Precision
from paradp.policy.engines.openvino_products import with_products
from paradp.policy.files.limits import DOCUMENT_BYTES
from paradp.policy.files.reading import read_text
from paradp.policy.networks.conditional import ConditionalNetwork
from paradp.policy.spec import PolicySpec

_PRECISIONS: dict[Precision, str] = {"fp32": "f32", "bf16": "bf16"}
# Each batch size is compiled separately: with a dynamic size the network takes twice as long. Every compiled network has its
# own copy of the weights, so switching to another size only pays if that saves many rows.
_FEW = 8
# Bytes of weights in the cache: a training whose policy is tried now and then adds a model each time.
MOST_CACHED = 4 * 2**30


class CompiledSizes:
    """A model with one compiled network per batch size; not for several threads at a time.

    Args:
        core, model: OpenVINO's core and the model to compile; the first axis of every input is the batch.
        precision: number format; inputs and outputs are float32.
        shared: whether all threads compute even a single row.

    Attributes:
        compiled: rows → network.
    """

    def __init__(self, core: ov.Core, model: ov.Model, precision: Precision, shared: bool = False):
        # Converted once, so that all compiled networks are made from the same matrices.
        self._core, self._model, self._precision, self._shared = core, with_products(model), precision, shared
        self.compiled: dict[int, _Compiled] = {}

    def prepare(self, rows: Sequence[int]) -> None:
        """Compiles for these batch sizes, the largest first, and releases all others."""
        kept, self.compiled = self.compiled, {}
        for n in sorted({*rows}, reverse=True):
            if not self._fitting(n):
                self.compiled[n] = kept.get(n) or self._compile(n)

    def infer(self, *inputs: Tensor) -> Tensor:
        """Computes the output for inputs with the same number of rows."""
        rows = len(inputs[0])
        compiled = self._fitting(rows)
        if compiled is None:
            compiled = self.compiled[rows] = self._compile(rows)
        # Copied with numpy: PyTorch's copying threads would keep busy the cores that OpenVINO needs.
        for buffer, given in zip(compiled.inputs, inputs, strict=True):
            np.copyto(buffer[:rows], given.numpy())
        return torch.from_numpy(compiled.infer()[:rows].copy())

    def _fitting(self, rows: int) -> "_Compiled | None":
        """The compiled network for this batch size, or a slightly larger one."""
        fitting = [n for n in self.compiled if rows <= n <= max(_FEW, 2 * rows)]
        return self.compiled[min(fitting)] if fitting else None

    def _compile(self, rows: int) -> "_Compiled":
        model = self._model.clone()
        model.reshape({i: [rows, *port.partial_shape[1:]] for i, port in enumerate(model.inputs)})
        options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": _PRECISIONS[self._precision],
            # One row of a U-Net is too little work for several threads.
            "INFERENCE_NUM_THREADS": torch.get_num_threads() if rows > 1 or self._shared else 1,
            # Pinned, the first threads of all processes would share a core.
            "ENABLE_CPU_PINNING": False,
        }
        try:
            return _Compiled(self._core.compile_model(model, "CPU", options))
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise ValueError(f"OpenVINO cannot compile the network in {self._precision} on this CPU: {reason}") from error


def converted(module: nn.Module, example: tuple[Tensor, ...]) -> ov.Model:
    """Converts a module to an OpenVINO model with a dynamic batch size.

    Raises:
        ValueError: OpenVINO does not support an operation of the module; the message names it.
    """
    with warnings.catch_warnings(), _root_logger_restored():
        # Tracing warns about every shape comparison in PyTorch's layers; the result is compared with PyTorch's instead.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        warnings.simplefilter("ignore", DeprecationWarning)  # OpenVINO supports this form of a network best
        traced = torch.jit.trace(module, example, check_trace=False)
        try:
            model = ov.convert_model(traced, example_input=example)
        except Exception as error:  # OpenVINO's failures share no other base class
            reason = str(error).strip().splitlines()[-1].lstrip("- ")
            raise ValueError(f"OpenVINO cannot convert the network: {reason}; use another engine, such as eager") from error
    model.reshape({i: [-1, *one.shape[1:]] for i, one in enumerate(example)})
    return model


@contextmanager
def _root_logger_restored() -> Iterator[None]:
    """Restores the root logger: after a failed conversion OpenVINO leaves it silent below errors, for the whole process."""
    root = logging.getLogger()
    level, filters, handlers = root.level, list(root.filters), list(root.handlers)
    try:
        yield
    finally:
        root.setLevel(level)
        root.filters, root.handlers = filters, handlers


class _Compiled:
    """A compiled network with its input and output arrays.

    Attributes:
        inputs: fill them before `infer`; initially zeros.
    """

    def __init__(self, model: ov.CompiledModel):
        self._request = model.create_infer_request()
        self.inputs = [np.zeros(port.shape, port.element_type.to_dtype()) for port in model.inputs]
        for i, array in enumerate(self.inputs):
            self._request.set_input_tensor(i, ov.Tensor(array, shared_memory=True))
        self._output = np.zeros(model.output(0).shape, np.float32)
        self._request.set_output_tensor(0, ov.Tensor(self._output, shared_memory=True))

    def infer(self) -> np.ndarray:
        """The output, valid until the next call."""
        self._request.start_async()
        self._request.wait()
        return self._output


class CachedModel:
    """The disk cache of a converted network. Damaged files are ignored.

    Args:
        network, spec: as in `digest`.
        part: name of the network's part; empty for denoising.
        sources: paths of the source files that converted it.
    """

    def __init__(self, network: ConditionalNetwork, spec: PolicySpec, part: str, *sources: str):
        key = digest(network, spec, __file__, *sources)
        name = f"{key}-openvino{part}-{ov.__version__.split('-')[0]}.xml"
        self._path = cache_folder() / name
        self._weights, self._seal = self._path.with_suffix(".bin"), self._path.with_suffix(".sha256")

    def read(self, core: ov.Core) -> ov.Model | None:
        try:
            if read_text(self._seal, DOCUMENT_BYTES) != sha256(self._path, self._weights):
                return None
            model = core.read_model(self._path)
        except (OSError, ValueError, RuntimeError):  # a checksum file that is not text raises ValueError
            return None
        with suppress(OSError):
            os.utime(self._weights)
        return model

    def write(self, model: ov.Model) -> None:
        """Writes a model to the cache. If that fails, the conversion of two seconds is repeated next time.

        Files are replaced, not overwritten, because other processes may have them open. Without a matching checksum the next
        reader converts the network again.
        """
        partial = self._path.with_name(f"{os.getpid()}-{self._path.name}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            ov.save_model(model, partial, compress_to_fp16=False)
            seal = sha256(partial, partial.with_suffix(".bin"))
            partial.with_suffix(".sha256").write_text(seal)
            for mine, kept in ((".bin", self._weights), (".xml", self._path), (".sha256", self._seal)):
                partial.with_suffix(mine).replace(kept)
        except (OSError, RuntimeError):
            _remove(partial)
        self._make_room()

    def _make_room(self) -> None:
        """Removes the models that were used longest ago, also parts by killed processes, as far as `MOST_CACHED` demands."""
        with suppress(OSError):  # another process may remove the same
            weights = {path: path.stat() for path in self._path.parent.glob("*-openvino*.bin")}
            total = 0
            for path in sorted(weights, key=lambda one: weights[one].st_mtime, reverse=True):
                total += weights[path].st_size
                if total > MOST_CACHED and path != self._weights:
                    _remove(path)


def _remove(model: Path) -> None:
    for suffix in (".bin", ".xml", ".sha256"):
        with suppress(OSError):
            model.with_suffix(suffix).unlink(missing_ok=True)
