# SPDX-License-Identifier: Apache-2.0
"""Where a run stands, for people at a terminal: one line, a table, or JSON."""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

STATES = ('waiting', 'warm-up', 'training', 'evaluating', 'finished', 'failed', 'paused')
LEVELS = ('OK', 'WARN', 'ERROR', 'STALE')
COLOURS = {'OK': 'green', 'WARN': 'yellow', 'ERROR': 'red', 'STALE': 'red'}
NO_NUMBER = '-'


class Standing(Protocol):
    """What TrainingStatus.msg tells; see there."""

    state: int
    detail: str
    total_steps: int
    target_steps: int
    updates: int
    episodes: int
    heads_version: int
    stage: int
    positives: int
    negatives: int
    relay: bool
    agent: str
    replay_size: int
    rho: float
    steps_per_second: float
    success_rate: float
    eval_success_rate: float
    run_folder: str
    vlm_reward: float
    vlm_actor_loss: float
    vlm_critic_loss: float
    sac_actor_loss: float
    sac_critic_loss: float
    head_loss: float


class Health(NamedTuple):
    """What a node says of itself."""

    node: str
    level: str  # of LEVELS
    message: str


def state_of(status: Standing) -> str:
    """The state in one word."""
    return STATES[status.state] if status.state < len(STATES) else f'state {status.state}'


def number(value: float, form: str) -> str:
    """A number, or a dash where there is none yet."""
    return format(value, form) if math.isfinite(value) else NO_NUMBER


def seconds_left(status: Standing) -> float:
    """Seconds until the end at the present speed; NaN where it is not known."""
    if not status.steps_per_second > 0:
        return math.nan
    return max(0, status.target_steps - status.total_steps) / status.steps_per_second


def clock(seconds: float) -> str:
    """Hours, minutes and seconds."""
    if not math.isfinite(seconds):
        return NO_NUMBER
    minutes, left = divmod(round(seconds), 60)
    return f'{minutes // 60:02}:{minutes % 60:02}:{left:02}'


def live_line(status: Standing) -> str:
    """Where a run stands in one line, the most important first: narrow terminals cut its end."""
    state = state_of(status)
    if state in ('waiting', 'failed', 'finished'):
        return f'{state}: {status.detail}'
    steps = f'{status.total_steps:,}/{status.target_steps:,}'
    parts = [
        f'{state} {steps}',
        f'{number(status.steps_per_second, ".0f")} steps/s',
        f'{clock(seconds_left(status))} left',
        f'success {number(status.success_rate, ".2f")}'
        f' (eval {number(status.eval_success_rate, ".2f")})',
        f'reward {number(status.vlm_reward, "+.3f")}',
        f'positives {status.positives:,}',
        f'{status.agent or "nobody"} acts',
        f'replay {status.replay_size:,}',
    ]
    return ' | '.join(parts)


def page(status: Standing, nodes: Iterable[Health]) -> Group:
    """Where a run stands and how its nodes are, as rich shows it."""
    state = state_of(status)
    table = Table(title=Text(status.run_folder or 'a run without a folder'), show_header=False)
    table.add_column(style='bold')
    table.add_column()
    done = ProgressBar(total=max(1, status.target_steps), completed=status.total_steps, width=40)
    rows = {
        'state': f'{state}: {status.detail}' if state in ('waiting', 'failed') else state,
        'steps': f'{status.total_steps:,} of {status.target_steps:,}',
        '': done,
        'speed': f'{number(status.steps_per_second, ".1f")} steps/s,'
        f' {clock(seconds_left(status))} left',
        'success, last 20 episodes': number(status.success_rate, '.2f'),
        'success, evaluation': number(status.eval_success_rate, '.2f'),
        'VLM reward, last batch': f'{number(status.vlm_reward, "+.3f")}'
        f' (rho {number(status.rho, "g")})',
        'positives / negatives': f'{status.positives:,} / {status.negatives:,}',
        'who acts': status.agent or 'nobody yet',
        'replay': f'{status.replay_size:,} steps, {status.episodes:,} episodes,'
        f' {status.updates:,} updates',
        'heads': f'{status.heads_version:,} (stage {status.stage}),'
        f' loss {number(status.head_loss, ".4g")}',
        'actor / critic loss': '   '.join(
            f'{agent} {number(getattr(status, f"{agent}_actor_loss"), ".4g")}'
            f' / {number(getattr(status, f"{agent}_critic_loss"), ".4g")}'
            for agent in ('vlm', 'sac')
        ),
    }
    for name, value in rows.items():
        table.add_row(name, Text(value) if isinstance(value, str) else value)
    health = Table(show_header=False)
    for one in sorted(nodes):
        # Text, since what nodes say may look like rich's own marks.
        words = Text(one.node), Text(one.level, COLOURS[one.level]), Text(one.message)
        health.add_row(*words)
    return Group(table, health) if health.row_count else Group(table)


def as_json(status: Standing, names: Iterable[str], nodes: Iterable[Health]) -> dict[str, Any]:
    """The same for programs; numbers that are not known yet are null.

    Args:
        status: where the run stands.
        names: fields of it that are told.
        nodes: how the nodes are.
    """
    values = {name: getattr(status, name) for name in names}
    values = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in values.items()
    }
    left = seconds_left(status)
    return values | {
        'state': state_of(status),
        'seconds_left': left if math.isfinite(left) else None,
        'nodes': [one._asdict() for one in sorted(nodes)],
    }
