# SPDX-License-Identifier: Apache-2.0
"""What a name alone tells about a model; test_loading.py has the names that are refused."""

import subprocess
import sys

import pytest

from furl_ros.core.settings import SettingError
from furl_ros.core.vlm.open_clip_library import open_clip, pretrained
from furl_ros.core.vlm_names import check_name, is_file_name, open_clip_models


def test_the_models_are_those_of_open_clip_and_ours():
    assert open_clip_models() == sorted(open_clip.list_models())
    assert {'RN50', 'furl-tiny', 'tiny-random'} <= set(open_clip_models())


def test_no_tag_of_open_clip_is_taken_for_a_file():
    tags = {tag for _, tag in pretrained.list_pretrained()}
    assert len(tags) > 50
    assert not [tag for tag in tags if is_file_name(tag)]
    assert is_file_name('weights.pt')
    assert is_file_name('folder/weights')


def test_names_that_may_be_good(tmp_path):
    file = tmp_path / 'weights'
    file.touch()
    for name in (
        'furl-tiny',
        'tiny-random',
        'open_clip:RN50/openai',
        'open_clip:RN50/random',
        f'open_clip:RN50/{file}',
        f'liv:{file}',
        'hf-hub:somebody/something',
    ):
        check_name(name)


@pytest.mark.parametrize(
    ('name', 'text'),
    [
        ('nothing', "^vlm is 'nothing'; accepted: 'furl-tiny', "),
        ('', "^vlm is ''; accepted: 'furl-tiny', "),
        ('open_clip:RN51/openai', "open_clip has no model 'RN51'; accepted: .* such as RN50"),
        ('open_clip:RN50/no/file', "there is no file 'no/file'; accepted: the path of a file"),
        ('liv:none.pt', "there is no file 'none.pt'; accepted: the path of a file"),
    ],
)
def test_names_that_cannot_be_good(name, text):
    with pytest.raises(SettingError, match=text):
        check_name(name)


def test_checking_a_name_imports_no_library():
    code = (
        'import sys; from furl_ros.core.vlm_names import check_name;'
        "check_name('open_clip:RN50/openai');"
        "assert not {'torch', 'open_clip', 'numpy'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, '-c', code], check=True)
