# SPDX-License-Identifier: Apache-2.0
"""What a frame shows, in words: templates over the simulator's state.

The sentences say what the gripper and the object are doing and how far the task is; each fact has
several phrasings. A frame of a solved task is described by the task's own prompt.
"""

from typing import NamedTuple

import numpy as np

from sim.tasks import TASKS

# Metres.
TOUCHING, NEAR, FAR = 0.06, 0.12, 0.25
MOVED, MOVED_FAR = 0.015, 0.08
ASIDE = 0.06
HIGH, LOW = 0.25, 0.08
# Of MuJoCo's gripper opening, 0 (closed) to 1.
OPEN, CLOSED = 0.8, 0.45


class Facts(NamedTuple):
    """The simulator's state behind a frame; metres in the world frame (x right, y away, z up)."""

    task: str
    gripper: np.ndarray
    """float [3], between the fingers."""
    opening: float
    object: np.ndarray
    """float [3], the thing that the task is about."""
    object_start: np.ndarray
    """float [3], where it was at the start of the episode."""
    goal: np.ndarray
    """float [3]"""
    success: bool


# What each task handles, and other ways to say what is to be done with it ({} is the thing).
_WORDS: dict[str, tuple[str, tuple[str, ...]]] = {
    'assembly-v3': ('nut', ('put the {} on the peg', 'place the {} onto a peg')),
    'basketball-v3': ('basketball', ('throw the {} into the basket', 'pick and place the {}')),
    'bin-picking-v3': ('cube', ('move the {} to the other bin', 'pick and place the {}')),
    'box-close-v3': ('cover', ('close a box with the {}', 'place the {} on a box')),
    'button-press-topdown-wall-v3': ('button', ('press a {} from the top', 'push a {} down')),
    'button-press-v3': ('button', ('press a {} from the front', 'push a {} in')),
    'button-press-wall-v3': ('button', ('press a {} over a wall', 'push a {} in')),
    'coffee-button-v3': ('button', ('press a {} of the machine', 'push a {}')),
    'coffee-pull-v3': ('mug', ('pull a {}', 'drag the {} to a goal')),
    'coffee-push-v3': ('mug', ('push a {}', 'push the {} to a goal')),
    'dial-turn-v3': ('dial', ('turn a {}', 'rotate the {}')),
    'disassemble-v3': ('nut', ('take the {} off the peg', 'lift the {}')),
    'door-close-v3': ('door', ('close a {}', 'close a {} with a revolving joint')),
    'door-lock-v3': ('lock', ('turn the {} to lock a door', 'lock a door')),
    'door-unlock-v3': ('lock', ('turn the {} to open a door', 'unlock a door')),
    'faucet-close-v3': ('faucet', ('close a {}', 'push and close a {}')),
    'faucet-open-v3': ('faucet', ('open a {}', 'push and open a {}')),
    'hammer-v3': ('hammer', ('hit a screw with the {}', 'insert a screw with a {}')),
    'hand-insert-v3': ('hole', ('reach into a {}', 'insert the hand into a {}')),
    'handle-press-side-v3': ('handle', ('press a {}', 'push a {} down sideways')),
    'handle-press-v3': ('handle', ('press a {} from the top', 'push a {} down')),
    'handle-pull-side-v3': ('handle', ('pull a {}', 'pull and open a {} sideways')),
    'handle-pull-v3': ('handle', ('pull a {}', 'pull and open a {}')),
    'lever-pull-v3': ('lever', ('pull a {}', 'lift a {}')),
    'peg-unplug-side-v3': ('peg', ('pull a {} out sideways', 'unplug a {}')),
    'pick-out-of-hole-v3': ('puck', ('pick and lift a {}', 'take a {} out of the hole')),
    'pick-place-wall-v3': ('puck', ('pick and place a {} over a wall', 'lift a {} over a wall')),
    'plate-slide-back-side-v3': ('plate', ('slide a {} sideways', 'pull a {} out sideways')),
    'plate-slide-back-v3': ('plate', ('slide a {} out', 'pull a {} back')),
    'plate-slide-side-v3': ('plate', ('slide a {} in sideways', 'push a {} sideways')),
    'plate-slide-v3': ('plate', ('slide a {} in', 'push a {} forward')),
    'push-back-v3': ('puck', ('push the {} back', 'pull a {} to a goal')),
    'push-wall-v3': ('puck', ('push a {} to a goal', 'push the {} behind a wall')),
    'reach-wall-v3': ('goal', ('reach a {} position', 'move the gripper to the {}')),
    'shelf-place-v3': ('puck', ('place a {} onto a shelf', 'pick and place a {}')),
    'soccer-v3': ('ball', ('push a {} to a goal', 'kick the {}')),
    'stick-pull-v3': ('stick', ('pick a {} and pull a box', 'pull with a {}')),
    'stick-push-v3': ('stick', ('pick a {} and push a box', 'insert a {} and push')),
    'sweep-into-v3': ('puck', ('push a {} into a hole', 'sweep the {} in')),
    'sweep-v3': ('puck', ('push a {} off the table', 'sweep the {} to the side')),
}
# In their place now and then, so that the sentence is understood without knowing the thing.
_OTHER_THINGS = (
    'box', 'cup', 'bottle', 'lid', 'cabinet', 'drawer', 'window', 'switch', 'knob', 'block', 'toy',
    'tool', 'bowl', 'cloth', 'lamp', 'book', 'thing', 'object', 'part', 'panel', 'puck', 'peg',
    'door', 'button',
)  # fmt: skip


def thing(task: str) -> str:
    """Return the noun for what a task handles."""
    return _WORDS[task][0]


def goals(task: str, generator: np.random.Generator, other_things: float = 0.0) -> str:
    """Return a sentence that asks for the task: its prompt or another phrasing.

    Args:
        other_things: probability that the thing is called by the name of another one.
    """
    noun, phrasings = _WORDS[task]
    sentences = (TASKS[task].prompt, *(phrase.format(noun) for phrase in phrasings))
    # The prompt itself half of the time.
    which = max(0, int(generator.integers(-1, len(sentences))))
    sentence = sentences[which]
    if generator.random() < other_things:
        sentence = sentence.replace(noun, _one_of(generator, _OTHER_THINGS))
    return sentence


def caption(facts: Facts, generator: np.random.Generator, other_things: float = 0.0) -> str:
    """Return one sentence about a frame; which fact it tells and in which words is drawn.

    Args:
        other_things: see ``goals``.
    """
    noun = thing(facts.task)
    kind = generator.random()
    if facts.success and kind < 0.6:
        sentence = goals(facts.task, generator, other_things)
        return _one_of(generator, ('{}', '{}', '{}', '{}, done', 'the robot did it: {}')).format(
            sentence
        )
    if kind < 0.45:
        return _progress(facts, noun, generator)
    if kind < 0.8:
        return _gripper_and_thing(facts, noun, generator)
    return _gripper(facts, generator)


def _progress(facts: Facts, noun: str, generator: np.random.Generator) -> str:
    moved = float(np.linalg.norm(facts.object - facts.object_start))
    if facts.success:
        phrases = ('the task is done', f'the robot is done with the {noun}')
    elif moved < MOVED:
        phrases = (
            f'the {noun} has not moved yet',
            f'the {noun} is still at its start',
            'nothing has been done yet',
        )
    else:
        before = float(np.linalg.norm(facts.object_start - facts.goal))
        now = float(np.linalg.norm(facts.object - facts.goal))
        how = 'a little' if moved < MOVED_FAR else 'far'
        phrases = (f'the {noun} has moved {how}', f'the robot has moved the {noun} {how}')
        if now < before:
            part = 'almost there' if now < 0.35 * before else 'on the way'
            phrases += (f'the {noun} is {part}', f'the task is {part}')
        else:
            phrases += (f'the {noun} went the wrong way',)
    return _one_of(generator, phrases)


def _gripper_and_thing(facts: Facts, noun: str, generator: np.random.Generator) -> str:
    offset = facts.gripper - facts.object
    distance = float(np.linalg.norm(offset))
    if distance < TOUCHING:
        phrases = (f'the gripper touches the {noun}', f'the gripper is at the {noun}')
        if facts.opening < CLOSED:
            phrases += (f'the gripper holds the {noun}', f'the {noun} is in the gripper')
    elif distance > FAR:
        phrases = (
            f'the gripper is far from the {noun}',
            f'the robot is away from the {noun}',
        )
    else:
        sides = [
            word
            for value, words in zip(
                offset, (('right of', 'left of'), ('behind', 'in front of'), ('above', 'below')),
                strict=True,
            )
            if abs(value) > ASIDE
            for word in (words[0] if value > 0 else words[1],)
        ]  # fmt: skip
        phrases = tuple(f'the gripper is {side} the {noun}' for side in sides)
        if distance < NEAR:
            phrases += (f'the gripper is near the {noun}', f'the robot is close to the {noun}')
        phrases = phrases or (f'the gripper is not far from the {noun}',)
    return _one_of(generator, phrases)


def _gripper(facts: Facts, generator: np.random.Generator) -> str:
    x, y, z = facts.gripper
    phrases = []
    if facts.opening > OPEN:
        phrases.append('the gripper is open')
    elif facts.opening < CLOSED:
        phrases.append('the gripper is closed')
    phrases.append('the arm is on the left' if x < 0 else 'the arm is on the right')
    phrases.append('the arm reaches far out' if y > 0.7 else 'the arm is drawn back')
    if z > HIGH:
        phrases.append('the gripper is high above the table')
    elif z < LOW:
        phrases.append('the gripper is down at the table')
    return _one_of(generator, phrases)


def _one_of(generator: np.random.Generator, choices: tuple[str, ...] | list[str]) -> str:
    return choices[int(generator.integers(len(choices)))]
