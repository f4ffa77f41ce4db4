# SPDX-License-Identifier: Apache-2.0
"""Freed memory stays in the process."""

import subprocess
import sys

PROGRAM = """
import torch
from furl_ros.core.memory import keep_freed_memory, resident_megabytes

assert keep_freed_memory()
torch.set_num_threads(1)
before = resident_megabytes()
for _ in range(3):
    tensors = [torch.ones(1 << 18) for _ in range(64)]  # 1 MB each
    del tensors
print(round(resident_megabytes() - before))
"""


def test_freed_memory_is_kept_for_the_next_tensors():
    """Without the call most of it goes back, as a rule: that depends on what lies above it."""
    output = subprocess.run(
        [sys.executable, '-c', PROGRAM], check=True, capture_output=True, text=True
    ).stdout
    assert int(output) >= 60
