# SPDX-License-Identifier: Apache-2.0
"""Films: what a player gets, at which speed, and which of them a run keeps."""

import io
import json

import av
import numpy as np
import pytest

from furl_ros.monitor.films import Film, Shelf, encode, film_strip, shown
from furl_ros.monitor.pictures import SIZE, Moment

RED, GREEN = (220, 0, 0), (0, 200, 0)


def film(steps=20, success=False, task_return=-20.0, period=0.1, scored=True, total_steps=7):
    frames = [np.full((48, 64, 3), RED if i < steps / 2 else GREEN, np.uint8) for i in range(steps)]
    moments = [
        Moment(
            i,
            0.2 if scored else np.nan,
            i / steps if scored else np.nan,
            success and i == steps - 1,
            'eval',
            3,
        )
        for i in range(steps)
    ]
    return Film(total_steps, 'close the drawer', frames, moments, period, task_return)


def decode(content):
    with av.open(io.BytesIO(content)) as container:
        stream = container.streams.video[0]
        pictures = [frame.to_ndarray(format='rgb24') for frame in container.decode(video=0)]
        return stream, pictures


def test_a_film_is_h264_that_browsers_play_at_real_speed():
    stream, pictures = decode(encode(film()))
    assert stream.codec_context.name == 'h264'
    assert stream.codec_context.pix_fmt == 'yuv420p'
    assert (stream.width, stream.height) == SIZE
    assert stream.average_rate == 10
    assert len(pictures) == 20


def test_it_shows_the_frames_in_their_order():
    _, pictures = decode(encode(film()))
    # Within the camera's place of the annotated picture.
    first, last = pictures[0][150, 130].astype(int), pictures[-1][150, 130].astype(int)
    assert first[0] - first[1] > 100
    assert last[1] - last[0] > 100


def test_frames_without_scores_make_a_film_too():
    assert len(decode(encode(film(scored=False)))[1]) == 20


def test_of_a_fast_robot_some_frames_are_left_out_but_never_the_last():
    fast = film(steps=21, period=1 / 80)
    numbers, rate = shown(fast)
    assert numbers == [0, 3, 6, 9, 12, 15, 18, 20]
    assert rate == pytest.approx(80 / 3, rel=1e-4)
    assert shown(film(period=1 / 30)) == (list(range(20)), 30)


def test_a_strip_shows_frames_above_the_rewards():
    picture = film_strip(film())
    assert picture.shape == (120 + 100, 8 * 160, 3)
    assert tuple(picture[60, 10]) == RED
    assert tuple(picture[60, -10]) == GREEN
    assert len(np.unique(picture[120:].reshape(-1, 3), axis=0)) > 3


def test_a_strip_of_one_frame():
    assert film_strip(film(steps=1)).shape == (220, 160, 3)


def kept(folder):
    known = json.loads((folder / 'videos.json').read_text())
    return {name: entry['total_steps'] for name, entry in known.items()}


def test_first_best_and_last_are_kept_also_over_a_restart(tmp_path):
    folder = tmp_path / 'videos'
    assert set(Shelf(folder).add(film(total_steps=1))) == {'first', 'best', 'last'}
    shelf = Shelf(folder)
    assert shelf.add(film(total_steps=2, task_return=-30)) == ['last']
    assert shelf.add(film(total_steps=3, success=True, task_return=-40)) == ['last', 'best']
    # One that is as good as the best comes later.
    assert shelf.add(film(total_steps=4, success=True, task_return=-40)) == ['last']
    assert kept(folder) == {'first': 1, 'best': 3, 'last': 4}
    assert {path.name for path in folder.iterdir()} == {
        'first.mp4',
        'best.mp4',
        'last.mp4',
        'videos.json',
    }
    assert len(decode((folder / 'best.mp4').read_bytes())[1]) == 20
    best = json.loads((folder / 'videos.json').read_text())['best']
    assert (best['frames'], best['scored']) == (20, 20)


def test_a_film_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    shelf = Shelf(tmp_path)
    shelf.add(film())
    before = (tmp_path / 'last.mp4').read_bytes()

    def full(*_):
        raise OSError('no space left on device')

    monkeypatch.setattr('furl_ros.core.storage.os.replace', full)
    with pytest.raises(OSError, match='no space'):
        shelf.add(film(steps=5))
    assert (tmp_path / 'last.mp4').read_bytes() == before
