# SPDX-License-Identifier: Apache-2.0
"""Stopped and killed processes, full disks, floods, graphs that meet: nothing is lost or foreign.

One launched graph goes through one fault after the other, as in bench/faults; its environment
counts, so that its checkpoints tell what is missing.
"""

import os
import random
import re
import signal
import subprocess
import time
from types import SimpleNamespace

import numpy as np
import pytest
from fault_flood import Flood
from fault_run import HORIZON, NODES, SIZE, TASK, Judge
from graph_support import (
    SMALL,
    TIMEOUT,
    HostedGraph,
    Probe,
    assert_clean,
    checkpoints,
    launch,
    new_domain,
    read_trainer,
    run_process,
)
from launch_support import describe
from run_support import (
    ENDLESS,
    assert_goes_on,
    assert_readable,
    assert_whole,
    steps_of,
)
from safetensors import SafetensorError
from std_srvs.srv import Trigger

from furl_interfaces.msg import RewardHeads, TrainingStatus
from furl_ros.bridge import names
from furl_ros.core import storage
from furl_ros.core.settings import SettingError

COUNTED = {
    'task': TASK,
    'image_size': SIZE,
    'horizon': HORIZON,
    'total_steps': ENDLESS,
    'hidden_units': 32,
    'head_hidden_units': 32,
}


def alive(pid):
    try:
        with open(f'/proc/{pid}/stat') as file:
            return file.read().rpartition(')')[2].split()[0] != 'Z'
    except FileNotFoundError:
        return False


def refusal(**arguments):
    """Why train.launch.py refuses these arguments."""
    with pytest.raises(SettingError) as caught:
        describe(**arguments)
    return str(caught.value)


@pytest.fixture(scope='module')
def story(tmp_path_factory):
    """A graph that is met by others, stopped and killed; then it goes on until Ctrl-C."""
    folder, domain, judge = tmp_path_factory.mktemp('story'), new_domain(), Judge()
    told = SimpleNamespace(folder=folder / 'run', domain=domain)
    # So that it is never asked for a new episode, however long the machine holds things up.
    settings = COUNTED | {'checkpoint_every': 100, 'keep_checkpoints': 9, 'stall_timeout': 300}
    with Probe(domain) as probe:
        statuses = probe.record(TrainingStatus, 'training_status')

        def steps():
            return statuses[-1].total_steps if statuses else 0

        def go_on():
            before = steps()
            probe.wait(lambda: steps() >= before + 50, 'further steps')

        with launch(domain, folder, run_folder=told.folder, **settings) as graph:
            probe.command = told.graph = graph
            probe.wait(lambda: steps() > 200, 'the first steps')
            # What the others do takes a while.
            assert probe.call(Trigger, 'learner_node/pause').success
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv('ROS_DOMAIN_ID', str(domain))
                patch.setattr(names, 'DISCOVERY_S', TIMEOUT)
                told.same = refusal(method='sac')
                told.writing = refusal(run_folder=told.folder)
            told.learner = graph.pid_of('learner_node')
            other = {'task': 'drawer-close-v3', 'total_steps': 60, 'warmup_steps': 60}
            other['run_folder'] = folder / 'apart'
            with HostedGraph(domain, folder, namespace='apart', **other) as told.apart:
                told.apart.expect_end()
            assert probe.call(Trigger, 'learner_node/resume').success
            go_on()
            reward, alignment = map(graph.pid_of, ('reward_node', 'alignment_node'))
            os.kill(reward, signal.SIGSTOP)
            # As many steps are under way as may be.
            probe.wait_for_count('learner_node', 'in_flight', 17)
            os.kill(reward, signal.SIGCONT)
            go_on()
            os.kill(alignment, signal.SIGSTOP)
            # Whatever the learner was doing, it waits for it in the end.
            graph.wait_for('waiting for alignment_node(:|\n)')
            os.kill(alignment, signal.SIGCONT)
            go_on()
            newest = checkpoints(told.folder)[-1]
            probe.wait(lambda: checkpoints(told.folder)[-1] > newest, 'a checkpoint after all that')
            told.survived = judge.judge(told.folder)
            probe.command = None
            os.kill(told.learner, signal.SIGKILL)
            told.code = graph.finish()
        assert_readable(told.folder)
        told.before, told.killed = checkpoints(told.folder)[-1], judge.judge(told.folder)
        statuses.clear()
        with launch(domain, folder, small=False, resume=told.folder) as told.resumed:
            probe.command = told.resumed
            probe.wait(lambda: steps() > steps_of(told.before) + 50, 'the run to go on')
            probe.command = None
            told.resumed.interrupt()
            told.resumed.finish()
        told.last, told.ended = checkpoints(told.folder)[-1], judge.judge(told.folder)
    return told


def test_nothing_is_lost_or_foreign_whatever_happens(story):
    for found in (story.survived, story.killed, story.ended):
        assert (found.lost, found.misjoined, found.foreign) == (0, 0, 0)
    assert story.killed.steps > 300


def test_a_second_graph_of_the_same_names_is_refused(story):
    assert story.same.startswith(f'another graph has these names in ROS domain {story.domain}: /')
    assert f'_node (it writes to {story.folder})' in story.same
    assert 'ROS_DOMAIN_ID=<number>) or a namespace (namespace:=<name>)' in story.same


def test_a_run_folder_that_is_written_to_is_refused(story):
    assert f'process {story.learner} on ' in story.writing


def test_a_graph_in_a_namespace_is_none_of_the_others(story):
    assert 'of another run' not in story.graph.output + story.apart.output
    replay, trainer = read_trainer(checkpoints(story.folder.parent / 'apart')[-1])
    assert trainer['steps'] == len(replay['stamp']) == 60
    np.testing.assert_array_equal(replay['next_state'][:-1], replay['state'][1:])


def test_a_killed_node_ends_the_launch_with_an_error(story):
    assert story.code == 1
    assert len(re.findall(r'learner_node-\d+ ended with exit code -9', story.graph.output)) == 1
    assert story.graph.output.count('process has finished cleanly') == 3, story.graph.newest
    assert 'Traceback' not in story.graph.output


def test_a_resumed_run_goes_on_where_it_stopped(story):
    first = int(re.search(r'step ([\d,]+) of', story.resumed.output)[1].replace(',', ''))
    assert first == steps_of(story.before)
    assert_goes_on(story.folder, story.before, story.last)


def test_ctrl_c_ends_every_process_cleanly_and_leaves_a_whole_checkpoint(story):
    assert_clean(story.resumed, processes=4)
    assert_readable(story.folder)
    assert (story.folder / 'vlm_agent.zip').is_file()


def test_malformed_messages_on_every_topic_and_service_change_nothing(tmp_path, monkeypatch):
    domain = new_domain()
    monkeypatch.setenv('ROS_DOMAIN_ID', str(domain))
    settings = COUNTED | {'run_folder': tmp_path / 'run'}
    with HostedGraph(domain, tmp_path, **settings) as graph:
        learner = graph.nodes['learner_node']

        def wait_for_steps(least):
            end = time.monotonic() + TIMEOUT
            while learner.node.trainer.steps < least:
                assert graph.returncode is None, graph.newest
                assert time.monotonic() < end, graph.newest
                graph.wait_for_news(0.05)

        learner.wait_for('run folder: ')
        wait_for_steps(SMALL['warmup_steps'] + 10)
        # Whose evaluation would be steps of the only robot that nobody learns from.
        with Flood(random.Random(0), NODES, spared=['/evaluate/_action/send_goal']) as flood:
            flood.run(25, 5, 20.0)
        wait_for_steps(learner.node.trainer.steps + 50)
        graph.end()
    assert len(flood.sent) > 15
    assert len(flood.called) > 20
    found = Judge().judge(tmp_path / 'run')
    assert (found.lost, found.misjoined, found.foreign) == (0, 0, 0)


@pytest.mark.parametrize('file', ['alignment', 'trainer'])
def test_a_full_disk_ends_the_run_with_one_line_and_the_last_checkpoint_is_whole(
    tmp_path, monkeypatch, file
):
    settings = COUNTED | {'checkpoint_every': 100, 'run_folder': tmp_path / 'run'}
    write = storage.save_file

    def fail(arrays, path, meta):
        if file in path.name and checkpoints(tmp_path / 'run'):
            raise SafetensorError('I/O error: No space left on device (os error 28)')
        write(arrays, path, meta)

    monkeypatch.setattr(storage, 'save_file', fail)
    with HostedGraph(new_domain(), tmp_path, **settings) as graph:
        graph.expect_end(1)
    said = graph.nodes['learner_node'].output
    assert len(re.findall(r'\[ERROR\].*No space left on device', said)) == 1, graph.newest
    assert [path.name for path in checkpoints(tmp_path / 'run')] == ['step_000000100']
    assert_whole(tmp_path / 'run')


def test_a_node_ends_when_its_launch_has_gone():
    with subprocess.Popen(['sleep', 'infinity']) as stand_in:
        settings = {'launch_pid': stand_in.pid, 'render': False}
        with run_process(new_domain(), 'sim_node', **settings) as node:
            node.wait_for('drawer-close-v3')
            stand_in.kill()
            stand_in.wait()
            node.expect_end()
    assert 'the launch has gone: stopping' in node.output


@pytest.mark.campaign
def test_a_killed_launch_takes_its_nodes_with_it(tmp_path):
    """They save what there is, and the run can go on."""
    domain = new_domain()
    settings = {'total_steps': ENDLESS, 'run_folder': tmp_path / 'run'}
    with Probe(domain) as probe, launch(domain, tmp_path, **settings) as graph:
        # The learner's own word: the alignment may be ahead of it.
        statuses = probe.record(TrainingStatus, 'training_status')
        probe.command = graph
        probe.wait(lambda: statuses and statuses[-1].total_steps >= 200, 'the first steps')
        pids = [graph.pid_of(name) for name in NODES]
        probe.command = None
        os.kill(graph.process.pid, signal.SIGKILL)
        probe.wait(lambda: not any(map(alive, pids)), 'the end of the nodes')
    steps = read_trainer(checkpoints(tmp_path / 'run')[-1])[1]['steps']
    assert steps >= 200
    more = {'resume': tmp_path / 'run', 'total_steps': steps + 100}
    with launch(new_domain(), tmp_path, small=False, **more) as graph:
        assert_clean(graph, processes=4)
    assert read_trainer(checkpoints(tmp_path / 'run')[-1])[1]['steps'] == steps + 100


@pytest.mark.campaign
def test_in_a_namespace_a_graph_learns_what_it_learns_alone(tmp_path):
    domain, task = new_domain(), 'window-open-v3'
    settings = {'pin_learner': False, 'deterministic': True}
    short = settings | {'task': task, 'total_steps': 300}
    with Probe(domain) as probe:
        first = launch(domain, tmp_path, total_steps=ENDLESS, **settings)
        with first:
            probe.command = first
            heads = probe.record(RewardHeads, 'reward_heads')
            probe.wait(lambda: heads, 'the first graph')
            apart = short | {'namespace': 'apart', 'run_folder': tmp_path / 'apart'}
            with launch(domain, tmp_path, **apart) as more:
                assert_clean(more, processes=4)
            assert 'of another run' not in more.output
            first.end()
            assert 'of another run' not in first.output
    with launch(new_domain(), tmp_path, **short, run_folder=tmp_path / 'alone') as graph:
        assert_clean(graph, processes=4)
    beside, alone = (read_trainer(checkpoints(tmp_path / n)[-1])[0] for n in ('apart', 'alone'))
    for name, array in beside.items():
        np.testing.assert_array_equal(array, alone[name], err_msg=name)
