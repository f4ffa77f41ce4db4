# SPDX-License-Identifier: Apache-2.0
"""Nodes that end for certain, in spite of a defect of the Fast DDS that comes by pip.

It ends a participant by waiting, without a limit, for its discovery callback to be done. In the
libraries of PyPI, which were built for an older libstdc++, such a wait returns at once, and is
repeated for ever without letting go of the lock that the callback needs (Fast-DDS issue 6513). It
happens when a process ends while it hears of another one, as at the end of a graph: the process
then spins in ``destroy_node``, holds Python's global lock, and answers no signal but SIGKILL.
"""

import contextlib
import ctypes

from rclpy.node import Node

LIMIT_S = 10
"""Seconds for the callback; it takes microseconds."""

_PARTICIPANT_OF = '_ZN16rmw_fastrtps_cpp22get_domain_participantEP10rmw_node_s'
_SET_LISTENER = (
    '_ZN8eprosima7fastdds3dds17DomainParticipant12set_listenerEPNS1_25DomainParticipantListener'
    'ENSt6chrono8durationIlSt5ratioILl1ELl1EEEE'
)


def end_discovery(node: Node) -> None:
    """Let the participant of a node hear of nobody any more; waits for the callback, with a limit.

    With a limit the wait is a true one. Where there is no such middleware this does nothing.

    Args:
        node: the last one of its context.
    """
    with contextlib.suppress(AttributeError, OSError):
        rcl, rmw = ctypes.CDLL('librcl.so'), ctypes.CDLL('librmw_fastrtps_cpp.so')
        rmw_node_of, participant_of = rcl.rcl_node_get_rmw_handle, rmw[_PARTICIPANT_OF]
        set_listener = rmw[_SET_LISTENER]  # of a library that this one needs
        for function in (rmw_node_of, participant_of):
            function.argtypes, function.restype = [ctypes.c_void_p], ctypes.c_void_p
        set_listener.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
        with node.handle:
            participant = participant_of(rmw_node_of(node.handle.pointer))
            if participant:
                set_listener(participant, None, LIMIT_S)


def destroy(node: Node) -> None:
    """``node.destroy_node()``, for the last node of a context."""
    end_discovery(node)
    node.destroy_node()
