# SPDX-License-Identifier: Apache-2.0
"""Point the CMake files of pip-installed ROS 2 packages at this interpreter's headers.

The wheels were built in a container, and their exported CMake targets still name that container's
Python and NumPy headers (/opt/python/...). Without this no interface package builds against them.
Running it again changes nothing.
"""

import os
import re
import sys
import sysconfig
from pathlib import Path

import numpy as np

PYTHON_HEADERS = re.compile(r'/opt/python/[^;"\s]+/include/python3\.\d+')
NUMPY_HEADERS = re.compile(r'/opt/python/[^;"\s]+/numpy/(?:_core|core)/include')


def relocate(text: str) -> str:
    """The text of a CMake file with the container's include folders replaced by the local ones."""
    headers = sysconfig.get_path('include')
    text = NUMPY_HEADERS.sub(lambda _: np.get_include(), text)
    return PYTHON_HEADERS.sub(lambda _: headers, text)


def main() -> None:
    """Rewrite share/*/cmake/*.cmake of the running virtual environment."""
    changed = 0
    for path in Path(sys.prefix).glob('share/*/cmake/*.cmake'):
        text = path.read_text(encoding='utf-8')
        if '/opt/python/' not in text:
            continue
        # A new file takes the place of the old one at once: no interruption leaves half of one.
        draft = path.with_suffix('.draft')
        draft.write_text(relocate(text), encoding='utf-8')
        os.replace(draft, path)
        changed += 1
    print(f'{changed} CMake files changed')


if __name__ == '__main__':
    main()
