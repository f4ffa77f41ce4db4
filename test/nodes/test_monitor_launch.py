# SPDX-License-Identifier: Apache-2.0
"""The monitor on a graph: picture, scene and page; rviz's and rqt's files; which windows open."""

import ast
import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from chromium import Chromium
from geometry_msgs.msg import PoseArray
from graph_support import CONFIG, HostedGraph, Probe, assert_clean, launch, new_domain
from launch.actions import LogInfo
from launch_ros.actions import Node
from launch_support import described
from page_support import PICTURES, POINTS, SMALL_PAGE, TEXT, needs_chromium
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    QoSCompatibility,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
    qos_profile_sensor_data,
)
from sensor_msgs.msg import Image
from visualization_msgs.msg import Marker, MarkerArray

from furl_interfaces.msg import Observation, TrainingStatus
from furl_ros.bridge.convert import from_image_msg, to_ns
from furl_ros.bridge.qos import LATCHED, NEWEST
from furl_ros.monitor import pictures as drawn

# Of ROS 2 Jazzy: rviz_default_plugins/plugins_description.xml and rviz_common's own classes.
RVIZ_CLASSES = {
    *(f'rviz_common/{name}' for name in ('Displays', 'Selection', 'Time', 'Views')),
    *(f'rviz_default_plugins/{name}' for name in ('Grid', 'Image', 'MarkerArray', 'Orbit', 'TF')),
    *(f'rviz_default_plugins/{name}' for name in ('FocusCamera', 'Measure', 'MoveCamera')),
}
RVIZ_TYPES = {
    'rviz_default_plugins/Image': 'sensor_msgs/msg/Image',
    'rviz_default_plugins/MarkerArray': 'visualization_msgs/msg/MarkerArray',
}
RQT_PLUGINS = {
    'rqt_console/Console',
    'rqt_image_view/ImageView',
    'rqt_plot/Plot',
    'rqt_reconfigure/Param',
    'rqt_runtime_monitor/RuntimeMonitor',
}
PLOTTED = re.compile(r'(float|double|u?int\d+|bool)')


def rviz_displays():
    """The displays of furl.rviz that have a topic."""
    displays = yaml.safe_load((CONFIG / 'furl.rviz').read_text())['Visualization Manager']
    return [display for display in displays['Displays'] if 'Topic' in display]


def rviz_qos(topic):
    """What a display asks for."""
    return QoSProfile(
        depth=topic['Depth'],
        history=HistoryPolicy.get_from_short_key(topic['History Policy'].replace(' ', '_')),
        reliability=ReliabilityPolicy.get_from_short_key(
            topic['Reliability Policy'].replace(' ', '_')
        ),
        durability=DurabilityPolicy.get_from_short_key(
            topic['Durability Policy'].replace(' ', '_')
        ),
    )


def perspective():
    """The plugins of furl.perspective and the settings of each: name and number to values."""
    manager = json.loads((CONFIG / 'furl.perspective').read_text())['groups']['pluginmanager']
    running = ast.literal_eval(manager['keys']['running-plugins']['repr'])
    found = {}
    for name, numbers in running.items():
        for number in numbers:
            group = manager['groups'][f'plugin__{name.replace("/", "__")}__{number}']
            keys = group['groups']['plugin']['keys']
            found[name, number] = {k: ast.literal_eval(v['repr']) for k, v in keys.items()}
    assert len(found) == len(manager['groups'])
    return found


@pytest.fixture(scope='module')
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A training graph, and the launched monitor beside it."""
    domain, folder = new_domain(), tmp_path_factory.mktemp('graph')
    settings = {'task': 'drawer-close-v3', 'total_steps': 100_000, 'run_folder': folder / 'run'}
    with (
        Probe(domain) as probe,
        launch(domain, folder, 'monitor.launch.py', small=False, viewer='web', port=0) as monitor,
    ):
        probe.command = monitor
        url = monitor.wait_for(r'viewer: (http\S+)')[1]
        with HostedGraph(domain, folder, **settings) as graph:
            # Nobody looks yet: what the monitor costs then is looked at below.
            steps = probe.record(Observation, 'observation')
            probe.wait(lambda: steps and 'monitor_node' in probe.diagnostics, 'the graph')
            yield SimpleNamespace(probe=probe, steps=steps, url=url)
            monitor.interrupt()
            assert_clean(monitor, 2)
            count = len(steps)
            probe.command = graph
            probe.wait(lambda: len(steps) > count + 50, 'steps after the monitor has gone')
            graph.end()


def published(probe, topic):
    """Type and QoS of each publisher of a topic."""
    probe.wait(lambda: probe.node.get_publishers_info_by_topic(topic), f'a publisher of {topic}')
    return probe.node.get_publishers_info_by_topic(topic)


def test_nobody_listens_to_the_robot_while_nobody_looks(watched):
    robot = ('/observation', '/frame_score', '/camera/image_raw', '/scene', '/scene_poses')
    for topic in robot:
        assert 'monitor_node' not in watched.probe.readers(topic), topic


def shows_rewards(picture):
    """Whether both are drawn: not where a score has not come in time."""
    drawn_on = from_image_msg(picture)
    assert drawn_on.shape == (400, 640, 3)
    return all((drawn_on == c).all(axis=2).any() for c in (drawn.RAW, drawn.ALIGNED))


def test_the_picture_shows_frame_and_rewards_and_stops_with_who_looks(watched):
    probe = watched.probe
    pictures = []
    reader = probe.node.create_subscription(Image, 'monitor/picture', pictures.append, LATCHED)
    probe.wait(lambda: len(pictures) > 10 and shows_rewards(pictures[-1]), 'pictures with both')
    stamps = [to_ns(picture.header.stamp) for picture in pictures]
    assert len(set(stamps)) == len(stamps)

    def is_of_a_step(stamp):
        return any(to_ns(step.header.stamp) == stamp for step in reversed(watched.steps))

    probe.wait(lambda: all(map(is_of_a_step, stamps)), 'their steps')
    probe.node.destroy_subscription(reader)
    probe.wait(lambda: 'monitor_node' not in probe.readers('/camera/image_raw'), 'rest')


def test_the_scene_moves_and_has_path_goal_and_text(watched):
    probe = watched.probe
    scenes = []
    reader = probe.node.create_subscription(MarkerArray, 'monitor/scene', scenes.append, LATCHED)

    def is_whole(message):
        found = {marker.ns for marker in message.markers if marker.action == Marker.ADD}
        return found >= {'scene', 'goal', 'path', 'episode'}

    probe.wait(lambda: sum(map(is_whole, scenes)) > 10, 'whole scenes')
    whole = [message for message in scenes if is_whole(message)]
    by_name = [{(m.ns, m.id): m for m in message.markers} for message in whole]
    for marker in by_name[-1].values():
        assert marker.header.frame_id == 'world'
        if marker.type == Marker.MESH_RESOURCE:
            assert Path(marker.mesh_resource.removeprefix('file://')).stat().st_size > 84
    numbers = [number for space, number in by_name[-1] if space == 'scene']
    assert numbers == list(range(len(numbers)))
    poses = [[message['scene', number].pose.position for number in numbers] for message in by_name]
    places = [[(place.x, place.y, place.z) for place in message] for message in poses]
    moved = np.ptp(places, axis=0).max(axis=1)
    assert (moved > 0.001).sum() > 5
    assert (moved == 0).sum() > 5
    path = by_name[-1]['path', 0]
    assert 2 <= len(path.points) == len(path.colors) <= 200
    assert 'step ' in by_name[-1]['episode', 0].text
    probe.node.destroy_subscription(reader)
    probe.wait(lambda: 'monitor_node' not in probe.readers('/scene_poses'), 'rest')


def test_the_robot_publishes_its_scene_for_who_looks(watched):
    probe = watched.probe
    scenes = probe.record(MarkerArray, 'scene', LATCHED)
    poses = probe.record(PoseArray, 'scene_poses', NEWEST)
    probe.wait(lambda: scenes and len(poses) > 5, 'scene and poses')
    markers = scenes[0].markers
    assert [(marker.ns, marker.id) for marker in markers] == [
        ('scene', number) for number in range(len(markers))
    ]
    assert {marker.type for marker in markers} == {
        Marker.CUBE,
        Marker.CYLINDER,
        Marker.TRIANGLE_LIST,
    }
    for message in poses:
        assert len(message.poses) == len(markers)
        assert message.header.frame_id == 'world'


def test_rviz_finds_what_its_file_names(watched):
    text = (CONFIG / 'furl.rviz').read_text()
    classes = set(re.findall(r'Class: (\S+/\S+)', text))
    assert classes
    assert classes <= RVIZ_CLASSES
    displays = rviz_displays()
    assert {display['Topic']['Value'] for display in displays} == {
        '/monitor/scene',
        '/monitor/picture',
        '/camera/image_raw',
    }
    for display in displays:
        topic = display['Topic']['Value']
        for info in published(watched.probe, topic):
            assert info.topic_type == RVIZ_TYPES[display['Class']], topic
            fit, why = qos_check_compatible(info.qos_profile, rviz_qos(display['Topic']))
            assert fit != QoSCompatibility.ERROR, f'{topic}: {why}'


def test_rqt_finds_what_its_file_names(watched):
    plugins = perspective()
    assert {name for name, _ in plugins} == RQT_PLUGINS
    picture = plugins['rqt_image_view/ImageView', 1]['topic']
    for info in published(watched.probe, picture):
        assert info.topic_type == 'sensor_msgs/msg/Image'
        fit, why = qos_check_compatible(info.qos_profile, qos_profile_sensor_data)
        assert fit != QoSCompatibility.ERROR, why
    fields = [f for (name, _), keys in plugins.items() if 'Plot' in name for f in keys['topics']]
    assert len(fields) > 5
    for path in fields:
        _, topic, field = path.split('/')
        for info in published(watched.probe, f'/{topic}'):
            package, _, kind = info.topic_type.split('/')
            message = getattr(importlib.import_module(f'{package}.msg'), kind)
            assert PLOTTED.fullmatch(message.get_fields_and_field_types()[field]), path
    for info in published(watched.probe, '/diagnostics'):
        assert info.topic_type == 'diagnostic_msgs/msg/DiagnosticArray'
        # rqt_runtime_monitor asks for the default with depth 10.
        fit, why = qos_check_compatible(info.qos_profile, QoSProfile(depth=10))
        assert fit != QoSCompatibility.ERROR, why


@needs_chromium
def test_a_run_is_watched_paused_and_continued(watched):
    probe = watched.probe
    statuses = probe.record(TrainingStatus, 'training_status')
    with Chromium(*SMALL_PAGE) as browser:
        browser.open(watched.url)
        probe.wait(lambda: statuses and statuses[-1].total_steps > 200, 'steps')
        # What the camera sees, and what the model thinks of it.
        browser.wait(f'new Set({PICTURES}).size === 2')
        first = browser.evaluate(PICTURES)
        browser.wait(f'{PICTURES}.every(s => !{first!r}.includes(s))')
        points = browser.wait(f'isFinite({POINTS}) && {POINTS}')
        browser.wait(f'{POINTS} > {points}')
        browser.click('Pause')
        probe.wait(lambda: statuses[-1].state == TrainingStatus.PAUSED, 'the pause')
        browser.wait(f"{TEXT}.includes('paused')")
        paused, seen = statuses[-1].total_steps, len(statuses)
        probe.wait(lambda: len(statuses) > seen + 2, 'news of the pause')
        assert statuses[-1].total_steps == paused
        browser.click('Go on')
        probe.wait(lambda: statuses[-1].total_steps > paused, 'steps after the pause')
        assert not browser.errors


RQT = ['rqt_gui', 'rqt_console', 'rqt_image_view', 'rqt_plot', 'rqt_reconfigure']
ALL = ['rviz2', *RQT, 'rqt_runtime_monitor']


def install(folder, packages):
    """Packages that are there by name."""
    for package in packages:
        index = folder / 'share' / 'ament_index' / 'resource_index' / 'packages' / package
        index.parent.mkdir(parents=True, exist_ok=True)
        index.touch()


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Describes the launch on a machine with these packages: our nodes, windows, what is said."""

    def describe(*packages, display=':0', **arguments):
        windows, said = [], []

        class Window(Node):
            def __init__(self, **given):
                windows.append(given)
                super().__init__(**given)

        class Said(LogInfo):
            def __init__(self, *, msg):
                said.append(msg)
                super().__init__(msg=msg)

        install(tmp_path, packages)
        monkeypatch.setenv('AMENT_PREFIX_PATH', str(tmp_path), prepend=':')
        monkeypatch.delenv('WAYLAND_DISPLAY', raising=False)
        monkeypatch.setenv('DISPLAY', display)
        monkeypatch.setattr('launch_ros.actions.Node', Window)
        monkeypatch.setattr('launch.actions.LogInfo', Said)
        parts = described('monitor.launch.py', **arguments)
        assert all(part.ends for part in parts.values())
        return list(parts), {given['package']: given for given in windows}, said

    return describe


def test_rviz_and_rqt_are_opened_where_they_are(machine):
    ours, windows, said = machine(*ALL, namespace='here', source='sim0')
    assert (ours, said) == (['monitor_node'], [])
    rviz, rqt = windows['rviz2'], windows['rqt_gui']
    assert rviz['arguments'][0] == '-d'
    assert Path(rviz['arguments'][1]).read_text() == (CONFIG / 'furl.rviz').read_text()
    assert dict(rviz['remappings']) == {
        '/camera/image_raw': '/here/sim0/camera/image_raw',
        '/monitor/scene': '/here/monitor/scene',
        '/monitor/picture': '/here/monitor/picture',
    }
    assert rqt['arguments'][0] == '--perspective-file'
    assert Path(rqt['arguments'][1]).name == 'furl.perspective'


@pytest.mark.parametrize(
    ('packages', 'display', 'missing'),
    [(RQT, ':0', 'rviz2, rqt_runtime_monitor'), (ALL, '', 'a display')],
)
def test_what_is_missing_is_said_in_one_line_and_the_browser_shows_it(
    machine, packages, display, missing
):
    ours, windows, said = machine(*packages, display=display)
    assert (ours, windows) == (['monitor_node', 'web_node'], {})
    (line,) = said
    assert line.startswith(f'not here: {missing}; a page in the browser')
