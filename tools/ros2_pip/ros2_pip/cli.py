# SPDX-License-Identifier: Apache-2.0
"""The `ros2` command of the stand-in."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence

from .guard import refuse_beside_real_ros2

refuse_beside_real_ros2()

from . import (  # noqa: E402  (after the check)
    action,
    interface,
    launch,
    node,
    param,
    pkg,
    run,
    service,
    topic,
)

_COMMANDS = {
    'action': (action, 'look at and call actions'),
    'interface': (interface, 'look at the types of messages, services and actions'),
    'launch': (launch, 'run a launch file'),
    'node': (node, 'look at nodes'),
    'param': (param, 'look at and set parameters of nodes'),
    'pkg': (pkg, 'look at installed packages'),
    'run': (run, 'run an executable of a package'),
    'service': (service, 'look at and call services'),
    'topic': (topic, 'look at and publish to topics'),
}


def main(argv: Sequence[str] | None = None) -> int | str | None:
    """Run a command and return the exit code, or the text of an error for sys.exit().

    Args:
        argv: the arguments after `ros2`; default those of the process.
    """
    parser = argparse.ArgumentParser(
        prog='ros2', description='Command line tools of ROS 2 (furl_ros stand-in: a subset)'
    )
    commands = parser.add_subparsers(metavar='command')
    for name, (module, text) in _COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text)
        # A command with verbs says so where none is given.
        command.set_defaults(main=lambda args, command=command: command.print_help())
        module.add_arguments(command)
    parser.set_defaults(main=lambda args: parser.print_help())
    args = parser.parse_args(argv)

    sys.stdout.reconfigure(line_buffering=True, errors='replace')
    try:
        return args.main(args)
    except KeyboardInterrupt:
        return signal.SIGINT
    except BrokenPipeError:
        # Who read the output (`| head`) has gone; keep the interpreter from writing more to it.
        sys.stdout = None
        return 0
    except RuntimeError as error:
        return str(error)
