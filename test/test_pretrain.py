# SPDX-License-Identifier: Apache-2.0
"""The training of furl-tiny: batches, losses, checkpoints, weights."""

import dataclasses

import pytest
import torch
from safetensors.torch import load_file

from furl_ros.core.vlm.open_clip_library import open_clip
from furl_ros.pretrain import Batches, PretrainConfig, Pretrainer
from sim.dataset import TaskData, write_task

CONFIG = PretrainConfig(steps=4, pairs=6)
TASKS = ('door-close-v3', 'plate-slide-v3')


@pytest.fixture(scope='module')
def tasks(tmp_path_factory):
    folder = tmp_path_factory.mktemp('frames')
    for task in TASKS:
        write_task(task, folder, 3, 112, 0)
    return [TaskData(folder / task) for task in TASKS]


@pytest.fixture(scope='module')
def batches(tasks):
    return Batches(tasks, CONFIG)


def parameters(trainer):
    return torch.cat([p.detach().reshape(-1) for p in trainer.model.parameters()])


def test_a_batch_depends_on_the_seed_and_its_number_alone(tasks, batches):
    first, again = batches.draw(7), Batches(tasks, CONFIG).draw(7)
    assert torch.equal(first.frames, again.frames)
    assert first.captions == again.captions
    assert first.goals == again.goals
    assert not torch.equal(first.frames, batches.draw(8).frames)
    other = Batches(tasks, dataclasses.replace(CONFIG, seed=1)).draw(7)
    assert not torch.equal(first.frames, other.frames)


def test_pairs_are_of_one_episode_and_ordered_where_that_is_known(tasks, batches):
    ordered = solved = 0
    for number in range(30):
        batch = batches.draw(number)
        assert torch.equal(batch.task[0::2], batch.task[1::2])
        first, second = batch.success[0::2], batch.success[1::2]
        # Nothing is better than a solved frame.
        assert not (batch.ordered & first).any()
        assert (batch.ordered | first)[second].all()
        ordered += int(batch.ordered.sum())
        solved += int(batch.success.sum())
    assert 30 < ordered < 150
    # More than the tenth that they are of all frames.
    assert solved > 0.15 * 30 * 12


def test_the_stream_is_drawn_ahead_in_order(batches):
    drawn = list(batches.stream(3, 6))
    assert len(drawn) == 3
    for number, batch in enumerate(drawn, 3):
        assert torch.equal(batch.frames, batches.draw(number).frames)


def test_errors_of_the_stream_reach_who_reads_it(batches, monkeypatch):
    def fail(number):
        raise OSError('the disk is gone')

    monkeypatch.setattr(batches, 'draw', fail)
    with pytest.raises(OSError, match='disk is gone'):
        next(batches.stream(0, 2))


def test_losses_fall(batches):
    trainer, batch = Pretrainer(dataclasses.replace(CONFIG, steps=12)), batches.draw(0)
    losses = [trainer.update(batch) for _ in range(12)]
    for name in ('contrast', 'order', 'state'):
        assert losses[-1][name] < losses[0][name], name


def test_terms_can_be_left_out(batches):
    trainer = Pretrainer(dataclasses.replace(CONFIG, order=0.0, state=0.0))
    assert set(trainer.update(batches.draw(0))) == {'contrast'}


def test_it_goes_on_where_it_was(batches, tmp_path):
    straight, first = Pretrainer(CONFIG), Pretrainer(CONFIG)
    for number in range(4):
        straight.update(batches.draw(number))
        if number < 2:
            first.update(batches.draw(number))
    first.save(tmp_path / 'checkpoint.pt')
    second = Pretrainer(CONFIG)
    second.load(tmp_path / 'checkpoint.pt')
    assert second.step == 2
    for number in (2, 3):
        second.update(batches.draw(number))
    assert torch.equal(parameters(straight), parameters(second))
    other = Pretrainer(dataclasses.replace(CONFIG, steps=5))
    with pytest.raises(ValueError, match='was made with'):
        other.load(tmp_path / 'checkpoint.pt')


def test_the_weights_are_half_floats_that_load_strictly(batches, tmp_path):
    trainer = Pretrainer(CONFIG)
    trainer.update(batches.draw(0))
    trainer.export(tmp_path / 'weights.safetensors')
    state = load_file(tmp_path / 'weights.safetensors')
    assert {value.dtype for value in state.values()} <= {torch.float16, torch.int64}
    model = open_clip.create_model('furl-tiny', load_weights=False)
    model.load_state_dict(state)
    trainer.model.eval()
    model.eval()
    picture = torch.randn(1, 3, 112, 112)
    with torch.inference_mode():
        torch.testing.assert_close(
            model.encode_image(picture), trainer.model.encode_image(picture), rtol=0.05, atol=0.05
        )
