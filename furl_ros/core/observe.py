# SPDX-License-Identifier: Apache-2.0
"""What a policy may be given; how it is put together is in ``furl_ros.core.policy_input``."""

from furl_ros.core.settings import SettingError

STATE, EMBEDDING, BOTH = 'state', 'embedding', 'both'
OBSERVE = {
    STATE: 'the state alone',
    EMBEDDING: "what the robot senses of itself, and the model's embedding of the newest frame",
    BOTH: 'the state and the embedding',
}


def check_observe(observe: str, has_vlm: bool, method: str) -> None:
    """Check that a method's frames are encoded where a policy looks at them.

    Raises:
        SettingError: they are not.
    """
    if observe != STATE and not has_vlm:
        raise SettingError(
            f'observe is {observe!r} with method {method}, which has no VLM; accepted: {STATE!r}'
        )
