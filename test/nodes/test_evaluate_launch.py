# SPDX-License-Identifier: Apache-2.0
"""evaluate.launch.py on a run that was saved, from the outside."""

import json
import re

import pytest
from graph_support import Probe, assert_clean, checkpoints, launch, new_domain, read_table
from sensor_msgs.msg import Image

from furl_interfaces.msg import Action, FrameScore, Observation, TrainingStatus
from furl_ros.core.run import load_config
from furl_ros.core.seeds import evaluation_seeds
from furl_ros.core.success import wilson

EPISODES, HORIZON = 3, 50


@pytest.fixture(scope='module')
def evaluated(train_run, tmp_path_factory):
    """What was said and written in an evaluation of the small run."""
    domain = new_domain()
    with Probe(domain) as probe:
        recorded = {
            'observations': probe.record(Observation, 'eval/observation'),
            'actions': probe.record(Action, 'eval/action'),
            'images': probe.record(Image, 'eval/camera/image_raw'),
            'scores': probe.record(FrameScore, 'eval/frame_score'),
            'statuses': probe.record(TrainingStatus, 'training_status'),
        }
        before = {path: path.stat().st_mtime_ns for path in train_run.folder.rglob('*')}
        arguments = {'checkpoint': train_run.folder, 'episodes': EPISODES}
        file = 'evaluate.launch.py'
        with launch(domain, train_run.folder, file, small=False, **arguments) as graph:
            assert_clean(graph, processes=6)
    (folder,) = (train_run.folder / 'evaluations').iterdir()
    after = {path: path.stat().st_mtime_ns for path in before}
    changed = [path for path in before if before[path] != after[path]]
    assert changed in ([], [train_run.folder])
    return folder, graph.output, recorded


def test_the_table_is_printed_and_written(evaluated, train_run):
    folder, output, _ = evaluated
    rows = read_table(folder / 'evaluation.csv')
    assert [row['episode'] for row in rows] == ['0', '1', '2']
    content = json.loads((folder / 'evaluation.json').read_text())
    assert len(content['episodes']) == EPISODES
    assert content['total_steps'] == int(checkpoints(train_run.folder)[-1].name[5:])
    successes = sum(row['success_any_step'] == 'True' for row in rows)
    low, high = wilson(successes, EPISODES)
    share = successes / EPISODES
    assert content['success_any_step'] == pytest.approx(share)
    assert content['success_any_step_low'] == pytest.approx(low)
    assert content['success_any_step_high'] == pytest.approx(high)
    line = f'success {share:.2f} (95 % interval {low:.2f} to {high:.2f})'
    assert line in output
    assert re.search(r'episode 3 of 3: .*, \d+ steps, return', output)
    assert f'written: {folder}/evaluation.csv' in output
    (row,) = read_table(folder / 'evaluations.csv')
    assert int(row['total_steps']) == content['total_steps']


def test_its_episodes_are_filmed(evaluated):
    folder, _, _ = evaluated
    known = json.loads((folder / 'videos' / 'videos.json').read_text())
    for name in ('first', 'best', 'last'):
        assert (folder / 'videos' / f'{name}.mp4').stat().st_size > 0
        assert known[name]['frames'] == known[name]['scored'] == HORIZON + 1


def test_the_episodes_are_those_of_the_runs_own_evaluations(evaluated, train_run):
    _, _, recorded = evaluated
    seed = load_config(train_run.folder)['seed']
    resets = [one.seed for one in recorded['observations'] if one.step == 0]
    assert resets == evaluation_seeds(seed, EPISODES)
    assert all(one.evaluation for one in recorded['observations'])
    assert {one.agent for one in recorded['actions']} == {'eval'}


def test_every_frame_has_its_score_and_nothing_is_learned(evaluated, train_run):
    _, _, recorded = evaluated
    stamps = [
        {(m.header.stamp.sec, m.header.stamp.nanosec) for m in recorded[name]}
        for name in ('observations', 'images', 'scores')
    ]
    assert stamps[0] == stamps[1] == stamps[2]
    assert {one.status for one in recorded['scores']} == {FrameScore.OK}
    saved = checkpoints(train_run.folder)[-1]
    last = recorded['statuses'][-1]
    assert last.total_steps == int(saved.name[5:])
    assert {one.heads_version for one in recorded['scores']} == {last.heads_version}
    assert TrainingStatus.EVALUATING in {one.state for one in recorded['statuses']}
