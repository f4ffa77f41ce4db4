# SPDX-License-Identifier: Apache-2.0
"""Make ``import torchvision`` work beside a torch that cannot load its compiled operators.

torchvision's wheel is linked against one build of torch (often a CUDA one). Beside another build
its library does not load, and the import stops at "operator torchvision::nms does not exist":
torchvision describes two operators to the compiler that nobody declared. open_clip only uses the
Python side of torchvision, for which two empty declarations are enough.
"""

import importlib.util
import sys
from pathlib import Path

import torch

_SCHEMAS = (
    'nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor',
    'qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor',
)

# Declarations live as long as this object.
_library: torch.library.Library | None = None


def declare_if_missing() -> None:
    """Declare torchvision's operators where its library does not load. Call before importing it."""
    global _library
    if _library is not None or 'torchvision' in sys.modules or _load_compiled():
        return
    _library = torch.library.Library('torchvision', 'DEF')
    for schema in _SCHEMAS:
        _library.define(schema)


def _load_compiled() -> bool:
    """Load torchvision's own library, which its import then finds loaded; False: it cannot be."""
    spec = importlib.util.find_spec('torchvision')
    folders = (spec.submodule_search_locations or []) if spec else []
    for path in (path for folder in folders for path in Path(folder).glob('_C*.so')):
        try:
            torch.ops.load_library(str(path))
        except (ImportError, OSError):
            continue
        if hasattr(torch.ops.torchvision, 'nms'):
            return True
    return False
