# SPDX-License-Identifier: Apache-2.0
"""`tools/train` with all that it starts replaced: what Ctrl-C does before the launch."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Says that it is there, and waits for Ctrl-C, which Python answers with a traceback.
PYTHON = f'"{sys.executable}" -c \'print("here", flush=True); import time; time.sleep(300)\''
# Not the one of the virtual environment: no space may be in this line.
ROS2 = f"""#!{Path(sys.executable).resolve()}
import signal, sys
blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
print(sys.argv[1:], sorted(signal.Signals(number).name for number in blocked))
"""


@pytest.fixture
def train(tmp_path):
    """Starts a copy of tools/train whose set-up is done, and whose env.sh runs this."""
    (tmp_path / 'tools' / 'lib').mkdir(parents=True)
    (tmp_path / '.venv').mkdir()
    (tmp_path / 'bin').mkdir()
    for name in ('train', 'lib/domains.sh'):
        shutil.copy2(ROOT / 'tools' / name, tmp_path / 'tools' / name)
    for path, text in (('tools/setup', '#!/bin/sh\n'), ('bin/ros2', ROS2)):
        (tmp_path / path).write_text(text)
        (tmp_path / path).chmod(0o755)

    def start(ros, environment):
        (tmp_path / '.venv' / 'furl-ros').write_text(f'{ros}\n')
        (tmp_path / 'tools' / 'env.sh').write_text(f'{environment}\n')
        return subprocess.Popen(
            [tmp_path / 'tools' / 'train', 'task:=reach-v3'],
            env=os.environ | {'PATH': f'{tmp_path}/bin:{os.environ["PATH"]}', 'ROS_DOMAIN_ID': '7'},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    return start


def test_ctrl_c_before_the_launch_is_no_failure_and_says_nothing(train):
    process = train('pip', f'echo something >&2; {PYTHON}')
    assert process.stdout.readline() == 'here\n'
    os.killpg(process.pid, signal.SIGINT)
    assert process.communicate() == ('', '')
    assert process.returncode == 0


@pytest.mark.parametrize(('ros', 'blocked'), [('pip', "['SIGINT', 'SIGTERM']"), ('/opt/ros', '[]')])
def test_the_stand_in_alone_is_started_with_signals_held_back(train, ros, blocked):
    output, errors = train(ros, 'echo a remark >&2').communicate()
    assert output == f"['launch', 'furl_ros', 'train.launch.py', 'task:=reach-v3'] {blocked}\n"
    assert errors == 'a remark\n'


def test_what_keeps_the_environment_from_being_made_is_said(train):
    process = train('pip', 'echo "no environment" >&2; return 1')
    assert process.communicate() == ('', 'no environment\n')
    assert process.returncode == 1
