# SPDX-License-Identifier: Apache-2.0
"""Asks a learner for an evaluation, shows each episode, and writes what came of them.

evaluate.launch.py starts it beside the graph of a saved run; by hand it evaluates the policy of a
run that is under way.
"""

import csv
import io
import json
import math
import sys
import threading
from pathlib import Path
from typing import Any

from action_msgs.msg import GoalStatus
from rclpy.action import ActionClient
from rclpy.action.client import ClientGoalHandle
from rclpy.task import Future

from furl_interfaces.action import Evaluate
from furl_interfaces.msg import EpisodeResult
from furl_ros.bridge.config import EvaluateNodeConfig
from furl_ros.bridge.node import FurlNode, run
from furl_ros.bridge.parameters import declare
from furl_ros.core.storage import write_whole
from furl_ros.core.success import describe, summarize

LOOK_S = 0.2  # seconds between two looks for the learner
CANCEL_S = 3.0  # seconds that a learner has to end an evaluation that is given up
COLUMNS = ('episode', 'success_any_step', 'success_last_step', 'length', 'task_return')


class EvaluateNode(FurlNode):
    """See the module's docstring; docs/control.md shows how it is used."""

    def __init__(self, **options: Any) -> None:
        super().__init__('evaluate_node', **options)
        self.config = declare(self, EvaluateNodeConfig)
        self.client = ActionClient(self, Evaluate, 'evaluate')
        self.shown = 0
        self.goal: ClientGoalHandle | None = None
        self.answer: tuple[int, Evaluate.Result] | None = None
        self.refused = False
        self.over = threading.Event()
        self.looking = self.create_timer(LOOK_S, self.look, clock=self.steady_clock)

    # In the executor's thread

    def look(self) -> None:
        """Ask, once the learner is there."""
        if not self.client.server_is_ready():
            return
        self.looking.cancel()
        wanted = Evaluate.Goal(episodes=self.config.episodes, seed=self.config.first_seed)
        sent = self.client.send_goal_async(wanted, lambda message: self.show(message.feedback))
        sent.add_done_callback(self.on_accepted)

    def on_accepted(self, sent: Future) -> None:
        """The learner has said whether it will."""
        self.goal = sent.result()
        if not self.goal.accepted:
            self.refused = True
            self.over.set()
            return
        self.goal.get_result_async().add_done_callback(self.on_result)

    def on_result(self, done: Future) -> None:
        """The evaluation is over."""
        self.answer = done.result().status, done.result().result
        self.over.set()

    def show(self, feedback: Evaluate.Feedback) -> None:
        """One line for each episode."""
        last = feedback.last
        success = 'success' if last.success_any_step else 'no success'
        if last.success_any_step and not last.success_last_step:
            success += ', lost at the end'
        print(
            f'episode {feedback.episodes_done} of {self.config.episodes or "some"}: {success},'
            f' {last.length} steps, return {last.task_return:g}',
            flush=True,
        )

    # In the main thread

    def work(self, stop: threading.Event) -> int:
        """Wait for the result, write it down, and leave."""
        while not self.over.wait(0.1):
            if stop.is_set():
                if self.goal is not None:
                    self.goal.cancel_goal_async()
                    self.over.wait(CANCEL_S)
                break
        if self.refused:
            self.get_logger().error('the learner refuses: its log says why')
            return 1
        if self.answer is None:
            return 0
        status, result = self.answer
        print(table(result.episodes), flush=True)
        if status != GoalStatus.STATUS_SUCCEEDED:
            self.get_logger().error(f'not all of it: {result.error_msg}')
            return 0 if stop.is_set() else 1
        any_step = [one.success_any_step for one in result.episodes]
        last_step = [one.success_last_step for one in result.episodes]
        summary = summarize(any_step, last_step)
        print(describe(summary, len(any_step)), flush=True)
        if self.config.output:
            try:
                self.write(Path(self.config.output).expanduser(), result, summary)
            except OSError as error:
                self.get_logger().error(f'not written: {error}')
                return 1
        return 0

    def write(self, path: Path, result: Evaluate.Result, summary: dict[str, float]) -> None:
        """Write a table of the episodes and the figures to <path>.csv and <path>.json.

        Raises:
            OSError: the folder cannot be made, or the disk is full or fails.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [to_row(one) for one in result.episodes]
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
        write_whole(path.with_suffix('.csv'), text.getvalue())
        steps = result.episodes[0].total_steps if result.episodes else 0
        content = {'total_steps': steps, 'first_seed': self.config.first_seed, **summary}
        content |= {'mean_length': mean([one.length for one in result.episodes]), 'episodes': rows}
        write_whole(path.with_suffix('.json'), json.dumps(content, indent=1) + '\n')
        print(f'written: {path.with_suffix(".csv")}, {path.with_suffix(".json")}', flush=True)


def to_row(episode: EpisodeResult) -> dict[str, object]:
    """An episode as a row of the table."""
    return {name: getattr(episode, name) for name in COLUMNS}


def mean(values: list[float]) -> float:
    """Their mean; NaN of none."""
    return sum(values) / len(values) if values else math.nan


def table(episodes: list[EpisodeResult]) -> str:
    """The episodes for people."""
    rows = [('episode', 'success', 'at the end', 'steps', 'return')]
    yes = {True: 'yes', False: 'no'}
    for one in episodes:
        flags = yes[one.success_any_step], yes[one.success_last_step]
        rows.append((str(one.episode), *flags, str(one.length), f'{one.task_return:g}'))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return '\n'.join(
        '  '.join(word.rjust(width) for word, width in zip(row, widths, strict=True))
        for row in rows
    )


def main() -> None:
    """Entry point of ``ros2 run furl_ros evaluate_node``."""
    sys.exit(run(EvaluateNode))


if __name__ == '__main__':
    main()
