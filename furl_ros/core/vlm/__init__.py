# SPDX-License-Identifier: Apache-2.0
"""Vision-language models: frames and prompts to embeddings, without ROS."""

from furl_ros.core.vlm.interface import Vlm, VlmConfig, cosine
from furl_ros.core.vlm.loading import load_vlm

__all__ = ['Vlm', 'VlmConfig', 'cosine', 'load_vlm']
