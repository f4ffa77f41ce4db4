# SPDX-License-Identifier: Apache-2.0
"""What keeps the stand-in apart from the real thing and names what it does not have."""

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NoReturn


def find_real_ros2(search_path: Iterable[str]) -> Path | None:
    """Return the folder in `search_path` that holds the real ros2cli or launch, or None.

    The stand-in has neither a `ros2cli` package nor a `launch.frontend`.
    """
    for entry in map(Path, search_path):
        if (entry / 'ros2cli').is_dir() or (entry / 'launch' / 'frontend').is_dir():
            return entry
    return None


def refuse_beside_real_ros2() -> None:
    """Raise ImportError where the real ros2cli or launch can be imported too."""
    real = find_real_ros2(sys.path)
    if real is not None:
        raise ImportError(
            f'the real ROS 2 command line tools are in {real}: '
            'remove the stand-in with "pip uninstall furl-ros2-pip" (or from PYTHONPATH)'
        )


def not_in_subset(module: str, accepted: Iterable[str]) -> Callable[[str], NoReturn]:
    """Make a module's `__getattr__` that says what the module has instead of the missing name."""
    listed = ', '.join(sorted(accepted))

    def module_getattr(name: str) -> NoReturn:
        if name.startswith('__'):
            # Python itself probes for these (__path__, __wrapped__ ...) and expects this error.
            raise AttributeError(f'module {module!r} has no attribute {name!r}')
        raise ImportError(
            f'{module}.{name} is not part of the furl_ros stand-in for ROS 2; accepted: {listed}'
        )

    return module_getattr
