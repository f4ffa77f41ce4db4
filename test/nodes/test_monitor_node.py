# SPDX-License-Identifier: Apache-2.0
"""The monitor on a graph: rviz's and rqt's files against what is published, picture and scene."""

import ast
import importlib
import json
import re
import stat
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from geometry_msgs.msg import PoseArray
from graph_support import Command, Probe, launch, new_domain, run_node
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

from furl_interfaces.msg import FrameScore, Observation, PromptEmbedding, TrainingStatus
from furl_ros.bridge.convert import from_image_msg, to_image_msg, to_ns, to_time
from furl_ros.bridge.qos import ALIGNED, LATCHED, LOCKSTEP, NEWEST, WATCHED
from furl_ros.monitor import pictures as drawn

CONFIG = Path(__file__).parents[2] / 'config'

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
def watched(tmp_path_factory):
    """A training graph, and the monitor beside it."""
    domain, folder = new_domain(), tmp_path_factory.mktemp('graph')
    settings = {'task': 'drawer-close-v3', 'total_steps': 100_000, 'run_folder': folder / 'run'}
    with (
        Probe(domain) as probe,
        launch(domain, folder, **settings) as graph,
        launch(domain, folder, 'monitor.launch.py', small=False, viewer='web', port=0) as monitor,
    ):
        probe.command = monitor
        # Nobody looks yet: what the monitor costs then is looked at below.
        steps = probe.record(Observation, 'observation', WATCHED)
        probe.wait(lambda: steps and 'monitor_node' in probe.diagnostics, 'the graph')
        yield SimpleNamespace(probe=probe, graph=graph, monitor=monitor, steps=steps)
        monitor.interrupt()
        assert monitor.finish() == 0, monitor.output
        assert 'Traceback' not in monitor.output
        count = len(steps)
        probe.command = graph
        probe.wait(lambda: len(steps) > count + 50, 'steps after the monitor has gone')
        graph.interrupt()
        assert graph.finish() == 0, graph.output


def published(probe, topic):
    """Type and QoS of each publisher of a topic."""
    probe.wait(lambda: probe.node.get_publishers_info_by_topic(topic), f'a publisher of {topic}')
    return probe.node.get_publishers_info_by_topic(topic)


def readers(probe, topic):
    """Names of the nodes that read a topic."""
    return {info.node_name for info in probe.node.get_subscriptions_info_by_topic(topic)}


def test_nobody_listens_to_the_robot_while_nobody_looks(watched):
    robot = ('/observation', '/frame_score', '/camera/image_raw', '/scene', '/scene_poses')
    for topic in robot:
        assert 'monitor_node' not in readers(watched.probe, topic), topic


def test_the_picture_shows_frame_and_rewards_and_stops_with_who_looks(watched):
    probe = watched.probe
    pictures = []
    reader = probe.node.create_subscription(Image, 'monitor/picture', pictures.append, LATCHED)
    probe.wait(lambda: len(pictures) > 10, 'annotated pictures')
    last = from_image_msg(pictures[-1])
    assert last.shape == (400, 640, 3)
    assert (last == drawn.RAW).all(axis=2).any()
    assert (last == drawn.ALIGNED).all(axis=2).any()
    stamps = [to_ns(picture.header.stamp) for picture in pictures]
    assert len(set(stamps)) == len(stamps)
    assert {to_ns(step.header.stamp) for step in watched.steps} >= set(stamps[1:])
    probe.node.destroy_subscription(reader)
    probe.wait(lambda: 'monitor_node' not in readers(probe, '/camera/image_raw'), 'rest')


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
    probe.wait(lambda: 'monitor_node' not in readers(probe, '/scene_poses'), 'rest')


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


class Robot:
    """Says what a graph would say, and reads what the monitor makes of it."""

    def __init__(self, probe):
        make = probe.node.create_publisher
        self.probe = probe
        self.frames = make(Image, 'camera/image_raw', LOCKSTEP)
        self.steps = make(Observation, 'observation', ALIGNED)
        self.scores = make(FrameScore, 'frame_score', ALIGNED)
        self.scenes = make(MarkerArray, 'scene', LATCHED)
        self.prompts = make(PromptEmbedding, 'prompt_embedding', LATCHED)
        self.status = make(TrainingStatus, 'training_status', LATCHED)
        self.stamp = 1_000

    def say(self, frame, score=None, **fields):
        """One step; returns its stamp."""
        self.stamp += 1_000
        step = Observation(step=self.stamp // 1_000, **fields)
        step.header.stamp = to_time(self.stamp)
        self.steps.publish(step)
        frame.header.stamp = step.header.stamp
        self.frames.publish(frame)
        if score is not None:
            score.header.stamp = step.header.stamp
            self.scores.publish(score)
        return self.stamp


@pytest.fixture(scope='module')
def alone():
    """The node by itself, which somebody looks at."""
    domain = new_domain()
    with Probe(domain) as probe, run_node(domain, 'monitor_node', rate=10.0) as command:
        probe.command = command
        robot = Robot(probe)
        robot.prompts.publish(PromptEmbedding(prompt='push the button'))
        robot.status.publish(TrainingStatus(agent='relay', success_rate=0.25))
        robot.pictures = probe.record(Image, 'monitor/picture', LATCHED)
        robot.shown = probe.record(MarkerArray, 'monitor/scene', LATCHED)
        probe.wait(lambda: {'monitor_node'} <= readers(probe, '/camera/image_raw'), 'the reader')
        yield robot
        command.interrupt()
        assert command.finish() == 0, command.output
        assert 'Traceback' not in command.output


def good_frame():
    return to_image_msg(np.full((32, 32, 3), 200, np.uint8), 1, 'camera')


def test_bad_messages_are_counted_and_the_next_good_one_is_shown(alone):
    bad = Image(encoding='what', width=3, height=3)
    alone.probe.wait(
        lambda: (
            alone.say(bad, FrameScore(cosine=np.nan, reward=np.inf))
            and int(alone.probe.diagnostics.get('monitor_node', {}).get('bad pictures', 0))
        ),
        'a bad picture in the diagnostics',
    )
    alone.scenes.publish(MarkerArray(markers=[Marker(type=77)]))
    alone.probe.wait_for_count('monitor_node', 'bad scenes')
    assert not alone.pictures
    alone.probe.wait(
        lambda: alone.say(good_frame(), FrameScore(cosine=0.2, reward=0.4)) and alone.pictures,
        'a good picture',
    )


def test_a_frame_without_score_is_shown_after_a_while(alone):
    stamp = alone.say(good_frame())
    alone.probe.wait(
        lambda: alone.pictures and to_ns(alone.pictures[-1].header.stamp) >= stamp, 'the picture'
    )


def test_the_text_says_what_is_known(alone):
    def text():
        found = [m for m in alone.shown[-1].markers if m.ns == 'episode'] if alone.shown else []
        return found[0].text if found else ''

    alone.probe.wait(
        lambda: (
            alone.say(good_frame(), FrameScore(cosine=0.25, reward=0.5))
            and 'raw +0.250, aligned +0.500' in text()
        ),
        'the rewards in the text',
    )
    assert text().startswith('push the button\nstep ')
    assert 'relay acts' in text()
    assert text().endswith('success, last 20 episodes: 0.25')


def test_pictures_of_a_camera_node_that_comes_later_are_taken_instead(alone):
    later = alone.probe.node.create_publisher(Image, 'camera_view/image_raw', LOCKSTEP)
    alone.probe.wait(
        lambda: 'monitor_node' in readers(alone.probe, '/camera_view/image_raw'), 'the reader'
    )
    alone.probe.wait(
        lambda: 'monitor_node' not in readers(alone.probe, '/camera/image_raw'), 'its leaving'
    )
    alone.probe.node.destroy_publisher(later)
    alone.probe.wait(
        lambda: 'monitor_node' in readers(alone.probe, '/camera/image_raw'), 'its coming back'
    )


def test_it_names_the_robots_when_the_one_to_show_is_not_there():
    domain = new_domain()
    with Probe(domain) as probe:
        for name in ('sim0', 'sim1'):
            probe.node.create_publisher(Observation, f'{name}/observation', ALIGNED)
        with run_node(domain, 'monitor_node') as command:
            probe.command = command
            probe.record(Image, 'monitor/picture', LATCHED)
            line = command.wait_for(r'there is no robot .*')[0]
            assert line == (
                "there is no robot '' here; source:=<name> shows another one: sim0, sim1"
            )
            command.interrupt()
            assert command.finish() == 0, command.output


def monitor(tmp_path, packages, **environment):
    """The launch, on a machine that has these packages: programs that only say who they are."""
    for package in packages:
        program = tmp_path / 'lib' / package / package
        program.parent.mkdir(parents=True)
        program.write_text(f'#!/bin/sh\necho {package} runs: "$@"\nexec sleep 1000\n')
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        index = tmp_path / 'share' / 'ament_index' / 'resource_index' / 'packages' / package
        index.parent.mkdir(parents=True, exist_ok=True)
        index.touch()
    script = (
        f'export AMENT_PREFIX_PATH={tmp_path}:$AMENT_PREFIX_PATH; unset DISPLAY WAYLAND_DISPLAY;'
        f' {" ".join(f"export {n}={v};" for n, v in environment.items())}'
        ' exec ros2 launch furl_ros monitor.launch.py port:=0 namespace:=here source:=sim0'
    )
    return Command(['bash', '-c', script], new_domain(), tmp_path)


RQT = ['rqt_gui', 'rqt_console', 'rqt_image_view', 'rqt_plot', 'rqt_reconfigure']


def test_rviz_and_rqt_are_opened_where_they_are(tmp_path):
    packages = ['rviz2', *RQT, 'rqt_runtime_monitor']
    with monitor(tmp_path, packages, DISPLAY=':0') as command:
        rviz = command.wait_for(r'rviz2 runs: .*')[0]
        rqt = command.wait_for(r'rqt_gui runs: .*')[0]
        assert re.search(r'-d .+/config/furl\.rviz', rviz)
        assert '/camera/image_raw:=/here/sim0/camera/image_raw' in rviz
        assert '/monitor/scene:=/here/monitor/scene' in rviz
        assert re.search(r'--perspective-file .+/config/furl\.perspective', rqt)
        assert 'not here' not in command.output
        assert 'web_node' not in command.output
        command.interrupt()
        assert command.finish() == 0, command.output


def test_what_is_missing_is_said_in_one_line_and_the_browser_shows_it(tmp_path):
    with monitor(tmp_path, RQT, DISPLAY=':0') as command:
        command.wait_for(r'viewer: http://localhost:\d+')
        lines = [line for line in command.output.splitlines() if 'not here' in line]
        assert len(lines) == 1
        assert 'not here: rviz2, rqt_runtime_monitor; a page in the browser' in lines[0]
        assert 'rqt_gui runs' not in command.output
        command.interrupt()
        assert command.finish() == 0, command.output


def test_without_a_display_the_browser_shows_it(tmp_path):
    with monitor(tmp_path, []) as command:
        command.wait_for(r'not here: a display; a page in the browser')
        command.wait_for(r'viewer: http://localhost:\d+')
        command.interrupt()
        assert command.finish() == 0, command.output


def test_another_viewer_is_refused(tmp_path):
    with launch(new_domain(), tmp_path, 'monitor.launch.py', small=False, viewer='tv') as command:
        assert command.finish() == 1
        assert "viewer is 'tv'; accepted: rviz, web" in command.output
