# SPDX-License-Identifier: Apache-2.0
"""The browser viewer, in a headless Chromium, on a stand-in for a run."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from chromium import Chromium
from geometry_msgs.msg import Point, Pose, PoseArray, Vector3
from graph_support import HostedNode, Probe, new_domain, run_node
from page_support import PICTURE, POINTS, SMALL_PAGE, TEXT, needs_chromium
from rcl_interfaces.msg import SetParametersResult
from rcl_interfaces.srv import SetParameters
from sensor_msgs.msg import Image
from std_msgs.msg import ColorRGBA
from std_srvs.srv import Trigger
from visualization_msgs.msg import Marker, MarkerArray

from furl_interfaces.msg import PromptEmbedding, TrainingStatus
from furl_ros.bridge.convert import to_image_msg
from furl_ros.bridge.qos import LATCHED, LOCKSTEP

NOT_FINITE = PoseArray(poses=[Pose(position=Point(x=float('nan')))])

# A second visitor in the same browser: a frame of the same page.
SECOND = """
document.body.appendChild(Object.assign(document.createElement('iframe'), {src: location.href}))
"""
# While it loads it has no body.
TEXT_OF_SECOND = (
    "(document.querySelector('iframe').contentDocument.body || {innerText: ''}).innerText"
)


class StandIn:
    """What a graph shows, without one: ten pictures and one status a second.

    Attributes:
        called: services that were called, and values that were set.
        listeners: topics of which somebody takes the messages.
    """

    TOPICS = ('camera/image_raw', 'scene', 'scene_poses', 'monitor/picture')

    def __init__(self, probe: Probe, run_folder: Path) -> None:
        self.called: list[object] = []
        self.probe = probe
        self._node = node = probe.node
        self._steps = 0
        self._status = TrainingStatus(
            run='r', state=TrainingStatus.TRAINING, run_folder=str(run_folder), target_steps=1_000
        )
        self._publishers = {
            'camera': node.create_publisher(Image, 'camera/image_raw', LOCKSTEP),
            'scene': node.create_publisher(MarkerArray, 'scene', LATCHED),
            'poses': node.create_publisher(PoseArray, 'scene_poses', 1),
            'status': node.create_publisher(TrainingStatus, 'training_status', LATCHED),
            'prompt': node.create_publisher(PromptEmbedding, 'prompt_embedding', LATCHED),
        }
        corners = [Point(x=0.1), Point(y=0.1), Point(z=0.1)]
        size, colour = Vector3(x=0.1, y=0.2, z=0.3), ColorRGBA(r=1.0, a=1.0)
        kinds = (Marker.CUBE, Marker.SPHERE, Marker.CYLINDER, Marker.TRIANGLE_LIST, Marker.ARROW)
        markers = [
            Marker(
                id=number,
                type=kind,
                scale=size,
                color=colour,
                points=corners if kind == Marker.TRIANGLE_LIST else [],
                pose=Pose(position=Point(x=0.2 * number)),
            )
            for number, kind in enumerate(kinds)
        ]
        self._poses = PoseArray(poses=[marker.pose for marker in markers])
        self._publishers['scene'].publish(MarkerArray(markers=markers))
        self._publishers['prompt'].publish(PromptEmbedding(prompt='close the drawer'))
        for name in ('pause', 'resume', 'save_checkpoint', 'cancel'):
            node.create_service(
                Trigger, f'learner_node/{name}', lambda q, a, name=name: self._on_call(name, a)
            )
        node.create_service(Trigger, 'arm_node/estop', lambda q, a: self._on_call('estop', a))
        node.create_service(SetParameters, 'learner_node/set_parameters', self._on_set)
        node.create_timer(0.1, self._picture)
        node.create_timer(1.0, self._tell)

    @property
    def listeners(self) -> set[str]:
        return {name for name in self.TOPICS if self._node.count_subscribers(name)}

    def publish(self, name: str, message: object) -> None:
        """Publish another message than usual on one of the topics."""
        self._publishers[name].publish(message)

    def _on_call(self, name: str, answer: Trigger.Response) -> Trigger.Response:
        self.called.append(name)
        answer.success, answer.message = True, f'heard <b>{name}</b>'
        return answer

    def _on_set(
        self, request: SetParameters.Request, answer: SetParameters.Response
    ) -> SetParameters.Response:
        (one,) = request.parameters
        self.called.append((one.name, one.value.double_value))
        answer.results = [SetParametersResult(successful=False, reason='rho is too large')]
        return answer

    def _picture(self) -> None:
        self._steps += 1
        frame = np.full((48, 48, 3), self._steps % 256, np.uint8)
        self._publishers['camera'].publish(to_image_msg(frame, self._steps, 'camera'))
        self._poses.poses[0].position.y = 0.01 * (self._steps % 100)
        self._publishers['poses'].publish(self._poses)

    def _tell(self) -> None:
        self._status.total_steps = self._steps
        self._status.success_rate = (self._steps % 100) / 100
        self._status.eval_success_rate = float('nan')
        self._publishers['status'].publish(self._status)


@pytest.fixture(scope='module')
def stage(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[StandIn, HostedNode, str]]:
    """A stand-in, the viewer, and its address."""
    domain = new_domain()
    folder = tmp_path_factory.mktemp('run')
    rows = ''.join(f'{step},0.5\n' for step in range(-100, 0))
    (folder / 'curves.csv').write_text(f'total_steps,steps_per_second\n{rows}')
    with Probe(domain) as probe:
        stand_in = StandIn(probe, folder)
        with run_node(domain, 'web_node', port=0) as viewer:
            probe.command = viewer
            url = viewer.wait_for(r'viewer: (http\S+)')[1]
            yield stand_in, viewer, url
            probe.command = None
            viewer.interrupt()
            assert viewer.finish() == 0, viewer.output
            assert 'Traceback' not in viewer.output


@pytest.fixture(scope='module')
def browser() -> Iterator[Chromium]:
    """One browser for all: to start it takes most of a test's time."""
    with Chromium(*SMALL_PAGE) as browser:
        yield browser


@needs_chromium
def test_what_a_person_sees_and_does(
    stage: tuple[StandIn, HostedNode, str], browser: Chromium
) -> None:
    stand_in, viewer, url = stage
    probe = stand_in.probe
    assert not stand_in.listeners
    browser.open(url)
    first = browser.wait(PICTURE)
    browser.wait(f'{PICTURE} !== {first!r}')
    # What was before the viewer came is drawn, and grows by what comes.
    points = browser.wait(f'{POINTS} > 100 && {POINTS}')
    browser.wait(f'{POINTS} > {points}')
    browser.wait(f"{TEXT}.includes('of 1,000')")
    browser.wait("[...document.querySelectorAll('input')].some(i => /drawer/.test(i.value))")
    assert stand_in.listeners == set(stand_in.TOPICS)
    for label, name in (
        ('Pause', 'pause'),
        ('Go on', 'resume'),
        ('Save', 'save_checkpoint'),
        ('Stop', 'cancel'),
        ('E-stop', 'estop'),
    ):
        browser.click(label)
        probe.wait(lambda name=name: name in stand_in.called, name)
        # Shown as it is: not as part of the page.
        browser.wait(f"{TEXT}.includes('heard <b>{name}</b>')")
    browser.click('Evaluate')
    browser.wait(f"{TEXT}.includes('learner_node/evaluate: nobody is there')")
    browser.click('Set rho')
    browser.wait(f"{TEXT}.includes('rho is too large')")
    assert stand_in.called[-1] == ('rho', 0.0)
    # Who comes later sees as much.
    browser.evaluate(SECOND)
    browser.wait(f"{TEXT_OF_SECOND}.includes('of 1,000')")
    assert all(
        request.startswith((url, 'data:', 'blob:', url.replace('http', 'ws')))
        for request in browser.requests
    ), browser.requests
    # A page that was left does not look. Not closed: a browser may keep it, and its socket, for
    # its 'back'.
    browser.open('about:blank')
    probe.wait(lambda: not stand_in.listeners, 'the end of all listening')
    assert not browser.errors
    assert viewer.returncode is None


@needs_chromium
def test_bad_messages_are_counted(
    stage: tuple[StandIn, HostedNode, str], browser: Chromium
) -> None:
    stand_in, viewer, url = stage
    probe = stand_in.probe
    browser.open(url)
    probe.wait(lambda: stand_in.listeners == set(stand_in.TOPICS), 'the viewer')
    # While the good ones go on.
    marker = Marker(type=Marker.TRIANGLE_LIST)
    for name, message in (
        ('camera', Image(encoding='no')),
        ('poses', NOT_FINITE),
        ('scene', MarkerArray(markers=[marker])),
    ):
        probe.node.create_timer(0.1, lambda n=name, m=message: stand_in.publish(n, m))
    for count in ('bad pictures', 'bad poses', 'bad scenes'):
        probe.wait(lambda count=count: viewer.counts[count], count)
    browser.wait(PICTURE)
    assert not browser.errors


def test_an_address_that_is_none_is_refused() -> None:
    with run_node(new_domain(), 'web_node', host='192.0.2.1') as viewer:
        assert viewer.finish() == 2
        assert "error: host is '192.0.2.1'; accepted: a name or an address" in viewer.output


def test_a_token_that_is_no_word_is_refused() -> None:
    with run_node(new_domain(), 'web_node', token='a b') as viewer:
        assert viewer.finish() == 2
        assert 'accepted: letters, digits' in viewer.output


def test_other_machines_are_let_in_with_a_token_only() -> None:
    with run_node(new_domain(), 'web_node', host='0.0.0.0', port=0) as viewer:
        viewer.wait_for(r'viewer: http://\S+:\d+/\?token=[A-Za-z0-9_-]{16,}')
