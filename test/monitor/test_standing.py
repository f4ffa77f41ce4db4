# SPDX-License-Identifier: Apache-2.0
"""Where a run stands, in words."""

import json
import math
from types import SimpleNamespace

from rich.console import Console

from furl_ros.monitor.standing import STATES, Health, as_json, live_line, page


def status(**given):
    values = {
        'state': STATES.index('training'),
        'detail': 'a detail',
        'total_steps': 12_400,
        'target_steps': 50_000,
        'updates': 2_400,
        'episodes': 31,
        'heads_version': 210,
        'stage': 2,
        'positives': 43,
        'negatives': 900,
        'relay': True,
        'agent': 'relay',
        'replay_size': 12_400,
        'rho': 0.05,
        'steps_per_second': 80.0,
        'success_rate': 0.35,
        'eval_success_rate': math.nan,
        'run_folder': 'runs/one',
        'vlm_reward': 0.2134,
        'vlm_actor_loss': 1.0,
        'vlm_critic_loss': 2.0,
        'sac_actor_loss': math.nan,
        'sac_critic_loss': math.nan,
        'head_loss': 0.5,
    }
    return SimpleNamespace(**values | given)


def shown(*what, width=120):
    console = Console(width=width, record=True, file=open('/dev/null', 'w'))  # noqa: SIM115
    console.print(page(*what))
    return console.export_text()


def test_the_line_says_what_people_ask_for():
    assert live_line(status()) == (
        'training 12,400/50,000 | 80 steps/s | 00:07:50 left | success 0.35 (eval -) |'
        ' reward +0.213 | positives 43 | relay acts | replay 12,400'
    )


def test_before_there_is_a_speed_nothing_is_made_up():
    line = live_line(status(steps_per_second=math.nan, agent=''))
    assert '| - steps/s | - left |' in line
    assert 'nobody acts' in line


def test_who_waits_or_has_failed_says_why():
    line = live_line(status(state=STATES.index('waiting'), detail='waiting for source_info'))
    assert line == 'waiting: waiting for source_info'
    assert live_line(status(state=STATES.index('failed'))) == 'failed: a detail'


def test_the_page_shows_figures_and_nodes():
    nodes = [Health('/sim_node', 'WARN', 'slow'), Health('/learner_node', 'OK', 'fine')]
    text = shown(status(), nodes)
    for words in ('runs/one', '12,400 of 50,000', '80.0 steps/s', '43 / 900', '00:07:50', 'relay'):
        assert words in text
    assert text.index('/learner_node') < text.index('/sim_node')
    assert 'WARN' in text
    assert 'nan' not in text


def test_what_others_say_is_no_markup():
    nodes = [Health('/sim_node', 'ERROR', 'camera [/red] lost [bold]')]
    assert 'camera [/red] lost [bold]' in shown(status(detail='[/]', state=0), nodes)


def test_json_has_null_where_there_is_no_number_yet():
    told = as_json(
        status(), ['state', 'total_steps', 'eval_success_rate'], [Health('/a', 'OK', '')]
    )
    assert json.loads(json.dumps(told, allow_nan=False)) == {
        'state': 'training',
        'total_steps': 12_400,
        'eval_success_rate': None,
        'seconds_left': 470.0,
        'nodes': [{'node': '/a', 'level': 'OK', 'message': ''}],
    }
