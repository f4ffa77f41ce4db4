# SPDX-License-Identifier: Apache-2.0
"""Freed memory stays in the process."""

import subprocess
import sys

PROGRAM = """
import sys
from pathlib import Path
import torch
from furl_ros.core.memory import keep_freed_memory

def resident():
    pages = int(Path('/proc/self/statm').read_text().split()[1])
    return pages * 4096 >> 20

if sys.argv[1] == 'keep':
    assert keep_freed_memory()
torch.set_num_threads(1)
before = resident()
for _ in range(3):
    tensors = [torch.ones(1 << 18) for _ in range(64)]  # 1 MB each
    del tensors
print(resident() - before)
"""


def megabytes_kept(mode):
    command = [sys.executable, '-c', PROGRAM, mode]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def test_freed_memory_is_kept_for_the_next_tensors():
    assert megabytes_kept('keep') >= 60
    assert megabytes_kept('leave') < 30
