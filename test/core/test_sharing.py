# SPDX-License-Identifier: Apache-2.0
"""Weights & Biases: asked for, and only where it is there."""

import sys
from types import SimpleNamespace

import pytest

from furl_ros.core.run import RunFolder
from furl_ros.core.settings import SettingError
from furl_ros.core.sharing import check_wandb, share_with_wandb


def test_it_is_refused_where_the_package_is_missing(monkeypatch):
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    check_wandb(False)
    with pytest.raises(SettingError, match=r'wandb is True.*pip install wandb.*accepted: False'):
        check_wandb(True)


def test_it_copies_what_tensorboard_is_told_and_a_resumed_run_goes_on(monkeypatch, tmp_path):
    asked = {}
    monkeypatch.setitem(sys.modules, 'wandb', SimpleNamespace(init=asked.update))
    run = RunFolder(tmp_path / 'drawer: open v3-s0', {'seed': 0})
    share_with_wandb(run, {'seed': 0})
    run.close()
    assert asked['sync_tensorboard'] is True
    assert asked['resume'] == 'allow'
    assert asked['id'] == asked['name'] == 'drawer--open-v3-s0'
    assert asked['dir'] == str(run.path)
    assert asked['config'] == {'seed': 0}
