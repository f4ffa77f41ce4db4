# SPDX-License-Identifier: Apache-2.0
"""Train a policy on a physical arm: the graph of train.launch.py with arm_node for sim_node.

``params_file`` describes the robot (docs/real-robot.md). The arm moves only once a person has
called the service ``arm_node/arm``. Every setting of the graph may be given as ``name:=value``.
"""

import os
from pathlib import Path
from typing import Any

from launch.actions import DeclareLaunchArgument, OpaqueFunction

from furl_ros.bridge import graph
from furl_ros.bridge.processes import (
    arguments,
    ending_at_once,
    ending_with_any,
    free_memory,
    in_namespace,
    last_lines,
    live_line,
    policy_nodes,
    recorder_names,
    recorders,
    robot_names,
    robot_nodes,
    settings,
    watch_names,
)
from furl_ros.core.arm.profile_reading import read_profile
from furl_ros.core.methods import METHODS
from furl_ros.core.observe import OBSERVE
from furl_ros.core.run import check_unlocked
from furl_ros.core.scorings import GOAL_IMAGE, SCORINGS
from furl_ros.core.settings import SettingError
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity

ARGUMENTS = {
    'prompt': 'The sentence that describes the task.',
    'seed': 'Seed of everything that is drawn at random.',
    'method': 'Method: ' + '; '.join(f'{n} ({m.doc})' for n, m in METHODS.items()) + '.',
    'total_steps': 'Control steps of the run.',
    'warmup_steps': 'Uniformly random actions before learning starts.',
    'vlm': "Vision-language model: 'furl-tiny', 'open_clip:<model>/<weights>', 'liv:<file>', ...",
    'observe': 'What the policy is given: '
    + '; '.join(f'{n} ({d})' for n, d in OBSERVE.items())
    + '.',
    'scoring': 'VLM reward: ' + '; '.join(f'{n} ({doc})' for n, doc in SCORINGS.items()) + '.',
    'pin_learner': 'true: the learner keeps to the last processor cores, one for each thread.',
    'record': 'true: records the topics of the run as a bag (MCAP), bags/ in the run folder.',
    'wandb': 'true: sends the curves to Weights & Biases, too (package wandb).',
    'run_folder': 'Folder of the run; default: runs/<robot>-<method>-s<seed>-<time>.',
    'resume': 'Run folder or checkpoint to go on from.',
}
APART = {'goal_image': '', 'dry_run': False, 'policy': ''}


@ending_at_once()
def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Check all settings and the robot, then describe the nodes."""
    typed = context.launch_configurations
    robot = graph.read_robot(graph.parse_text(typed['params_file']))
    profile = read_profile(robot)
    values = settings(context, apart=APART, robot=profile.name)
    goal_image, dry_run, policy = (graph.parse(name, typed[name], APART) for name in APART)
    if policy:
        return only_policy(context, values, robot, policy, dry_run)
    check_pictures(values, len(profile.used_cameras), goal_image)
    values['views'] = max(1, len(profile.used_cameras))
    graph.check_model(values)
    check_unlocked(values['run_folder'])
    values |= {'run_id': values['run_id'] or graph.new_run_id(), 'launch_pid': os.getpid()}
    watch_names(context, [*robot_names(values), *recorder_names(values)]).check()
    shown = live_line(context, values)
    nodes = robot_nodes(values, robot, goal_image, dry_run)
    ending = [*ending_with_any(nodes), *shown, last_lines(values)]
    return in_namespace(context, [*ending, *nodes, *recorders(values)])


def only_policy(
    context: LaunchContext,
    values: dict[str, Any],
    robot: dict[str, Any],
    policy: str,
    dry_run: bool,
) -> list[LaunchDescriptionEntity]:
    """The arm and a policy that moves it, without anybody who learns."""
    # Imported here: a training needs no runtime.
    from furl_ros.core.exported import OnnxPolicy

    OnnxPolicy(policy)
    values |= {'run_id': graph.new_run_id(), 'launch_pid': os.getpid()}
    names = [('', 'arm_node'), ('', 'policy_node'), *recorder_names(values)]
    watch_names(context, names).check()
    nodes = policy_nodes(values, robot, str(Path(policy).expanduser()), dry_run)
    return in_namespace(context, [*ending_with_any(nodes), *nodes, *recorders(values)])


def check_pictures(values: dict, cameras: int, goal_image: str) -> None:
    """Check that there are the pictures that the reward is made of.

    Raises:
        SettingError: there is no camera, or no picture of the goal.
    """
    if graph.uses_vlm(values) and not cameras:
        raise SettingError(
            f'{graph.ROBOT}: cameras is empty; accepted: a camera, or method:=sac, without the VLM'
        )
    if values['scoring'] == GOAL_IMAGE and not goal_image:
        raise SettingError(f"goal_image is ''; accepted with scoring:={GOAL_IMAGE}: a picture")
    if goal_image and not Path(goal_image).expanduser().is_file():
        raise SettingError(f"goal_image is '{goal_image}'; accepted: a picture (PNG, JPEG)")


def generate_launch_description() -> LaunchDescription:
    """Entry point of ``ros2 launch``."""
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                'dry_run',
                default_value='false',
                description='true: print what would be sent to the arm, and send nothing.',
            ),
            DeclareLaunchArgument(
                'goal_image',
                default_value='',
                description='Picture of the solved task (PNG, JPEG), as the camera sees it after'
                ' cutting and turning. Empty: none.',
            ),
            DeclareLaunchArgument(
                'policy',
                default_value='',
                description='Policy (vlm_agent.onnx of a run) that moves the arm, one episode after'
                ' the other; nothing is learned or scored. Empty: train.',
            ),
            *arguments(ARGUMENTS, __file__, 'robot.yaml'),
            OpaqueFunction(function=free_memory),
            OpaqueFunction(function=start),
        ]
    )
