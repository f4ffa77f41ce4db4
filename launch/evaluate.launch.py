# SPDX-License-Identifier: Apache-2.0
"""How successful a saved policy is: episodes with its mean action, through the nodes of a training.

Nothing is learned. With the parameter file of a robot (``robot:``) it is that arm which moves, once
a person has called the service ``arm_node/arm``. Settings of the graph may be given as
``name:=value``, where they are not those that the policy was trained under.
"""

import os
import time
from pathlib import Path
from typing import Any

from launch.actions import DeclareLaunchArgument, OpaqueFunction

from furl_ros.bridge import config, graph
from furl_ros.bridge.processes import (
    ending_at_once,
    ending_with_any,
    film_maker,
    free_memory,
    in_namespace,
    last_lines,
    learning_names,
    learning_nodes,
    node,
    robot_names,
    robot_nodes,
    settings,
    watch_names,
)
from furl_ros.core.run import find_checkpoint, run_of
from furl_ros.core.settings import from_mapping
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from sim.config import SimConfig
from sim.envs import make

SOURCE = 'eval'  # namespace of the simulator
APART = {'checkpoint': '', 'episodes': 20, 'first_seed': 0, 'goal_image': '', 'videos': True}
# Nothing is learned, and nothing is done unasked. What repeats a training bit for bit does not
# matter here.
FIXED = {
    'autostart': False,
    'exit_when_done': False,
    'eval_every': 0,
    'head_updates_per_step': 0,
    'deterministic': False,
}


@ending_at_once()
def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Check all settings, then describe the nodes."""
    typed = context.launch_configurations
    apart = {name: graph.parse(name, typed[name], APART) for name in APART}
    checkpoint = find_checkpoint(apart.pop('checkpoint'), 'checkpoint')
    goal_image, films = apart.pop('goal_image'), apart.pop('videos')
    from_mapping(config.EvaluateNodeConfig, apart)
    typed['resume'] = str(checkpoint)
    if not typed.get('run_folder'):
        name = f'{checkpoint.name}-{time.strftime("%Y%m%d-%H%M%S")}'
        typed['run_folder'] = str(run_of(checkpoint) / 'evaluations' / name)
    file = graph.parse_text(typed['params_file'])
    has_robot = bool(file) and graph.ROBOT in graph.read_params_file(file)
    robot = graph.read_robot(file) if has_robot else {}
    values = settings(context, apart=APART, robot=robot.get('name', ''))
    values |= FIXED
    graph.check_model(values)
    values |= {'run_id': graph.new_run_id(), 'launch_pid': os.getpid()}
    names = robot_names(values) if robot else [(SOURCE, 'sim_node'), *learning_names(values)]
    names += [('', 'evaluate_node'), *([('', 'video_node')] if films else [])]
    watch = watch_names(context, names)
    if not robot:
        checked = graph.for_node(values, SimConfig) | {'render': graph.uses_vlm(values) or films}
        make(from_mapping(SimConfig, checked)).close()
    watch.check()
    nodes = robot_nodes(values, robot, goal_image) if robot else simulated(values, films)
    asks = apart | {'output': str(Path(values['run_folder']) / 'evaluation')}
    nodes.append(node('evaluate_node', graph.for_node(values, config.RunConfig), asks))
    ending = [*ending_with_any(nodes), last_lines(values)]
    if films and robot:
        nodes.append(film_maker(values, '', 'listen', image_topic='camera_view/image_raw'))
    elif films:
        nodes.append(film_maker(values, SOURCE, 'listen'))
    return in_namespace(context, [*ending, *nodes])


def simulated(values: dict[str, Any], films: bool) -> list[LaunchDescriptionEntity]:
    """The graph with one simulator."""
    goal_image = graph.uses_goal_image(values)
    simulator = node(
        'sim_node',
        graph.for_node(values, SimConfig, config.SimNodeConfig, config.RunConfig),
        {'render': graph.uses_vlm(values) or films, 'publish_goal_image': goal_image},
        namespace=SOURCE,
    )
    return [simulator, *learning_nodes(values, expect_goal_image=goal_image, sources=(SOURCE,))]


def generate_launch_description() -> LaunchDescription:
    """Entry point of ``ros2 launch``."""
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                'checkpoint', description='Run folder, or one of its checkpoints/step_* folders.'
            ),
            DeclareLaunchArgument('episodes', default_value='20', description='Episodes.'),
            DeclareLaunchArgument(
                'first_seed',
                default_value='0',
                description='Seed of the first episode, the next ones follow; 0: the seeds of the'
                " run's own evaluations.",
            ),
            DeclareLaunchArgument(
                'run_folder',
                default_value='',
                description='Where to write evaluation.csv and evaluation.json to. Empty:'
                ' evaluations/<step>-<time> in the folder of the run.',
            ),
            DeclareLaunchArgument(
                'params_file',
                default_value='',
                description='Parameter file of the robot that the policy was trained on; empty: it'
                ' was a simulator.',
            ),
            DeclareLaunchArgument(
                'goal_image',
                default_value='',
                description='With a robot: picture of the solved task, where the reward needs one.',
            ),
            DeclareLaunchArgument(
                'videos',
                default_value='true',
                description='true: films the episodes, with their rewards: videos/first.mp4,'
                ' best.mp4 and last.mp4 in run_folder.',
            ),
            DeclareLaunchArgument(
                'namespace', default_value='', description='ROS namespace of the whole graph.'
            ),
            OpaqueFunction(function=free_memory),
            OpaqueFunction(function=start),
        ]
    )
