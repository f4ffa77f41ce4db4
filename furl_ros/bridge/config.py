# SPDX-License-Identifier: Apache-2.0
"""Parameters of the nodes beside those of the cores (light to import: launch files do)."""

from dataclasses import dataclass

from furl_ros.bridge.limits import (
    LARGEST_FIRST_SEED,
    MOST_IN_FLIGHT,
    MOST_PUBLISH_EVERY,
    MOST_TRIALS,
)
from furl_ros.core.methods import METHODS
from furl_ros.core.settings import setting


def _gather() -> float:
    return setting(
        0.1,
        'Seconds to let further messages come together after one has come, to work on them at once;'
        ' 0: none. Frames of a free-running camera never wait.',
        low=0,
        high=1,
    )


def _record_topics() -> str:
    return setting(
        '',
        'Topics to record: a regular expression for their full names. Empty: those in the namespace'
        ' of the graph, and pictures and markers among them only where somebody looks at them.',
    )


def _record_limit() -> int:
    return setting(
        20_000,
        'Size at which a recording ends, MiB before it is packed; the run goes on.',
        low=1,
        high=10**7,
    )


@dataclass(frozen=True)
class RecordConfig:
    """Settings of recordings."""

    record: bool = setting(
        False,
        'Record the topics of the run as a bag (MCAP) in its folder, bags/<time>: for ros2 bag,'
        ' Foxglove and score_bag.',
    )
    record_topics: str = _record_topics()
    record_limit_mb: int = _record_limit()


@dataclass(frozen=True)
class RunConfig:
    """Parameters of every node of a graph."""

    run_id: str = setting(
        '',
        'The run that the node belongs to: what it sends carries this name, and messages of another'
        ' run are counted and left alone. The launch files make one up.',
    )
    launch_pid: int = setting(
        0, 'Process whose end ends the node, as Ctrl-C would; 0: none.', low=0, high=2**31 - 1
    )


@dataclass(frozen=True)
class SimNodeConfig:
    """Parameters of the node beside those of the simulation."""

    real_time: bool = setting(False, 'Go on at control_rate instead of waiting for actions.')
    control_rate: float = setting(
        20.0, 'Control steps per second in real time, Hz.', low=0.1, high=1_000
    )
    action_timeout: float = setting(
        0.5, 'Real time: an action older than this, seconds, gives way to zeros.', low=0, high=60
    )
    start_time: float = setting(
        -1.0,
        'Lock-step: simulated time of the first frame, seconds; negative: the wall time, so that'
        ' stamps also grow over restarts.',
        low=-1,
        high=1e9,
    )
    publish_clock: bool = setting(True, 'Lock-step: publish simulated time on /clock.')
    publish_goal_image: bool = setting(
        False, "Publish the goal image: a scripted policy's first success in this very set-up."
    )


def _robot() -> str:
    return setting('', 'Description of the robot, YAML (docs/real-robot.md).')


@dataclass(frozen=True)
class ArmNodeConfig:
    """Parameters of the node beside the description of the robot."""

    robot: str = _robot()
    dry_run: bool = setting(False, 'Print what would be sent to the arm, and send nothing.')
    success_reward: str = setting(
        '-1/0', 'Task reward of a step without / with success.', choices=('-1/0', '0/1')
    )


@dataclass(frozen=True)
class CameraNodeConfig:
    """Parameters of the node beside the description of the robot."""

    robot: str = _robot()
    goal_image: str = setting(
        '', 'Picture of the goal (PNG, JPEG), as camera_view/image_raw would show it; empty: none.'
    )


@dataclass(frozen=True)
class MonitorNodeConfig:
    """Parameters of what makes the annotated picture and the scene for rviz."""

    source: str = setting('', "Namespace of the robot that is shown; '' for the graph's own.")
    rate: float = setting(
        5.0, 'Pictures and scenes per second at most, while somebody looks.', low=0.1, high=10
    )
    width: int = setting(640, 'Width of the annotated picture in pixels.', low=160, high=1920)
    height: int = setting(400, 'Height of the annotated picture in pixels.', low=100, high=1080)
    place_in_state: int = setting(
        -1,
        "Where the gripper's place begins in the state: x, y, z in metres. -1: at 0 with a"
        ' Meta-World task, else its path is not drawn.',
        low=-1,
        high=10_000,
    )


@dataclass(frozen=True)
class WebNodeConfig:
    """Parameters of the browser viewer."""

    host: str = setting(
        'localhost',
        'Name or address to bind to; 0.0.0.0 lets other machines in, unencrypted, with the token.',
    )
    port: int = setting(
        8080, 'Port of the page, or the first free one after it; 0: any.', low=0, high=65_535
    )
    token: str = setting(
        '',
        'What a browser must know to open the page. Empty: nothing on localhost, else the node'
        ' makes one up, which its log shows.',
    )
    source: str = setting('', "Namespace of the robot that is shown; '' for the graph's own.")
    rate: float = setting(
        5.0, 'Pictures and poses per second at most, while somebody looks.', low=0.1, high=30
    )


@dataclass(frozen=True)
class VideoNodeConfig:
    """Parameters of the node that films evaluations."""

    source: str = setting('eval', "Namespace of the robot that is filmed; '' for the graph's own.")
    image_topic: str = setting('camera/image_raw', 'Topic of its pictures, in its namespace.')
    run_folder: str = setting('runs/unnamed', 'Folder of the run: videos go to videos/ in it.')
    only_seed: int = setting(
        -1, 'Film the episodes that start from this seed; -1: all.', low=-1, high=2**63 - 1
    )
    scores: str = setting(
        'ask',
        'Where the rewards of frames come from. ask: the service score_frames; listen: the topic'
        ' frame_score, where reward_node scores this robot in any case; none: nowhere.',
        choices=('ask', 'listen', 'none'),
    )


@dataclass(frozen=True)
class PolicyNodeConfig:
    """Parameters of the node that runs a policy from a file."""

    policy: str = setting('', 'The policy: vlm_agent.onnx of a run.')
    source: str = setting('', "Namespace of the robot; '' for the graph's own.")
    episodes: int = setting(0, 'Episodes to play; 0: until it is stopped.', low=0, high=MOST_TRIALS)
    first_seed: int = setting(
        0, 'Seed of the first episode; the next ones follow.', low=0, high=LARGEST_FIRST_SEED
    )


@dataclass(frozen=True)
class RecordNodeConfig:
    """Parameters of the node that records a run."""

    run_folder: str = setting('runs/unnamed', 'Folder of the run: bags go to bags/ in it.')
    record_topics: str = _record_topics()
    record_limit_mb: int = _record_limit()


@dataclass(frozen=True)
class AlignmentNodeConfig:
    """Parameters of the node beside those of the heads."""

    method: str = setting('furl', 'Method of the comparison.', choices=tuple(METHODS))
    seed: int = setting(0, 'Seed of the heads and of the draws.', low=0, high=2**31 - 1)
    warmup_steps: int = setting(
        10_000, 'Transitions before the first head update.', low=0, high=10**9
    )
    sources: tuple[str, ...] = setting(
        ('',), "Namespaces of the robots, relative to the node's; '' for its own."
    )
    run_folder: str = setting(
        'runs/unnamed', 'Folder of the run: ~/save_checkpoint writes inside it alone.'
    )
    resume: str = setting('', 'Run folder or checkpoint to go on from; empty: start anew.')
    demonstrations: str = setting('', 'File of demonstrate: its frames are in the rings.')
    deterministic: bool = setting(
        False, 'Go on with the episode that was running when the checkpoint was written.'
    )
    gather: float = _gather()
    torch_threads: int = setting(1, 'Threads of torch.', low=1, high=1_024)


@dataclass(frozen=True)
class LearnerNodeConfig:
    """Parameters of the node beside those of the training."""

    sources: tuple[str, ...] = setting(
        ('',), "Namespaces of the robots, relative to the node's; '' for its own."
    )
    eval_source: str = setting(
        '', 'Namespace of the robot that evaluation episodes run on; empty: no evaluation.'
    )
    alignment: str = setting('alignment_node', 'Name of the alignment node.')
    run_folder: str = setting('runs/unnamed', 'Folder that the run is written to.')
    run_config: str = setting(
        '{}', 'Settings of the whole graph (YAML), written to config.yaml in the run folder.'
    )
    resume: str = setting('', 'Run folder or checkpoint to go on from; empty: start anew.')
    autostart: bool = setting(True, 'Train at once, without waiting for the action or ~/start.')
    exit_when_done: bool = setting(True, 'Exit after the training.')
    deterministic: bool = setting(
        False, 'Repeat bit for bit from a seed: one order of events, heads at fixed steps.'
    )
    publish_every: int = setting(
        50,
        "The alignment's setting of that name: how far it may lag behind.",
        low=1,
        high=MOST_PUBLISH_EVERY,
    )
    max_in_flight: int = setting(
        16,
        'Steps of a robot that may be under way (lock-step): not scored, or not learned from.',
        low=1,
        high=MOST_IN_FLIGHT,
    )
    max_lead: int = setting(
        16,
        'Steps that a robot may be ahead of the slowest one (lock-step).',
        low=1,
        high=10**9,
    )
    stall_timeout: float = setting(
        30.0, 'Seconds of silence after which a new episode is asked for.', low=1, high=1e6
    )
    torch_threads: int = setting(1, 'Threads of torch.', low=1, high=1_024)
    log_every: float = setting(10.0, 'Seconds between progress lines.', low=0.1, high=1e6)
    progress_lines: bool = setting(
        True,
        'Print them; the launch files do not where the terminal shows a live line. The curves have'
        ' a row for each in any case.',
    )
    wandb: bool = setting(
        False, 'Send the curves to Weights & Biases, too, where its package wandb is installed.'
    )


@dataclass(frozen=True)
class RewardNodeConfig:
    """Parameters of the node beside those of the model."""

    method: str = setting('furl', 'Method of the comparison.', choices=tuple(METHODS))
    prompt: str = setting('', 'The task in words.', live=True)
    baseline_prompt: str = setting(
        'a robot arm beside a table', 'Scoring goal_baseline: the scene in words, without the task.'
    )
    sources: tuple[str, ...] = setting(
        ('',), "Namespaces of the robots, relative to the node's; '' for its own."
    )
    image_qos: str = setting(
        'lockstep',
        "'lockstep': reliable, every frame is scored; 'views': reliable, for a robot that does not"
        ' wait, whose older frames are dropped (and answered so) when the model cannot keep up;'
        " 'sensor': best effort, for a camera by itself, dropped likewise.",
        choices=('lockstep', 'views', 'sensor'),
    )
    compressed: bool = setting(
        False, 'Read camera/image_raw/compressed (JPEG, PNG) instead of camera/image_raw.'
    )
    views: int = setting(
        1,
        'Pictures that each frame holds, one below the other, as camera_node makes them of several'
        ' cameras: the embedding of the frame is the mean of theirs.',
        low=1,
        high=8,
    )
    expect_goal_image: bool = setting(
        False,
        'Publish the prompt embedding only once the goal image of the first source is there'
        ' (scoring goal_image always waits for it).',
    )
    deterministic: bool = setting(
        False, 'Encode one frame at a time: an embedding never depends on what arrived beside it.'
    )
    gather: float = _gather()
    torch_threads: int = setting(1, 'Threads of torch.', low=1, high=1_024)


@dataclass(frozen=True)
class EvaluateNodeConfig:
    """Parameters of the node that asks for an evaluation."""

    episodes: int = setting(
        20, "Episodes; 0: the learner's eval_episodes.", low=0, high=MOST_TRIALS
    )
    first_seed: int = setting(
        0,
        "Seed of the first episode, the next ones follow; 0: those of the run's own evaluations.",
        low=0,
        high=LARGEST_FIRST_SEED,
    )
    output: str = setting(
        '', 'Where to write the table to: <output>.csv and <output>.json; empty: nowhere.'
    )
