# SPDX-License-Identifier: Apache-2.0
"""The Meta-World v3 tasks as data: the sentence that describes each to a vision-language model."""

import re
from typing import NamedTuple


class Task(NamedTuple):
    """A task: its name, its prompt, and the camera that sees it well."""

    name: str
    prompt: str
    camera: str = 'corner2'


# The ten tasks of the paper (arXiv 2406.00645) with its prompts.
_MT10 = (
    Task('reach-v3', 'reach a goal position'),
    Task('push-v3', 'push the puck to a goal'),
    Task('pick-place-v3', 'pick and place a puck to a goal'),
    Task('door-open-v3', 'open a door with a revolving joint'),
    Task('drawer-open-v3', 'open a drawer'),
    Task('drawer-close-v3', 'push and close a drawer'),
    Task('button-press-topdown-v3', 'press a button from the top'),
    Task('peg-insert-side-v3', 'insert a peg sideways'),
    Task('window-open-v3', 'push and open a window'),
    Task('window-close-v3', 'push and close a window'),
)

# The other tasks: one sentence each, worded like those above.
_OTHERS = (
    Task('assembly-v3', 'pick up a nut and place it onto a peg'),
    Task('basketball-v3', 'dunk the basketball into the basket'),
    Task('bin-picking-v3', 'pick a cube and place it into the other bin'),
    Task('box-close-v3', 'pick up the cover and close a box with it'),
    Task('button-press-topdown-wall-v3', 'press a button from the top over a wall'),
    Task('button-press-v3', 'press a button'),
    Task('button-press-wall-v3', 'press a button behind a wall'),
    Task('coffee-button-v3', 'press the button of the coffee machine'),
    Task('coffee-pull-v3', 'pull a mug away from the coffee machine'),
    Task('coffee-push-v3', 'push a mug under the coffee machine'),
    Task('dial-turn-v3', 'turn a dial'),
    Task('disassemble-v3', 'lift a nut off a peg'),
    Task('door-close-v3', 'push and close a door'),
    Task('door-lock-v3', 'lock a door by turning the lock'),
    Task('door-unlock-v3', 'unlock a door by turning the lock'),
    Task('faucet-close-v3', 'turn the faucet to close it'),
    Task('faucet-open-v3', 'turn the faucet to open it'),
    Task('hammer-v3', 'hammer a screw into the wall'),
    Task('hand-insert-v3', 'insert the gripper into a hole'),
    Task('handle-press-side-v3', 'press a handle down sideways'),
    Task('handle-press-v3', 'press a handle down'),
    Task('handle-pull-side-v3', 'pull a handle up sideways'),
    Task('handle-pull-v3', 'pull a handle up'),
    Task('lever-pull-v3', 'pull a lever up'),
    Task('peg-unplug-side-v3', 'unplug a peg sideways'),
    Task('pick-out-of-hole-v3', 'pick a puck out of a hole'),
    Task('pick-place-wall-v3', 'pick a puck and place it behind a wall'),
    Task('plate-slide-back-side-v3', 'slide a plate out of the cabinet sideways'),
    Task('plate-slide-back-v3', 'slide a plate back out of the cabinet'),
    Task('plate-slide-side-v3', 'slide a plate into the cabinet sideways'),
    Task('plate-slide-v3', 'slide a plate into the cabinet'),
    Task('push-back-v3', 'pull the puck back to a goal'),
    Task('push-wall-v3', 'push the puck around a wall to a goal'),
    Task('reach-wall-v3', 'reach a goal position behind a wall'),
    Task('shelf-place-v3', 'pick and place a puck onto a shelf'),
    Task('soccer-v3', 'push the ball into the soccer goal'),
    Task('stick-pull-v3', 'pull a box with a stick'),
    Task('stick-push-v3', 'push a box with a stick'),
    Task('sweep-into-v3', 'sweep a puck into a hole'),
    Task('sweep-v3', 'sweep a puck off the table'),
)

TASKS: dict[str, Task] = {task.name: task for task in _MT10 + _OTHERS}
MT10: tuple[str, ...] = tuple(task.name for task in _MT10)


def prompt_for(task: str) -> str:
    """Return the sentence for a task.

    A Gymnasium id has none of its own: its name is put into words ('InvertedPendulum-v5' gives
    'solve the inverted pendulum task'), which a run that means to learn from it should replace.
    """
    if task in TASKS:
        return TASKS[task].prompt
    name = re.sub(r'-v\d+$', '', re.split(r'[/:]', task)[-1])
    words = re.sub(r'(?<=[a-z0-9])(?=[A-Z])', ' ', name).replace('-', ' ').replace('_', ' ')
    return f'solve the {words.lower()} task'
