# SPDX-License-Identifier: Apache-2.0
"""A process that stays out of Fast DDS's shared memory."""

import os
from pathlib import Path
from xml.etree import ElementTree

import pytest

from furl_ros.bridge.sockets import BUILTIN, PROFILES, only_sockets

CONFIG = Path(__file__).parents[2] / 'config'


@pytest.mark.parametrize('name', ['fastdds_closed.xml', 'fastdds_open.xml'])
def test_all_but_the_shared_memory_stays(monkeypatch, name):
    for variable in PROFILES:
        monkeypatch.setenv(variable, str(CONFIG / name))
    whole = _texts(ElementTree.parse(CONFIG / name))
    with only_sockets():
        made = {os.environ[variable] for variable in PROFILES}
        assert len(made) == len(PROFILES)
        for path in made:
            texts = _texts(ElementTree.parse(path))
            gone = whole.copy()
            for text in texts:
                gone.remove(text)
            assert sorted(value for _, value in gone if value) == sorted(
                ['shared_memory', 'shared_memory', 'SHM', '8388608', '4194304']
            )
    assert {os.environ[variable] for variable in PROFILES} == {str(CONFIG / name)}
    assert not any(Path(path).exists() for path in made)


def test_without_a_profile_the_transports_of_ros_are_left_out(monkeypatch):
    for variable in (*PROFILES, BUILTIN):
        monkeypatch.delenv(variable, raising=False)
    with only_sockets():
        assert os.environ[BUILTIN] == 'UDPv4'
    assert BUILTIN not in os.environ
    monkeypatch.setenv(BUILTIN, 'LARGE_DATA')
    with only_sockets():
        assert os.environ[BUILTIN] == 'LARGE_DATA'


def _texts(profiles):
    return [(element.tag, (element.text or '').strip()) for element in profiles.iter()]
