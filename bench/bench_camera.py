# SPDX-License-Identifier: Apache-2.0
"""A camera in front of a real reward_node: latency from publishing a frame to its score."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import Image

from furl_interfaces.msg import FrameScore
from furl_ros.bridge.convert import to_image_msg, to_ns
from furl_ros.bridge.qos import EVENTS, LOCKSTEP, SENSOR

PROMPT = 'push and close a drawer'
WIDTH, HEIGHT, RATE = 640, 480, 30.0
TEXT = f'{RATE:.0f} Hz camera of {WIDTH}x{HEIGHT}'
# Seconds of the camera that are not counted; for the node to start; for the last scores to come.
SETTLE, START_LIMIT, END_LIMIT = 2.0, 180.0, 5.0


class Camera(Node):
    """Publishes frames at a fixed rate and times their scores.

    Attributes:
        sent, received: seconds (perf_counter) by stamp.
        refused: number of frames that the node could not read.
        diagnostics: newest values of the reward node.
        diagnosed: how often they came.
    """

    def __init__(self) -> None:
        super().__init__('speed_bench_camera')
        self.sent: dict[int, float] = {}
        self.received: dict[int, float] = {}
        self.refused = 0
        self.diagnostics: dict[str, str] = {}
        self.diagnosed = 0
        self.publisher = self.create_publisher(Image, 'camera/image_raw', SENSOR)
        self.create_subscription(FrameScore, 'frame_score', self.on_score, LOCKSTEP)
        self.create_subscription(DiagnosticArray, '/diagnostics', self.on_diagnostics, EVENTS)
        shape = (HEIGHT, WIDTH, 3)
        self.frame = np.random.default_rng(0).integers(0, 256, shape, np.uint8)

    def on_score(self, message: FrameScore) -> None:
        """Note when a score came."""
        now = time.perf_counter()
        self.received[to_ns(message.header.stamp)] = now
        self.refused += message.status != FrameScore.OK

    def on_diagnostics(self, message: DiagnosticArray) -> None:
        """Keep what the reward node counts."""
        for status in message.status:
            self.diagnostics = {pair.key: pair.value for pair in status.values}
            self.diagnosed += 1

    def ready(self) -> bool:
        """Whether the reward node listens and speaks."""
        return bool(
            self.publisher.get_subscription_count() and self.count_publishers('frame_score')
        )

    def play(self, seconds: float) -> list[int]:
        """Publish for a while; return the stamps."""
        stamps = []
        start = time.perf_counter()
        for number in range(round(seconds * RATE)):
            time.sleep(max(0.0, start + number / RATE - time.perf_counter()))
            # A clock of its own: stamps only have to differ.
            stamp = len(self.sent) + 1
            message = to_image_msg(self.frame, stamp, 'camera')
            self.sent[stamp] = time.perf_counter()
            self.publisher.publish(message)
            stamps.append(stamp)
        return stamps


def measure(settings: dict[str, str | int], seconds: float) -> dict[str, float]:
    """Run a reward_node behind a camera.

    Args:
        settings: of the node, beside the prompt.
        seconds: of the camera that are counted.

    Returns:
        p50 and p99 of the latency of the frames that were scored, milliseconds; how many frames
        were published and how many of them were not scored; how many the node dropped to keep up
        and how many it was told were lost on the way, those before the measurement included.

    Raises:
        SystemExit: the node does not start, does not score, or does not end well.
    """
    command = ['ros2', 'run', 'furl_ros', 'reward_node', '--ros-args']
    settings = settings | {'prompt': PROMPT, 'image_qos': 'sensor'}
    for name, value in settings.items():
        command += ['-p', f'{name}:={value}']
    rclpy.init()
    node = Camera()
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin)
    thread.start()
    with tempfile.TemporaryFile('w+') as log:
        # A process group of its own, as a terminal gives: ros2 run and the node end together.
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )

        def fail(text: str) -> None:
            log.seek(0)
            sys.exit(f'{text}\n{log.read()[-2000:]}')

        try:
            wait(lambda: node.ready() or process.poll() is not None, START_LIMIT)
            if not node.ready():
                fail('reward_node did not start')
            node.play(SETTLE)
            stamps = node.play(seconds)
            wait(lambda: stamps[-1] in node.received, END_LIMIT)
            # One message may have been on its way; the second one tells of all frames.
            enough = node.diagnosed + 2
            wait(lambda: node.diagnosed >= enough, END_LIMIT)
            if process.poll() is not None:
                fail(f'reward_node ended with {process.poll()}')
            os.killpg(process.pid, signal.SIGINT)
            if process.wait(START_LIMIT) != 0:
                fail(f'reward_node ended with {process.returncode}')
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            executor.shutdown()
            thread.join()
            node.destroy_node()
            rclpy.try_shutdown()
    if node.refused:
        sys.exit(f'{node.refused} frames could not be scored')
    scored = [stamp for stamp in stamps if stamp in node.received]
    if not scored:
        sys.exit('no frame was scored')
    latencies = [node.received[stamp] - node.sent[stamp] for stamp in scored]
    p50, p99 = (float(value) * 1e3 for value in np.percentile(latencies, [50, 99]))
    return {
        'camera_p50_ms': p50,
        'camera_p99_ms': p99,
        'camera_frames': len(stamps),
        'camera_frames_not_scored': len(stamps) - len(scored),
        'camera_frames_dropped': int(node.diagnostics.get('frames dropped', 0)),
        'camera_frames_lost': int(node.diagnostics.get('frames lost', 0)),
    }


def wait(condition: Callable[[], object], limit: float) -> None:
    """Wait until a condition holds, or for so many seconds."""
    end = time.monotonic() + limit
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
