"""A network compiled by OpenVINO for the CPU."""

import logging
import os
import warnings
from collections.abc import Sequence
from contextlib import suppress
from threading import Lock

import numpy as np
import openvino as ov
import torch
from torch import Tensor, nn

from paradp.policy.cache import cache_folder, digest, sha256
from paradp.policy.choices import Precision
from paradp.policy.engines.pytorch import tabulate
from paradp.policy.files.limits import DOCUMENT_BYTES
from paradp.policy.files.reading import read_text
from paradp.policy.networks.conditional import ConditionalNetwork
from paradp.policy.networks.stacked import condition_encoder
from paradp.policy.spec import PolicySpec
from paradp.sampler import Graphs

_LOG = logging.getLogger(__name__)
_PRECISIONS: dict[Precision, str] = {"fp32": "f32", "bf16": "bf16"}
# Each batch size is compiled separately: with a dynamic size the network takes twice as long. Every compiled network has its
# own copy of the weights, so switching to another size only pays if that saves many rows.
_FEW = 8
# Larger batches are computed in several calls.
_MOST = 64


class OpenVINOEngine:
    """OpenVINO on the CPU, with one compiled network per batch size.

    The converted network is cached on disk. A cache file that is damaged, or from other code, is replaced.

    Args:
        network: the network to compile.
        spec: specification of the policy.
        precision: number format; inputs and outputs are float32.
    """

    name = "openvino"
    graphs: Graphs | None = None

    def __init__(self, network: ConditionalNetwork, spec: PolicySpec, precision: Precision):
        self.precision = precision
        self.encode = condition_encoder(network)
        self._core = ov.Core()
        if precision == "bf16" and "BF16" not in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            _LOG.warning("this CPU has no instructions for bf16: OpenVINO computes in fp32 all the same")
        self._model = self._read_or_convert(network, spec)
        self._compiled: dict[int, _Compiled] = {}
        self._lock = Lock()  # all threads share the compiled networks and their buffers

    def prepare(self, rows: Sequence[int]) -> None:
        with self._lock:
            kept, self._compiled = self._compiled, {}
            for n in sorted({*rows}, reverse=True):
                for part in (min(n, _MOST), n % _MOST if n > _MOST else 0):
                    if part and not self._fitting(part):
                        self._compiled[part] = kept.get(part) or self._compile(part)

    def __call__(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        with self._lock:
            if len(x) <= _MOST:
                return self._infer(x, t, condition)
            parts = zip(x.split(_MOST), t.split(_MOST), condition.split(_MOST), strict=True)
            return torch.cat([self._infer(*part) for part in parts])

    def _infer(self, *inputs: Tensor) -> Tensor:
        rows = len(inputs[0])
        compiled = self._fitting(rows)
        if compiled is None:
            compiled = self._compiled[rows] = self._compile(rows)
        # Copied with numpy: PyTorch's copying threads would keep busy the cores that OpenVINO needs.
        for buffer, given in zip(compiled.inputs, inputs, strict=True):
            np.copyto(buffer[:rows], given.numpy())
        return torch.from_numpy(compiled.infer()[:rows].copy())

    def _fitting(self, rows: int) -> "_Compiled | None":
        """The compiled network for this batch size, or a slightly larger one."""
        fitting = [n for n in self._compiled if rows <= n <= max(_FEW, 2 * rows)]
        return self._compiled[min(fitting)] if fitting else None

    def _compile(self, rows: int) -> "_Compiled":
        model = self._model.clone()
        model.reshape({i: [rows, *port.partial_shape[1:]] for i, port in enumerate(model.inputs)})
        options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": _PRECISIONS[self.precision],
            "INFERENCE_NUM_THREADS": torch.get_num_threads() if rows > 1 else 1,  # one row is too little to share
            # Pinned, the first threads of all processes would share a core.
            "ENABLE_CPU_PINNING": False,
        }
        try:
            return _Compiled(self._core.compile_model(model, "CPU", options))
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise ValueError(f"OpenVINO cannot compile the network in {self.precision} on this CPU: {reason}") from error

    def _read_or_convert(self, network: ConditionalNetwork, spec: PolicySpec) -> ov.Model:
        cached = _CachedModel(network, spec)
        model = cached.read(self._core)
        if model is None:
            model = self._convert(network, spec)
            cached.write(model)
        return model

    def _convert(self, network: ConditionalNetwork, spec: PolicySpec) -> ov.Model:
        condition = network.encode_condition(torch.zeros(2, spec.condition_size))
        chunk = torch.zeros(2, spec.horizons.predict, spec.action_size)
        example = (chunk, torch.zeros(2, dtype=torch.int64), condition)
        with warnings.catch_warnings():
            # Tracing warns about every shape comparison in PyTorch's layers; `check_agreement` checks the result instead.
            warnings.simplefilter("ignore", torch.jit.TracerWarning)
            warnings.simplefilter("ignore", DeprecationWarning)  # OpenVINO reads this form of a network best
            traced = torch.jit.trace(_Denoise(network, spec), example, check_trace=False)
            model = ov.convert_model(traced, example_input=example)
        model.reshape({i: [-1, *one.shape[1:]] for i, one in enumerate(example)})
        return model


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


class _Denoise(nn.Module):
    """The part of a network that is computed per row, with a table of the timesteps' encodings."""

    timesteps: Tensor

    def __init__(self, network: ConditionalNetwork, spec: PolicySpec):
        super().__init__()
        self.network = network
        self.register_buffer("timesteps", tabulate(network, spec, torch.device("cpu")))

    def forward(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        return self.network.denoise(x, self.timesteps[t], condition)


class _CachedModel:
    """The disk cache of a converted network. Damaged files are ignored."""

    def __init__(self, network: ConditionalNetwork, spec: PolicySpec):
        name = f"{digest(network, spec, __file__)}-openvino-{ov.__version__.split('-')[0]}.xml"
        self._path = cache_folder() / name
        self._weights, self._seal = self._path.with_suffix(".bin"), self._path.with_suffix(".sha256")

    def read(self, core: ov.Core) -> ov.Model | None:
        try:
            sealed = read_text(self._seal, DOCUMENT_BYTES) == sha256(self._path, self._weights)
            return core.read_model(self._path) if sealed else None
        except (OSError, ValueError, RuntimeError):  # a seal that is no text is a ValueError
            return None

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
            for suffix in (".bin", ".xml", ".sha256"):
                with suppress(OSError):
                    partial.with_suffix(suffix).unlink(missing_ok=True)
