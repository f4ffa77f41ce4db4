# SPDX-License-Identifier: Apache-2.0
"""demonstrate: episodes of a script, and those of recordings; runs that begin with them."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from local_support import SMALL
from rclpy.serialization import serialize_message

from furl_interfaces.msg import FrameScore, Observation, PromptEmbedding, SourceInfo
from furl_ros import demonstrate
from furl_ros.bags.writing import BagWriter
from furl_ros.bridge import graph
from furl_ros.bridge.convert import to_float_field, to_time
from furl_ros.core.demonstrations import load_demonstrations
from furl_ros.core.settings import SettingError
from furl_ros.local import LocalRun
from furl_ros.nodes.record_node import definition_of

ROOT = Path(__file__).parents[1]
TASK = 'drawer-close-v3'
SETTINGS = {
    'task': TASK,
    'vlm': 'tiny-random',
    'image_size': '32',
    'horizon': '100',
    'end_at_success': 'true',
    'success_reward': '0/1',
    'action_repeat': '1',
    'device': 'cpu',
}
RUN = SMALL | SETTINGS | {'warmup_steps': '10', 'total_steps': '20', 'demonstration_share': '0.5'}


def words(settings):
    return [f'{name}:={value}' for name, value in settings.items()]


@pytest.fixture(scope='module')
def shown(tmp_path_factory):
    out = tmp_path_factory.mktemp('shown') / 'shown.safetensors'
    assert demonstrate.main([*words(SETTINGS), '--episodes', '2', '--out', str(out)]) == 0
    return out


class TestScripted:
    def test_episodes_with_a_success(self, shown):
        loaded = load_demonstrations(shown)
        assert loaded.about['task'] == TASK
        assert len(loaded.episodes) == 2
        for episode in loaded.episodes:
            assert [t.step for t in episode] == list(range(1, len(episode) + 1))
            assert [t.success for t in episode] == [False] * (len(episode) - 1) + [True]
            assert episode[-1].terminated
            for before, after in itertools.pairwise(episode):
                assert np.array_equal(before.next_state, after.state)
                assert np.array_equal(before.embedding, after.previous_embedding)
            assert all(np.abs(t.action).max() <= 1 for t in episode)

    def test_they_are_for_what_is_launched_without_further_settings(self, tmp_path):
        out = tmp_path / 'shown.safetensors'
        small = {name: SETTINGS[name] for name in ('task', 'vlm', 'image_size', 'horizon')}
        assert demonstrate.main([*words(small), '--episodes', '1', '--out', str(out)]) == 0
        launched = graph.read_params_file(ROOT / 'config' / 'quick.yaml')
        about = load_demonstrations(out).about
        for name in ('success_reward', 'action_repeat'):
            assert about[name] == launched[name]

    @pytest.mark.parametrize(
        ('arguments', 'error'),
        [
            (['task:=Pendulum-v1'], "task is 'Pendulum-v1'; accepted: a Meta-World task"),
            (['task'], "'task' is no setting; accepted: name:=value"),
            (['--episodes', '0'], 'accepted: --episodes of 1 or more'),
            (['--bag', '/nowhere'], "bag is '/nowhere'; accepted"),
            (['task:=reach-v3', '--bag', '/nowhere'], 'accepted with --bag: none'),
        ],
    )
    def test_bad_input(self, arguments, error, capsys, tmp_path):
        assert demonstrate.main([*arguments, '--out', str(tmp_path / 'out')]) == 2
        assert error in capsys.readouterr().err


class TestARunBeginsWithThem:
    def values(self, folder, shown, **more):
        given = RUN | {'run_folder': str(folder), 'demonstrations': str(shown)} | more
        return graph.settings_of_run(given, '')

    def test_they_are_in_the_replay_and_in_the_rings_once(self, tmp_path, shown):
        """A resumed run does not take them a second time."""
        count = len(load_demonstrations(shown).transitions)
        run = LocalRun(self.values(tmp_path / 'run', shown))
        try:
            assert len(run.trainer.replay) == count
            assert run.trainer.steps == run.aligner.transitions == 0
            assert len(run.aligner.positives) == count
            for _ in run.steps():
                pass
            assert len(run.trainer.replay) == count + 20
            assert run.aligner.stage == 2, 'positives from the start'
        finally:
            run.close()
        given = {'resume': str(tmp_path / 'run'), 'total_steps': '25'}
        run = LocalRun(graph.settings_of_run(given, ''))
        try:
            assert len(run.trainer.replay) == count + 20
        finally:
            run.close()

    def test_not_with_another(self, tmp_path, shown):
        with pytest.raises(SettingError, match='accepted with these demonstrations'):
            self.values(tmp_path / 'run', shown, task='reach-v3')


class Recording:
    """A bag of a run on an arm with two values of state and one of action."""

    def __init__(self, folder):
        self.bag = BagWriter(folder, definition_of)
        self.stamp, self.episode = 1_000_000_000, -1
        for name, kind in (
            ('source_info', 'SourceInfo'),
            ('prompt_embedding', 'PromptEmbedding'),
            ('observation', 'Observation'),
            ('frame_score', 'FrameScore'),
        ):
            self.bag.add_topic(f'/{name}', f'furl_interfaces/msg/{kind}', {})
        bounds = {'action_low': to_float_field([0.0]), 'action_high': to_float_field([2.0])}
        self.write('source_info', SourceInfo(task='arm', state_size=2, **bounds))
        self.write('prompt_embedding', PromptEmbedding(vlm='furl-tiny', prompt='push'))

    def write(self, topic, message):
        self.bag.write(f'/{topic}', self.stamp, serialize_message(message))

    def play(self, length, success=False, driven=(), unscored=(), lost=(), discarded=False):
        self.episode += 1
        before = 0
        for step in range(length + 1):
            self.stamp += 50_000_000
            last = step == length
            message = Observation(
                episode=self.episode,
                step=step,
                state=to_float_field([self.episode, step]),
                action=to_float_field([1.5] if step else []),
                task_reward=float(success and last),
                success=success and last,
                terminated=success and last,
                truncated=last and not success,
                discarded=discarded and last,
                intervened=step in driven,
            )
            message.header.stamp = to_time(self.stamp)
            message.previous_stamp = to_time(before if step else self.stamp)
            before = self.stamp
            if step not in lost:
                self.write('observation', message)
            score = FrameScore(embedding=to_float_field([self.episode, step, 1.0]))
            score.header.stamp = message.header.stamp
            if step not in unscored:
                self.write('frame_score', score)


class TestRecorded:
    @pytest.fixture
    def bag(self, tmp_path):
        recording = Recording(tmp_path / 'bag')
        recording.play(4, success=True)
        recording.play(5, driven=(2, 3))
        recording.play(3, success=True, unscored=(2,))
        recording.play(4, success=True, lost=(2,))
        recording.play(4, success=True, discarded=True)
        recording.play(6)
        recording.bag.close()
        return tmp_path / 'bag'

    def made(self, bag, *arguments):
        out = bag.parent / 'out'
        assert demonstrate.main(['--bag', str(bag), '--out', str(out), *arguments]) == 0
        return load_demonstrations(out)

    def test_episodes_with_a_success(self, bag):
        """Whole ones; without the steps whose frames were not scored."""
        shown = self.made(bag)
        assert shown.about == {'task': 'arm', 'vlm': 'furl-tiny', 'prompt': 'push'}
        first, second = shown.episodes
        assert [t.next_state.tolist() for t in first] == [[0, step] for step in range(1, 5)]
        assert [t.step for t in second] == [1]
        assert first[0].action.tolist() == [0.5]
        assert first[2].embedding.tolist() == [0, 3, 1]
        assert first[2].previous_embedding.tolist() == [0, 2, 1]
        assert [t.task_reward for t in first] == [0, 0, 0, 1]

    def test_those_in_which_somebody_drove(self, bag):
        (episode,) = self.made(bag, '--which', 'driven').episodes
        assert [t.state.tolist() for t in episode] == [[1, step] for step in range(5)]

    def test_all_that_was_kept(self, bag, capsys):
        assert len(self.made(bag, '--which', 'all', '--json').episodes) == 4
        summary = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert (summary['episodes'], summary['successes']) == (4, 1)

    def test_a_bag_of_something_else(self, tmp_path, capsys):
        with BagWriter(tmp_path / 'other', definition_of):
            pass
        assert demonstrate.main(['--bag', str(tmp_path / 'other')]) == 2
        assert 'has no source_info; accepted: recordings of record:=true' in capsys.readouterr().err
