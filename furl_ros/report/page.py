# SPDX-License-Identifier: Apache-2.0
"""The Markdown page. The same results give the same bytes."""

import math
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

from furl_ros.core.settings import SettingError
from furl_ros.report.aggregates import Estimate
from furl_ros.report.comparison import Comparison
from furl_ros.report.measures import THRESHOLDS, WINDOW, Measures

READING, END_OF_READING = '<!-- reading -->', '<!-- end of reading -->'
NOTHING_READ = '\n*Nothing has been written here yet.*\n'
NONE = '—'
_FIGURES = (
    f'last {WINDOW}, any step',
    '... last step',
    'AUC',
    'evaluation, any / last step',
    'first success',
    'to 0.5: steps / min',
    'to 0.9: steps / min',
    'steps/s',
    'random / in turns / one agent',
    'relay ended',
)


def read_reading(path: Path) -> str:
    """The hand-written part of a page that is to be written again, with its line ends.

    Raises:
        SettingError: the file is not such a page: it would be lost.
    """
    if not path.exists():
        return NOTHING_READ
    try:
        text = path.read_text(encoding='utf-8')
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f'{path} cannot be read: {error}') from None
    before, begin, rest = text.partition(READING)
    reading, end, after = rest.partition(END_OF_READING)
    if not (begin and end) or READING in reading + after or END_OF_READING in before + after:
        raise SettingError(
            f'{path} is not replaced: it has not the lines {READING} and {END_OF_READING} once'
            ' each; accepted: a page of report, or another file with --out'
        )
    return reading


def write_page(comparison: Comparison, command: str, reading: str, pictures: Sequence[str]) -> str:
    """The whole page.

    Args:
        comparison: what to tell.
        command: the command that makes it.
        reading: hand-written text, as ``read_reading`` gives it.
        pictures: names of the files beside the page: the curves, then the rewards.
    """
    parts = [
        '<!-- SPDX-License-Identifier: Apache-2.0 -->',
        '<!-- Written by `report`, again and again: only what stands between the marks of the'
        ' reading is kept. -->',
        '# Methods compared',
        f'```bash\n{command}\n```',
        _head(comparison),
        *_missing(comparison),
        '## What to read from it',
        f'{READING}{reading}{END_OF_READING}',
        *_variants(comparison),
        *_matrix(comparison),
        *_aggregates(comparison),
        *_improvements(comparison),
        '## Learning curves',
        f'Success of the last {WINDOW} training episodes, at any step: mean over the seeds (thick),'
        ' 95 % bootstrap interval of that mean (shaded; with three seeds or fewer it is their'
        ' range), and each seed (thin).',
        f'![Success rate over environment steps for each task]({pictures[0]})',
        '## Each task',
        'First mean +- standard deviation over the seeds (of those that got there, and how many,'
        ' where not all did), then each seed. Success is that of the last'
        f' {WINDOW} training episodes at the end of the run; AUC, the mean of the success curve up'
        ' to the steps in the title; first success, the end of that episode; to 0.5 and 0.9,'
        f' when a full window of {WINDOW} episodes first had it; then the shares of the steps in'
        ' which actions were random, two agents took turns, one agent acted alone.',
    ]
    for task in comparison.tasks:
        parts += _task(comparison, task)
    if comparison.apart:
        parts += [
            '## Apart',
            'Not in any aggregate above (tasks that were looked at when settings were chosen).',
        ]
        for task in comparison.apart:
            parts += _task(comparison, task)
    if pictures[1:]:
        parts += [
            '## Reward along episodes',
            'The first failed, the first and the last successful training episode of one seed:'
            ' what each frame is worth by the heads as they were before the first update, by those'
            ' at the end of the run, and the cosines of the model alone. Dotted: first success.',
            *(f'![Reward along episodes]({name})' for name in pictures[1:]),
        ]
    return '\n\n'.join(parts) + '\n'


def _listed(values: Sequence[object]) -> str:
    return ', '.join(str(value) for value in values)


def _of(values: Sequence[object], name: str) -> str:
    return f'{len(values)} {name}{"s" * (len(values) != 1)}'


def _head(comparison: Comparison) -> str:
    runs = comparison.runs
    repeats = sorted({run.action_repeat for run in runs})
    commits = sorted({run.commit for run in runs if run.commit}) or ['unknown']
    machines = sorted({run.machine for run in runs if run.machine}) or ['unknown']
    hours = [run.wall_seconds / 3600 for run in runs if not math.isnan(run.wall_seconds)]
    time = f'{sum(hours):.1f} hours of runs, some side by side' if hours else 'time unknown'
    return (
        f'{_of(runs, "run")}: {_of(comparison.variants, "variant")},'
        f' {_of(comparison.all_tasks, "task")}. All steps are environment steps: actions times'
        f' action_repeat ({_listed(repeats)}). `docs/reports.md` defines each figure.\n\n'
        f'Commit {_listed(commits)}; machine {"; ".join(machines)}; {time}.'
    )


def _missing(comparison: Comparison) -> Iterator[str]:
    if comparison.missing:
        lines = '\n'.join(f'- {line}' for line in comparison.missing)
        yield f'**Missing** (everything below is of the runs that are there):\n\n{lines}'


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f'| {" | ".join(cells)} |' for cells in (columns, *rows)]
    return '\n'.join([lines[0], '|---' * len(columns) + '|', *lines[1:]])


def _variants(comparison: Comparison) -> Iterator[str]:
    settings = comparison.differing_settings()
    if settings:
        rows = [
            [variant, *(_setting(values[variant]) for values in settings.values())]
            for variant in comparison.variants
        ]
        yield '## Variants'
        yield 'The settings in which they differ.'
        yield _table(['variant', *settings], rows)


def _setting(value: object) -> str:
    return NONE if value is None else str(value).replace('|', '\\|')


def _interval(estimate: Estimate) -> str:
    return f'{estimate.value:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]'


def _matrix(comparison: Comparison) -> Iterator[str]:
    yield '## Success by task'
    yield (
        f'Success of the last {WINDOW} training episodes at any step, mean +- standard deviation'
        ' over the seeds. Bold: at least 0.9 on average.'
    )
    rows = []
    for task in [*comparison.tasks, *comparison.apart]:
        row = [task + (' (apart)' if task in comparison.apart else '')]
        for variant in comparison.variants:
            cell = comparison.cell(task, variant)
            values = [comparison.measures[run.name].final_any for run in cell]
            text = _spread(values) if values else NONE
            row.append(f'**{text}**' if values and statistics.mean(values) >= 0.9 - 1e-9 else text)
        rows.append(row)
    yield _table(['task', *comparison.variants], rows)


def _aggregates(comparison: Comparison) -> Iterator[str]:
    yield '## Over tasks'
    if not comparison.aggregates:
        yield 'No task is left to aggregate over.'
        return
    yield (
        f'Over {_of(comparison.tasks, "task")} ({_listed(comparison.tasks)}): mean and'
        ' interquartile mean (IQM) over all runs, with 95 % intervals of the bootstrap stratified'
        ' by task (arXiv 2108.13264).'
    )
    rows = []
    for variant, one in comparison.aggregates.items():
        cells = [
            _interval(figure[name])
            for name in ('final_any', 'final_last', 'auc')
            for figure in (one.mean, one.iqm)
        ]
        rows.append([variant, str(len(one.tasks)), str(one.used), *cells])
    success = f'last {WINDOW}, any step'
    columns = ['variant', 'tasks', 'seeds', f'{success}: mean', 'IQM']
    columns += ['... last step: mean', 'IQM', 'AUC: mean', 'IQM']
    yield _table(columns, rows)
    notes = []
    for variant, one in comparison.aggregates.items():
        absent = [task for task in comparison.tasks if task not in one.tasks]
        if absent:
            notes.append(
                f'- {variant} has no runs on {_listed(absent)}: its figures are not comparable.'
            )
        if len(set(one.seeds)) > 1:
            counts = _listed([f'{n} of {t}' for t, n in zip(one.tasks, one.seeds, strict=True)])
            notes.append(
                f'- {variant} has not the same number of seeds everywhere ({counts}): the first'
                f' {one.used} of each are taken.'
            )
    if notes:
        yield '\n'.join(notes)


def _improvements(comparison: Comparison) -> Iterator[str]:
    if not comparison.improvements:
        return
    yield '## Probability of improvement'
    yield (
        'That a run of the variant does better than a run of the other one on the same task'
        ' (equal: half), averaged over the tasks, with 95 % intervals. Last columns: whether the'
        ' intervals of the two IQM are apart.'
    )
    rows = [
        [
            one.variant,
            one.other,
            str(len(one.tasks)),
            _interval(one.probability['final_any']),
            _interval(one.probability['final_last']),
            _interval(one.probability['auc']),
            'yes' if one.apart['final_any'] else 'no',
            'yes' if one.apart['auc'] else 'no',
        ]
        for one in comparison.improvements
    ]
    success = f'last {WINDOW}, any step'
    columns = ['variant', 'over', 'tasks', success, '... last step', 'AUC']
    yield _table([*columns, f'IQM apart: {success}', 'AUC'], rows)


def _task(comparison: Comparison, task: str) -> Iterator[str]:
    until = comparison.until[task]
    yield f'### {task}, {until:,} environment steps'
    ends = sorted({run.total_steps for run in comparison.runs if run.task == task})
    if len(ends) > 1:
        lengths = '; '.join(
            f'{variant} {_listed([f"{total:,}" for total in totals])}'
            for variant in comparison.variants
            if (totals := sorted({run.total_steps for run in comparison.cell(task, variant)}))
        )
        yield f'Not all runs are of one length ({lengths}): success is that at the end of each.'
    cells = {variant: comparison.cell(task, variant) for variant in comparison.variants}
    measures = comparison.measures
    means = [
        [variant, str(len(cell)), *_summary([measures[run.name] for run in cell])]
        for variant, cell in cells.items()
        if cell
    ]
    yield _table(['variant', 'seeds', *_FIGURES], means)
    each = [
        [variant, str(run.seed), *_seed(measures[run.name])]
        for variant, cell in cells.items()
        for run in cell
    ]
    yield _table(['variant', 'seed', *_FIGURES], each)


def _seed(one: Measures) -> list[str]:
    evaluation = NONE
    if one.evaluation:
        _, any_step, last_step = one.evaluation
        evaluation = f'{any_step:.2f} / {last_step:.2f}'
    reached = []
    for threshold in THRESHOLDS:
        step, minutes = one.steps_to[threshold], one.minutes_to[threshold]
        time = NONE if minutes is None else f'{minutes:.1f}'
        reached.append(NONE if step is None else f'{step:,} / {time}')
    ended = NONE
    if one.has_relay:
        ended = 'never' if one.relay_ended is None else f'{one.relay_ended:,}'
    return [
        f'{one.final_any:.2f}',
        f'{one.final_last:.2f}',
        f'{one.auc:.2f}',
        evaluation,
        NONE if one.first_success is None else f'{one.first_success:,}',
        *reached,
        NONE if one.steps_per_second is None else f'{one.steps_per_second:.0f}',
        ' / '.join(f'{share:.2f}' for share in _shares(one)),
        ended,
    ]


def _shares(one: Measures) -> tuple[float, float, float]:
    """Shares of the steps: random, in turns, one agent alone."""
    alone = one.shares.get('vlm', 0.0) + one.shares.get('sac', 0.0)
    return one.shares.get('random', 0.0), one.shares.get('relay', 0.0), alone


def _spread(values: Sequence[float], form: str = '.2f') -> str:
    """Mean +- standard deviation, without the latter for a single value."""
    text = f'{statistics.mean(values):{form}}'
    return f'{text} +- {statistics.stdev(values):{form}}' if len(values) > 1 else text


def _got_there(values: Sequence[float | None], form: str) -> str:
    """The same over those seeds that have a value; a dash where none has."""
    there = [value for value in values if value is not None]
    return _spread(there, form) if there else NONE


def _count(values: Sequence[object | None]) -> str:
    """How many seeds got there, where some but not all did."""
    there = sum(value is not None for value in values)
    return f' ({there} of {len(values)})' if 0 < there < len(values) else ''


def _summary(seeds: Sequence[Measures]) -> list[str]:
    evaluations = [one.evaluation for one in seeds if one.evaluation]
    evaluation = NONE
    if evaluations:
        evaluation = ' / '.join(
            _spread([getattr(one, name) for one in evaluations])
            for name in ('any_step', 'last_step')
        )
    firsts = [one.first_success for one in seeds]
    reached = []
    for threshold in THRESHOLDS:
        steps = [one.steps_to[threshold] for one in seeds]
        minutes = [one.minutes_to[threshold] for one in seeds]
        both = f'{_got_there(steps, ",.0f")} / {_got_there(minutes, ".1f")}'
        reached.append(NONE if both == f'{NONE} / {NONE}' else both + _count(steps))
    ends = [one.relay_ended for one in seeds]
    ended = _got_there(ends, ',.0f') + _count(ends)
    if ended == NONE and seeds[0].has_relay:
        ended = 'never'
    shares = zip(*(_shares(one) for one in seeds), strict=True)
    return [
        _spread([one.final_any for one in seeds]),
        _spread([one.final_last for one in seeds]),
        _spread([one.auc for one in seeds]),
        evaluation,
        _got_there(firsts, ',.0f') + _count(firsts),
        *reached,
        _got_there([one.steps_per_second for one in seeds], '.0f'),
        ' / '.join(f'{statistics.mean(share):.2f}' for share in shares),
        ended,
    ]
