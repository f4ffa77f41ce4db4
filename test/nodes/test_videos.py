# SPDX-License-Identifier: Apache-2.0
"""A run with videos in a terminal: films, strips, the live line, and what `status` tells."""

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import termios
import threading
from types import SimpleNamespace

import av
import pytest
from graph_support import SMALL, TIMEOUT, Command, Probe, _word, end_of, new_domain
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from furl_interfaces.msg import TrainingStatus
from furl_ros.bridge.live_line import ERASE

HORIZON = SMALL['horizon']


class Terminal:
    """Runs a command in a terminal of its own, 200 columns wide, and keeps all it writes."""

    def __init__(self, argv, domain, cwd):
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack('HHHH', 30, 200, 0, 0))
        self.process = subprocess.Popen(
            argv,
            cwd=cwd,
            env={**os.environ, 'ROS_DOMAIN_ID': str(domain), 'COLUMNS': '200'},
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self.written = b''
        self._reader = threading.Thread(target=self._read, args=(ours,), daemon=True)
        self._reader.start()

    def _read(self, ours):
        try:
            while piece := os.read(ours, 65_536):
                self.written += piece
        except OSError:  # the other side has closed it
            os.close(ours)

    def finish(self):
        code = self.process.wait(TIMEOUT)
        self._reader.join(TIMEOUT)
        return code

    @property
    def output(self):
        return self.written.decode()

    @property
    def newest(self):
        return end_of(self.output)


def tool(domain, *words):
    return Command(['ros2', 'run', 'furl_ros', *words], domain)


@pytest.fixture(scope='module')
def filmed(tmp_path_factory):
    folder = tmp_path_factory.mktemp('filmed')
    domain = new_domain()
    settings = SMALL | {
        'task': 'drawer-close-v3',
        'vlm': 'tiny-random',
        'total_steps': 430,
        'eval_every': 200,
        'videos': True,
        'run_folder': folder / 'run',
    }
    words = [f'{name}:={_word(value)}' for name, value in settings.items()]
    with Probe(domain) as probe:
        statuses = probe.record(TrainingStatus, 'training_status')
        terminal = Terminal(
            ['ros2', 'launch', 'furl_ros', 'train.launch.py', *words], domain, folder
        )
        probe.command = terminal
        probe.wait(lambda: any(s.total_steps > 0 for s in statuses), 'a first step')
        with tool(domain, 'status', '--json') as told, tool(domain, 'status', '--once') as page:
            codes = told.finish(), page.finish()
        code = terminal.finish()
    return SimpleNamespace(
        folder=folder / 'run',
        code=code,
        output=terminal.output,
        told=told.output,
        page=page.output,
        codes=codes,
        statuses=statuses,
    )


def test_it_ends_well(filmed):
    assert filmed.code == 0, filmed.output
    assert 'Traceback' not in filmed.output
    assert filmed.output.count('process has finished cleanly') == 6, filmed.output


def test_first_best_and_last_evaluation_are_films_of_whole_episodes(filmed):
    videos = filmed.folder / 'videos'
    known = json.loads((videos / 'videos.json').read_text())
    assert known['first']['total_steps'] == 200
    assert known['last']['total_steps'] == 430
    for name in ('first', 'best', 'last'):
        with av.open(videos / f'{name}.mp4') as container:
            stream = container.streams.video[0]
            assert stream.codec_context.name == 'h264'
            # 80 steps a second, of which every third is shown; and the last.
            assert stream.frames == HORIZON // 3 + 2
    assert not list(videos.glob('*.tmp'))


def test_each_evaluation_has_a_strip_in_tensorboard(filmed):
    board = EventAccumulator(str(filmed.folder / 'tensorboard' / 'films'))
    board.Reload()
    strips = board.Images('evaluation/film')
    assert [strip.step for strip in strips] == [200, 400, 430]


def test_every_frame_of_a_film_was_scored(filmed):
    known = json.loads((filmed.folder / 'videos' / 'videos.json').read_text())
    assert known['first']['frames'] == known['first']['scored'] == HORIZON + 1
    assert known['last']['frames'] == HORIZON + 1


def test_the_terminal_has_one_live_line_and_whole_log_lines(filmed):
    lines = [line.rpartition(ERASE)[2] for line in filmed.output.replace('\r\n', '\n').split('\n')]
    assert all(re.match(r'\[|freed|$', line) for line in lines), lines
    drawn = re.findall(r'(?:warm-up|training|evaluating) \d+/430 \| [^\r\n]*', filmed.output)
    assert drawn
    assert re.search(r'success \S+ \(eval \S+\) \| reward \S+ \| positives \d', drawn[-1])
    # The plain lines are for those who have no terminal.
    assert 'success, last 20 episodes' not in filmed.output


def test_status_tells_it_to_programs(filmed):
    assert filmed.codes[0] == 0, filmed.told
    (graph,) = json.loads(filmed.told[filmed.told.index('[') :])
    assert graph['namespace'] == '/'
    assert graph['run_folder'] == str(filmed.folder)
    assert graph['target_steps'] == 430
    assert graph['state'] in ('warm-up', 'training', 'evaluating')
    assert {'/learner_node', '/sim_node', '/eval/sim_node'} <= {n['node'] for n in graph['nodes']}


def test_status_tells_it_to_people(filmed):
    assert filmed.codes[1] == 0, filmed.page
    assert 'of 430' in filmed.page
    assert '/reward_node' in filmed.page


def test_where_no_graph_is_status_says_so():
    domain = new_domain()
    with tool(domain, 'status', '--once', '--wait', '0.5') as told:
        assert told.finish() == 1
    assert told.output == f'no graph is running in ROS domain {domain}\n'
