# SPDX-License-Identifier: Apache-2.0
"""The folder of a run: config, checkpoints, tables, reports."""

import csv
import errno
import math
import threading
from types import SimpleNamespace

import pytest

from furl_ros.core.locks import Lock
from furl_ros.core.methods import METHODS
from furl_ros.core.reporting import Reporter
from furl_ros.core.run import (
    Changes,
    RunFolder,
    Table,
    check_fit,
    check_unlocked,
    config_at,
    find_checkpoint,
    load_config,
    run_of,
)
from furl_ros.core.settings import SettingError
from furl_ros.core.trainer import Episode, Evaluation

CONFIG = {'task': 'drawer-close-v3', 'method': 'furl', 'seed': 0, 'rho': 0.05, 'quality': 'fast'}


@pytest.fixture
def run(tmp_path):
    return RunFolder(tmp_path / 'run', CONFIG)


def write_checkpoint(run, step, keep=2):
    with run.checkpoint(step, keep) as folder:
        (folder / 'trainer.safetensors').write_text(str(step))
    return run.path / 'checkpoints' / f'step_{step:09d}'


def steps_of(run):
    return sorted(int(path.name[5:]) for path in (run.path / 'checkpoints').iterdir())


def test_the_config_is_that_of_the_start(run):
    assert load_config(run.path) == CONFIG
    run.close()
    RunFolder(run.path, {'task': 'other'}).close()
    assert load_config(run.path) == CONFIG


def test_settings_that_were_changed_on_the_way_belong_to_the_checkpoints_after_it(run):
    for step in (10, 20, 30):
        write_checkpoint(run, step, keep=3)
    changes = Changes(run, 0)
    assert not (run.path / 'changes.csv').exists()
    changes.add(15, 'rho', 0.5)
    changes.add(25, 'prompt', 'close, "slowly"')
    changes.add(25, 'rho', 1)
    at = [config_at(run.path / 'checkpoints' / f'step_{step:09d}') for step in (10, 20, 30)]
    assert at[0] == CONFIG
    assert at[1] == CONFIG | {'rho': 0.5}
    assert at[2] == CONFIG | {'rho': 1, 'prompt': 'close, "slowly"'}
    # A run that goes on from an earlier checkpoint has not seen the later ones.
    Changes(run, 20).add(22, 'rho', 2.0)
    assert config_at(run.path / 'checkpoints' / 'step_000000030') == CONFIG | {'rho': 2.0}


def test_changes_that_cannot_be_read_are_named(run):
    checkpoint = write_checkpoint(run, 10)
    (run.path / 'changes.csv').write_text('total_steps,name,value\n5,rho,{\n')
    with pytest.raises(SettingError, match=r'changes\.csv cannot be read'):
        config_at(checkpoint)


@pytest.mark.parametrize('content', [None, '- a list', ': {', ''])
def test_what_is_no_run_folder(tmp_path, content):
    if content is not None:
        (tmp_path / 'config.yaml').write_text(content)
    with pytest.raises(SettingError, match=str(tmp_path)):
        load_config(tmp_path)


class TestCheckpoints:
    def test_the_newest_is_found(self, run):
        for step in (999, 10_000, 100_000):
            newest = write_checkpoint(run, step, keep=5)
        assert find_checkpoint(run.path) == newest
        assert find_checkpoint(str(newest)) == newest
        assert run_of(newest) == run.path

    def test_old_ones_go(self, run):
        for step in (10, 20, 30, 40):
            write_checkpoint(run, step, keep=2)
        assert steps_of(run) == [30, 40]

    @pytest.mark.parametrize('keep', [1, 2, 3])
    def test_after_going_on_from_an_older_one(self, run, keep):
        """The new one stays, and what it replaces is not found instead of it."""
        for step in (10, 20, 30):
            write_checkpoint(run, step, keep=3)
        newest = write_checkpoint(run, 15, keep)
        assert find_checkpoint(run.path) == newest
        assert steps_of(run) == [10, 15][-keep:]

    def test_one_step_twice(self, run):
        write_checkpoint(run, 10)
        newest = write_checkpoint(run, 10)
        assert (newest / 'trainer.safetensors').read_text() == '10'
        assert steps_of(run) == [10]

    def test_one_that_failed_is_not_there_and_costs_no_other(self, run):
        def fail():
            with run.checkpoint(30, 2) as folder:
                (folder / 'trainer.safetensors').write_text('torn')
                raise OSError('disk full')

        for step in (10, 20):
            write_checkpoint(run, step)
        with pytest.raises(OSError, match='disk full'):
            fail()
        assert steps_of(run) == [10, 20]

    @pytest.mark.parametrize('name', ['.', 'absent', 'checkpoints'])
    def test_there_is_none(self, run, name):
        with pytest.raises(
            SettingError, match='accepted: a run folder with a checkpoint'
        ) as caught:
            find_checkpoint(run.path / name)
        assert '\n' not in str(caught.value)


class TestFit:
    def test_settings_that_may_change(self, run):
        checkpoint = write_checkpoint(run, 10)
        check_fit(checkpoint, {**CONFIG, 'rho': 0.1, 'total_steps': 5})
        check_fit(checkpoint, {})

    @pytest.mark.parametrize(
        ('name', 'value'),
        [('task', 'push-v3'), ('method', 'sac'), ('seed', 1), ('quality', 'full')],
    )
    def test_settings_that_may_not(self, run, name, value):
        with pytest.raises(SettingError) as caught:
            check_fit(write_checkpoint(run, 10), {**CONFIG, name: value})
        text = str(caught.value)
        assert text.startswith(f'{name} is {value!r}')
        assert text.endswith(f'accepted: {CONFIG[name]!r}')
        assert '\n' not in text

    def test_a_checkpoint_outside_of_a_run(self, tmp_path):
        (tmp_path / 'a' / 'b').mkdir(parents=True)
        with pytest.raises(SettingError, match='is not a run folder'):
            check_fit(tmp_path / 'a' / 'b', CONFIG)


def rows(path):
    with open(path, newline='') as file:
        return list(csv.DictReader(file))


KEPT = ['10', '20', '30']


class TestTable:
    COLUMNS = ('total_steps', 'name', 'value')

    def table(self, tmp_path, step=0):
        return Table(tmp_path / 'a.csv', self.COLUMNS, step)

    def fill(self, tmp_path):
        table = self.table(tmp_path)
        for step in (10, 20, 30):
            table.add({'total_steps': step, 'name': 'a, "b"', 'value': step / 7})
        table.close()

    def test_rows_are_on_disk_at_once(self, tmp_path):
        table = self.table(tmp_path)
        table.add({'total_steps': 5, 'name': 'a, "b"', 'value': 1 / 3})
        table.add({'total_steps': 6})
        assert rows(tmp_path / 'a.csv') == [
            {'total_steps': '5', 'name': 'a, "b"', 'value': '0.333333'},
            {'total_steps': '6', 'name': '', 'value': ''},
        ]
        table.close()

    def test_an_unknown_column_is_an_error(self, tmp_path):
        with pytest.raises(ValueError, match='other'):
            self.table(tmp_path).add({'other': 1})

    @pytest.mark.parametrize(('step', 'kept'), [(0, 0), (10, 1), (29, 2), (30, 3), (99, 3)])
    def test_rows_of_lost_work_are_dropped(self, tmp_path, step, kept):
        self.fill(tmp_path)
        table = self.table(tmp_path, step)
        table.add({'total_steps': step + 1, 'name': 'new'})
        table.close()
        found = rows(tmp_path / 'a.csv')
        assert [row['total_steps'] for row in found] == [*KEPT[:kept], str(step + 1)]
        assert found[0]['name'] in ('a, "b"', 'new')

    @pytest.mark.parametrize('tail', ['4', '40,x', 'x,y,z\n'])
    def test_a_torn_row_is_dropped(self, tmp_path, tail):
        self.fill(tmp_path)
        with open(tmp_path / 'a.csv', 'a') as file:
            file.write(tail)
        self.table(tmp_path, 100).close()
        assert [row['total_steps'] for row in rows(tmp_path / 'a.csv')] == KEPT


def fake_trainer(**changes):
    values = {
        'steps': 0,
        'updates': 0,
        'heads_version': 0,
        'success_rate': 0.5,
        'vlm_reward_mean': 0.1,
        'last_evaluation': None,
        'relay': SimpleNamespace(active=True, positives=3),
        'method': METHODS['furl'],
        'config': SimpleNamespace(warmup_steps=10),
        'stages': SimpleNamespace(seconds={'act': 0.5, 'relay_update': 12.0}),
        'figures': lambda: {'vlm/actor_loss': 1.5, 'vlm/learning_rate': 1e-4},
    }
    return SimpleNamespace(**values | changes)


class TestReporter:
    def test_files_of_a_run(self, run):
        reporter = Reporter(run, 0)
        reporter.progress(fake_trainer(steps=100), stage=2)
        reporter.episode(Episode(100, 0, 0, 60, 'relay', -59.0, 1.0, True, False), 0.5)
        reporter.evaluation(Evaluation(100, 1, 1.0, 0.0, -3.0))
        reporter.close()
        (curve,), (episode,), (evaluation,) = (
            rows(run.path / f'{name}.csv') for name in ('curves', 'episodes', 'evaluations')
        )
        spent = {row['stage']: float(row['stage_seconds']) for row in rows(run.path / 'stages.csv')}
        assert spent == {'act': 0.5, 'relay_update': 12.0}
        assert (curve['total_steps'], curve['stage'], curve['relay']) == ('100', '2', '1')
        assert curve['vlm/actor_loss'] == '1.5'
        assert (episode['success_any_step'], episode['success_last_step']) == ('True', 'False')
        assert (evaluation['success_any_step'], evaluation['success_last_step']) == ('1', '0')
        assert list((run.path / 'tensorboard').iterdir())

    @pytest.mark.parametrize(
        ('rate', 'left'),
        [
            (math.nan, 'step 33 of 1,000,000 | relay'),
            (1000.0, '00:16:40 left'),
            (10.0, '27:46:37 left'),  # more than a day is told in hours
            (1e9, '00:00:00 left'),
        ],
    )
    def test_time_left(self, run, rate, left):
        reporter = Reporter(run, 0)
        reporter.rate = rate
        line = reporter.line(fake_trainer(steps=33), 1_000_000, 1)
        reporter.rate = 10.0
        assert '00:00:00 left' in reporter.line(fake_trainer(steps=100), 50, 1), 'after the target'
        reporter.close()
        assert left in line
        assert line.startswith('step 33 of 1,000,000')
        assert '\n' not in line


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path, monkeypatch):
    RunFolder(tmp_path, {}).close()

    def fail(*_):
        raise OSError(errno.EROFS, 'Read-only file system')

    monkeypatch.setattr(Lock, 'acquire', fail)
    with pytest.raises(SettingError, match=rf"run_folder is '{tmp_path}'.*\(Read-only"):
        check_unlocked(tmp_path)


def test_a_full_disk_is_told_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(threading, 'excepthook', threading.excepthook)
    reporter = Reporter(RunFolder(tmp_path, {}), 0)

    def fail(_):
        raise OSError(errno.ENOSPC, 'No space left on device')

    for error, told in ((fail, False), (len, True)):
        thread = threading.Thread(target=error, args=(0,))
        thread.start()
        thread.join()
        assert ('Traceback' in capsys.readouterr().err) == told
    reporter.close()
