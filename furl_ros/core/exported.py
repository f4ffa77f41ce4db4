# SPDX-License-Identifier: Apache-2.0
"""Policies as ONNX: the mean action of a SAC agent, in the robot's units, without torch.

Input ``state``, float32 [N, S], as the robot senses it; output ``action``, float32 [N, A], in the
units of the action space. Scaling of both is inside. The exporters of torch need more packages, and
seconds, for these seven nodes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from furl_ros.core.settings import SettingError

OPSET, IR_VERSION = 17, 8  # read by runtimes from 2022 on
INPUT, OUTPUT = 'state', 'action'


def to_onnx(
    layers: Sequence[tuple[np.ndarray, np.ndarray]],
    low: np.ndarray,
    high: np.ndarray,
    about: Mapping[str, str],
) -> bytes:
    """A policy as the content of an ONNX file.

    Args:
        layers: weight [out, in] and bias [out] of each layer; ReLU between them, tanh at the end.
        low, high: bounds of the actions, float32 [A].
        about: what the file says of itself.
    """
    nodes, constants, value = [], {}, INPUT
    for index, (weight, bias) in enumerate(layers):
        constants |= {f'weight_{index}': weight, f'bias_{index}': bias}
        last = index == len(layers) - 1
        nodes += [
            helper.make_node(
                'Gemm', [value, f'weight_{index}', f'bias_{index}'], [f'sum_{index}'], transB=1
            ),
            helper.make_node('Tanh' if last else 'Relu', [f'sum_{index}'], [f'layer_{index}']),
        ]
        value = f'layer_{index}'
    constants |= {'half_range': (high - low) / 2, 'middle': (high + low) / 2}
    nodes += [
        helper.make_node('Mul', [value, 'half_range'], ['from_middle']),
        helper.make_node('Add', ['from_middle', 'middle'], [OUTPUT]),
    ]
    sizes = {INPUT: layers[0][0].shape[1], OUTPUT: layers[-1][0].shape[0]}
    shown = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ['batch', size])
        for name, size in sizes.items()
    }
    graph = helper.make_graph(
        nodes,
        'policy',
        [shown[INPUT]],
        [shown[OUTPUT]],
        [
            numpy_helper.from_array(np.ascontiguousarray(array, np.float32), name)
            for name, array in constants.items()
        ],
    )
    model = helper.make_model(
        graph,
        producer_name='furl_ros',
        opset_imports=[helper.make_opsetid('', OPSET)],
        ir_version=IR_VERSION,
    )
    helper.set_model_props(model, dict(about))
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)


class OnnxPolicy:
    """A policy from an ONNX file, run by ONNX Runtime.

    Args:
        path: of the file.

    Attributes:
        state_size, action_size: S and A.

    Raises:
        SettingError: the file is missing, or is no such policy.
    """

    def __init__(self, path: str | Path) -> None:
        # Imported here: a training writes such files, and runs none.
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(
                Path(path).expanduser().read_bytes(), options, ['CPUExecutionProvider']
            )
            ((inner,), (outer,)) = self._session.get_inputs(), self._session.get_outputs()
            self.state_size, self.action_size = int(inner.shape[-1]), int(outer.shape[-1])
            fits = (inner.name, outer.name) == (INPUT, OUTPUT)
        # What the runtime raises is not of one kind.
        except Exception as error:
            reason = ' '.join(str(error).split())[:200]
            raise SettingError(
                f"policy is '{path}'; accepted: a policy as ONNX ({type(error).__name__}: {reason})"
            ) from None
        if not fits:
            raise SettingError(
                f"policy is '{path}', with input {inner.name!r} and output {outer.name!r};"
                f' accepted: {INPUT!r} and {OUTPUT!r}'
            )

    def __call__(self, state: np.ndarray) -> np.ndarray:
        """The action, float32 [A] in the robot's units, for a state, float32 [S]."""
        states = np.asarray(state, np.float32)[None]
        return self._session.run([OUTPUT], {INPUT: states})[0][0]
