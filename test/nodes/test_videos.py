# SPDX-License-Identifier: Apache-2.0
"""A run with videos in a terminal: films, strips, the live line, and what `status` tells."""

import contextlib
import io
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import av
import pytest
from graph_support import SMALL, TIMEOUT, Command, HostedLaunch, Probe, new_domain
from std_srvs.srv import Trigger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from furl_interfaces.msg import TrainingStatus
from furl_ros import status
from furl_ros.bridge import processes
from furl_ros.bridge.live_line import ERASE, LiveLine
from furl_ros.nodes import video_node

HORIZON = EVAL_EVERY = 60
TARGET = 100_000
SETTINGS = SMALL | {
    'task': 'drawer-close-v3',
    'horizon': HORIZON,
    'warmup_steps': 70,
    'total_steps': TARGET,
    'eval_every': EVAL_EVERY,
    'videos': True,
}
NODES = {
    *('/sim_node', '/eval/sim_node', '/reward_node'),
    *('/alignment_node', '/learner_node', '/video_node'),
}
# Runs a command in a terminal of its own.
IN_A_TERMINAL = """
import os, pty, sys
sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))
"""
DRAWN = r'(?:warm-up|training|evaluating) [\d,]+/[\d,]+ \| '


class Terminal(io.StringIO):
    """Where a person looks."""

    def isatty(self) -> bool:
        return True


class Patient(status.Domain):
    """Listens until all nodes have told how they are, however long that takes."""

    @property
    def untold(self) -> set[str]:
        return super().untold | (NODES - self._health.keys())


def tell(*words: str) -> tuple[int, str]:
    """Exit code and output of `status`, where it is told once."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        return status.main([*words, '--wait', str(TIMEOUT)]), out.getvalue()


@pytest.fixture(scope='module')
def filmed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A run after its second film, paused: what was drawn, and what is told of it."""
    folder, domain = tmp_path_factory.mktemp('filmed'), new_domain()
    terminal, lines = Terminal(), []

    def draw(topic: str) -> LiveLine:
        lines.append(LiveLine(topic))
        return lines[-1]

    with pytest.MonkeyPatch.context() as patch, Probe(domain) as probe:
        patch.setenv('ROS_DOMAIN_ID', str(domain))
        patch.setenv('COLUMNS', '200')
        patch.setattr(video_node, 'PATIENCE_S', TIMEOUT)
        patch.setattr(status, 'Domain', Patient)
        patch.setattr(status, 'FINDING_S', 0.0)
        patch.setattr(status, 'TELLING_S', TIMEOUT)
        patch.setattr(processes, 'LiveLine', draw)
        patch.setattr(sys, 'stdout', terminal)
        statuses = probe.record(TrainingStatus, 'training_status')
        settings = SETTINGS | {'run_folder': folder / 'run'}
        with HostedLaunch(domain, folder, 'train.launch.py', **settings) as graph:
            probe.command = graph
            films = graph.nodes['video_node']
            probe.wait(lambda: films.node is not None and films.node.made > 1, 'two films')
            probe.call(Trigger, 'learner_node/pause')
            probe.wait(lambda: statuses[-1].state == TrainingStatus.PAUSED, 'the pause')
            probe.wait(lambda: 'paused' in terminal.getvalue(), 'its line')
            told, page = tell('--json'), tell('--once')
            lines[0].close()
            probe.command = None
            graph.interrupt()
            code = graph.finish()
        yield SimpleNamespace(
            folder=folder / 'run',
            graph=graph,
            code=code,
            drawn=terminal.getvalue(),
            told=told,
            page=page,
            total_steps=statuses[-1].total_steps,
        )


def test_it_ends_well_and_not_with_who_films(filmed):
    assert filmed.code == 0, filmed.graph.output
    assert 'Traceback' not in filmed.graph.output
    assert not filmed.graph.parts['video_node'].ends


def read_films(folder: Path) -> dict[str, dict]:
    """What is known of the films of a run, each of which is there and shows a whole episode."""
    videos = folder / 'videos'
    known = json.loads((videos / 'videos.json').read_text())
    for name in ('first', 'best', 'last'):
        with av.open(videos / f'{name}.mp4') as container:
            stream = container.streams.video[0]
            assert stream.codec_context.name == 'h264'
            # 80 steps a second, of which every third is shown; and the last.
            assert stream.frames == -(-HORIZON // 3) + 1
    assert not list(videos.glob('*.tmp'))
    return known


def test_first_best_and_last_evaluation_are_films_of_whole_episodes(filmed):
    known = read_films(filmed.folder)
    assert known['first']['total_steps'] == EVAL_EVERY
    assert known['last']['total_steps'] >= 2 * EVAL_EVERY
    for film in known.values():
        assert film['total_steps'] % EVAL_EVERY == 0
        assert film['frames'] == film['scored'] == HORIZON + 1


def strips_of(folder: Path) -> list[int]:
    """Steps of the strips in TensorBoard."""
    board = EventAccumulator(str(folder / 'tensorboard' / 'films'))
    board.Reload()
    return [strip.step for strip in board.Images('evaluation/film')]


def test_each_evaluation_has_a_strip_in_tensorboard(filmed):
    strips = strips_of(filmed.folder)
    assert strips == [EVAL_EVERY * (number + 1) for number in range(len(strips))]
    assert len(strips) >= 2


def test_the_terminal_has_one_live_line(filmed):
    drawn = filmed.drawn.split(ERASE)
    assert drawn[-1] == ''
    assert '\n' not in filmed.drawn
    training = [line for line in drawn if re.match(DRAWN, line)]
    assert re.search(r'success \S+ \(eval \S+\) \| reward \S+ \| positives \d', training[-1])
    # The plain lines are for those who have no terminal.
    assert 'success, last 20 episodes' not in filmed.graph.output


def test_status_tells_it_to_programs(filmed):
    code, told = filmed.told
    assert code == 0
    (graph,) = json.loads(told)
    assert graph['namespace'] == '/'
    assert graph['run_folder'] == str(filmed.folder)
    assert (graph['total_steps'], graph['target_steps']) == (filmed.total_steps, TARGET)
    assert graph['state'] == 'paused'
    assert {node['node'] for node in graph['nodes']} == NODES


def test_status_tells_it_to_people(filmed):
    code, page = filmed.page
    assert code == 0
    assert f'of {TARGET:,}' in page
    assert all(node in page for node in NODES)


def test_where_no_graph_is_status_says_so(monkeypatch, capsys):
    domain = new_domain()
    monkeypatch.setenv('ROS_DOMAIN_ID', str(domain))
    assert status.main(['--once', '--wait', '0.5']) == 1
    assert capsys.readouterr().err == f'no graph is running in ROS domain {domain}\n'


@pytest.mark.campaign
def test_a_launched_run_in_a_terminal_to_its_end(tmp_path):
    """With processes. Nobody waits for the film of the last evaluation."""
    domain, target = new_domain(), 2 * EVAL_EVERY + 30
    settings = SETTINGS | {'run_folder': tmp_path / 'run', 'total_steps': target}
    words = [f'{name}:={str(v).lower() if v is True else v}' for name, v in settings.items()]
    launched = ['ros2', 'launch', 'furl_ros', 'train.launch.py', *words]
    with (
        Probe(domain) as probe,
        Command([sys.executable, '-c', IN_A_TERMINAL, *launched], domain, tmp_path) as graph,
    ):
        probe.command = graph
        statuses = probe.record(TrainingStatus, 'training_status')
        probe.wait(lambda: any(s.total_steps > 0 for s in statuses), 'a first step')
        ask = ['ros2', 'run', 'furl_ros', 'status', '--json', '--wait', str(TIMEOUT)]
        with Command(ask, domain) as told:
            told.expect_end()
        assert json.loads(told.output)[0]['target_steps'] == target
        graph.expect_end()
    assert graph.output.count('process has finished cleanly') == 6, graph.output
    strips = strips_of(tmp_path / 'run')
    assert strips in ([EVAL_EVERY, 2 * EVAL_EVERY], [EVAL_EVERY, 2 * EVAL_EVERY, target])
    known = read_films(tmp_path / 'run')
    assert [known[name]['total_steps'] for name in ('first', 'last')] == [strips[0], strips[-1]]
    # Whole lines, and drawn ones: a return was read as an end of line.
    erase = re.escape(ERASE.lstrip('\r'))
    lines = graph.output.split('\n')
    assert all(re.match(rf'(?:{erase})*(?:\[|freed|\w+: |{DRAWN}|$)', line) for line in lines), (
        lines
    )
    assert any(re.match(rf'(?:{erase})*{DRAWN}', line) for line in lines)
    assert 'success, last 20 episodes' not in graph.output
