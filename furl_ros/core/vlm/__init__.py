# SPDX-License-Identifier: Apache-2.0
"""Vision-language models: frames and prompts to embeddings, without ROS."""

from furl_ros.core.vlm.interface import Vlm, cosine
from furl_ros.core.vlm.loading import load_vlm
from furl_ros.core.vlm.scoring import Scorer, Scores

__all__ = ['Scorer', 'Scores', 'Vlm', 'cosine', 'load_vlm']
