# SPDX-License-Identifier: Apache-2.0
"""Curves for others: Weights & Biases, where it is installed and asked for."""

import importlib.util
import re
from typing import Any

from furl_ros.core.run import RunFolder
from furl_ros.core.settings import SettingError


def check_wandb(asked: bool) -> None:
    """Check that Weights & Biases is there, where it is asked for.

    Raises:
        SettingError: it is not.
    """
    if asked and importlib.util.find_spec('wandb') is None:
        raise SettingError(
            'wandb is True, but the package is not installed (pip install wandb); accepted: False'
        )


def share_with_wandb(run: RunFolder, config: dict[str, Any]) -> None:
    """Have Weights & Biases copy what TensorBoard is told from now on; before a ``Reporter``.

    A resumed run goes on where it was there, too. Where it goes, and whose it is, wandb's own
    settings say (WANDB_PROJECT, WANDB_MODE, ...).
    """
    import wandb  # only there for those who want it

    name = re.sub(r'[^A-Za-z0-9_-]', '-', run.path.name)[-64:]
    wandb.init(
        dir=str(run.path), id=name, name=name, resume='allow', config=config, sync_tensorboard=True
    )
