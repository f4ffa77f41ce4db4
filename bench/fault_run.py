# SPDX-License-Identifier: Apache-2.0
"""A graph that faults are made in, and what its replay must hold whatever happens to it."""

import contextlib
import functools
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from furl_ros.core.config import VlmConfig
from furl_ros.core.run import ALIGNMENT_FILE, TRAINER_FILE, find_checkpoint
from furl_ros.core.settings import SettingError
from furl_ros.core.storage import load_tree
from furl_ros.core.vlm import Vlm, load_vlm
from sim.counter import draw_counter, read_state

TASK = 'furl/StampCounter-v0'
SIZE = 64  # pixels
HORIZON = 100
SUCCESS_FROM = 10  # first step of an episode that the environment calls a success
NODES = ('sim_node', 'reward_node', 'alignment_node', 'learner_node')
SETTINGS = {
    'params_file': Path(__file__).parents[1] / 'config' / 'paper.yaml',
    'task': TASK,
    'image_size': SIZE,
    'horizon': HORIZON,
    'device': 'cpu',
    'warmup_steps': 150,
    'batch_size': 32,
    'head_batch_size': 32,
    'log_every': 0.2,
    'eval_every': 0,
    'checkpoint_every': 100,
    'keep_checkpoints': 4,
    'pin_learner': False,
}
STALL_TIMEOUT = 30.0  # seconds, the learner's default
START_LIMIT = 180.0  # seconds until a graph makes its first step, on a busy machine
END_LIMIT = 60.0  # seconds that the processes have to end
POLL_S = 0.05


def wait(condition: Callable[[], Any], limit: float) -> bool:
    """Wait until a condition holds; False when it did not in so many seconds."""
    end = time.monotonic() + limit
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(POLL_S)
    return True


def processes_of(session: int) -> dict[int, str]:
    """Living processes of a session, with their names."""
    found = {}
    for stat in Path('/proc').glob('[0-9]*/stat'):
        with contextlib.suppress(OSError):
            name, _, rest = stat.read_text().partition('(')[2].rpartition(')')
            fields = rest.split()
            if int(fields[3]) == session and fields[0] != 'Z':
                found[int(stat.parent.name)] = name
    return found


class Graph:
    """One launch of a graph, in a session of its own, its output in a file.

    Args:
        log: that file.
        folder: the run folder.
        launch_file: its name.
        arguments: of the launch file.
    """

    def __init__(
        self, log: Path, folder: Path, launch_file: str = 'train.launch.py', **arguments: Any
    ) -> None:
        self.log, self.folder = log, folder
        self._began = False
        words = [
            f'{n}:={str(v).lower() if v in (True, False) else v}' for n, v in arguments.items()
        ]
        with open(log, 'w') as file:
            self.process = subprocess.Popen(
                ['ros2', 'launch', 'furl_ros', launch_file, *words],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, 'PYTHONUNBUFFERED': '1'},
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        """What was printed so far."""
        return self.log.read_text(errors='replace')

    @property
    def tail(self) -> str:
        """The end of what was printed, without the lines about progress."""
        lines = [line for line in self.output.splitlines() if ' | success' not in line]
        return '\n'.join(lines[-40:])

    def pid_of(self, name: str) -> int:
        """Process of a node, or of the launch; 0 where it has not been started yet."""
        if name == 'launch':
            return self.process.pid
        found = re.search(rf'\[{name}-\d+\]: process started with pid \[(\d+)\]', self.output)
        return int(found[1]) if found else 0

    @property
    def steps(self) -> int:
        """Environment steps as last written to the curves; 0 until the learner has begun."""
        # Before, the last rows may be of work that an earlier launch lost.
        self._began = self._began or 'learner_node]: run folder: ' in self.output
        if not self._began:
            return 0
        try:
            with open(self.folder / 'curves.csv', 'rb') as file:
                file.seek(max(0, os.path.getsize(file.name) - 4_096))
                rows = file.read().split(b'\n')[:-1]
        except OSError:
            return 0
        first = rows[-1].split(b',')[0] if rows else b''
        return int(first) if first.isdigit() else 0

    @property
    def left(self) -> dict[int, str]:
        """Its living processes."""
        return processes_of(self.process.pid)

    @property
    def ended(self) -> bool:
        """Whether the launch and all nodes have ended."""
        return self.process.poll() is not None and not self.left

    def moves(self, beyond: int, limit: float) -> bool:
        """Wait for a step beyond this one; False when none came, or the graph ended."""
        wait(lambda: self.steps > beyond or self.process.poll() is not None, limit)
        return self.steps > beyond and self.process.poll() is None

    def interrupt(self) -> None:
        """Ctrl-C."""
        os.killpg(self.process.pid, signal.SIGINT)

    def remove(self) -> None:
        """Kill what is left of it."""
        for pid in self.left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


@functools.cache
def vlm_of_runs() -> Vlm:
    """The model that the runs use."""
    torch.set_num_threads(1)
    return load_vlm(VlmConfig(device='cpu'))


class Found(NamedTuple):
    """What a checkpoint holds."""

    steps: int
    lost: int
    """Steps that the environment made, missing between others; and those the alignment lacks."""
    misjoined: int
    """Rows that come twice, or whose states, reward and embedding are not of one step."""
    foreign: int
    """Rows, or frames of the alignment, that are not from this environment at all."""


class Judge:
    """Holds replays against what the counter environment must have given.

    It looks at each row once: a run goes on from its newest checkpoint.

    Args:
        horizon: steps of an episode.
    """

    def __init__(self, horizon: int = HORIZON) -> None:
        self.horizon = horizon
        self.vlm = vlm_of_runs()
        self.embeddings: dict[int, np.ndarray] = {}
        self.rows = 0
        # Frames that the alignment had taken in, and a learner that was interrupted had not.
        self.ahead: set[bytes] = set()
        # Steps of the learner less those of the alignment: as a run was resumed, and as last seen.
        self.resumed_with = self.lacking = 0

    def judge(self, folder: Path) -> Found | None:
        """Look at the newest checkpoint of a run; None where there is none that can be read."""
        try:
            checkpoint = find_checkpoint(folder)
            arrays, trainer = load_tree(checkpoint / TRAINER_FILE)
            rings, alignment = load_tree(checkpoint / ALIGNMENT_FILE)
        except SettingError:
            return None
        replay = arrays['replay']
        kept = {row.tobytes() for row in replay['embedding']} | self.ahead
        frames = np.concatenate([rings[name]['embeddings'] for name in ('positives', 'negatives')])
        strange = [frame for frame in frames if frame.tobytes() not in kept]
        new = {
            n: a[max(0, self.rows - 1) :] for n, a in replay.items() if len(a) == trainer['steps']
        }
        first = min(1, self.rows)  # the row before the new ones is only looked back at
        self.rows = trainer['steps']
        more = self._rows(new, first)
        # The alignment may be ahead of a learner that was interrupted, but not behind.
        if self._began(new).any():
            self.resumed_with = self.lacking
        self.lacking = trainer['steps'] - alignment['transitions']
        behind = max(0, self.lacking - self.resumed_with)
        self.resumed_with += behind
        newest = read_state(replay['next_state'][-1])
        ahead = self._follow(strange, newest, self.resumed_with - self.lacking)
        self.ahead |= {frame.tobytes() for frame in ahead}
        foreign = len(strange) - len(ahead) + more.foreign
        return Found(trainer['steps'], behind + more.lost, more.misjoined, foreign)

    @staticmethod
    def _began(rows: dict[str, np.ndarray]) -> np.ndarray:
        """Whether the simulator was started anew before each row, bool [N]."""
        numbers = np.array([read_state(state) for state in rows['next_state']])
        anew = (rows['step'] == 1) & (numbers == 1)
        anew[:1] = False
        return anew

    def _rows(self, rows: dict[str, np.ndarray], first: int) -> Found:
        count = len(rows['stamp'])
        exact = rows['next_state'] * 4096
        ours = (exact == np.round(exact)).all(axis=1) & (rows['next_state'] >= 0).all(axis=1)
        ours &= exact[:, 2] == rows['step']
        before = np.array([read_state(state) for state in rows['state']])
        numbers = np.array([read_state(state) for state in rows['next_state']])
        success = rows['success'].astype(bool)
        joined = (before == numbers - 1) & (rows['task_reward'] == success - 1.0)
        joined &= ~success | (rows['step'] >= SUCCESS_FROM)
        joined &= self._shows(numbers, rows['embedding'].astype(np.float32))
        lost, began = 0, self._began(rows)
        for row in range(max(1, first), count):
            if began[row]:
                continue
            same = rows['episode'][row] == rows['episode'][row - 1]
            gap = numbers[row] - numbers[row - 1] - (1 if same else 2)
            if not same and gap == 1 and rows['step'][row - 1] == self.horizon:
                gap = 0  # a reset that was asked for twice: nobody has made a step between them
            joined[row] &= gap >= 0 and rows['stamp'][row] > rows['stamp'][row - 1]
            if same:
                joined[row] &= rows['step'][row] == rows['step'][row - 1] + 1 + gap
            lost += max(0, int(gap))
        if count and not first:
            lost += int(numbers[0]) - 1
        new = np.arange(count) >= first
        return Found(count, lost, int((ours & ~joined & new).sum()), int((~ours & new).sum()))

    def _shows(self, numbers: np.ndarray, embeddings: np.ndarray) -> np.ndarray:
        """Whether each embedding [N, E] is that of the picture with this number."""
        others = self._encode({*numbers.tolist(), *(numbers + 1).tolist()})
        own = self._encode(numbers.tolist())
        # Half the way to the nearest wrong picture, of some of them.
        some = own[:: max(1, len(own) // 50)]
        nearest = min(np.sort(np.linalg.norm(others - one, axis=1))[1] for one in some)
        return np.linalg.norm(embeddings - own, axis=1) < nearest / 2

    def _follow(self, frames: list[np.ndarray], newest: int, most: int) -> np.ndarray:
        """Those of the frames [E] that show one of the next steps: so many at most."""
        if not frames or most <= 0:
            return np.empty(0)
        # Each step may have had a reset before it.
        numbers = np.arange(newest + 1, newest + 1 + 2 * most)
        stacked = np.stack(frames)
        wide = stacked.astype(np.float32)
        off = np.linalg.norm(wide[:, None] - self._encode(numbers.tolist()), axis=2)
        return stacked[self._shows(numbers[off.argmin(axis=1)], wide)][:most]

    def _encode(self, numbers: Iterable[int]) -> np.ndarray:
        """Embeddings of the pictures with these numbers, float32 [N, E]."""
        numbers = list(numbers)
        wanted = sorted(set(numbers) - set(self.embeddings))
        for chunk in np.array_split(wanted, len(wanted) // 64 + 1):
            if len(chunk):
                pictures = np.stack([draw_counter(int(n) % 2**24, SIZE, SIZE) for n in chunk])
                encoded = self.vlm.encode_images(pictures)
                self.embeddings |= dict(zip(chunk.tolist(), encoded, strict=True))
        return np.stack([self.embeddings[n] for n in numbers])
