# SPDX-License-Identifier: Apache-2.0
"""Train a policy: simulation, reward, alignment and learner nodes.

Every setting of the graph may be given as ``name:=value``; the most used ones are declared here.
"""

import os

from launch.actions import OpaqueFunction

from furl_ros.bridge import config, graph
from furl_ros.bridge.processes import (
    arguments,
    ending_at_once,
    ending_with_any,
    film_maker,
    free_memory,
    in_namespace,
    last_lines,
    learning_names,
    learning_nodes,
    live_line,
    node,
    recorder_names,
    recorders,
    settings,
    simulator,
    watch_names,
)
from furl_ros.core.methods import METHODS
from furl_ros.core.observe import OBSERVE
from furl_ros.core.run import check_unlocked
from furl_ros.core.scorings import SCORINGS
from furl_ros.core.seeds import evaluation_seeds
from furl_ros.core.settings import from_mapping
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from sim.config import SimConfig
from sim.envs import make

ARGUMENTS = {
    'task': 'Meta-World v3 task (drawer-close-v3, ...) or Gymnasium environment id.',
    'goal': 'fixed: one goal, hidden from the state; random: a new one each episode, visible.',
    'seed': 'Seed of everything that is drawn at random.',
    'method': 'Method: ' + '; '.join(f'{n} ({m.doc})' for n, m in METHODS.items()) + '.',
    'total_steps': 'Environment steps of the run.',
    'warmup_steps': 'Uniformly random actions before learning starts.',
    'vlm': "Vision-language model: 'furl-tiny', 'open_clip:<model>/<weights>', 'liv:<file>', ...",
    'prompt': "The sentence that describes the task; empty (prompt:=\"''\"): the task's own.",
    'observe': 'What the policy is given: '
    + '; '.join(f'{n} ({d})' for n, d in OBSERVE.items())
    + '.',
    'scoring': 'VLM reward: ' + '; '.join(f'{n} ({doc})' for n, doc in SCORINGS.items()) + '.',
    'camera': 'Camera of the scene; auto: the usual one (Meta-World: corner2).',
    'image_size': 'Width and height of the frames in pixels.',
    'quality': "Rendering: fast (no shadows or reflections) or full (MuJoCo's defaults).",
    'num_sims': 'Simulators that feed the learner.',
    'local_sims': 'How many of them are started here; the others by sim.launch.py, elsewhere.',
    'pin_learner': 'true: the learner keeps to the last processor cores, as many as it has threads;'
    ' false where several runs share a machine.',
    'videos': 'true: films an episode of each evaluation, with its rewards: videos/*.mp4 in the run'
    ' folder, strips in TensorBoard.',
    'record': 'true: records the topics of the run as a bag (MCAP), bags/ in the run folder.',
    'wandb': 'true: sends the curves to Weights & Biases, too (package wandb).',
    'real_time': 'true: a fixed control rate instead of lock-step.',
    'deterministic': 'true: repeat bit for bit from a seed.',
    'run_folder': 'Folder of the run; default: runs/<task>-<method>-s<seed>-<time>.',
    'resume': 'Run folder or checkpoint to go on from.',
}


@ending_at_once()
def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Check all settings, then describe the nodes."""
    values = settings(context)
    graph.check_model(values)
    check_unlocked(values['run_folder'])
    values |= {'run_id': values['run_id'] or graph.new_run_id(), 'launch_pid': os.getpid()}
    sources = graph.sources_of(values['num_sims'])
    here = range(values['num_sims'] if values['local_sims'] < 0 else values['local_sims'])
    evaluates = values['eval_every'] > 0
    names = [(sources[index], 'sim_node') for index in here]
    names += [('eval', 'sim_node')] if evaluates else []
    films = []
    if values['videos']:
        films.append(film_maker(values, 'eval', 'ask', evaluation_seeds(values['seed'], 1)[0]))
    names += [('', 'video_node')] if films else []
    names += [*recorder_names(values), *learning_names(values)]
    watch = watch_names(context, names)
    # Opens the environment once, so that a wrong task or camera, or a machine that cannot render,
    # is told before anything starts.
    checked = graph.for_node(values, SimConfig) | {
        'render': graph.uses_vlm(values) or values['videos']
    }
    looked_at = values['videos'] or graph.sees(values)
    make(from_mapping(SimConfig, checked)).close()
    watch.check()
    shown = live_line(context, values)
    nodes = [simulator(values, index) for index in here]
    if evaluates:
        nodes.append(
            node(
                'sim_node',
                graph.for_node(values, SimConfig, config.RunConfig),
                {'render': looked_at, 'publish_clock': False},
                namespace='eval',
            )
        )
    nodes += learning_nodes(
        values,
        eval_source='eval' if evaluates else '',
        expect_goal_image=graph.uses_goal_image(values),
    )
    ending = [*ending_with_any(nodes), *shown, last_lines(values)]
    return in_namespace(context, [*ending, *nodes, *films, *recorders(values)])


def generate_launch_description() -> LaunchDescription:
    """Entry point of ``ros2 launch``."""
    steps = [OpaqueFunction(function=free_memory), OpaqueFunction(function=start)]
    return LaunchDescription([*arguments(ARGUMENTS, __file__), *steps])
