# SPDX-License-Identifier: Apache-2.0
"""The short form of bench/faults breaks no promise; what it judges runs by sees what is wrong."""

import json
from pathlib import Path

import numpy as np
import pytest
from fault_run import SIZE, Judge
from graph_support import TIMEOUT, Command, new_domain

from furl_ros.core.run import ALIGNMENT_FILE, CHECKPOINTS, TRAINER_FILE
from furl_ros.core.storage import save_tree
from sim.counter import StampCounterEnv, draw_counter, read_state

BENCH = Path(__file__).parents[2] / 'bench' / 'faults'
COUNTS = ('lost', 'misjoined', 'foreign', 'unreadable_checkpoints', 'left_over_processes', 'hangs')


@pytest.mark.campaign
def test_no_promise_is_broken_by_one_fault_of_each_kind(tmp_path):
    rows = tmp_path / 'rows.jsonl'
    argv = [str(BENCH), '--short', '--json', '--out', str(rows)]
    with Command(argv, new_domain(), tmp_path) as command:
        try:
            code = command.finish()
        finally:
            # Its graphs are in sessions of their own: it ends them itself.
            command.process.terminate()
            command.process.wait(TIMEOUT)
    result = json.loads(command.output.splitlines()[-1])
    assert result['broken'] == [], command.output
    assert code == 0
    assert {name: result[name] for name in COUNTS} == dict.fromkeys(COUNTS, 0)
    assert result['kills'] == result['pauses'] == 1
    assert result['messages'] == 60 * result['topics']
    assert result['topics'] > 15
    assert result['services'] > 20
    assert result['worst_recovery_s'] > 0
    assert result['steps'] > 200
    written = [json.loads(line) for line in rows.read_text().splitlines()]
    assert {row['fault'] for row in written} == {
        *('stranger', 'SIGINT', 'pause', 'flood', 'kill', 'full disk', 'read-only', 'end')
    }
    assert not any(row['broken'] for row in written)


STEPS, LENGTH = 30, 15


@pytest.fixture(scope='module')
def replay():
    """What two episodes leave in a replay."""
    return make_replay()


def make_replay(resets=1):
    """The same, where the second one began with so many resets."""
    env = StampCounterEnv(SIZE, SIZE)
    vlm = Judge().vlm
    rows = []
    for row in range(STEPS):
        episode, step = divmod(row, LENGTH)
        if step == 0:
            before = [env.reset()[0] for _ in range(resets if episode else 1)][-1]
        else:
            before = rows[-1]['next_state']
        after, reward, *_, info = env.step(np.zeros(4))
        number = read_state(after)
        embedding = vlm.encode_images(draw_counter(number, SIZE, SIZE)[None])[0].astype(np.float16)
        rows.append({'state': before, 'next_state': after, 'embedding': embedding})
        rows[-1] |= {'task_reward': np.float32(reward), 'success': info['success']}
        rows[-1] |= {'stamp': 1_000 + row, 'episode': episode, 'step': step + 1}
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def swap(rows):
    rows['embedding'][[3, 9]] = rows['embedding'][[9, 3]]


def drop(rows):
    for name in rows:
        rows[name] = np.delete(rows[name], (4, 5), axis=0)


def drop_last_of_episode(rows):
    for name in rows:
        rows[name] = np.delete(rows[name], LENGTH - 1, axis=0)


def repeat(rows):
    for name in rows:
        rows[name] = np.insert(rows[name], 7, rows[name][6], axis=0)


def change_reward(rows):
    rows['task_reward'][2] = 0.0


@pytest.mark.parametrize(
    ('change', 'lost', 'misjoined', 'foreign'),
    [
        (lambda _: None, 0, 0, 0),
        (swap, 0, 2, 0),
        (drop, 2, 0, 0),
        (drop_last_of_episode, 1, 0, 0),
        (repeat, 0, 1, 0),
        (change_reward, 0, 1, 0),
    ],
)
def test_the_judge_sees_what_is_wrong(tmp_path, replay, change, lost, misjoined, foreign):
    rows = {name: array.copy() for name, array in replay.items()}
    change(rows)
    found = judge(tmp_path, rows)
    assert (found.lost, found.misjoined, found.foreign) == (lost, misjoined, foreign)


@pytest.mark.parametrize(('resets', 'lost'), [(2, 0), (3, 2)])
def test_the_judge_lets_a_reset_be_repeated(tmp_path, resets, lost):
    found = judge(tmp_path, make_replay(resets))
    assert (found.lost, found.misjoined, found.foreign) == (lost, 0, 0)


def test_the_judge_sees_strangers(tmp_path, replay):
    rows = {name: array.copy() for name, array in replay.items()}
    rows['next_state'][20] = (0.3, 0.3, 0.3)
    frames = np.ones((2, rows['embedding'].shape[1]), np.float16)
    assert judge(tmp_path, rows, frames).foreign == 3


@pytest.mark.parametrize(('transitions', 'foreign'), [(STEPS, 0), (STEPS - 1, 1), (STEPS - 4, 4)])
def test_frames_of_steps_that_an_interrupted_learner_lacks_are_no_strangers(
    tmp_path, replay, transitions, foreign
):
    rows = {name: array[:-4].copy() for name, array in replay.items()}
    found = judge(tmp_path, rows, replay['embedding'], transitions)
    assert (found.lost, found.misjoined, found.foreign) == (0, 0, foreign)


def test_frames_that_are_ahead_stay_known_and_others_do_not_hide_behind_them(tmp_path, replay):
    rows = {name: array[:-4].copy() for name, array in replay.items()}
    the_judge = Judge(LENGTH)
    judge(tmp_path, rows, replay['embedding'], STEPS, the_judge)
    picture = draw_counter(1_000, SIZE, SIZE)
    far = the_judge.vlm.encode_images(picture[None])[:1].astype(np.float16)
    frames = np.concatenate([replay['embedding'], far])
    assert judge(tmp_path, rows, frames, STEPS, the_judge).foreign == 1


def test_a_run_that_was_resumed_ahead_may_not_be_ahead_by_so_much_again(tmp_path, replay):
    the_judge = Judge(LENGTH)
    before = {name: array[:LENGTH] for name, array in replay.items()}
    frames = replay['embedding'][: LENGTH + 4]
    assert judge(tmp_path, before, frames, LENGTH + 4, the_judge).foreign == 0
    # The simulator counts from 1 again, beyond where it had come to.
    rows = {name: np.concatenate([array, replay[name]]) for name, array in before.items()}
    newest = read_state(rows['next_state'][-1])
    pictures = np.stack([draw_counter(newest + n, SIZE, SIZE) for n in (1, 2)])
    more = the_judge.vlm.encode_images(pictures).astype(np.float16)
    frames = np.concatenate([frames, more])
    assert judge(tmp_path, rows, frames, LENGTH + STEPS + 4, the_judge).foreign == 2


def judge(folder, rows, frames=None, transitions=None, the_judge=None):
    """Judge a checkpoint with this replay, and these frames of the alignment."""
    checkpoint = folder / CHECKPOINTS / 'step_000000030'
    checkpoint.mkdir(parents=True, exist_ok=True)
    steps = len(rows['stamp'])
    save_tree(checkpoint / TRAINER_FILE, {'replay': rows}, {'steps': steps})
    rings = {'positives': rows['embedding'][:1] if frames is None else frames}
    rings['negatives'] = rows['embedding'][1:2]
    rings = {name: {'embeddings': ring} for name, ring in rings.items()}
    counts = {'transitions': steps if transitions is None else transitions}
    save_tree(checkpoint / ALIGNMENT_FILE, rings, counts)
    return (the_judge or Judge(LENGTH)).judge(folder)
