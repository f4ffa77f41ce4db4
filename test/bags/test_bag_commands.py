# SPDX-License-Identifier: Apache-2.0
"""score_bag and align_bag, as they are called."""

import csv
import json
import re

import av
import cv2
import numpy as np
import pytest
from bag_support import (
    COMPRESSED,
    START,
    STEP,
    TOPIC,
    file_of,
    frame,
    image,
    jpeg,
    our_bag,
    their_bag,
)
from local_support import SMALL
from rosbags.rosbag2 import StoragePlugin

from furl_ros.bags import align, score
from furl_ros.bags.pictures import Few
from furl_ros.bridge import graph
from furl_ros.core.alignment import read_heads
from furl_ros.core.config import VlmConfig
from furl_ros.core.settings import SettingError
from furl_ros.core.vlm import Scorer, load_vlm
from furl_ros.core.vlm.quality import rank_correlation
from furl_ros.local import LocalRun

PROMPT = 'push the red block to the right'
SETTINGS = SMALL | {'prompt': PROMPT, 'total_steps': '60', 'warmup_steps': '30'}
MODEL = ('--vlm', 'tiny-random', '--device', 'cpu')


def places(count, goal=1.0, seed=0):
    """A noisy way of the block from the left to a place."""
    way = np.linspace(0, goal, count) + np.random.default_rng(seed).normal(0, 0.02, count)
    return np.clip(way, 0, 1)


def bag(folder, way):
    return our_bag(folder, [image(number, place) for number, place in enumerate(way)])


@pytest.fixture(scope='module')
def scorer():
    return Scorer(load_vlm(VlmConfig(vlm='tiny-random', device='cpu')), PROMPT)


@pytest.fixture(scope='module')
def aligned(tmp_path_factory):
    """Heads of three successes and two failures."""
    folder = tmp_path_factory.mktemp('aligned')
    solved = [bag(folder / f'solved{n}', places(30, seed=n)) for n in range(3)]
    failed = [bag(folder / f'failed{n}', places(30, 0.4, seed=10 + n)) for n in range(2)]
    words = ['--success', *solved, '--failure', *failed, '--prompt', PROMPT, *MODEL]
    out = folder / 'heads.safetensors'
    assert align.main([str(w) for w in [*words, '--out', out, '--updates', 100]]) == 0
    return out


def rows_of(folder):
    with open(folder / score.CSV, newline='') as file:
        return list(csv.DictReader(file))


def scored(recorded, out, *more):
    """The rows of a bag's scores."""
    words = (recorded, '--prompt', PROMPT, *MODEL, '--out', out, '--no-video', *more)
    assert score.main([str(word) for word in words]) == 0
    return rows_of(out)


class TestScore:
    def test_scores_are_those_of_the_model(self, tmp_path, scorer, capsys):
        way = places(40)
        recorded, out = bag(tmp_path / 'bag', way), tmp_path / 'out'
        words = [str(recorded), '--prompt', PROMPT, *MODEL, '--out', str(out), '--json']
        assert score.main(words) == 0
        rows = rows_of(out)
        assert [int(row['stamp_ns']) for row in rows] == [START + n * STEP for n in range(40)]
        assert float(rows[-1]['seconds']) == pytest.approx(39 * STEP * 1e-9)
        expected = scorer.score(np.stack([frame(place) for place in way])).cosines
        assert [float(row['cosine']) for row in rows] == pytest.approx(expected, abs=2e-6)
        assert [row['reward'] for row in rows] == [row['cosine'] for row in rows]
        summary = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert (summary['pictures'], summary['topic']) == (40, TOPIC)
        assert summary['best'] == pytest.approx(expected.max(), abs=1e-4)
        assert (out / score.PLOT).read_bytes().startswith(b'\x89PNG')
        with av.open(str(out / score.VIDEO)) as film:
            assert sum(1 for _ in film.decode(video=0)) == 40

    def test_compressed_pictures_of_another_library(self, tmp_path, scorer):
        way = places(20)
        folder = their_bag(
            tmp_path / 'bag',
            [jpeg(number, place) for number, place in enumerate(way)],
            StoragePlugin.SQLITE3,
            kind=COMPRESSED,
            topic='/camera/color/image_raw/compressed',
        )
        expected = scorer.score(np.stack([frame(place) for place in way])).cosines
        seen = [float(row['cosine']) for row in scored(folder, tmp_path)]
        assert seen == pytest.approx(expected, abs=2e-6)
        assert not (tmp_path / score.VIDEO).exists()

    def test_every_other_picture_cut_out_and_turned(self, tmp_path, scorer):
        folder = bag(tmp_path / 'bag', places(8))
        given = ('--roi', 0, 8, 40, 32, '--rotate', 90, '--every', 2)
        seen = [float(row['cosine']) for row in scored(folder, tmp_path, *given)]
        cut = np.stack([np.rot90(frame(place)[8:40, :40], -1) for place in places(8)[::2]])
        assert seen == pytest.approx(scorer.score(cut).cosines, abs=2e-6)

    def test_by_aligned_heads(self, tmp_path, aligned, scorer):
        """Prompt and model are theirs; the rewards, too."""
        way = places(40, seed=7)
        words = [str(bag(tmp_path / 'bag', way)), '--heads', str(aligned), '--out', str(tmp_path)]
        assert score.main([*words, '--device', 'cpu', '--no-video']) == 0
        heads = read_heads(aligned)
        scorer = Scorer(scorer.vlm, PROMPT)
        scorer.use_heads(heads.version, **heads.values)
        expected = scorer.score(np.stack([frame(place) for place in way])).rewards
        seen = [float(row['reward']) for row in rows_of(tmp_path)]
        assert seen == pytest.approx(expected, abs=2e-6)
        assert rank_correlation(np.array(seen), np.arange(40)) > 0.9

    def test_a_damaged_bag_gets_one_line(self, tmp_path, capsys):
        path = file_of(bag(tmp_path / 'bag', places(400)))
        path.write_bytes(path.read_bytes()[:-2000])
        rows = scored(path, tmp_path, '--every', 10)
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f'damaged: {path}: bag.mcap: ')
        assert line.endswith(f'{len(rows):,} pictures were read')

    def test_pictures_that_cannot_be_read(self, tmp_path, capsys):
        messages = [image(number, 0.5) for number in range(6)]
        messages[2].encoding = 'nonsense'
        assert len(scored(our_bag(tmp_path / 'bag', messages), tmp_path)) == 5
        (line,) = capsys.readouterr().err.splitlines()
        assert "1 pictures cannot be read (encoding is 'nonsense'" in line

    @pytest.mark.parametrize(
        ('words', 'error'),
        [
            (['--prompt', PROMPT, '--topic', '/other'], f"topic is '/other'; .* {TOPIC}"),
            ([], "prompt is ''; accepted: the task in words"),
            (['--prompt', PROMPT, '--every', '0'], 'every is 0; accepted: 1 or more'),
            (['--prompt', PROMPT, '--heads', '/nowhere'], "heads is '/nowhere'; accepted: a run"),
            (['--prompt', PROMPT, '--vlm', 'nothing'], 'vlm is'),
        ],
    )
    def test_bad_input(self, tmp_path, capsys, words, error):
        folder = bag(tmp_path / 'bag', places(3))
        assert score.main([str(folder), '--out', str(tmp_path / 'out'), *words]) == 2
        line = capsys.readouterr().err
        assert re.match(f'error: .*{error}', line)
        assert not (tmp_path / 'out').exists()

    def test_which_of_several_topics(self, tmp_path, capsys):
        whole = tmp_path / 'whole'
        whole.mkdir()
        for name in ('left', 'right'):
            part = their_bag(tmp_path / name, [image(0, 0.5)], topic=f'/{name}/image_raw')
            file_of(part).rename(whole / f'{name}.mcap')
        assert score.main([str(whole), '--prompt', PROMPT, *MODEL]) == 2
        line = capsys.readouterr().err
        assert '/left/image_raw (1 pictures), /right/image_raw (1 pictures)' in line

    def test_heads_of_another_model(self, tmp_path, aligned, capsys):
        folder = bag(tmp_path / 'bag', places(3))
        assert score.main([str(folder), '--heads', str(aligned), '--vlm', 'furl-tiny']) == 2
        assert "accepted with heads made for it: 'tiny-random'" in capsys.readouterr().err


class TestAlign:
    @pytest.mark.parametrize(('count', 'given', 'lag'), [(15, [], 2), (40, [], 4), (15, [7], 7)])
    def test_short_recordings_are_ordered_within(self, tmp_path, capsys, count, given, lag):
        bag = our_bag(tmp_path / 'good', [image(i, i / count) for i in range(count)])
        words = ['--success', str(bag), '--prompt', PROMPT, '--updates', '1', '--json']
        words += [word for number in given for word in ('--lag', str(number))]
        assert align.main([*words, '--out', str(tmp_path / 'heads.safetensors')]) == 0
        assert json.loads(capsys.readouterr().out.splitlines()[-1])['lag'] == lag

    def test_heads_rank_an_unseen_success(self, aligned, scorer):
        heads = read_heads(aligned)
        assert heads.about == {'prompt': PROMPT, 'vlm': 'tiny-random'}
        scorer = Scorer(scorer.vlm, PROMPT)
        scorer.use_heads(heads.version, **heads.values)
        way = places(50, seed=99)
        solved = scorer.score(np.stack([frame(place) for place in way])).rewards
        failed = scorer.score(np.stack([frame(place) for place in places(50, 0.4)])).rewards
        assert rank_correlation(solved, np.arange(50)) > 0.9
        assert solved[-1] > failed.max()

    def test_a_picture_of_the_goal(self, tmp_path, capsys):
        cv2.imwrite(str(tmp_path / 'goal.png'), cv2.cvtColor(frame(1.0), cv2.COLOR_RGB2BGR))
        folder = bag(tmp_path / 'bag', places(20))
        words = ['--success', str(folder), '--prompt', PROMPT, *MODEL, '--updates', '5']
        out = ['--out', str(tmp_path / 'heads.safetensors')]
        assert align.main([*words, *out, '--goal-image', str(tmp_path / 'goal.png')]) == 0
        assert align.main([*words, *out, '--goal-image', str(tmp_path / 'none.png')]) == 2
        assert 'goal_image is' in capsys.readouterr().err

    @pytest.mark.parametrize(
        ('words', 'error'),
        [
            (['--updates', '0'], 'updates is 0; accepted: 1 or more'),
            (['--heads', 'other'], "heads is 'other'; accepted: anchored, paper"),
            (['--failure', '/nowhere'], "bag is '/nowhere'; accepted"),
        ],
    )
    def test_bad_input(self, tmp_path, capsys, words, error):
        folder = bag(tmp_path / 'bag', places(3))
        base = ['--success', str(folder), '--prompt', PROMPT, *MODEL]
        assert align.main([*base, '--out', str(tmp_path / 'heads.safetensors'), *words]) == 2
        assert error in capsys.readouterr().err
        assert not (tmp_path / 'heads.safetensors').exists()


class TestARunBeginsWithThem:
    def values(self, folder, **more):
        return graph.settings_of_run(SETTINGS | {'run_folder': str(folder)} | more, '')

    def test_its_heads_are_those_of_the_file(self, tmp_path, aligned):
        values = self.values(tmp_path / 'run', heads=str(aligned))
        assert (values['heads'], values['heads_file']) == ('anchored', str(aligned))
        run = LocalRun(values)
        try:
            saved = read_heads(aligned)
            image, text = run.trainer.heads.flat()
            assert np.array_equal(image, saved.values['image_head'])
            assert np.array_equal(text, saved.values['text_head'])
            assert run.aligner.transitions == 0
            assert len(run.aligner.positives) == 90
            for _ in run.steps():
                pass
            # The frames of the recordings teach from the end of the warm-up on.
            assert run.aligner.version == saved.version + 30
        finally:
            run.close()
        resumed = self.values(tmp_path / 'run', resume=str(tmp_path / 'run'))
        assert resumed['heads_file'] == ''

    def test_not_with_another_model(self, tmp_path, aligned):
        with pytest.raises(SettingError, match="vlm is 'furl-tiny'; accepted with the heads"):
            self.values(tmp_path / 'run', heads=str(aligned), vlm='furl-tiny')

    def test_a_kind_that_is_typed_wins_over_a_file(self, tmp_path, aligned):
        path = tmp_path / 'params.yaml'
        path.write_text(f'/**:\n  ros__parameters:\n    heads: {aligned}\n')
        read = graph.settings_of_run(SETTINGS, str(path))
        assert read['heads_file'] == str(aligned)
        typed = graph.settings_of_run(SETTINGS | {'heads': 'paper'}, str(path))
        assert (typed['heads'], typed['heads_file']) == ('paper', '')

    @pytest.mark.parametrize('content', [None, b'nonsense'])
    def test_no_such_file(self, tmp_path, content):
        path = tmp_path / 'heads.safetensors'
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(SettingError, match=r'heads is|is not a readable checkpoint file'):
            self.values(tmp_path / 'run', heads=str(path))


def test_few_are_evenly_spread():
    few = Few(10)
    for number in range(95):
        few.add(number)
    assert few.kept == list(range(0, 95, 16))[: len(few.kept)]
    assert 5 <= len(few.kept) <= 10
