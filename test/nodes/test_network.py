# SPDX-License-Identifier: Apache-2.0
"""tools/env.sh and the network: closed to other machines unless FURL_ROS_NETWORK=open."""

import contextlib
import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from graph_support import TIMEOUT, Command, new_domain

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [
    pytest.mark.skipif(sys.platform != 'linux', reason='reads /proc'),
    pytest.mark.skipif(
        not (ROOT / '.venv' / 'furl-ros').exists(),
        reason='this folder is not set up by tools/setup',
    ),
]

NODE = """
import os
import sys

import rclpy
from std_msgs.msg import String
from std_srvs.srv import Trigger

rclpy.init()
node = rclpy.create_node(sys.argv[1])
node.create_publisher(String, 'talk', 10)
node.create_subscription(String, 'talk', print, 10)
node.create_service(Trigger, 'reset', lambda request, response: response)
print('process', os.getpid(), 'is ready', flush=True)
while sys.argv[2] not in node.get_node_names():
    rclpy.spin_once(node, timeout_sec=0.1)
print('found', flush=True)
rclpy.spin(node)
"""


def start_node(domain: int, network: str, name: str, other: str) -> Command:
    """A node in a shell with tools/env.sh, which says `found` when it has found the other one."""
    python = shlex.join(['exec', 'python', '-c', NODE, name, other])
    set_up = f'. {shlex.quote(str(ROOT / "tools" / "env.sh"))}'
    return Command(['bash', '-c', f'{network}\n{set_up}\n{python}'], domain)


def bound_to(pid: int) -> set[str]:
    """Addresses, in the hexadecimal of the kernel, that IP sockets of a process are bound to."""
    own = set()
    for file in Path(f'/proc/{pid}/fd').iterdir():
        with contextlib.suppress(FileNotFoundError):
            own.update(re.findall(r'socket:\[(\d+)\]', os.readlink(file)))
    found = set()
    for protocol in ('udp', 'udp6', 'udplite', 'udplite6', 'tcp', 'tcp6', 'raw', 'raw6'):
        table = Path(f'/proc/{pid}/net/{protocol}')
        rows = table.read_text().splitlines()[1:] if table.exists() else []
        fields = [row.split() for row in rows]
        found |= {field[1].partition(':')[0] for field in fields if field[9] in own}
    return found


LOOPBACK = f'{int.from_bytes(socket.inet_aton("127.0.0.1"), sys.byteorder):08X}'
ANY = '00000000'


def pid_of(node: Command) -> int:
    """Process id of a node that is ready."""
    return int(node.wait_for(r'process (\d+) is ready')[1])


def test_no_socket_of_a_node_can_be_reached_from_elsewhere():
    domain = new_domain()
    # What other settings of the shell say of the network does not open it.
    shell = (
        'unset FURL_ROS_NETWORK;'
        ' export ROS_AUTOMATIC_DISCOVERY_RANGE=SUBNET ROS_STATIC_PEERS=localhost'
    )
    with (
        start_node(domain, shell, 'here', 'there') as here,
        start_node(domain, shell, 'there', 'here') as there,
    ):
        here.wait_for('found')
        there.wait_for('found')
        assert bound_to(pid_of(here)) == bound_to(pid_of(there)) == {LOOPBACK}


def test_a_network_that_is_opened_listens_to_all():
    domain = new_domain()
    shell = 'export FURL_ROS_NETWORK=open'
    with start_node(domain, shell, 'here', 'here') as here:
        here.wait_for('found')
        assert ANY in bound_to(pid_of(here))


@contextlib.contextmanager
def taken_ports(domain: int, participants: int) -> Iterator[None]:
    """Take the ports of the first participants of a domain (RTPS 2.5, 9.6.2.3)."""
    with contextlib.ExitStack() as stack:
        for participant in range(participants):
            taken = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            with contextlib.suppress(OSError):  # by somebody else: as good
                taken.bind(('127.0.0.1', 7400 + 250 * domain + 10 + 2 * participant))
        yield


def test_processes_beyond_those_of_two_graphs_find_each_other():
    # rmw_fastrtps looks for the first 32 alone.
    domain = new_domain()
    shell = 'unset FURL_ROS_NETWORK'
    with (
        taken_ports(domain, 60),
        start_node(domain, shell, 'here', 'there') as here,
        start_node(domain, shell, 'there', 'here') as there,
    ):
        here.wait_for('found')
        there.wait_for('found')


def test_a_slip_of_the_pen_opens_nothing():
    done = subprocess.run(
        ['bash', '-c', f'. {shlex.quote(str(ROOT / "tools" / "env.sh"))} || exit 3'],
        env={**os.environ, 'FURL_ROS_NETWORK': 'opne'},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert done.returncode == 3
    assert done.stderr == "tools/env.sh: FURL_ROS_NETWORK is 'opne'; accepted: closed, open\n"
