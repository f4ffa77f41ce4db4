# SPDX-License-Identifier: Apache-2.0
"""Settings of local runs that take seconds."""

from pathlib import Path
from typing import Any

from furl_ros.bridge import graph

SMALL = {
    'task': 'furl/StampCounter-v0',
    'horizon': '25',
    'warmup_steps': '50',
    'batch_size': '16',
    'hidden_units': '16',
    'buffer_size': '1000',
    'head_batch_size': '16',
    'eval_every': '0',
    'image_size': '32',
    'vlm': 'tiny-random',
    'device': 'cpu',
}


def settings(folder: Path, **given: str) -> dict[str, Any]:
    """Those of a small run in a folder."""
    return graph.settings_of_run(SMALL | {'run_folder': str(folder)} | given, '')
