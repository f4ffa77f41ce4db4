# SPDX-License-Identifier: Apache-2.0
"""Bad input gets one line that names the value and what is accepted, and an exit code."""

import re
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
from graph_support import checkpoints, launch, new_domain, run_node

# Arguments of the launch file, and what the line must say.
LAUNCHES = {
    'task': ({'task': 'drawer-opne-v3'}, r"task is 'drawer-opne-v3'.*accepted: .*drawer-open-v3"),
    'camera': ({'camera': 'corner9'}, r"camera is 'corner9'.*accepted.*: auto, .*corner2"),
    'model': ({'vlm': 'nothing'}, r"vlm is 'nothing'; accepted: 'furl-tiny', "),
    'model of open_clip': (
        {'vlm': 'open_clip:RN51/openai'},
        r"vlm is 'open_clip:RN51/openai'.*accepted: .* RN50",
    ),
    'file of a model': (
        {'vlm': 'liv:/nowhere.pt'},
        r"vlm is 'liv:.*there is no file '/nowhere.pt'",
    ),
    'weights': ({'vlm': 'open_clip:RN50/opnai'}, r"error: vlm is 'open_clip:RN50/opnai'.* openai"),
    'name': ({'gama': 0.9}, r"no argument 'gama'; accepted: .*gamma"),
    'range': ({'gamma': 1.5}, r'gamma is 1.5; accepted: 0 to 1'),
    'type': ({'total_steps': 'many'}, r"total_steps is 'many'; accepted: .*int"),
    'choice': ({'method': 'furrl'}, r"method is 'furrl'; accepted: .*furl"),
    'resume': ({'resume': '/nowhere'}, r"resume is '/nowhere'; accepted: a run folder"),
    'file': ({'params_file': '/nowhere.yaml'}, r"params_file is '/nowhere.yaml'; accepted: a YAML"),
    'several': (
        {'num_sims': 2, 'deterministic': True},
        r'num_sims is 2 with deterministic:=true; accepted: 1',
    ),
    'other task': (
        {'resume': '{run}', 'task': 'drawer-open-v3'},
        r"task is 'drawer-open-v3', .*step_\d+ does not fit.*accepted: 'drawer-close-v3'",
    ),
    'other method': (
        {'resume': '{run}', 'method': 'relay'},
        r"method is 'relay', .*step_\d+ does not fit.*accepted: 'furl'",
    ),
    'run folder': (
        {'run_folder': '{file}', 'method': 'sac'},
        r"error: run_folder is '.*'; accepted: a folder that can be made",
    ),
    'broken checkpoint': ({'resume': '{broken}'}, r'trainer.safetensors is not a readable'),
}
NODES = {
    'sim_node': ({'task': 'lift-v3'}, r"^error: task is 'lift-v3'.*accepted: .*reach-v3"),
    'alignment_node': ({'margin': 3.5}, r'^error: margin is 3.5; accepted: 0 to 2'),
    'learner_node': ({'gamma': 1.5}, r'^error: gamma is 1.5; accepted: 0 to 1'),
}


@pytest.fixture(scope='module')
def answers(train_run, tmp_path_factory):
    """Exit code and output of all of them, two at a time."""
    folder = tmp_path_factory.mktemp('errors')
    broken = folder / 'broken' / 'checkpoints' / 'step_000000400'
    broken.mkdir(parents=True)
    (broken / 'trainer.safetensors').write_bytes(b'not a checkpoint')
    whole = checkpoints(train_run.folder)[-1]
    shutil.copy2(whole / 'alignment.safetensors', broken)
    shutil.copy2(train_run.folder / 'config.yaml', broken.parents[1])
    (folder / 'file').write_text('no folder')
    folders = {'run': whole, 'broken': broken, 'file': folder / 'file'}

    def answer(case):
        arguments = {
            name: value.format(**folders) if isinstance(value, str) else value
            for name, value in (LAUNCHES | NODES)[case][0].items()
        }
        domain = domains[case]
        run = run_node(domain, case, **arguments) if case in NODES else None
        with run or launch(domain, folder, **arguments) as command:
            return command.finish(), command.output

    cases = [*LAUNCHES, *NODES]
    domains = {case: new_domain() for case in cases}
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(cases, pool.map(answer, cases), strict=True))


@pytest.mark.parametrize('case', [*LAUNCHES, *NODES])
def test_one_line_says_what_is_wrong(answers, case):
    code, output = answers[case]
    assert code == (2 if case in NODES else 1), output
    assert 'Traceback' not in output
    assert len(re.findall((LAUNCHES | NODES)[case][1], output, re.MULTILINE)) == 1, output


# These are found out by the nodes themselves.
LATER = ('weights', 'broken checkpoint', 'run folder')


@pytest.mark.parametrize('case', [case for case in LAUNCHES if case not in LATER])
def test_nothing_is_started_with_a_wrong_setting(answers, case):
    assert 'process started' not in answers[case][1]
