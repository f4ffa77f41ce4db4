# SPDX-License-Identifier: Apache-2.0
"""Nodes that only look on are not ended by a full disk, nor by an answer that says nothing."""

import queue
import threading
from types import SimpleNamespace

from rcl_interfaces.srv import SetParameters

from furl_ros.core.timing import Stages
from furl_ros.nodes.monitor_node import MonitorNode
from furl_ros.nodes.video_node import VideoNode
from furl_ros.nodes.web_node import WebNode


def full_disk(*_):
    raise OSError(28, 'No space left on device')


def test_a_scene_whose_meshes_cannot_be_written_is_counted():
    said = []
    node = SimpleNamespace(
        stages=Stages(),
        markers=SimpleNamespace(set_scene=full_disk),
        count_bad=lambda what, why: said.append((what, why)),
    )
    MonitorNode.on_scene(node, b'')
    assert said == [('bad scenes', '[Errno 28] No space left on device')]


def test_films_whose_strips_cannot_be_written_leave_the_exit_code_alone():
    stop = threading.Event()
    stop.set()
    board = SimpleNamespace(close=full_disk)
    node = SimpleNamespace(takes=[], films=queue.SimpleQueue(), board=board)
    assert VideoNode.work(node, stop) == 0


def test_a_new_value_whose_call_failed_is_told_on_the_page():
    said = []
    node = SimpleNamespace(
        setters={'rho': None},
        ask=lambda client, request, told: said.append(told(SetParameters.Response())),
    )
    WebNode.change(node, 'rho', 0.5)
    assert said == ['the call failed']
