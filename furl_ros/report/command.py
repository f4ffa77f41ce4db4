# SPDX-License-Identifier: Apache-2.0
"""The command: ros2 run furl_ros report <results folder>."""

import argparse
import difflib
import json
import os
import re
import shlex
from pathlib import Path

from furl_ros.core.settings import SettingError, exit_code
from furl_ros.report.comparison import Comparison
from furl_ros.report.page import read_reading, write_page
from furl_ros.report.runs import read_results
from furl_ros.report.traces import REWARDS, Trace, read_traces

PAGE = 'README.md'
CURVES_PICTURE = 'curves.png'
_PROGRAM = 'ros2 run furl_ros report'
_MOST_LINES = 30


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        'report', description='Tables and learning curves of the runs of a sweep.'
    )
    parser.add_argument(
        'results', type=Path, help='folder with <task>/<variant>/s<seed>/ in it, as sweep leaves it'
    )
    parser.add_argument(
        '--out', type=Path, help=f'the page; default: {PAGE} in the folder. Pictures lie beside it'
    )
    parser.add_argument(
        '--apart',
        nargs='+',
        action='extend',
        default=[],
        metavar='TASK',
        help='tasks that get their own tables and are left out of the aggregates',
    )
    parser.add_argument(
        '--baseline',
        default='',
        metavar='VARIANT',
        help='compare all others with this one; default: each furl* with all others',
    )
    parser.add_argument(
        '--rewards',
        type=Path,
        metavar='RUNS',
        help=f'first write {REWARDS} for one seed per task and variant that has none, from the'
        ' checkpoints of the run folders RUNS/<task>/<variant>/s<seed>',
    )
    parser.add_argument(
        '--check',
        action='store_true',
        help='write nothing; exit 0 when the page is that of the results, 1 with the difference'
        ' when not. Without --apart and --baseline with those of the command on the page',
    )
    parser.add_argument('--json', action='store_true', help='print one JSON object last')
    return parser


def command_of(options: argparse.Namespace) -> str:
    """The command line that makes a page."""
    words = [str(options.results)]
    if options.out:
        words += ['--out', str(options.out)]
    if options.apart:
        words += ['--apart', *options.apart]
    if options.baseline:
        words += ['--baseline', options.baseline]
    return f'{_PROGRAM} {shlex.join(words)}'


def _command_on(page: str) -> str | None:
    found = re.search(rf'^{re.escape(_PROGRAM)} .*$', page, re.MULTILINE)
    return found.group() if found else None


def traces_by_task(comparison: Comparison) -> dict[str, dict[str, tuple[str, int, list[Trace]]]]:
    """Task to variant to (method, seed, episodes) of the first seed with a rewards.csv."""
    found: dict[str, dict[str, tuple[str, int, list[Trace]]]] = {}
    for task in [*comparison.tasks, *comparison.apart]:
        for variant in comparison.variants:
            for run in comparison.cell(task, variant):
                traces = read_traces(run)
                if traces:
                    found.setdefault(task, {})[variant] = (run.method, run.seed, traces)
                    break
    return found


def _rewards_picture(task: str) -> str:
    return f'rewards-{re.sub(r"[^A-Za-z0-9.-]", "_", task)}.png'


def write_missing_rewards(comparison: Comparison, runs: Path) -> None:
    """Write rewards.csv for one seed per task and variant, where there is none.

    Args:
        comparison: the runs.
        runs: folder with their run folders, laid out like the results.

    Raises:
        SettingError: there is no such folder.
        OSError: a file cannot be written.
    """
    # Imported here: the tables need neither torch nor a model.
    from furl_ros.core.run import CHECKPOINTS
    from furl_ros.report.rewards import rewards_along_episodes

    if not runs.is_dir():
        raise SettingError(f'rewards is {str(runs)!r}; accepted: the folder of the run folders')
    for task in comparison.all_tasks:
        for variant in comparison.variants:
            cell = comparison.cell(task, variant)
            if any((run.folder / REWARDS).exists() for run in cell):
                continue
            for run in cell:
                folder = runs.joinpath(*run.folder.parts[-3:])
                if not (folder / CHECKPOINTS).is_dir():
                    continue
                try:
                    path = rewards_along_episodes(folder, run.folder)
                except SettingError as error:
                    print(f'no {REWARDS} of {run.name}: {error}')
                    continue
                if path:
                    print(path)
                break


def _check(page: Path, text: str) -> int:
    """Compare; 0 when they are the same and the pictures are there."""
    old = page.read_text(encoding='utf-8')
    lines = list(
        difflib.unified_diff(
            old.splitlines(), text.splitlines(), str(page), 'the results', lineterm='', n=1
        )
    )
    for line in lines[:_MOST_LINES]:
        print(line)
    if len(lines) > _MOST_LINES:
        print(f'... {len(lines) - _MOST_LINES} more lines')
    pictures = re.findall(r'^!\[[^]]*\]\(([^)]+)\)$', text, re.MULTILINE)
    absent = [name for name in pictures if not (page.parent / name).exists()]
    for name in absent:
        print(f'{page.parent / name} is missing')
    return 1 if lines or absent else 0


def run(options: argparse.Namespace) -> int:
    """Make or check the report; returns the exit code.

    Raises:
        SettingError: the input is not what is accepted.
        OSError: a file cannot be written.
    """
    page = options.out or options.results / PAGE
    command = command_of(options)
    reading = read_reading(page)
    if options.check:
        if not page.exists():
            raise SettingError(f'{page} does not exist; accepted with --check: a page of report')
        stored = _command_on(page.read_text(encoding='utf-8'))
        if stored and not options.apart and not options.baseline:
            command = stored
            given = shlex.split(stored)[len(_PROGRAM.split()) :]
            on_page = _parser().parse_args(given)
            options.apart, options.baseline = on_page.apart, on_page.baseline
    comparison = Comparison(read_results(options.results), options.apart, options.baseline)
    if options.rewards and not options.check:
        write_missing_rewards(comparison, options.rewards)
    traces = traces_by_task(comparison)
    pictures = [CURVES_PICTURE, *(_rewards_picture(task) for task in traces)]
    text = write_page(comparison, command, reading, pictures)
    code = 0
    if options.check:
        code = _check(page, text)
    else:
        # Imported here: a check draws nothing.
        from furl_ros.report.pictures import draw_curves, draw_rewards

        page.parent.mkdir(parents=True, exist_ok=True)
        draw_curves(comparison, page.parent / CURVES_PICTURE)
        for task, variants in traces.items():
            draw_rewards(task, variants, page.parent / _rewards_picture(task))
        # Never half a page: it holds what somebody wrote.
        temporary = page.with_name(f'.{page.name}.tmp')
        temporary.write_text(text, encoding='utf-8')
        os.replace(temporary, page)
        for line in comparison.missing:
            print(f'missing: {line}')
        print(page)
    if options.json:
        print(json.dumps(comparison.as_json() | {'page': str(page)}))
    return code


def main(arguments: list[str] | None = None) -> int:
    """Entry point of ``ros2 run furl_ros report``; returns the exit code, 2 for bad input."""
    return exit_code(run, _parser().parse_args(arguments))
