# SPDX-License-Identifier: Apache-2.0
"""Sweeps: the file, and what happens to runs when anything is killed, fails, or is there already.

Most run with ``sweep_stub`` in the learner's place, whose runs take no time.
"""

import contextlib
import csv
import functools
import io
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from distributed import LocalCluster
from graph_support import TIMEOUT
from rich.console import Console

from furl_ros import local
from furl_ros.core.locks import Lock
from furl_ros.core.run import ALIGNMENT_FILE, CONFIG, TRAINER_FILE
from furl_ros.core.settings import SettingError
from furl_ros.core.storage import save_tree
from furl_ros.sweep import cluster as machines
from furl_ros.sweep import command, display, plan, results
from furl_ros.sweep.child import check_whole, work
from furl_ros.sweep.processes import description
from furl_ros.sweep.progress import Progress, read_progress

STUB = Path(__file__).resolve().parent / 'sweep_stub'
TASK, OTHER = 'drawer-close-v3', 'window-open-v3'
TABLES = ('curves', 'episodes', 'evaluations')
WALL = {'wall_seconds', 'steps_per_second'}
CONTENT = {
    'settings': {'total_steps': 100, 'checkpoint_every': 20, 'rho': 0.5},
    'variants': {'sac': {'method': 'sac'}, 'furl': {'method': 'furl', 'rho': 0.1}},
    'tasks': [TASK],
    'seeds': [0],
    'log_every': 5,
}
# What a true learner is given in the stub's place.
LEARNER = {
    'warmup_hold': 5,
    'action_repeat': 5,
    'horizon': 125,
    'end_at_success': True,
    'success_share': 0.25,
    'return_bound': True,
    'batch_size': 16,
    'hidden_units': 16,
    'buffer_size': 1_000,
    'head_batch_size': 16,
    'vlm': 'tiny-random',
    'image_size': 32,
}


def until(condition, what):
    """Wait for a condition."""
    end = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < end, f'waited in vain: {what}'
        time.sleep(0.02)


def is_alive(pid):
    """Whether a process is there, and no zombie."""
    with contextlib.suppress(OSError):
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
    return False


def stub_environment(orders):
    """What puts the stub in the learner's place."""
    path = os.pathsep.join(filter(None, [os.environ.get('PYTHONPATH'), str(STUB)]))
    return {'PYTHONPATH': path, 'SWEEP_STUB': str(orders)}


class Place:
    """A folder with a sweep file, its run folders and results.

    Args:
        folder: where.
        stub: put the stub in the learner's place.
        changes: of the file's content.
    """

    def __init__(self, folder, stub=True, **changes):
        self.folder, self.orders = folder, folder / 'orders'
        self.orders.mkdir(parents=True)
        self.file, self.runs, self.results = (folder / n for n in ('sweep.yaml', 'runs', 'results'))
        self.write(**changes)
        self.environment = os.environ | {'COLUMNS': '200'}
        if stub:
            self.environment |= stub_environment(self.orders)
        self.processes: list[subprocess.Popen] = []

    def write(self, **changes):
        """Write the sweep file."""
        folders = {'runs': str(self.runs), 'results': str(self.results)}
        self.file.write_text(yaml.safe_dump(CONTENT | folders | changes, sort_keys=False))

    def start(self, *arguments):
        """Start a sweep."""
        words = [sys.executable, '-m', 'furl_ros.sweep', str(self.file), *arguments]
        self.processes.append(
            subprocess.Popen(
                words,
                cwd=self.folder,
                env=self.environment,
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        )
        return self.processes[-1]

    def run(self, *arguments, code=0):
        """Run a sweep to its end; returns what it printed."""
        process = self.start(*arguments)
        out, _ = process.communicate(timeout=TIMEOUT)
        assert process.returncode == code, out
        assert 'Traceback' not in out or code == 1, out
        return out

    def order(self, run, what, text):
        """Order a run of the stub to do something."""
        (self.orders / f'{run}.{what}').write_text(text)

    def hold(self, *arguments):
        """Start a sweep whose run of sac with seed 0 waits at step 50."""
        self.order(f'{TASK}-sac-s0', 'hold', '50')
        sweep = self.start(*arguments)
        until(lambda: self.stands(TASK, 'sac', 0).get('step') == 50, 'the hold')
        return sweep

    def go_on(self):
        """Let that run go on."""
        (self.orders / f'{TASK}-sac-s0.hold').unlink()

    def stands(self, task, variant, seed):
        """Where a run stands."""
        return read_progress(self.runs / task / variant / f's{seed}')

    def log(self, task, variant, seed):
        """The log of a run."""
        return (self.runs / task / variant / f's{seed}' / 'run.log').read_text()

    def tables(self):
        """All tables of the results, without what the clock wrote."""
        found = {}
        for path in sorted(self.results.rglob('*.csv')):
            with open(path, newline='') as file:
                rows = [
                    {k: v for k, v in row.items() if k not in WALL} for row in csv.DictReader(file)
                ]
            found[str(path.relative_to(self.results))] = rows
        return found

    def children(self):
        """Process ids of the runs that have begun."""
        found = [read_progress(path.parent) for path in self.runs.rglob('progress.json')]
        return [content['pid'] for content in found if content]


@pytest.fixture
def place(tmp_path):
    places = []

    def make(name='sweep', **options):
        places.append(Place(tmp_path / name, **options))
        return places[-1]

    yield make
    for one in places:
        for process in one.processes:
            process.kill()
            process.communicate()


@pytest.fixture(scope='module')
def unbroken(tmp_path_factory):
    """Tables of the stub's runs that nothing happens to: two seeds of each variant."""
    one = Place(tmp_path_factory.mktemp('unbroken') / 'sweep', seeds=[0, 1])
    one.run()
    return one.tables()


def same_rows(one, whole, runs):
    """Whether these runs have the same rows, and there are no others."""
    wanted = {f'{TASK}/{run}/{name}.csv' for run in runs for name in TABLES}
    wanted |= {f'{TASK}/{run}/rewards.csv' for run in runs if run.startswith('furl')}
    return one.tables() == {name: whole[name] for name in sorted(wanted)}


# The file.


def test_jobs_come_seed_by_seed_with_all_their_settings(place):
    one = place(
        seeds=[3, 1],
        tasks=[TASK, 'furl/StampCounter-v0'],
        task_settings={TASK: {'horizon': 50, 'rho': 0.3}},
        params_file='train.yaml',
    )
    (one.folder / 'train.yaml').write_text(
        '/**: {ros__parameters: {gamma: 0.5, horizon: 7, seed: 9, pin_learner: false}}'
    )
    jobs = plan.read(one.file).jobs
    assert [(job.seed, job.task, job.variant) for job in jobs] == [
        (seed, task, variant)
        for seed in (3, 1)
        for task in (TASK, 'furl/StampCounter-v0')
        for variant in ('sac', 'furl')
    ]
    for job in jobs:
        counter = job.task != TASK
        assert job.values['task'] == job.task
        assert job.values['seed'] == job.seed
        assert job.values['method'] == job.variant
        assert job.values['gamma'] == 0.5
        assert job.values['horizon'] == (7 if counter else 50)
        rho = 0.1 if job.variant == 'furl' else 0.5 if counter else 0.3
        assert job.values['rho'] == rho
        assert job.values['keep_checkpoints'] == 1
        folder = Path('furl_StampCounter-v0' if counter else TASK, job.variant, f's{job.seed}')
        assert job.run == one.runs / folder
        assert job.values['run_folder'] == str(job.run)
        assert job.results == one.results / folder


def test_a_params_file_may_be_one_that_comes_with_the_package(place):
    one = place(params_file='quick.yaml')
    values = plan.read(one.file).jobs[0].values
    assert (values['rho'], values['success_share']) == (0.5, 0.25)


@pytest.mark.parametrize(
    ('changes', 'text'),
    [
        ({'seed': [0]}, "there is no key 'seed'; accepted: params_file, settings, task_settings"),
        ({'tasks': None}, 'tasks is missing'),
        ({'tasks': TASK}, "tasks is 'drawer-close-v3'; accepted: a list of texts"),
        ({'tasks': [TASK, TASK]}, "tasks has 'drawer-close-v3' twice"),
        ({'tasks': ['nowhere-v3']}, "tasks has 'nowhere-v3'; accepted: the id of a Gymnasium"),
        ({'seeds': [True]}, 'seeds is [True]; accepted: a list of whole numbers'),
        ({'seeds': [-1]}, 'drawer-close-v3 sac s-1: seed is -1; accepted: 0 to'),
        ({'variants': {}}, 'variants is {}; accepted: a mapping'),
        ({'variants': {'../sac': {'method': 'sac'}}}, "variants has '../sac'; accepted: up to 100"),
        (
            {'variants': {'sac': {'method': 'sac'}, 'SAC': {'method': 'sac'}}},
            "variants has 'sac' and 'SAC'; accepted: names that differ in more than capitals",
        ),
        ({'variants': {'sac': {}}}, 'variants.sac has no method; accepted: furl, furl-nogoal'),
        ({'variants': {'sac': {'method': 'sca'}}}, "sac s0: method is 'sca'; accepted: furl,"),
        ({'settings': {'gama': 0.9}}, "settings: there is no setting 'gama' of the local runner"),
        ({'settings': {'gamma': 3}}, 'drawer-close-v3 sac s0: gamma is 3.0; accepted: 0 to 1'),
        ({'settings': {'gamma': None}}, 'settings: gamma has no value'),
        ({'settings': {'task': TASK}}, "settings has 'task'; accepted: it is named under tasks"),
        ({'settings': [1]}, 'settings is [1]; accepted: a mapping'),
        ({'task_settings': {OTHER: {}}}, "task_settings has 'window-open-v3'; accepted: drawer-c"),
        ({'params_file': 'nowhere.yaml'}, "params_file is 'nowhere.yaml', which is not there"),
        ({'log_every': 0}, 'log_every is 0; accepted: 1 or more'),
        ({'runs': 'a', 'results': './a'}, 'accepted: two folders'),
        ({'results': 3}, 'results is 3; accepted: the name of a folder'),
        ('variants: {sac: {method: sac}, sac: {method: furl}}', "'sac' is there twice (line 1)"),
        ('[', 'not a readable YAML file'),
        ('- 1', 'not a mapping; accepted: params_file'),
    ],
)
def test_a_wrong_sweep_file_is_one_line(changes, text, place):
    one = place()
    if isinstance(changes, str):
        one.file.write_text(changes)
    else:
        one.write(**changes)
    with pytest.raises(SettingError) as raised:
        plan.read(one.file)
    message = str(raised.value)
    assert message.startswith(f'{one.file}: ')
    assert text in message
    assert '\n' not in message


@pytest.mark.parametrize(
    ('arguments', 'text'),
    [
        (['--workers', '0'], 'error: --workers is 0; accepted: 1 or more'),
        (['--nice', '20'], 'error: --nice is 20; accepted: 0 to 19'),
        (['--scheduler', 'host:8786'], "error: --scheduler is 'host:8786'; accepted: the address"),
    ],
)
def test_a_wrong_option_is_one_line(arguments, text, place):
    with pytest.raises(SystemExit) as left:
        command.main([str(place().file), *arguments])
    assert str(left.value).startswith(text)
    assert '\n' not in str(left.value)


# Runs.


def test_a_sweep_leaves_results_and_never_makes_them_again(place):
    one = place(tasks=[TASK, OTHER])
    out = one.run('--workers', '2')
    table = out.splitlines()[-4:]
    assert table[0] == '| task | sac | furl |'
    rate = results.success(one.results / TASK / 'sac' / 's0')
    assert table[2] == f'| {TASK} | {rate:.2f} ({rate:.2f}) | {rate:.2f} ({rate:.2f}) |'
    folder = one.results / OTHER / 'furl' / 's0'
    assert {path.name for path in folder.iterdir()} == {
        'run.yaml',
        'config.yaml',
        'episodes.csv',
        'evaluations.csv',
        'curves.csv',
        'rewards.csv',
    }
    for name in ('run.yaml', 'config.yaml'):
        assert (folder / name).read_text().startswith('# SPDX-License-Identifier: Apache-2.0\n')
    about = yaml.safe_load((folder / 'run.yaml').read_text())
    chosen = {'method': 'furl', 'rho': 0.1, 'total_steps': 100, 'prompt': 'push and open a window'}
    assert about['settings'] == chosen
    assert (about['task'], about['variant'], about['seed']) == (OTHER, 'furl', 0)
    assert (about['total_steps'], about['action_repeat'], about['starts']) == (100, 1, 1)
    assert about['wall_seconds'] >= 0
    assert about['machine']['cores'] >= 1
    assert set(about['versions']) == {'python', 'torch', 'stable-baselines3', 'mujoco', 'metaworld'}
    assert {'commit', 'dirty', 'finished_at'} <= about.keys()
    assert len(list((one.runs / OTHER / 'furl' / 's0' / 'checkpoints').iterdir())) == 1

    # As in a fresh clone.
    shutil.rmtree(one.runs)
    assert one.run().splitlines()[-4:] == table
    assert not list(one.runs.rglob('*'))
    one.write(tasks=[TASK, OTHER], settings=CONTENT['settings'] | {'gamma': 0.5})
    out = one.run(code=1)
    assert f'gamma is 0.5, but {one.results / TASK / "sac" / "s0"} was begun with 0.99' in out


def test_a_killed_sweep_goes_on_from_its_checkpoints(place, unbroken):
    broken = place()
    for step in (33, 77):
        for variant in ('sac', 'furl'):
            broken.order(f'{TASK}-{variant}-s0', 'hold', str(step))
        sweep = broken.start('--workers', '2')
        for variant in ('sac', 'furl'):
            until(lambda v=variant, s=step: broken.stands(TASK, v, 0).get('step') == s, 'the hold')
        children = broken.children()
        sweep.kill()
        until(lambda c=children: not any(map(is_alive, c)), 'the runs end with their sweep')
    for order in broken.orders.iterdir():
        order.unlink()
    broken.run()
    assert same_rows(broken, unbroken, ['sac/s0', 'furl/s0'])
    assert 'going on from step 20' in broken.log(TASK, 'sac', 0)
    assert 'going on from step 60' in broken.log(TASK, 'sac', 0)
    about = yaml.safe_load((broken.results / TASK / 'sac' / 's0' / 'run.yaml').read_text())
    assert about['starts'] == 3


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_a_sweep_with_its_runs(number, place):
    one = place()
    sweep = one.hold('--workers', '1')
    sweep.send_signal(number)
    out, _ = sweep.communicate(timeout=TIMEOUT)
    assert sweep.returncode == 130
    assert 'Traceback' not in out
    assert f'| {TASK} | - | - |' in out
    assert not any(map(is_alive, one.children()))
    assert not (one.runs / TASK / 'furl' / 's0').exists()


def test_two_sweeps_share_the_jobs(place):
    one = place(seeds=[0, 1])
    first = one.hold('--workers', '1')
    second = one.start('--workers', '1')
    rest = [('furl', 0), ('sac', 1), ('furl', 1)]
    done = [one.results / TASK / variant / f's{seed}' for variant, seed in rest]
    until(lambda: all(map(results.is_finished, done)), 'the second one does the rest')
    one.go_on()
    outs = [process.communicate(timeout=TIMEOUT)[0] for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], outs
    assert f'{TASK} sac s0: finished by another sweep' in outs[1]
    assert outs[0].splitlines()[-3:] == outs[1].splitlines()[-3:]
    for log in one.runs.rglob('run.log'):
        assert log.read_text().count('---') == 1


def test_a_run_that_fails_is_started_once_more_and_stops_no_other(place):
    one = place(seeds=[0, 1])
    one.order(f'{TASK}-sac-s0', 'crash', '45 1')
    one.order(f'{TASK}-furl-s0', 'crash', '45 2')
    out = one.run(code=1)
    assert out.count('RuntimeError: told to fail at step 45') == 3
    assert f'1 failed: {TASK} furl s0' in out
    assert 'going on from step 40' in one.log(TASK, 'sac', 0)
    finished = {str(path.parent.relative_to(one.results)) for path in one.results.rglob('run.yaml')}
    assert finished == {f'{TASK}/{run}' for run in ('sac/s0', 'sac/s1', 'furl/s1')}
    one.run()
    assert results.is_finished(one.results / TASK / 'furl' / 's0')


def test_a_killed_run_is_started_once_more(place, unbroken):
    one = place(variants={'sac': {'method': 'sac'}})
    sweep = one.hold()
    os.kill(one.stands(TASK, 'sac', 0)['pid'], signal.SIGKILL)
    one.go_on()
    out, _ = sweep.communicate(timeout=TIMEOUT)
    assert sweep.returncode == 0, out
    assert f'{TASK} sac s0: was ended by SIGKILL' in out
    assert 'going on from step 40' in one.log(TASK, 'sac', 0)
    assert same_rows(one, unbroken, ['sac/s0'])


def test_a_run_that_has_begun_keeps_its_settings(place):
    one = place()
    one.order(f'{TASK}-sac-s0', 'crash', '45 2')
    one.run(code=1)
    changed = CONTENT['settings'] | {'total_steps': 200}
    one.write(settings=changed)
    out = one.run(code=1)
    assert out.startswith('error: total_steps is 200, but ')
    assert 'was begun with 100; accepted: 100, or other folders' in out
    one.write(settings=CONTENT['settings'] | {'checkpoint_every': 10})
    one.run()


def test_what_cannot_be_gone_on_from_is_begun_anew(place, unbroken):
    one = place(variants={'sac': {'method': 'sac'}})
    one.order(f'{TASK}-sac-s0', 'crash', '45 2')
    one.run(code=1)
    (checkpoint,) = one.runs.rglob('trainer.safetensors')
    checkpoint.write_bytes(checkpoint.read_bytes()[:20])
    out = one.run()
    assert f'{TASK} sac s0: no checkpoint is usable, starting anew' in out
    assert same_rows(one, unbroken, ['sac/s0'])


def test_a_damaged_checkpoint_is_found_out(tmp_path):
    checkpoint = tmp_path / 'checkpoints' / 'step_000000040'
    checkpoint.mkdir(parents=True)
    (tmp_path / CONFIG).write_text('method: furl')
    save_tree(checkpoint / TRAINER_FILE, {'some': np.zeros(9)}, {'agents': {'vlm': {}}})
    save_tree(checkpoint / ALIGNMENT_FILE, {'some': np.zeros(9)}, {})
    agent = checkpoint / 'vlm_agent.zip'
    with zipfile.ZipFile(agent, 'w') as file:
        file.writestr('policy.pth', bytes(1_000))
    check_whole(checkpoint, 'furl')
    for path in (agent, checkpoint / TRAINER_FILE, checkpoint / ALIGNMENT_FILE, tmp_path / CONFIG):
        whole = path.read_bytes()
        damaged = [whole[: len(whole) // 2], b'']
        # Only zip files have a sum of their content.
        damaged += [whole.replace(bytes(9), b'something')] if path == agent else []
        for content in damaged:
            path.write_bytes(content)
            with pytest.raises(SettingError):
                check_whole(checkpoint, 'furl')
        path.unlink()
        with pytest.raises(SettingError):
            check_whole(checkpoint, 'furl')
        path.write_bytes(whole)
    (checkpoint / ALIGNMENT_FILE).unlink()
    check_whole(checkpoint, 'sac')


def test_only_the_results_of_a_finished_run_are_written(place):
    one = place(variants={'sac': {'method': 'sac'}})
    one.run()
    tables = one.tables()
    folder = one.runs / TASK / 'sac' / 's0'
    for also in ([], [folder / 'run.yaml']):
        shutil.rmtree(one.results)
        for path in also:
            path.unlink()
        # A run that trained on would fail.
        one.order(f'{TASK}-sac-s0', 'crash', '1 9')
        one.run()
        assert one.tables() == tables


def test_a_run_that_fails_after_its_training_is_not_trained_again(place, unbroken):
    one = place(variants={'furl': {'method': 'furl'}})
    one.order(f'{TASK}-furl-s0', 'crash', '-1 2')
    assert 'told to fail at step -1' in one.run(code=1)
    one.order(f'{TASK}-furl-s0', 'crash', '1 9')
    one.run()
    assert same_rows(one, unbroken, ['furl/s0'])


def test_a_full_disk_is_told(place):
    one = place(variants={'sac': {'method': 'sac'}})
    one.results.write_text('no folder')
    out = one.run(code=1)
    assert f'{TASK} sac s0: failed: its results cannot be written' in out


def test_a_lock_has_one_holder(tmp_path):
    one, other = Lock(tmp_path / 'a' / 'lock'), Lock(tmp_path / 'a' / 'lock')
    assert one.acquire()
    assert not other.acquire()
    one.release()
    assert other.acquire()


# What is shown.


def jobs_and_state(one):
    made = plan.read(one.file)
    first, second, *waiting = made.jobs
    progress = {'step': 60, 'steps_per_second': 20.0, 'success_rate': 0.25}
    return made, display.State([(first, progress), (second, {})], waiting, 0, 3, 1, 2)


def test_the_time_left_is_what_the_variants_have_taken(place):
    _, state = jobs_and_state(place(seeds=[0, 1]))
    assert display.seconds_left(state, {}) is None
    # Here 40 / 20 s for the first, 100 / 10 s for the second, then a whole one each.
    assert display.seconds_left(state, {'sac': 20.0, 'furl': 10.0}) == 17.0
    assert display.duration(3_723) == '01:02:03'


def test_a_terminal_shows_a_table_and_a_file_gets_lines(place):
    _, state = jobs_and_state(place(seeds=[0, 1]))
    screen = io.StringIO()
    shown = display.Display(Console(file=screen, force_terminal=True, width=100))
    shown.show(state)
    shown.say('something [bold]')
    shown.close()
    for text in ('success, last 20', '60 of 100', '0.25', '3 of 8 finished, 1 failed', '[bold]'):
        assert text in screen.getvalue()
    line = display.Display(Console(file=io.StringIO())).line(state)
    assert line == (
        '3 of 8 finished, 1 failed, 00:00:10 left'
        f' | {TASK} sac s0: 60 of 100, 20 steps/s, success 0.25 | {TASK} furl s0: starting'
    )


# Several machines.


def test_a_scheduler_gives_out_jobs_and_ends_those_of_a_sweep_that_died(
    place, unbroken, monkeypatch
):
    """With its workers in this process; those of other machines are a campaign."""
    one = place(variants={'sac': {'method': 'sac'}})
    for name, value in stub_environment(one.orders).items():
        monkeypatch.setenv(name, value)
    with LocalCluster(
        2, threads_per_worker=1, processes=False, protocol='tcp://', dashboard_address=None
    ) as cluster:
        address = cluster.scheduler_address
        sweep = one.hold('--scheduler', address)
        child = one.stands(TASK, 'sac', 0)['pid']
        sweep.kill()
        until(lambda: not is_alive(child), 'the run ends with its sweep')
        one.go_on()
        one.order(f'{TASK}-sac-s0', 'crash', '65 1')
        out = one.run('--scheduler', address)
    assert 'told to fail at step 65' in out
    assert f'{TASK} sac s0: starting it once more' in out
    assert same_rows(one, unbroken, ['sac/s0'])


def test_a_scheduler_that_does_not_answer_is_one_line(monkeypatch):
    monkeypatch.setattr(machines, 'CONNECT_WITHIN', 0.5)
    with socket.socket() as nobody:
        nobody.bind(('127.0.0.1', 0))
        address = f'tcp://127.0.0.1:{nobody.getsockname()[1]}'
        with pytest.raises(SettingError, match='where none answers') as raised:
            machines.Cluster(address, 0)
    assert str(raised.value).startswith(f"--scheduler is '{address}'")
    assert '\n' not in str(raised.value)


@pytest.fixture
def cluster(tmp_path):
    """A scheduler and two workers, each with its own folder; their processes."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        address = f'tcp://127.0.0.1:{free.getsockname()[1]}'
    environment = os.environ | stub_environment(tmp_path / 'sweep' / 'orders')
    dask = [sys.executable, '-m', 'dask']
    worker = ['worker', address, '--nthreads', '1', '--no-nanny', '--no-dashboard']
    commands = {
        'scheduler': ['scheduler', '--port', address.split(':')[-1], '--no-dashboard'],
        'one': worker,
        'other': worker,
    }
    processes = []
    for name, words in commands.items():
        (tmp_path / name).mkdir()
        with open(tmp_path / name / 'log', 'wb') as log:
            processes.append(
                subprocess.Popen(
                    [*dask, *words, '--host', '127.0.0.1'],
                    cwd=tmp_path / name,
                    env=environment,
                    stdout=log,
                    stderr=log,
                )
            )
    yield address, processes
    for process in processes:
        process.kill()
        process.wait()


@pytest.mark.campaign
def test_a_dask_scheduler_gives_jobs_to_other_machines(place, cluster, tmp_path, unbroken):
    address, (scheduler, *workers) = cluster
    one = place('sweep', seeds=[0, 1], runs='work')
    one.order(f'{TASK}-sac-s0', 'hold', '50')
    sweep = one.start('--scheduler', address)
    folders = [tmp_path / name / 'work' / TASK for name in ('one', 'other')]

    def held():
        steps = [read_progress(folder / 'sac' / 's0').get('step') for folder in folders]
        return [index for index, step in enumerate(steps) if step == 50]

    until(held, 'a worker begins the job')
    (at,) = held()
    child = read_progress(folders[at] / 'sac' / 's0')['pid']
    workers[at].kill()
    until(lambda: not is_alive(child), 'the run ends with its worker')
    until(lambda: 1 - at in held(), 'the other worker begins the job anew')
    one.go_on()
    out, _ = sweep.communicate(timeout=TIMEOUT)
    assert sweep.returncode == 0, out
    assert same_rows(one, unbroken, ['sac/s0', 'sac/s1', 'furl/s0', 'furl/s1'])
    assert not list((one.folder / 'work').rglob('run.log'))

    # What a sweep has begun there ends with it.
    shutil.rmtree(one.results)
    shutil.rmtree(folders[1 - at])
    one.order(f'{TASK}-sac-s0', 'hold', '50')
    sweep = one.start('--scheduler', address)
    until(lambda: 1 - at in held(), 'the job is held')
    child = read_progress(folders[1 - at] / 'sac' / 's0')['pid']
    sweep.kill()
    until(lambda: not is_alive(child), 'the run ends with its sweep')
    scheduler.kill()
    assert one.run('--scheduler', address, code=1).startswith(f"error: --scheduler is '{address}'")


# With the learner.


class Killed(BaseException):
    """Stands for SIGKILL where the learner is in this process."""


def test_a_learner_that_is_killed_goes_on_as_if_it_had_not_been(place, monkeypatch):
    """As its process does it; that it ends with its sweep is tested with the stub."""
    counts = {'total_steps': 45, 'warmup_steps': 15, 'checkpoint_every': 10}
    counts |= {'eval_every': 20, 'eval_episodes': 1}
    given = {'settings': LEARNER | counts, 'variants': {'furl': CONTENT['variants']['furl']}}
    whole, broken = (place(name, stub=False, **given) for name in ('whole', 'broken'))
    write_step = Progress.step

    def step(self, step, *rest, **named):
        write_step(self, step, *rest, **named)
        if 'broken' in str(self.path) and self.content['starts'] == 1 and step == 35:
            raise Killed

    monkeypatch.setattr(Progress, 'step', step)
    # Each of the starts would have the same model loaded, and the same picture drawn.
    for name in ('load_vlm', 'goal_image'):
        monkeypatch.setattr(local, name, functools.cache(getattr(local, name)))
    for one in (whole, broken):
        (job,) = plan.read(one.file).jobs
        job.run.mkdir(parents=True)
        if one is broken:
            with pytest.raises(Killed):
                work(description(job, 0))
            assert list((job.run / 'checkpoints').iterdir())
        work(description(job, 0))
        results.store(job.results, results.collect(job.run))
    about = yaml.safe_load((broken.results / TASK / 'furl' / 's0' / 'run.yaml').read_text())
    assert about['starts'] == 2
    assert broken.stands(TASK, 'furl', 0)['step'] == 45
    assert 'rewards.csv' in {Path(name).name for name in whole.tables()}
    assert broken.tables() == whole.tables()


@pytest.mark.campaign
def test_a_sweep_that_is_killed_three_times_ends_with_the_same_results(place):
    counts = {'total_steps': 150, 'warmup_steps': 50, 'eval_every': 50, 'checkpoint_every': 25}
    whole, broken = (
        place(name, stub=False, settings=LEARNER | counts) for name in ('whole', 'broken')
    )
    whole.run('--workers', '2')
    draw = random.Random(0)
    for kill in range(3):
        step = draw.randint(40 * kill, 40 * kill + 39)
        sweep = broken.start('--workers', '2')
        until(lambda s=step: broken.stands(TASK, 'furl', 0).get('step', 0) >= s, 'further steps')
        children = broken.children()
        sweep.kill()
        until(lambda c=children: not any(map(is_alive, c)), 'the runs end with their sweep')
    broken.run('--workers', '2')
    about = yaml.safe_load((broken.results / TASK / 'furl' / 's0' / 'run.yaml').read_text())
    assert about['starts'] > 1
    assert broken.tables() == whole.tables()
    for variant in ('sac', 'furl'):
        paths = [one.results / TASK / variant / 's0' / 'episodes.csv' for one in (whole, broken)]
        assert paths[0].read_bytes() == paths[1].read_bytes()
