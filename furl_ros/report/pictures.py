# SPDX-License-Identifier: Apache-2.0
"""The report's pictures: learning curves, and the reward along episodes."""

import math
from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use('Agg')
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from furl_ros.core.methods import METHODS
from furl_ros.report.comparison import Comparison
from furl_ros.report.measures import WINDOW, success_at
from furl_ros.report.traces import FAILED, FIRST_SUCCESS, KINDS, LAST_SUCCESS, Trace

# Okabe and Ito's colours, which the colour-blind can tell apart, without the yellow.
COLOURS = ('#000000', '#E69F00', '#56B4E9', '#009E73', '#CC79A7', '#0072B2', '#D55E00')
_DASHES = ('-', '--', ':')
_POINTS = 241
_RESAMPLES = 2_000
_PANEL = (4.2, 3.0)  # inches
_DPI = 110
_TITLES = {
    FAILED: 'first failure',
    FIRST_SUCCESS: 'first success',
    LAST_SUCCESS: 'last success',
}
# What a line of the rewards is, its colour, dashes and width.
_REWARDS = {
    'prompt_cosine': ('cosine with the prompt', '#56B4E9', '-', 1.0),
    'goal_cosine': ('cosine with the goal image', '#009E73', '-', 1.0),
    'initial': ('heads at the start', '#E69F00', '--', 1.8),
    'final': ('heads at the end', '#D55E00', '-', 1.8),
    'used': ("the method's reward (no heads)", '#D55E00', '-', 3.5),
}


def _thousands(value: float, _: int) -> str:
    return f'{value / 1000:g}k' if value else '0'


def _band(curves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """95 % bootstrap interval of the mean over seeds: [S, G] to twice [G]."""
    generator = np.random.default_rng(0)
    draws = generator.integers(len(curves), size=(_RESAMPLES, len(curves)))
    # How often each seed was drawn: a product instead of a large array of copies.
    counts = np.stack([(draws == seed).sum(axis=1) for seed in range(len(curves))], axis=1)
    low, high = np.percentile(counts @ curves / len(curves), [2.5, 97.5], axis=0)
    return low, high


def _save(figure: Figure, path: Path) -> None:
    # No name of a library's version in the file.
    figure.savefig(path, dpi=_DPI, metadata={'Software': None})
    plt.close(figure)


def _style(index: int) -> tuple[str, str]:
    return COLOURS[index % len(COLOURS)], _DASHES[index // len(COLOURS) % len(_DASHES)]


def _panels(count: int, columns: int, shape: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    """Empty panels in rows, as few rows as they need."""
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    size = (shape[0] * columns, shape[1] * rows + 0.7)
    figure, axes = plt.subplots(rows, columns, figsize=size, layout='constrained', squeeze=False)
    panels = axes.ravel().tolist()
    for panel in panels[count:]:
        panel.remove()
    for panel in panels[:count]:
        panel.spines[['top', 'right']].set_visible(False)
        panel.grid(color='0.92')
        panel.set_axisbelow(True)
        panel.xaxis.set_major_formatter(FuncFormatter(_thousands))
        panel.xaxis.set_major_locator(MaxNLocator(6))
    return figure, panels[:count]


def draw_curves(comparison: Comparison, path: Path) -> None:
    """Draw a panel for each task: success of the last episodes against environment steps."""
    tasks = [*comparison.tasks, *comparison.apart]
    columns = 2 if len(tasks) in (2, 4) else 3
    figure, panels = _panels(len(tasks), columns, _PANEL)
    for task, panel in zip(tasks, panels, strict=True):
        for index, variant in enumerate(comparison.variants):
            cell = comparison.cell(task, variant)
            if not cell:
                continue
            colour, dashes = _style(index)
            grid = np.linspace(0, min(run.total_steps for run in cell), _POINTS)
            curves = np.stack([success_at(run, grid) for run in cell])
            for curve in curves:
                panel.plot(grid, curve, dashes, color=colour, linewidth=0.6, alpha=0.4)
            if len(curves) > 1:
                low, high = _band(curves)
                panel.fill_between(grid, low, high, color=colour, alpha=0.1, linewidth=0)
            panel.plot(grid, curves.mean(axis=0), dashes, color=colour, linewidth=2.0)
        warmups = {
            run.settings.get('warmup_steps', 0) * run.action_repeat
            for run in comparison.runs
            if run.task == task
        }
        if len(warmups) == 1 and 0 not in warmups:
            panel.axvline(warmups.pop(), color='0.6', linestyle=(0, (1, 2)), linewidth=1)
        panel.set(ylim=(-0.02, 1.02), xlim=(0, None))
        panel.set_title(task + (' (apart)' if task in comparison.apart else ''), fontsize=11)
    figure.supylabel(f'success rate, last {WINDOW} training episodes', fontsize=10)
    for panel in panels[-columns:]:
        panel.set_xlabel('environment steps (dotted: end of warm-up)', fontsize=9)
    handles = [
        Line2D([], [], color=_style(index)[0], linestyle=_style(index)[1], linewidth=2, label=name)
        for index, name in enumerate(comparison.variants)
    ]
    figure.legend(
        handles=handles, loc='outside lower center', ncols=min(6, len(handles)), frameon=False
    )
    _save(figure, path)


def draw_rewards(task: str, traces: dict[str, tuple[str, int, list[Trace]]], path: Path) -> None:
    """Draw the reward along episodes: a row for each variant, a column for each kind of episode.

    Args:
        task: its name.
        traces: variant to its method, the seed and the episodes; one variant at least.
        path: the PNG file.
    """
    figure, panels = _panels(len(traces) * len(KINDS), len(KINDS), (4.0, 2.3))
    drawn: dict[str, None] = {}
    for row, (variant, (method, seed, episodes)) in enumerate(traces.items()):
        line = panels[row * len(KINDS) : (row + 1) * len(KINDS)]
        by_kind = {trace.kind: trace for trace in episodes}
        for column, (kind, panel) in enumerate(zip(KINDS, line, strict=True)):
            panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f'{value:g}'))
            if column == 0:
                panel.set_ylabel(f'{variant}, seed {seed}')
            else:
                panel.sharey(line[0])
            title = _TITLES[kind] if row == 0 else ''
            if row == len(traces) - 1:
                panel.set_xlabel('environment steps')
            if kind not in by_kind:
                panel.set_title(title, fontsize=10)
                panel.text(0.5, 0.5, 'none', transform=panel.transAxes, ha='center', color='0.5')
                panel.set_xticks([])
                continue
            trace = by_kind[kind]
            title = f'{title}: ' if title else ''
            panel.set_title(f'{title}episode {trace.episode}', fontsize=10)
            lines = dict(trace.rewards)
            if METHODS[method].heads == 'none':
                lines['used'] = lines.pop('final')
                lines.pop('initial')
            for name, (_, colour, dashes, width) in _REWARDS.items():
                if name in lines:
                    # The thin ones on top: a method's reward may be one of them.
                    style = {'color': colour, 'linewidth': width, 'zorder': 4 - width}
                    panel.plot(trace.steps, lines[name], dashes, **style)
                    drawn[name] = None
            if trace.success.any():
                first = trace.steps[trace.success.argmax()]
                panel.axvline(first, color='0.4', linestyle=(0, (1, 2)), linewidth=1.2)
    figure.suptitle(f'{task}: reward of the frames of an episode (dotted: it succeeds)')
    handles = [
        Line2D([], [], color=colour, linestyle=dashes, linewidth=width, label=label)
        for name, (label, colour, dashes, width) in _REWARDS.items()
        if name in drawn
    ]
    figure.legend(handles=handles, loc='outside lower center', ncols=len(handles), frameon=False)
    _save(figure, path)
