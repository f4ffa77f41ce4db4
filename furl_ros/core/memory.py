# SPDX-License-Identifier: Apache-2.0
"""Keeps freed memory in the process, for loops that allocate the same tensors again and again."""

import ctypes
import os
import sys
from pathlib import Path

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_KEPT = 32 << 20  # bytes; glibc takes no more for blocks outside the heap
_KEPT = 256 << 20  # bytes


def resident_megabytes() -> float:
    """Memory that this process holds now, in MB; NaN where the system does not tell."""
    try:
        pages = int(Path('/proc/self/statm').read_text().split()[1])
    except OSError:
        return float('nan')
    return pages * os.sysconf('SC_PAGE_SIZE') / 2**20


def free_megabytes(
    meminfo: Path = Path('/proc/meminfo'), group: Path = Path('/sys/fs/cgroup')
) -> float:
    """Memory that is left for processes, in MB; NaN where the system does not tell.

    Args:
        meminfo: where the kernel tells that of the machine.
        group: folder of the control group (v2) that limits us in a container, where there is one.
    """
    try:
        lines = dict(line.split(':') for line in meminfo.read_text().splitlines())
        left = int(lines['MemAvailable'].split()[0]) / 2**10
    except (OSError, KeyError, ValueError):
        return float('nan')
    try:
        limit, used = (int((group / f'memory.{name}').read_text()) for name in ('max', 'current'))
        held = dict(line.split() for line in (group / 'memory.stat').read_text().splitlines())
        # What files left in the cache is given back first.
        left = min(left, (limit - used + int(held['inactive_file'])) / 2**20)
    except (OSError, KeyError, ValueError):
        pass  # no group, or no limit: 'max'
    return left


def keep_freed_memory() -> bool:
    """Let glibc's malloc keep up to 256 MB of freed memory for the next allocations.

    By default it gives tensors of a few hundred kilobytes back to the kernel as soon as they are
    freed, and every update pays for taking (and zeroing) the same pages again.

    Returns:
        Whether the C library took it; False on others than glibc.
    """
    if not sys.platform.startswith('linux'):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, 'gnu_get_libc_version'):
        return False
    return bool(
        library.mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT)
        and library.mallopt(_M_TRIM_THRESHOLD, _KEPT)
    )
