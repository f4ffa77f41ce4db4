# SPDX-License-Identifier: Apache-2.0
"""Freed memory stays in the process."""

import subprocess
import sys

import pytest

from furl_ros.core.memory import free_megabytes

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


def test_free_memory_is_that_of_the_machine_or_of_its_container(tmp_path):
    meminfo, group = tmp_path / 'meminfo', tmp_path / 'group'
    meminfo.write_text('MemTotal:  9000000 kB\nMemAvailable:  2048000 kB\n')
    assert free_megabytes(meminfo, group) == 2_000
    group.mkdir()
    (group / 'memory.current').write_text(f'{900 << 20}\n')
    (group / 'memory.stat').write_text(f'anon 5\ninactive_file {100 << 20}\n')
    for limit, left in (('max', 2_000), (1_000 << 20, 200), (9_000 << 20, 2_000)):
        (group / 'memory.max').write_text(f'{limit}\n')
        assert free_megabytes(meminfo, group) == left


def test_free_memory_that_is_not_told_is_nan(tmp_path):
    assert free_megabytes(tmp_path / 'nowhere') == pytest.approx(float('nan'), nan_ok=True)
