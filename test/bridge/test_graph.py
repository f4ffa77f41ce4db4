# SPDX-License-Identifier: Apache-2.0
"""The settings of a whole graph: where each comes from, and what is refused."""

import dataclasses
import os
from collections import defaultdict
from pathlib import Path

import pytest
import yaml

from furl_ros.bridge import graph
from furl_ros.bridge.config import LearnerNodeConfig
from furl_ros.bridge.graph import settings_of_run
from furl_ros.core.arm.profile_reading import read_profile
from furl_ros.core.config import AlignConfig, TrainConfig
from furl_ros.core.methods import METHODS
from furl_ros.core.run import RunFolder
from furl_ros.core.settings import SettingError
from sim.config import SimConfig

CONFIG = Path(__file__).parents[2] / 'config'
PAPER_YAML, QUICK_YAML = CONFIG / 'paper.yaml', CONFIG / 'quick.yaml'


@pytest.fixture
def params(tmp_path):
    """Writes a parameter file."""

    def write(**values):
        path = tmp_path / 'params.yaml'
        path.write_text(yaml.safe_dump({'/**': {'ros__parameters': values}}))
        return str(path)

    return write


@pytest.fixture
def stored(tmp_path):
    """Makes a run with a checkpoint; returns its folder."""

    def make(**given):
        values = settings_of_run(given, '')
        run = RunFolder(tmp_path / 'run', {k: v for k, v in values.items() if k != 'run_folder'})
        for step in (10, 20):
            with run.checkpoint(step, 2) as folder:
                (folder / 'trainer.safetensors').write_text('')
        return run.path

    return make


def refused(text, given=None, params_file=''):
    with pytest.raises(SettingError, match=text) as caught:
        settings_of_run(given or {}, params_file)
    assert '\n' not in str(caught.value)


def test_defaults():
    values = settings_of_run({}, '')
    assert values['task'] == 'drawer-close-v3'
    assert values['prompt'] == 'push and close a drawer'
    assert values['width'] == values['height'] == values['image_size'] == 112
    assert values['num_sims'] == 1


def test_numbers_of_the_paper():
    """FURL.md, number by number; what config/paper.yaml says is the same."""
    paper = {
        'rho': 0.05,
        'head_learning_rate': 1e-4,
        'head_batch_size': 256,
        'head_updates_per_step': 1,
        'head_hidden_units': 256,
        'output_units': 64,
        'margin': 0.1,
        'goal_gap': 0.25,
        'lag': 10,
        'ring_size': 20_000,
        'partner_noise': 0.2,
        'relay_turn': 50,
        'relay_positives': 2_500,
        'learning_rate': 1e-4,
        'gamma': 0.99,
        'tau': 0.01,
        'batch_size': 256,
        'hidden_units': 256,
        'warmup_steps': 10_000,
        'updates_per_step': 1,
        'buffer_size': 500_000,
        'total_steps': 1_000_000,
    }
    for params_file in ('', str(PAPER_YAML)):
        assert settings_of_run({}, params_file).items() >= paper.items()


def test_paper_yaml_says_what_the_defaults_are_but_for_the_heads():
    from_file, without = settings_of_run({}, str(PAPER_YAML)), settings_of_run({}, '')
    differing = {k: v for k, v in from_file.items() if v != without[k]}
    assert differing.pop('heads') == 'paper'
    assert differing.keys() <= {'run_folder'}


def test_quick_yaml_is_accepted_with_every_method():
    for method in METHODS:
        assert settings_of_run({'method': method}, str(QUICK_YAML))['method'] == method


def test_a_name_stands_for_one_thing():
    """One setting of the graph may go to several nodes; then it means the same in each."""
    owners = defaultdict(set)
    for kind in graph.KINDS:
        for field in dataclasses.fields(kind):
            owners[field.name].add((kind, field.default))
    shared = {name: found for name, found in owners.items() if len(found) > 1}
    assert set(shared) == {
        'seed',  # the run's
        'method',
        'warmup_steps',
        'publish_every',
        'sources',
        'resume',
        'run_folder',
        'demonstrations',
        'deterministic',
        'gather',
        'torch_threads',
        *({'prompt', 'image_size', 'num_sims'} & set(shared)),
    }
    for name, found in shared.items():
        assert len({default for _, default in found}) == 1, name


class TestPrecedence:
    def test_file_over_defaults_and_typed_over_file(self, params):
        path = params(rho=0.1, tau=0.5, task='push-v3')
        values = settings_of_run({'tau': '0.25'}, path)
        assert (values['rho'], values['tau'], values['gamma']) == (0.1, 0.25, 0.99)
        assert values['prompt'] == 'push the puck to a goal'

    def test_stored_run_over_file_and_typed_over_stored_run(self, params, stored):
        run = stored(rho='0.2', tau='0.3', task='push-v3')
        path = params(rho=0.1, tau=0.5, gamma=0.8)
        values = settings_of_run({'tau': '0.25', 'resume': str(run)}, path)
        assert (values['rho'], values['tau'], values['gamma']) == (0.2, 0.25, 0.99)
        assert values['prompt'] == 'push the puck to a goal'

    def test_types(self, params):
        given = {'rho': '1', 'learning_rate': '3e-4', 'seed': '7', 'prompt': '12'}
        values = settings_of_run(given | {'deterministic': 'true', 'render': 'False'}, '')
        assert (values['rho'], values['learning_rate']) == (1.0, 3e-4)
        assert type(values['rho']) is float
        assert (values['seed'], values['deterministic'], values['render']) == (7, True, False)
        assert values['prompt'] == '12'
        assert settings_of_run({}, params(prompt='close it'))['prompt'] == 'close it'

    @pytest.mark.parametrize('empty', ["''", '""', ''])
    def test_a_typed_empty_text_is_empty(self, params, empty):
        path = params(prompt='close it', resume='/no/where', run_folder='mine')
        given = dict.fromkeys(('prompt', 'resume', 'run_folder'), empty)
        values = settings_of_run(given, path)
        assert values['prompt'] == 'push and close a drawer'
        assert values['resume'] == ''
        assert Path(values['run_folder']).parent.name == 'runs'

    def test_a_deterministic_run_lets_nothing_gather(self):
        assert settings_of_run({}, '')['gather'] > 0
        assert settings_of_run({'deterministic': 'true'}, '')['gather'] == 0


class TestRunFolder:
    def test_a_new_run_has_a_name_of_its_own(self):
        folder = Path(settings_of_run({'task': 'ALE/Pong-v5', 'seed': '3'}, '')['run_folder'])
        assert folder.is_absolute()
        assert folder.parent.name == 'runs'
        assert folder.name.startswith('ALE_Pong-v5-furl-s3-')

    def test_a_given_one_stays(self, tmp_path):
        given = {'run_folder': str(tmp_path / 'mine')}
        assert settings_of_run(given, '')['run_folder'] == str(tmp_path / 'mine')

    def test_a_resumed_run_goes_on_in_its_folder_from_its_newest_checkpoint(self, stored):
        run = stored()
        values = settings_of_run({'resume': str(run)}, '')
        assert values['run_folder'] == str(run)
        assert values['resume'] == str(run / 'checkpoints' / 'step_000000020')
        first = run / 'checkpoints' / 'step_000000010'
        assert settings_of_run({'resume': str(first)}, '')['resume'] == str(first)

    def test_or_in_another_one_if_it_is_asked_to(self, stored, tmp_path):
        given = {'resume': str(stored()), 'run_folder': str(tmp_path / 'b')}
        assert settings_of_run(given, '')['run_folder'] == str(tmp_path / 'b')


class TestEvaluationEpisodes:
    """A fixed goal: one, since a deterministic policy repeats itself; random goals: 20."""

    def test_by_goal(self, params):
        assert settings_of_run({}, '')['eval_episodes'] == 1
        assert settings_of_run({'goal': 'random'}, '')['eval_episodes'] == 20
        assert settings_of_run({}, params(goal='random'))['eval_episodes'] == 20

    def test_a_given_number_stays(self, params):
        given = {'goal': 'random', 'eval_episodes': '1'}
        assert settings_of_run(given, '')['eval_episodes'] == 1
        path = params(goal='random', eval_episodes=3)
        assert settings_of_run({}, path)['eval_episodes'] == 3

    def test_that_of_the_stored_run_stays(self, stored):
        run = stored(goal='random', eval_episodes='5')
        assert settings_of_run({'resume': str(run)}, '')['eval_episodes'] == 5


class TestRefused:
    @pytest.mark.parametrize(
        ('given', 'text'),
        [
            ({'taks': 'x'}, "there is no argument 'taks'; accepted: action_repeat, "),
            ({'seed': 'one'}, "seed is 'one'; accepted: a value of type int"),
            ({'seed': "''"}, 'seed is .*; accepted: a value of type int'),
            ({'rho': 'nan'}, 'rho is nan; accepted: 0 to 1000'),
            ({'rho': '[1'}, r"rho is '\[1'; accepted: a value of type float"),
            ({'render': '1'}, "render is '1'; accepted: a value of type bool"),
            ({'method': 'fuzzy'}, "method is 'fuzzy'; accepted: furl, furl-nogoal, relay"),
            ({'num_sims': '65'}, 'num_sims is 65; accepted: 1 to 64'),
            ({'local_sims': '2'}, 'local_sims is 2; accepted: at most num_sims'),
            ({'videos': 'true', 'eval_every': '0'}, 'videos is True with eval_every 0: nothing'),
            ({'num_sims': '2', 'deterministic': 'true'}, 'num_sims is 2 with deterministic'),
            ({'scoring': 'clip'}, "scoring is 'clip'; accepted: cosine, goal_baseline, goal_image"),
            ({'scoring': 'goal_image'}, "scoring is 'goal_image'; accepted with method furl: cos"),
            (
                {'scoring': 'goal_image', 'method': 'vlm', 'task': 'Pendulum-v1'},
                "scoring is 'goal_image', but Pendulum-v1 has no goal image; accepted: cosine, "
                'goal_baseline, potential, progress, or a Meta-World task',
            ),
            (
                {'scoring': 'goal_baseline', 'method': 'vlm', 'baseline_prompt': ' '},
                "baseline_prompt is ' '; accepted with scoring goal_baseline: the scene in words",
            ),
            ({'observe': 'both', 'method': 'sac'}, "observe is 'both' with method sac"),
            ({'baseline_alpha': '1.1'}, r'baseline_alpha is 1\.1; accepted: 0 to 1'),
            ({'resume': '/no/where'}, "resume is '/no/where'; accepted: a run folder with"),
        ],
    )
    def test_typed(self, given, text):
        refused(text, given)

    @pytest.mark.parametrize(
        ('values', 'text'),
        [
            ({'taks': 'x'}, r"params\.yaml: there is no setting 'taks'; accepted: action_repeat"),
            ({'seed': 'one'}, "seed is 'one'; accepted: a value of type int"),
            ({'prompt': 5}, 'prompt is 5; accepted: a value of type str'),
            ({'resume': 5}, 'resume is 5; accepted: a value of type str'),
            ({'method': None}, 'method is None; accepted: a value of type str'),
            ({'sources': [1, 2]}, 'sources is .1, 2.; accepted: text values'),
        ],
    )
    def test_in_the_file(self, params, values, text):
        refused(text, params_file=params(**values))

    @pytest.mark.parametrize('content', [None, '', 'a: 1', '- 1', '{', '/**: {ros__parameters: 3}'])
    def test_no_parameter_file(self, tmp_path, content):
        path = tmp_path / 'params.yaml'
        if content is not None:
            path.write_text(content)
        refused(r"params_file is '.*params\.yaml'; accepted: a YAML file", params_file=str(path))

    @pytest.mark.parametrize(
        ('name', 'value', 'kept'),
        [
            ('task', 'push-v3', 'drawer-close-v3'),
            ('image_size', '64', '112'),
            ('prompt', 'open it', 'push and close a drawer'),
            ('scoring', 'potential', 'cosine'),
            ('baseline_prompt', 'a drawer', 'a robot arm beside a table'),
            ('baseline_alpha', '0.25', '0.5'),
        ],
    )
    def test_what_does_not_fit_the_run(self, stored, name, value, kept):
        text = f"^{name} is '?{value}'?, but the checkpoint .*; accepted: '?{kept}'?$"
        refused(text, {'resume': str(stored()), name: value})


def test_weights_and_biases_is_refused_where_it_is_not_installed(monkeypatch):
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    refused('wandb is True, but the package is not installed', {'wandb': 'true'})


def test_the_model_is_checked_where_the_method_has_one():
    values = settings_of_run({'vlm': 'nothing'}, '')
    with pytest.raises(SettingError, match="vlm is 'nothing'"):
        graph.check_model(values)
    graph.check_model(values | {'method': 'sac'})
    graph.check_model(values | {'vlm': 'open_clip:RN50/openai'})


def test_an_empty_parameter_file_says_nothing(tmp_path):
    path = tmp_path / 'params.yaml'
    path.write_text('/**: {ros__parameters: }')
    assert settings_of_run({}, str(path))['task'] == 'drawer-close-v3'


def test_each_node_gets_its_own_settings_in_types_of_ros():
    values = settings_of_run({'seed': '3'}, '')
    for kind in (SimConfig, TrainConfig, AlignConfig, LearnerNodeConfig):
        part = graph.for_node(values, kind)
        assert set(part) == {field.name for field in dataclasses.fields(kind)}
    assert graph.for_node(values, SimConfig, TrainConfig)['seed'] == 3
    assert graph.for_node(values, LearnerNodeConfig)['sources'] == ['']


def test_sources():
    assert graph.sources_of(1) == ('',)
    assert graph.sources_of(3) == ('sim0', 'sim1', 'sim2')


@pytest.mark.parametrize(('cores', 'threads'), [(1, 1), (2, 1), (4, 2), (8, 4), (16, 4)])
def test_threads(monkeypatch, cores, threads):
    monkeypatch.setattr(os, 'sched_getaffinity', lambda _: set(range(cores)))
    assert graph.learner_threads(deterministic=False) == threads
    assert graph.learner_threads(deterministic=True) == 1


@pytest.mark.parametrize(
    ('method', 'scoring', 'uses'),
    [
        ('furl', 'cosine', True),
        ('furl-nogoal', 'potential', False),
        ('vlm', 'cosine', False),
        ('vlm', 'goal_image', True),
        ('relay', 'goal_baseline', False),
    ],
)
def test_goal_images_are_drawn_where_they_are_looked_at(method, scoring, uses):
    values = settings_of_run({'method': method, 'scoring': scoring}, '')
    assert graph.uses_goal_image(values) is uses


def test_a_run_from_before_there_were_scorings_goes_on_with_the_cosine(stored):
    run = stored()
    config = yaml.safe_load((run / 'config.yaml').read_text())
    for name in ('scoring', 'baseline_prompt', 'baseline_alpha'):
        config.pop(name)
    (run / 'config.yaml').write_text(yaml.safe_dump(config))
    assert settings_of_run({'resume': str(run)}, '')['scoring'] == 'cosine'


@pytest.mark.parametrize('value', ['auto', 'bfloat16', 'highest'])
def test_a_run_from_before_a_setting_was_removed_goes_on_without_it(stored, value):
    run = stored()
    config = yaml.safe_load((run / 'config.yaml').read_text()) | {'matmul_precision': value}
    (run / 'config.yaml').write_text(yaml.safe_dump(config))
    values = settings_of_run({'resume': str(run)}, '')
    assert 'matmul_precision' not in values
    assert values['run_folder'] == str(run)


def test_the_learner_has_cores_of_its_own_where_there_are_more(monkeypatch):
    monkeypatch.setattr(os, 'sched_getaffinity', lambda _: {2, 5, 7, 9})
    assert graph.learner_cores(2) == [7, 9]
    assert graph.learner_cores(1) == [9]
    monkeypatch.setattr(os, 'sched_getaffinity', lambda _: {3})
    assert graph.learner_cores(1) == []


ROBOT_YAMLS = [CONFIG / 'robot.yaml', *sorted((CONFIG / 'robots').glob('*.yaml'))]


@pytest.mark.parametrize('path', ROBOT_YAMLS, ids=lambda path: path.stem)
def test_the_robots_of_config_are_accepted(path):
    profile = read_profile(graph.read_robot(str(path)))
    values = settings_of_run({}, str(path), profile.name)
    assert values['task'] == profile.name
    assert values['prompt']
    assert Path(values['run_folder']).name.startswith(f'{profile.name}-furl-s0-')
    # So does a graph with a simulator: it leaves the robot alone.
    assert 'robot' not in settings_of_run({}, str(path))


def test_a_robot_has_no_twin_and_does_not_wait():
    values = settings_of_run({}, str(ROBOT_YAMLS[0]), 'arm')
    assert values.items() >= graph.WITH_A_ROBOT.items()


@pytest.mark.parametrize(
    ('given', 'text'),
    [
        ({'eval_every': '100'}, 'eval_every is 100; accepted with a robot: 0'),
        ({'num_sims': '2'}, 'num_sims is 2; accepted with a robot: 1'),
        ({'task': 'push-v3'}, "task is 'push-v3'; accepted with a robot: 'arm'"),
        ({'prompt': "''"}, "prompt is ''; accepted with a robot: the task in words"),
    ],
)
def test_what_a_robot_cannot_do_is_refused(given, text):
    with pytest.raises(SettingError, match=text):
        settings_of_run(given, str(ROBOT_YAMLS[0]), 'arm')


def test_a_robot_s_run_goes_on_with_the_same_robot_alone(stored):
    run = stored(task='arm', prompt='reach')
    assert settings_of_run({'resume': str(run)}, '', 'arm')['task'] == 'arm'
    with pytest.raises(SettingError, match='task'):
        settings_of_run({'resume': str(run)}, '', 'another arm')


def test_a_file_without_a_robot_or_with_a_wrong_one_gets_one_line(params):
    for path in ('', params(gamma=0.5)):
        with pytest.raises(SettingError, match='accepted: a file with the description of a robot'):
            graph.read_robot(path)
    with pytest.raises(SettingError, match=r'params.yaml: robot: joints.names is \[\]'):
        graph.read_robot(params(robot={'name': 'arm'}))
