# SPDX-License-Identifier: Apache-2.0
"""bench/learning prints kept runs without repeating them, and refuses those of other settings."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from furl_ros.bridge import graph

ROOT = Path(__file__).resolve().parents[1]
PLACE = 'window-close-v3/graph-furl'


@pytest.fixture
def kept(tmp_path):
    """Make results of committed runs, as if trained with what quick.yaml says today."""
    results = tmp_path / 'results'
    for seed in (3, 4):
        folder = results / PLACE / f's{seed}'
        shutil.copytree(ROOT / 'docs/results/graph' / PLACE / f's{seed}', folder)
        given = {'task': 'window-close-v3', 'method': 'furl', 'seed': str(seed)}
        values = graph.settings_of_run(
            given | {'total_steps': '30000'}, str(ROOT / 'config' / graph.PARAMS_FILE)
        )
        (folder / 'config.yaml').write_text(yaml.safe_dump(values))
    return results


def learning(kept, *arguments):
    """Run the bench; a launch would leave a folder beside the results."""
    command = [sys.executable, ROOT / 'bench/learning', '--results', kept]
    command += ['--runs', kept.parent / 'runs', *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=100)


def test_kept_runs_are_printed_and_not_repeated(kept):
    run = learning(kept, '--task', 'window-close-v3', '--seeds', '3', '4', '--json')
    assert run.returncode == 0, run.stderr
    seeds = json.loads(run.stdout.splitlines()[-1])['seeds']
    assert [row['seed'] for row in seeds] == [3, 4]
    # As docs/performance.md says.
    assert [row['env_steps_to']['0.9'] for row in seeds] == [9_930, 17_626]
    assert not (kept.parent / 'runs').exists()


@pytest.mark.parametrize(
    ('arguments', 'named'),
    [
        (['--task', 'window-close-v3', '--steps', '60000'], 'total_steps'),
        (['--task', 'window-close-v3', 'rho:=0.5'], 'rho'),
        (['--task', 'ALE/NoSuchTask-v5'], 'ALE/NoSuchTask-v5'),
    ],
)
def test_other_settings_and_unknown_tasks_are_refused_by_name(arguments, named, kept):
    run = learning(kept, '--seeds', '3', *arguments)
    assert run.returncode != 0
    assert run.stderr.startswith('error: ')
    assert named in run.stderr
    assert not (kept.parent / 'runs').exists()
