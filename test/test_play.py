# SPDX-License-Identifier: Apache-2.0
"""``play``: a run's policy as a film."""

import av
import pytest
from local_support import settings

from furl_ros import play
from furl_ros.core.seeds import evaluation_seeds
from furl_ros.local import train


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp('play') / 'run'
    return train(settings(folder, warmup_steps='30', total_steps='50'), log_every=50)


@pytest.fixture(autouse=True)
def no_display(monkeypatch):
    monkeypatch.delenv('DISPLAY', raising=False)


def films(run, *arguments):
    options = play._parser().parse_args([str(run), *arguments])
    return list(play.films_of(options))


def test_without_a_display_there_is_an_mp4_in_the_run_folder(run, capsys):
    assert play.main([str(run)]) == 0
    path = run / 'videos' / 'play.mp4'
    assert capsys.readouterr().out.splitlines()[-1] == str(path)
    with av.open(path) as container:
        assert container.streams.video[0].codec_context.name == 'h264'


def test_the_policy_plays_a_whole_episode_with_the_rewards_of_the_run(run):
    (film,) = films(run)
    assert [moment.step for moment in film.moments] == list(range(26))
    assert film.frames[0].shape == (32, 32, 3)
    assert all(-1 <= moment.reward <= 1 for moment in film.moments)
    assert {moment.agent for moment in film.moments} == {'vlm'}
    # The heads of the checkpoint, not those that a run begins with.
    assert film.moments[-1].heads_version > 0
    assert any(moment.reward != moment.cosine for moment in film.moments)


def test_episodes_are_those_of_the_evaluation_or_of_a_seed(run, capsys):
    films(run, '--episodes', '2', '--no-score')
    films(run, '--seed', '7', '--episodes', '2', '--no-score', '--agent', 'sac')
    said = [line.split(':')[0] for line in capsys.readouterr().out.splitlines()]
    first, second = evaluation_seeds(0, 2)
    assert said == [f'seed {first}', f'seed {second}', 'seed 7', 'seed 8']


def test_each_episode_has_a_file_of_its_own(run, tmp_path):
    target = tmp_path / 'new' / 'film.mp4'
    assert play.main([str(run), '--episodes', '2', '--no-score', '--video', str(target)]) == 0
    assert {path.name for path in target.parent.iterdir()} == {'film.mp4', 'film-2.mp4'}


def test_frames_may_be_larger_than_those_of_the_run(run):
    (film,) = films(run, '--image-size', '64', '--no-score')
    assert film.frames[0].shape == (64, 64, 3)


@pytest.mark.parametrize(
    ('arguments', 'text'),
    [
        (('nowhere',), "run is 'nowhere'; accepted: a run folder"),
        (('.', '--episodes', '0'), '--episodes is 0; accepted: 1 or more'),
    ],
)
def test_what_cannot_be_played_is_told_in_one_line(arguments, text, capsys):
    assert play.main(list(arguments)) == 2
    error = capsys.readouterr().err
    assert error.startswith(f'error: {text}')
    assert error.count('\n') == 1
