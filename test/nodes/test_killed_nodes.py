# SPDX-License-Identifier: Apache-2.0
"""Shared memory of nodes that were killed goes with the next launch, that of living ones stays."""

import contextlib
import os
import re
import signal
import sys
from pathlib import Path

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from graph_support import Probe, launch, new_domain, run_node, run_process

from furl_ros.bridge.qos import EVENTS

pytestmark = pytest.mark.skipif(sys.platform != 'linux', reason='reads /proc')

LOCK = re.compile('(/dev/shm/fast(?:rtps|dds)_[0-9a-f]{16})_el')


def segments_of(group: int) -> set[Path]:
    """Segments of Fast DDS whose locks the processes of a group have open."""
    found = set()
    for process in Path('/proc').glob('[0-9]*'):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            if os.getpgid(int(process.name)) == group:
                found |= segments_in(process)
    return found


def segments_in(process: Path) -> set[Path]:
    """The same, of one process, as a folder in /proc."""
    found = set()
    for file in (process / 'fd').iterdir():
        with contextlib.suppress(FileNotFoundError):
            if match := LOCK.fullmatch(os.readlink(file)):
                found.add(Path(match[1]))
    return found


def test_the_next_launch_removes_those_of_a_killed_node_alone(tmp_path):
    """That launch is itself refused, by one line."""
    # In domains of their own: nodes that know each other remove it themselves.
    lives, dies, later = new_domain(), new_domain(), new_domain()
    with (
        Probe(lives) as probe,
        # A simulator that waits for a learner, and speaks in /diagnostics meanwhile.
        run_node(lives, 'sim_node', render=False) as living,
        run_process(dies, 'sim_node', render=False) as killed,
    ):
        heard = probe.record(DiagnosticArray, '/diagnostics', EVENTS)
        probe.command = living
        probe.wait(lambda: len(heard) > 0, 'a word of the living node')
        killed.wait_for('drawer-close-v3')
        kept, left = segments_in(Path('/proc/self')), segments_of(killed.process.pid)
        assert kept
        assert left
        os.killpg(killed.process.pid, signal.SIGKILL)
        killed.finish()
        assert all(segment.exists() for segment in left)
        # A wrong setting ends it at once, after the sweep.
        with launch(later, tmp_path, task='drawer-opne-v3') as graph:
            graph.expect_end(1)
        text = r"task is 'drawer-opne-v3'.*accepted: .*drawer-open-v3"
        assert len(re.findall(text, graph.output)) == 1, graph.output
        assert 'process started' not in graph.output
        assert not any(segment.exists() for segment in left)
        assert all(segment.exists() for segment in kept)
        before = len(heard)
        probe.wait(lambda: len(heard) > before + 2, 'further words of the living node')
