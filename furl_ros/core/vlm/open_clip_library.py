# SPDX-License-Identifier: Apache-2.0
"""open_clip, with this package's model configurations; import it from here."""

from furl_ros.core.vlm import torchvision_operators
from furl_ros.core.vlm_names import MODEL_CONFIGS

torchvision_operators.declare_if_missing()
import open_clip  # noqa: E402 (imports torchvision)
from open_clip import modified_resnet, pretrained  # noqa: E402

open_clip.add_model_config(MODEL_CONFIGS)

__all__ = ['modified_resnet', 'open_clip', 'pretrained']
