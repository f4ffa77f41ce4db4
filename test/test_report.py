# SPDX-License-Identifier: Apache-2.0
"""The report: figures with known answers, bad input, the page, rewards along episodes."""

import csv
import json
import shutil

import numpy as np
import pytest
import yaml
from local_support import SMALL, settings

from furl_ros import local
from furl_ros.core import trainer
from furl_ros.core.alignment import Aligner
from furl_ros.core.heads import RewardHeads
from furl_ros.core.kinds import HEADS
from furl_ros.core.run import ALIGNMENT_FILE, find_checkpoint
from furl_ros.core.settings import SettingError
from furl_ros.report import aggregates, measures
from furl_ros.report.command import main
from furl_ros.report.comparison import Comparison
from furl_ros.report.page import END_OF_READING, READING
from furl_ros.report.rewards import choose, rewards_along_episodes, whole_episodes
from furl_ros.report.runs import read_results, read_run
from furl_ros.report.traces import COLUMNS, FAILED, FIRST_SUCCESS, LAST_SUCCESS, read_traces

LENGTH = 10  # actions
EPISODE_COLUMNS = (*trainer.Episode._fields, 'success_rate_20')
# Runs x tasks, and what rliable 1.2.0 (arch 7.2.0, 50,000 resamples; the improvement 5,000) said.
SCORES = np.array(
    [
        [0.85, 0.10, 0.95, 0.00],
        [0.60, 0.30, 1.00, 0.05],
        [0.90, 0.00, 0.70, 0.20],
        [0.75, 0.45, 0.95, 0.00],
        [0.80, 0.25, 0.85, 0.10],
    ]
)
OTHERS = np.array([[0.20, 0.10, 0.90, 0.00], [0.65, 0.00, 0.80, 0.00], [0.30, 0.15, 1.00, 0.05]])


def write_csv(path, columns, rows):
    with open(path, 'w', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)


def write_run(
    results,
    success,
    task='push-v3',
    variant='furl',
    seed=0,
    method=None,
    repeat=2,
    phases=None,
    curves=None,
    evaluations=((30, 5, 0.4, 0.2),),
    **changes,
):
    """A run whose episodes, of LENGTH actions each, were successful or not."""
    folder = results / task / variant / f's{seed}'
    folder.mkdir(parents=True)
    total = len(success) * LENGTH
    settings = {'method': method or variant, 'seed': seed, 'task': task, 'warmup_steps': LENGTH}
    content = {
        'task': task,
        'variant': variant,
        'seed': seed,
        'settings': settings,
        'commit': 'abc',
        'machine': {'processor': 'a processor', 'cores': 2},
        'dirty': variant == 'vlm',
        'wall_seconds': 90.0,
        'total_steps': total,
        'action_repeat': repeat,
    }
    (folder / 'run.yaml').write_text(yaml.safe_dump(content | changes))
    phases = phases or ['relay'] * len(success)
    rows = [
        [(i + 1) * LENGTH, 0, i, LENGTH, phase, 0, 'nan', bool(flag), False, 0.0, False, 0]
        for i, (flag, phase) in enumerate(zip(success, phases, strict=True))
    ]
    write_csv(folder / 'episodes.csv', EPISODE_COLUMNS, rows)
    curves = curves or [(total, 60.0, 1)]
    write_csv(folder / 'curves.csv', ('total_steps', 'wall_seconds', 'relay'), curves)
    columns = trainer.Evaluation._fields
    write_csv(folder / 'evaluations.csv', columns, [(*row, 0.0) for row in evaluations])
    return folder


def write_sweep(results, seeds=3):
    """Two tasks, sac without any success, vlm with half, furl with all in the later half."""
    for task in ('push-v3', 'reach-v3'):
        for seed in range(seeds):
            for variant, odds in (('sac', [0]), ('vlm', [0, 1]), ('furl', [1])):
                success = [0] * 24 + (odds * 24)[:24]
                write_run(results, success, task, variant, seed)


@pytest.fixture
def few_resamples(monkeypatch):
    monkeypatch.setattr(aggregates, 'RESAMPLES', 1_000)


def rows_of(page, title, occurrence=0):
    """Cells of the rows of a table that follows a title."""
    after = page.split(f'\n{title}', 1)[1]
    lines = after.splitlines()
    starts = [i for i, line in enumerate(lines) if line.startswith('|---')]
    rows = []
    for line in lines[starts[occurrence] + 1 :]:
        if not line.startswith('|'):
            break
        rows.append([cell.strip() for cell in line.strip('|').split('|')])
    return rows


# Figures of one run


def test_the_window_is_the_trainers():
    assert measures.WINDOW == trainer.WINDOW


def test_the_curve_and_its_area_are_those_of_hand_calculation(tmp_path):
    run = read_run(write_run(tmp_path, [0, 1, 1, 0], repeat=2))
    assert run.ends.tolist() == [20, 40, 60, 80]
    assert run.total_steps == 80
    np.testing.assert_allclose(measures.windowed(run.any_step), [0, 1 / 2, 2 / 3, 1 / 2])
    np.testing.assert_allclose(
        measures.success_at(run, np.array([0, 19, 20, 40, 59, 60, 79, 80])),
        [0, 0, 0, 1 / 2, 1 / 2, 2 / 3, 2 / 3, 1 / 2],
    )
    assert measures.area(run, 80) == pytest.approx((0 + 0 + 1 / 2 + 2 / 3) / 4)
    assert measures.area(run, 70) == pytest.approx((20 / 2 + 10 * 2 / 3) / 70)
    # The same from the curve at every single step.
    assert measures.area(run, 70) == pytest.approx(measures.success_at(run, np.arange(70)).mean())


def test_the_first_success(tmp_path):
    run = read_run(write_run(tmp_path, [0, 0, 1, 0, 1], repeat=3))
    assert measures.first_success(run) == measures.measure(run, 100).first_success == 3 * LENGTH * 3
    assert measures.first_success(read_run(write_run(tmp_path, [0, 0], seed=1))) is None


def test_a_threshold_needs_a_full_window(tmp_path):
    run = read_run(write_run(tmp_path, [1] + [0] * 9 + [1] * 17, repeat=3))
    # The first window alone (1 of 1) does not count; 20 episodes have 11 successes.
    assert measures.windowed(run.any_step)[0] == 1
    assert measures.steps_to(run, 0.5) == 20 * LENGTH * 3
    # 18 of 20 are reached at episode 28, one more than there are.
    assert measures.steps_to(run, 0.9) is None
    run = read_run(write_run(tmp_path, [0] * 10 + [1] * 18, repeat=3, seed=1))
    assert measures.steps_to(run, 0.9) == 28 * LENGTH * 3
    assert measures.measure(run, 100).final_any == 0.9
    assert measures.measure(run, 100).final_last == 0


def test_wall_time_goes_on_after_a_restart(tmp_path):
    curves = [(10, 60.0, 1), (20, 120.0, 1), (30, 30.0, 1), (40, 90.0, 1)]
    run = read_run(write_run(tmp_path, [0, 0, 0, 0], repeat=2, curves=curves))
    assert run.curve_seconds.tolist() == [60, 120, 150, 210]
    assert measures.minutes_at(run, 20) == 1
    assert measures.minutes_at(run, 30) == 1.5
    assert measures.minutes_at(run, 80) == 3.5
    assert measures.minutes_at(run, None) is None
    assert measures.measure(run, 80).steps_per_second == 80 / 210


def test_who_acted_and_when_the_relay_ended(tmp_path):
    phases = ['random', 'relay', 'relay', 'vlm']
    curves = [(15, 1.0, 1), (40, 2.0, 0)]
    run = read_run(write_run(tmp_path, [0, 1, 1, 0], phases=phases, curves=curves))
    assert measures.shares(run) == {'random': 0.25, 'relay': 0.5, 'vlm': 0.25}
    assert measures.relay_ended(run) == 60
    # Over before the end of the warm-up: only the curves tell.
    curves = [(10, 1.0, 1), (20, 2.0, 0)]
    phases = ['random', 'random', 'random', 'vlm']
    run = read_run(write_run(tmp_path, [0, 1, 1, 0], phases=phases, curves=curves, seed=1))
    assert measures.relay_ended(run) == 40
    run = read_run(write_run(tmp_path, [0, 0], seed=2))
    assert measures.relay_ended(run) is None
    assert measures.measure(run, 40).has_relay
    plain = write_run(tmp_path, [0, 0], variant='sac', phases=['random', 'sac'])
    assert not measures.measure(read_run(plain), 40).has_relay


# Aggregates


def test_aggregates_are_those_of_hand_calculation():
    scores = np.array([[0.0, 0.1], [0.2, 1.0], [0.4, 0.6]])
    assert aggregates.mean(scores) == pytest.approx(2.3 / 6)
    # Six values, one left out at each end.
    assert aggregates.interquartile_mean(scores) == pytest.approx((0.1 + 0.2 + 0.4 + 0.6) / 4)
    batch = np.stack([scores, scores + 1])
    np.testing.assert_allclose(aggregates.mean(batch), [2.3 / 6, 2.3 / 6 + 1])
    # First task: 0.5 beats one of two; second: one win, one tie, then a loss and a win.
    probability = aggregates.improvement(
        np.array([[0.5, 0.3], [0.5, 0.2]]), np.array([[0.4, 0.3], [0.6, 0.1]])
    )
    assert probability == pytest.approx((2 / 4 + (1 + 0.5 + 0 + 1) / 4) / 2)


@pytest.mark.parametrize(
    ('scores', 'figure', 'expected'),
    [
        (SCORES, aggregates.mean, (0.49, 0.44, 0.54)),
        (SCORES, aggregates.interquartile_mean, (0.5, 0.425, 0.575)),
        (OTHERS, aggregates.mean, (0.345833, 0.2875, 0.4125)),
        (OTHERS, aggregates.interquartile_mean, (0.241667, 0.141667, 0.366667)),
    ],
)
def test_intervals_are_those_of_rliable(scores, figure, expected):
    found = aggregates.estimate(scores, figure)
    assert found.value == pytest.approx(expected[0], abs=1e-6)
    assert found == pytest.approx(expected, abs=0.006)
    assert found == aggregates.estimate(scores, figure)


def test_the_probability_of_improvement_is_that_of_rliable():
    found = aggregates.estimate_improvement(SCORES, OTHERS)
    assert found.value == pytest.approx(0.716667, abs=1e-6)
    assert found == pytest.approx((0.716667, 0.55, 0.875), abs=0.01)
    assert aggregates.improvement(SCORES, OTHERS) == pytest.approx(found.value)
    assert aggregates.improvement(OTHERS, SCORES) == pytest.approx(1 - found.value)


# Reading


def test_what_is_missing_is_said_and_the_rest_is_used(tmp_path, few_resamples):
    write_sweep(tmp_path)
    (tmp_path / 'reach-v3/vlm/s2/run.yaml').unlink()
    shutil.rmtree(tmp_path / 'reach-v3/furl/s1')
    write_run(tmp_path, [0] * 8, 'reach-v3', 'furl', 3, total_steps=500)
    results = read_results(tmp_path)
    assert results.missing == [
        'reach-v3/furl/s3: not finished (160 of 1,000 environment steps)',
        'reach-v3/vlm/s2: not finished (no run.yaml)',
        'reach-v3/furl: no seed 1',
        'reach-v3/sac: no seed 3',
        'reach-v3/vlm: no seed 3',
    ]
    comparison = Comparison(results)
    assert comparison.aggregates['furl'].seeds == (3, 2)
    assert comparison.aggregates['furl'].used == 2
    assert comparison.scores('furl', comparison.tasks, 'final_any').shape == (2, 2)
    assert [run.seed for run in comparison.cell('reach-v3', 'furl')] == [0, 2]


def test_a_run_that_lacks_less_than_an_episode_is_finished(tmp_path):
    folder = write_run(tmp_path, [0] * 4, total_steps=45, curves=[(42, 1.0, 1)])
    assert read_run(folder).finished
    assert not read_run(write_run(tmp_path, [0] * 4, total_steps=55, seed=1)).finished


def test_a_torn_last_row_is_left_out(tmp_path):
    folder = write_run(tmp_path, [0, 1, 1, 0])
    with open(folder / 'episodes.csv', 'a') as file:
        file.write('50,0,4,1')
    assert len(read_run(folder).ends) == 4


def break_file(name, old, new):
    def change(folder):
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new))

    return change


def twice(folder):
    shutil.copytree(folder.parent, folder.parents[1] / 'again')


@pytest.mark.parametrize(
    ('change', 'text'),
    [
        (break_file('episodes.csv', 'phase', 'fase'), "episodes.csv has no column 'phase'"),
        (break_file('episodes.csv', 'True', 'yes'), "line 3: success_any_step is 'yes'"),
        (break_file('episodes.csv', 'relay', 'race'), "episodes.csv, line 2: phase is 'race'"),
        (break_file('episodes.csv', '\n20,', '\n35,'), 'line 4: total_steps is 30 after 35'),
        (break_file('curves.csv', '60.0', 'long'), "curves.csv, line 2: wall_seconds is 'long'"),
        (break_file('run.yaml', 'seed: 0\n', 'seed: [\n'), 'run.yaml cannot be read'),
        (break_file('run.yaml', 'total_steps: 40', 'total_steps: x'), "total_steps is 'x'"),
        (break_file('run.yaml', 'method: furl', 'method: fur'), "method is 'fur'; accepted: furl,"),
        (lambda folder: (folder / 'episodes.csv').unlink(), 'episodes.csv cannot be read'),
        (lambda folder: folder.rename(folder.with_name('zero')), 'holds no runs; accepted: <resul'),
        (lambda folder: (folder / 'run.yaml').unlink(), 'holds no finished run'),
        (twice, 'are both push-v3/furl/s0'),
        (lambda folder: (folder.parents[2] / 'README.md').write_text('mine'), 'is not replaced'),
    ],
)
def test_bad_input_is_one_line_that_names_it(change, text, tmp_path, capsys, few_resamples):
    change(write_run(tmp_path, [0, 1, 1, 0]))
    assert main([str(tmp_path)]) == 2
    out, message = capsys.readouterr()
    assert not out
    assert message.startswith('error: ')
    assert message.count('\n') == 1
    assert text in message


@pytest.mark.parametrize(
    ('options', 'text'),
    [
        (['--apart', 'pull-v3'], "apart is 'pull-v3'; accepted: tasks with finished runs (push-v3"),
        (['--baseline', 'ppo'], "baseline is 'ppo'; accepted: variants with finished runs (furl)"),
        (['--check'], 'README.md does not exist'),
        (['--rewards', 'nowhere'], "rewards is 'nowhere'; accepted: the folder of the run folders"),
    ],
)
def test_a_wrong_option_is_one_line(options, text, tmp_path, capsys, few_resamples):
    write_run(tmp_path, [0, 1, 1, 0])
    assert main([str(tmp_path), *options]) == 2
    assert text in capsys.readouterr().err


# The page


@pytest.fixture(scope='module')
def reported(tmp_path_factory):
    """A sweep of which push-v3 was told apart."""
    results = tmp_path_factory.mktemp('report')
    write_sweep(results)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aggregates, 'RESAMPLES', 1_000)
        assert main([str(results), '--apart', 'push-v3']) == 0
    return results


def test_the_page_has_the_figures(reported):
    page = (reported / 'README.md').read_text()
    assert f'ros2 run furl_ros report {reported} --apart push-v3\n' in page
    assert 'Commit abc, abc with changes; machine a processor, 2 cores; 0.5 hours of runs' in page
    means = rows_of(page, '### reach-v3, 960 environment steps')
    assert [row[:3] for row in means] == [
        ['sac', '3', '0.00 +- 0.00'],
        ['vlm', '3', '0.50 +- 0.00'],
        ['furl', '3', '1.00 +- 0.00'],
    ]
    # 18 successes after 24 failures at 20 environment steps an episode; a minute for 960 steps.
    seed = rows_of(page, '### reach-v3', 1)[6]
    assert seed[:2] == ['furl', '0']
    assert seed[5:9] == ['0.40 / 0.20', '500', '680 / 0.7', '840 / 0.9']
    assert seed[9:] == ['16', '0.00 / 1.00 / 0.00', 'never']
    assert rows_of(page, '### reach-v3', 1)[0][5:9] == ['0.40 / 0.20', '—', '—', '—']
    aggregated = rows_of(page, '## Over tasks')
    assert [row[:4] for row in aggregated] == [
        ['sac', '1', '3', '0.00 [0.00, 0.00]'],
        ['vlm', '1', '3', '0.50 [0.50, 0.50]'],
        ['furl', '1', '3', '1.00 [1.00, 1.00]'],
    ]
    improvements = rows_of(page, '## Probability of improvement')
    assert [row[:4] for row in improvements] == [
        ['furl', 'sac', '1', '1.00 [1.00, 1.00]'],
        ['furl', 'vlm', '1', '1.00 [1.00, 1.00]'],
    ]
    assert improvements[0][-2:] == ['yes', 'yes']
    assert page.index('## Apart') < page.index('### push-v3')
    assert rows_of(page, '## Variants') == [['sac', 'sac'], ['vlm', 'vlm'], ['furl', 'furl']]
    assert (reported / 'curves.png').read_bytes().startswith(b'\x89PNG')


def test_the_page_is_the_same_again_and_keeps_what_was_written(
    reported, few_resamples, tmp_path, capsys
):
    page = reported / 'README.md'
    text = page.read_text()
    before, _, after = text.partition(READING)[2].partition(END_OF_READING)
    written = text.replace(before, '\nfurl wins.\n\n| a | b |\n\n')
    page.write_text(written)
    assert main([str(reported), '--apart', 'push-v3']) == 0
    assert page.read_text() == written
    assert after in written
    assert main([str(reported), '--check']) == 0
    other = tmp_path / 'pages' / 'other.md'
    assert main([str(reported), '--out', str(other), '--baseline', 'sac']) == 0
    assert '| vlm | sac | 2 |' in other.read_text()
    assert (other.parent / 'curves.png').exists()
    capsys.readouterr()


def test_check_finds_a_page_of_other_results(reported, few_resamples, capsys):
    page = reported / 'README.md'
    text = page.read_text()
    page.write_text(text.replace('1.00 +- 0.00', '0.99 +- 0.00', 1))
    try:
        assert main([str(reported), '--check']) == 1
        out = capsys.readouterr().out
        assert '0.99 +- 0.00' in out
        assert len(out.splitlines()) < 12
    finally:
        page.write_text(text)
    assert main([str(reported), '--check', '--json']) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found['apart'] == ['push-v3']
    assert found['aggregates']['furl']['iqm']['final_any'] == {'value': 1, 'low': 1, 'high': 1}
    assert len(found['runs']) == 18
    assert found['runs'][0]['first_success'] == 500
    assert found['runs'][0]['steps_to'] == {'0.5': 680, '0.9': 840}
    (reported / 'curves.png').rename(reported / 'gone.png')
    assert main([str(reported), '--check']) == 1
    assert 'curves.png is missing' in capsys.readouterr().out
    (reported / 'gone.png').rename(reported / 'curves.png')


def test_an_unfinished_sweep_gives_a_page(tmp_path, few_resamples, capsys):
    write_run(tmp_path, [0, 1, 1, 0], 'push-v3', 'furl', 0)
    write_run(tmp_path, [0, 1, 1, 0], 'reach-v3', 'sac', 0, total_steps=80)
    (tmp_path / 'reach-v3' / 'furl' / 's0').mkdir(parents=True)
    assert main([str(tmp_path)]) == 0
    assert 'missing: reach-v3/furl/s0: not finished (no run.yaml)' in capsys.readouterr().out
    page = (tmp_path / 'README.md').read_text()
    assert '- reach-v3/sac/s0: not finished (80 of 160 environment steps)' in page
    assert '## Probability of improvement' not in page


def test_runs_of_different_lengths_and_repeats_meet_in_environment_steps(tmp_path, few_resamples):
    write_run(tmp_path, [0, 1] * 20, variant='furl', repeat=2)
    write_run(tmp_path, [0, 1] * 30, variant='sac', repeat=1)
    comparison = Comparison(read_results(tmp_path))
    assert comparison.until == {'push-v3': 600}
    assert comparison.measures['push-v3/sac/s0'].final_any == 0.5
    main([str(tmp_path)])
    page = (tmp_path / 'README.md').read_text()
    assert 'Not all runs are of one length (sac 600; furl 800)' in page


# Rewards along episodes


def test_episodes_of_a_ring_that_went_round():
    # Written: episodes 0 to 3 of three steps each, the ring holds ten: 0 lost its first steps.
    episode, step = np.repeat(np.arange(4), 3), np.tile([1, 2, 3], 4)
    rows = np.arange(2, 12)
    order = np.argsort(rows % 10)
    replay = {
        'episode': episode[rows][order],
        'step': step[rows][order],
        'source': np.zeros(10, int),
        'success': np.isin(rows, [4, 10])[order],
        'embedding': rows[order, None].astype(np.float16),
        'next_state': np.float32(rows[order, None] / 2),
        'written': np.array([12]),
    }
    found = whole_episodes(replay)
    assert [one.number for one in found] == [1, 2, 3]
    assert found[0].embeddings.tolist() == [[3], [4], [5]]
    assert found[0].states.tolist() == [[1.5], [2], [2.5]]
    chosen = choose(found)
    assert {kind: one.number for kind, one in chosen.items()} == {
        FAILED: 2,
        FIRST_SUCCESS: 1,
        LAST_SUCCESS: 3,
    }


def small_run(folder, method, **given):
    length = {'horizon': '20', 'warmup_steps': '40', 'total_steps': '80'}
    return local.train(
        settings(folder, method=method, head_learning_rate='0.01', **length, **given)
    )


def columns_of(path):
    with open(path, newline='') as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    return rows, {
        name: np.array([float(row[name] or 'nan') for row in rows]) for name in COLUMNS[4:]
    }


@pytest.mark.parametrize('kind', HEADS)
def test_rewards_along_the_episodes_of_a_run(kind, tmp_path, monkeypatch, few_resamples, capsys):
    picture = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
    monkeypatch.setattr(local, 'goal_image', lambda config: picture)
    seen = {}
    original, original_update = local.LocalRun.steps, Aligner.update

    def update(self):
        before = self.snapshot().heads
        losses = original_update(self)
        # The first update that changes parameters; anchored heads are given their center in it.
        if losses and 'initial' not in seen:
            parts = self.heads.frame_of_reference()
            seen['initial'] = RewardHeads.from_flat(before.layer_sizes, *before.flat(), *parts)
        return losses

    def steps(self):
        yield from original(self)
        seen['final'], seen['run'] = self.aligner.snapshot().heads, self

    monkeypatch.setattr(Aligner, 'update', update)
    monkeypatch.setattr(local.LocalRun, 'steps', steps)
    place = 'furl_StampCounter-v0/furl/s0'
    results, trained = tmp_path / 'results', tmp_path / 'runs' / place
    small_run(trained, 'furl', heads=kind)
    run = seen['run']
    assert run.aligner.version > 0
    assert (find_checkpoint(trained) / ALIGNMENT_FILE).exists()
    content = {'task': SMALL['task'], 'variant': 'furl', 'seed': 0}
    folder = results / place
    folder.mkdir(parents=True)
    for name in ('config.yaml', 'episodes.csv', 'curves.csv', 'evaluations.csv'):
        shutil.copy(trained / name, folder)
    content |= {'settings': {}, 'total_steps': 80}
    (folder / 'run.yaml').write_text(yaml.safe_dump(content))
    assert main([str(results), '--rewards', str(tmp_path / 'runs')]) == 0
    assert str(folder / 'rewards.csv') in capsys.readouterr().out
    rows, columns = columns_of(folder / 'rewards.csv')
    # Every second episode of this environment succeeds, from its tenth step on.
    kinds = [row['episode_kind'] for row in rows]
    assert kinds == [FAILED] * 20 + [FIRST_SUCCESS] * 20 + [LAST_SUCCESS] * 20
    assert [row['episode'] for row in rows[::20]] == ['0', '1', '3']
    assert [row['success'] for row in rows[20:40]] == ['False'] * 9 + ['True'] * 11
    arrays = run.trainer.replay.arrays
    slots = np.concatenate([np.arange(20), np.arange(20, 40), np.arange(60, 80)])
    embeddings = arrays['embedding'][slots].astype(np.float32)
    text = run.trainer.text.numpy()
    for name in ('initial', 'final'):
        np.testing.assert_allclose(columns[name], seen[name].score(embeddings, text), atol=1e-5)
    assert np.abs(columns['initial'] - columns['final']).max() > 0.01

    def cosines(target):
        target = target / np.linalg.norm(target)
        return embeddings @ target / np.linalg.norm(embeddings, axis=1)

    np.testing.assert_allclose(columns['prompt_cosine'], cosines(text), atol=1e-5)
    goal = run.aligner.goal.numpy()
    np.testing.assert_allclose(columns['goal_cosine'], cosines(goal), atol=1e-5)
    traces = read_traces(read_run(folder))
    assert [trace.steps[-1] for trace in traces] == [20, 20, 20]
    page = (results / 'README.md').read_text()
    assert '(rewards-furl_StampCounter-v0.png)' in page
    assert (results / 'rewards-furl_StampCounter-v0.png').exists()


def test_a_method_without_heads_has_one_reward_and_sac_none(tmp_path):
    path = rewards_along_episodes(small_run(tmp_path / 'vlm', 'vlm'))
    _, columns = columns_of(path)
    np.testing.assert_array_equal(columns['initial'], columns['final'])
    np.testing.assert_array_equal(columns['initial'], columns['prompt_cosine'])
    assert np.isnan(columns['goal_cosine']).all()
    folder = small_run(tmp_path / 'sac', 'sac')
    assert rewards_along_episodes(folder) is None
    assert not (folder / 'rewards.csv').exists()
    with pytest.raises(SettingError, match='accepted: a run folder with a checkpoint'):
        rewards_along_episodes(tmp_path)


def test_a_broken_rewards_file_is_one_line(tmp_path):
    folder = write_run(tmp_path, [0, 1])
    write_csv(folder / 'rewards.csv', COLUMNS, [('failed', 0, 2, False, 0, 0, 0, '')])
    with pytest.raises(SettingError, match='failed has not the steps 1, 2'):
        read_traces(read_run(folder))
    write_csv(folder / 'rewards.csv', COLUMNS, [('last', 0, 1, False, 0, 0, 0, '')])
    with pytest.raises(SettingError, match="line 2: episode_kind is 'last'"):
        read_traces(read_run(folder))
