"""Wide convolutions along the horizon as matrix products, which read a weight once for all rows of a call.

OpenVINO's convolutions compute row after row, and read all their weights for each. Weights that do not stay in the CPU's
cache come from memory every time: eight rows of a U-Net of 249 million parameters take eight times as long as one. Products
also leave out the steps beyond the horizon's ends, which are zero: 6 of 20 for chunks of 4 steps and a kernel of 5.
"""

from collections.abc import Iterator
from functools import reduce

import numpy as np
import openvino as ov
from openvino import opset13 as ops

# Bytes of a weight from which products are used. Smaller weights stay in the cache from one row to the next.
LEAST_BYTES = 8 * 2**20


def with_products(model: ov.Model) -> ov.Model:
    """Returns a model whose wide 1-D convolutions are matrix products, one for each tap of the kernel.

        out[n, :, h] = Σ_tap weight[:, :, tap] @ x[n, :, h · stride + tap − padding],

    of each tap only the steps h whose x is inside the horizon.

    Args:
        model: only its batch size may be dynamic. It is not changed.
    """
    model = model.clone()
    for node in model.get_ordered_ops():
        if node.get_type_name() == "Convolution" and len(node.input_value(0).get_partial_shape()) == 3:
            weight = node.input_value(1).get_node()
            wide = weight.get_type_name() == "Constant" and weight.get_byte_size() >= LEAST_BYTES
            if wide and (products := _products(node, weight.get_data())) is not None:
                node.output(0).replace(products.output(0))
    return model


def _products(convolution: ov.Node, weight: np.ndarray) -> ov.Node | None:
    """The sum of the products of a convolution with weight `[channels out, channels in, taps]`.

    Returns:
        `None` if no tap is inside the horizon, and the output is the bias alone.
    """
    steps_in, steps = (
        one.get_partial_shape()[2].get_length() for one in (convolution.input_value(0), convolution.output(0))
    )
    settings = convolution.get_attributes()
    [stride], [dilation], [padding] = (settings[name] for name in ("strides", "dilations", "pads_begin"))
    x = _transposed(convolution.input_value(0))

    def parts() -> Iterator[ov.Node]:
        for tap in range(weight.shape[2]):
            shift = tap * dilation - padding
            first = max(0, -(shift // stride))  # rounded up
            end = min(steps, (steps_in - 1 - shift) // stride + 1)
            if first < end:
                start = first * stride + shift
                inside = ops.slice(x, [start], [start + (end - first - 1) * stride + 1], [stride], [1])
                matrix = ops.constant(np.ascontiguousarray(weight[:, :, tap]))
                product = ops.matmul(inside, matrix, False, True)
                yield ops.pad(product, [0, first, 0], [0, steps - end, 0], "constant", 0.0)

    found = [*parts()]
    return _transposed(reduce(ops.add, found)) if found else None


def _transposed(x: ov.Output | ov.Node) -> ov.Node:
    """Exchanges channels and steps."""
    return ops.transpose(x, [0, 2, 1])
