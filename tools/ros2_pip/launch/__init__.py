# SPDX-License-Identifier: Apache-2.0
"""Stand-in for the `launch` package of ROS 2 where only pip is available: a subset of its API."""

from ros2_pip.guard import not_in_subset, refuse_beside_real_ros2

refuse_beside_real_ros2()

from . import (  # noqa: E402  (nothing may be imported before the check above)
    actions,
    conditions,
    event_handlers,
    events,
    launch_description_sources,
    logging,
    substitutions,
    utilities,
)
from .conditions import Condition  # noqa: E402
from .entity import Action, LaunchDescriptionEntity, SomeSubstitutionsType, Substitution  # noqa: E402
from .event_handlers import EventHandler  # noqa: E402
from .events import Event  # noqa: E402
from .launch_context import LaunchContext  # noqa: E402
from .launch_description import LaunchDescription  # noqa: E402
from .launch_description_sources import LaunchDescriptionSource  # noqa: E402
from .launch_service import LaunchService  # noqa: E402

__all__ = [
    'Action',
    'Condition',
    'Event',
    'EventHandler',
    'LaunchContext',
    'LaunchDescription',
    'LaunchDescriptionEntity',
    'LaunchDescriptionSource',
    'LaunchService',
    'SomeSubstitutionsType',
    'Substitution',
    'actions',
    'conditions',
    'event_handlers',
    'events',
    'launch_description_sources',
    'logging',
    'substitutions',
    'utilities',
]
__getattr__ = not_in_subset(__name__, __all__)
