# SPDX-License-Identifier: Apache-2.0
"""The learner's side of the alignment, with an alignment node that is as slow as one likes."""

from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
from rclpy.task import Future

from furl_interfaces.srv import SaveCheckpoint
from furl_ros.bridge import alignment
from furl_ros.bridge.alignment import Alignment
from furl_ros.bridge.config import LearnerNodeConfig
from furl_ros.bridge.source import SourceError
from furl_ros.core.config import ScoringConfig
from furl_ros.core.methods import METHODS

Response = SaveCheckpoint.Response
OK = Response(error_code=Response.OK)
SLOW, SLOWER = (
    Response(error_code=Response.NOT_YET, error_msg=f'waiting, {taken} taken') for taken in (3, 4)
)
PATIENCE = 10.0  # seconds


class Asked:
    """A client whose answers are given in advance: None is a request that is lost.

    Its clock goes on by a second for each look at it.
    """

    def __init__(self, answers):
        self.answers = list(answers)
        self.requests = []
        self.now = 0.0

    def call_async(self, request):
        self.requests.append((self.now, request.give_up))
        future = Future()
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is not None:
            future.set_result(answer)
        return future

    def monotonic(self):
        self.now += 1.0
        return self.now


@pytest.fixture
def ask(monkeypatch):
    """Save, before such a client; returns it."""
    monkeypatch.setattr(alignment, 'POLL_S', 0.001)

    def save(*answers):
        client = Asked(answers)
        node = SimpleNamespace(
            run_id='ours',
            counts=Counter(),
            create_subscription=lambda *_: None,
            create_client=lambda *_: client,
        )
        ours = Alignment(
            node, None, (), LearnerNodeConfig(), METHODS['furl'], ScoringConfig(scoring='cosine')
        )
        clock = SimpleNamespace(monotonic=client.monotonic, sleep=lambda _: None)
        with monkeypatch.context() as patch:
            patch.setattr(alignment, 'time', clock)
            ours.save(Path('checkpoints/new'), [1], PATIENCE, lambda _: None)
        return client

    return save


def test_a_request_that_is_lost_is_made_again(ask):
    """As by middleware that took the learner for dead while the alignment was paused."""
    assert len(ask(None, OK).requests) == 2


def test_one_that_says_nothing_at_all_is_given_up(ask):
    with pytest.raises(SourceError, match='could not save: no answer'):
        ask(None)


def test_what_fails_is_not_tried_again(ask):
    with pytest.raises(SourceError, match='could not save: a full disk'):
        ask(Response(error_code=Response.FAILED, error_msg='a full disk'), OK)


def test_only_what_stands_still_is_given_up(ask):
    """A backlog that is worked on has all its time, however long the pause before it was."""
    progress = [
        Response(error_code=Response.NOT_YET, error_msg=f'waiting, {taken} taken')
        for taken in range(50)
    ]
    assert not any(give_up for _, give_up in ask(None, *progress, OK).requests)
    standing = ask(None, SLOW, *[SLOWER] * 20, OK).requests
    first = next(at for at, give_up in standing if give_up)
    assert [give_up for at, give_up in standing] == [at >= first for at, _ in standing]
    assert first > PATIENCE / 2
