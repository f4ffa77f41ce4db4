# SPDX-License-Identifier: Apache-2.0
"""The processes of a graph, as launch files describe them."""

import contextlib
import os
import signal
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    LogInfo,
    RegisterEventHandler,
    Shutdown,
)
from launch.event_handlers import OnProcessExit, OnShutdown
from launch.substitutions import PathJoinSubstitution
from launch_ros.actions import Node, PushRosNamespace
from launch_ros.substitutions import FindPackageShare
from rclpy.exceptions import InvalidNamespaceException
from rclpy.validate_namespace import validate_namespace

from furl_ros.bridge import config, graph, shared_memory
from furl_ros.bridge.live_line import LiveLine
from furl_ros.bridge.names import NameWatch
from furl_ros.core.config import AlignConfig, ScoringConfig, TrainConfig, VlmConfig
from furl_ros.core.methods import METHODS
from furl_ros.core.run import UNSTORED
from furl_ros.core.settings import SettingError
from launch import LaunchContext, LaunchDescriptionEntity
from sim.config import SimConfig

# Long enough for a learner to write its last checkpoint.
FAREWELL = {'sigterm_timeout': '60', 'sigkill_timeout': '30'}


def arguments(
    docs: Mapping[str, str], launch_file: str, config_file: str = graph.PARAMS_FILE
) -> list[DeclareLaunchArgument]:
    """Declare settings of the graph as launch arguments, and ``params_file`` with further ones.

    Args:
        docs: what each of them means.
        launch_file: path of the file that declares them; the settings' file lies beside its folder.
        config_file: the default of ``params_file``, a file in ``config``.
    """
    place = ('config', config_file)
    default = graph.read_params_file(Path(launch_file).parents[1].joinpath(*place))
    return [
        *(
            DeclareLaunchArgument(
                name,
                default_value='',
                description=f'{doc} Empty: as in params_file ({default[name]!r} by default).'
                if name in default
                else doc,
            )
            for name, doc in docs.items()
        ),
        DeclareLaunchArgument(
            'params_file',
            default_value=PathJoinSubstitution([FindPackageShare('furl_ros'), *place]),
            description='ROS parameter file (/**: ros__parameters:) with further settings.',
        ),
        DeclareLaunchArgument(
            'namespace',
            default_value='',
            description='ROS namespace of the whole graph: several in one domain need one each.',
        ),
    ]


def free_memory(_: LaunchContext) -> list[LogInfo]:
    """Remove the shared memory of nodes that were killed; says so if there was any."""
    freed = shared_memory.remove_ownerless()
    if not freed:
        return []
    return [
        LogInfo(msg=f'freed {freed / 2**20:.1f} MiB of shared memory of processes that were killed')
    ]


def settings(
    context: LaunchContext, apart: Collection[str] = (), robot: str = ''
) -> dict[str, Any]:
    """The settings of the whole graph, checked, from what was typed and the ``params_file``.

    Args:
        apart: arguments that are no settings.
        robot: as in ``graph.settings_of_run``.

    Raises:
        SettingError: a name or a value is not accepted.
    """
    typed = context.launch_configurations
    typed['params_file'] = graph.parse_text(typed['params_file'])
    check_namespace(context)
    apart = {'params_file', 'namespace', 'ros_namespace', *apart}
    given = {name: value for name, value in typed.items() if value != '' and name not in apart}
    return graph.settings_of_run(given, typed['params_file'], robot)


def check_namespace(context: LaunchContext) -> None:
    """Check the namespace that was typed.

    Raises:
        SettingError: it is none.
    """
    namespace = graph.parse_text(context.launch_configurations['namespace'])
    context.launch_configurations['namespace'] = namespace
    try:
        validate_namespace(f'/{namespace}'.rstrip('/') or '/')
    except InvalidNamespaceException as error:
        reason = ' '.join(str(error).split())
        raise SettingError(f'namespace is {namespace!r}; accepted: a ROS name ({reason})') from None


@contextlib.contextmanager
def ending_at_once() -> Iterator[None]:
    """Decorates what is done before anything starts: a signal ends the launch then and there.

    Its exit code is 0. The loop of ``ros2 launch`` would see the signal only afterwards.
    """
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda *_: os._exit(0)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def in_namespace(context: LaunchContext, entities: Sequence[Any]) -> list[Any]:
    """These entities, in the namespace that was typed."""
    namespace = context.launch_configurations['namespace'].strip('/')
    return [PushRosNamespace(namespace), *entities] if namespace else list(entities)


def watch_names(context: LaunchContext, nodes: Sequence[tuple[str, str]]) -> NameWatch:
    """Begin to look whether somebody has these names: the namespace and the name of each node."""
    names = [full_name(context, *one) for one in nodes]
    return NameWatch(names, full_name(context, 'training_status'))


def full_name(context: LaunchContext, *parts: str) -> str:
    """The full name of what has this one (in parts) in the graph."""
    typed = context.launch_configurations
    outer = typed.get('ros_namespace', ''), typed['namespace']
    return '/' + '/'.join(word for part in (*outer, *parts) for word in part.split('/') if word)


def live_line(context: LaunchContext, values: dict[str, Any]) -> list[LaunchDescriptionEntity]:
    """Show where the run stands in the last line of the terminal, if there is one, till the end.

    Args:
        values: settings of the whole graph; where there is a terminal the learner is told to print
            no lines of its own.
    """
    if not sys.stdout.isatty():
        return []
    values['progress_lines'] = False
    line = LiveLine(full_name(context, 'training_status'))
    return [RegisterEventHandler(OnShutdown(on_shutdown=lambda *_: line.close()))]


def node(
    executable: str,
    *parameters: dict,
    namespace: str = '',
    threads: int = 1,
    cores: Sequence[int] = (),
    niceness: int = 0,
    remappings: Sequence[tuple[str, str]] = (),
) -> Node:
    """One process of the graph, kept on some processor cores if any are named."""
    prefixes = []
    if cores:
        prefixes.append(f'taskset --cpu-list {",".join(map(str, cores))}')
    if niceness:
        prefixes.append(f'nice -n {niceness}')
    merged = {name: value for part in parameters for name, value in part.items()}
    return Node(
        package='furl_ros',
        executable=executable,
        namespace=namespace,
        parameters=[merged],
        remappings=remappings,
        output='screen',
        exec_name=executable,
        prefix=' '.join(prefixes) or None,
        additional_env={'OMP_NUM_THREADS': str(threads), 'PYTHONUNBUFFERED': '1'},
        **FAREWELL,
    )


def on_exit(event, context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The graph ends with any of its nodes; one that failed makes the launch fail.

    Also one that fails while the graph ends: an exception is what ``ros2 launch`` returns 1 for, at
    any time.

    Raises:
        RuntimeError: the process has ended with another code than 0.
    """
    # A node that has begun answers these signals and ends with 0: this one's interpreter had not.
    too_early = context.is_shutdown and event.returncode in (-signal.SIGINT, -signal.SIGTERM)
    if event.returncode != 0 and not too_early:
        raise RuntimeError(f'{event.process_name} ended with exit code {event.returncode}')
    if context.is_shutdown:
        return []
    return [Shutdown(reason=f'{event.process_name} has finished')]


def ending_with_any(nodes: Sequence[ExecuteProcess]) -> list[LaunchDescriptionEntity]:
    """Handlers that end the whole launch when one of these processes ends."""
    return [
        RegisterEventHandler(OnProcessExit(target_action=process, on_exit=on_exit))
        for process in nodes
    ]


def simulator(values: Mapping[str, Any], index: int) -> Node:
    """The process of one simulator of a graph.

    Args:
        values: settings of the whole graph, from ``graph.settings_of_run``.
        index: which of its ``num_sims`` simulators, from 0.
    """
    return node(
        'sim_node',
        graph.for_node(values, SimConfig, config.SimNodeConfig, config.RunConfig),
        {
            'render': METHODS[values['method']].vlm,
            'publish_clock': index == 0,
            'publish_goal_image': graph.uses_goal_image(values) and index == 0,
            'start_time': 1.0 if values['deterministic'] else values['start_time'],
        },
        namespace=graph.sources_of(values['num_sims'])[index],
    )


def learning_names(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Namespace and name of each of the ``learning_nodes``."""
    names = [('', 'reward_node'), ('', 'alignment_node')] if graph.uses_vlm(values) else []
    return [*names, ('', 'learner_node')]


def learning_nodes(
    values: Mapping[str, Any],
    *,
    eval_source: str = '',
    expect_goal_image: bool,
    image_topic: str = 'camera/image_raw',
    sources: Sequence[str] = (),
) -> list[Node]:
    """The processes that learn, whatever the robots are: reward, alignment and learner.

    Args:
        values: settings of the whole graph, from ``graph.settings_of_run``.
        eval_source: namespace of the robot to evaluate on; '' for none.
        expect_goal_image: whether somebody publishes a goal image.
        image_topic: where they come from.
        sources: namespaces of the robots; by default those of the simulators.
    """
    sources = sources or graph.sources_of(values['num_sims'])
    shared = {'sources': list(sources), **graph.for_node(values, config.RunConfig)}
    niceness = values['background_niceness']
    # What does not wait for the model must not pile up before it. Each step waits for its score,
    # though: a frame that is lost on the way would hold up all that come after it.
    image_qos = 'views' if values['real_time'] else values['image_qos']
    nodes = []
    # A policy that sees needs the frames of its evaluations scored, too.
    watched = bool(eval_source) and graph.sees(values)
    if graph.uses_vlm(values):
        own = 'camera/image_raw'
        nodes.append(
            node(
                'reward_node',
                graph.for_node(values, config.RewardNodeConfig, VlmConfig, ScoringConfig),
                shared | ({'sources': [*sources, eval_source]} if watched else {}),
                {'expect_goal_image': expect_goal_image, 'image_qos': image_qos},
                niceness=niceness,
                remappings=[(own, image_topic)] if image_topic != own else [],
            )
        )
        nodes.append(
            node(
                'alignment_node',
                graph.for_node(values, AlignConfig, config.AlignmentNodeConfig),
                shared,
                niceness=niceness,
            )
        )
    threads = graph.learner_threads(values['deterministic'])
    run_config = {name: value for name, value in values.items() if name not in UNSTORED}
    nodes.append(
        node(
            'learner_node',
            graph.for_node(values, TrainConfig, ScoringConfig, config.LearnerNodeConfig),
            shared,
            {
                'eval_source': eval_source,
                'torch_threads': threads,
                'run_config': yaml.safe_dump(run_config),
            },
            threads=threads,
            cores=graph.learner_cores(threads) if values['pin_learner'] else (),
            # A robot that waits for nobody comes first; one in lock-step waits for the learner.
            niceness=niceness if values['real_time'] else 0,
        )
    )
    return nodes


def film_maker(
    values: Mapping[str, Any],
    source: str,
    scores: str,
    only_seed: int = -1,
    image_topic: str = 'camera/image_raw',
) -> Node:
    """The process that films evaluations. A graph without it is whole: it does not end with it.

    Args:
        values: settings of the whole graph, from ``graph.settings_of_run``.
        source: namespace of the robot.
        scores: where the rewards come from, as ``VideoNodeConfig`` says.
        only_seed: whose episodes are filmed; -1: all.
        image_topic: of the robot's pictures.
    """
    return node(
        'video_node',
        graph.for_node(values, config.RunConfig),
        {
            'run_folder': values['run_folder'],
            'source': source,
            'only_seed': only_seed,
            'image_topic': image_topic,
            'scores': scores if graph.uses_vlm(values) else 'none',
        },
        niceness=values['background_niceness'],
    )


def recorders(values: Mapping[str, Any]) -> list[Node]:
    """The process that records the run, where that is wanted; it may end before the others do.

    Args:
        values: settings of the whole graph, from ``graph.settings_of_run``.
    """
    if not values['record']:
        return []
    parts = graph.for_node(values, config.RecordNodeConfig, config.RunConfig)
    return [node('record_node', parts, niceness=values['background_niceness'])]


def recorder_names(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Namespace and name of each of the ``recorders``."""
    return [('', 'record_node')] if values['record'] else []


def robot_nodes(
    values: Mapping[str, Any], robot: Mapping[str, Any], goal_image: str, dry_run: bool = False
) -> list[Node]:
    """The processes of a graph with a physical arm.

    Args:
        values: settings of the whole graph, from ``graph.settings_of_run``.
        robot: its description, as in the ``params_file``.
        goal_image: file with a picture of the goal; '' for none.
        dry_run: send nothing to the arm.
    """
    shared = graph.for_node(values, config.RunConfig) | {graph.ROBOT: yaml.safe_dump(dict(robot))}
    of_arm = {'dry_run': dry_run, 'success_reward': values['success_reward']}
    nodes = [node('arm_node', shared, of_arm)]
    if graph.uses_vlm(values):
        nodes.append(node('camera_node', shared, {'goal_image': goal_image}))
    return nodes + learning_nodes(
        values, expect_goal_image=bool(goal_image), image_topic='camera_view/image_raw'
    )


def policy_nodes(
    values: Mapping[str, Any], robot: Mapping[str, Any], policy: str, dry_run: bool = False
) -> list[Node]:
    """The processes of a physical arm that a policy from a file moves; nobody learns, or scores.

    Args:
        values: settings of the whole graph, from ``graph.settings_of_run``.
        robot: its description, as in the ``params_file``.
        policy: the file.
        dry_run: send nothing to the arm.
    """
    # Nobody looks at pictures: the silence of a camera, or of nodes that learn, stops nothing.
    alone = {name: value for name, value in robot.items() if name not in ('cameras', 'use_camera')}
    alone['watchdogs'] = dict(robot.get('watchdogs', {})) | {'nodes': ['policy_node']}
    shared = graph.for_node(values, config.RunConfig)
    of_arm = {'dry_run': dry_run, 'success_reward': values['success_reward']}
    return [
        node('arm_node', shared | {graph.ROBOT: yaml.safe_dump(alone)}, of_arm),
        node('policy_node', shared, {'policy': policy, 'first_seed': values['seed']}),
    ]


def robot_names(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Namespace and name of each of the ``robot_nodes``."""
    names = [('', 'arm_node'), *learning_names(values)]
    return names + ([('', 'camera_node')] if graph.uses_vlm(values) else [])


def last_lines(values: Mapping[str, Any]) -> RegisterEventHandler:
    """Say at the end where the run is."""
    # tools/train, which sets the environment up, says here how to get a shell with it.
    texts = [f'run folder: {values["run_folder"]}', os.environ.get('FURL_SHELL_HINT', '')]
    lines = [LogInfo(msg=text) for text in texts if text]
    return RegisterEventHandler(OnShutdown(on_shutdown=lines))
