# SPDX-License-Identifier: Apache-2.0
"""bench/learning prints kept runs without repeating them, and refuses those of other settings."""

import json
import runpy
import shutil
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


@pytest.fixture
def learning(kept, monkeypatch):
    """Run the bench; a launch would leave a folder beside the results."""

    def run(*arguments):
        places = ['--results', str(kept), '--runs', str(kept.parent / 'runs')]
        monkeypatch.setattr('sys.argv', ['learning', *places, *arguments])
        runpy.run_path(str(ROOT / 'bench/learning'), run_name='__main__')

    return run


def test_kept_runs_are_printed_and_not_repeated(kept, learning, capsys):
    learning('--task', 'window-close-v3', '--seeds', '3', '4', '--json')
    seeds = json.loads(capsys.readouterr().out.splitlines()[-1])['seeds']
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
def test_other_settings_and_unknown_tasks_are_refused_by_name(arguments, named, kept, learning):
    with pytest.raises(SystemExit) as left:
        learning('--seeds', '3', *arguments)
    assert str(left.value).startswith('error: ')
    assert named in str(left.value)
    assert not (kept.parent / 'runs').exists()
