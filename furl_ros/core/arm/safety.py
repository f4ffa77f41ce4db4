# SPDX-License-Identifier: Apache-2.0
"""Whether the arm may move: armed by a person, stopped by an e-stop or by silence.

docs/real-robot.md draws the states. Times are seconds of one monotonic clock, given by the caller;
all calls come from one thread.
"""

import enum
import math
from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

_REMEMBERED = 100
_NEVER = float('-inf')


class State(enum.Enum):
    """What the arm may do."""

    DISARMED = 'disarmed'
    ARMED = 'armed'
    STOPPED = 'stopped'


class Transition(NamedTuple):
    """A change of state (or an e-stop beside one that holds already: before and after are one)."""

    time: float
    before: State
    after: State
    reason: str


class Safety:
    """The state machine between everybody who may stop the arm and the commands it gets.

    Nothing arms it but ``arm``, after everything watched was heard since the last ``clear``. An
    e-stop wins over everything, in every state, until ``clear``.

    Attributes:
        state: the state.
        reason: why it is STOPPED; '' otherwise.
        latched: STOPPED by an e-stop: ``disarm`` does not lead out of it, only ``clear``.
        history: the last transitions, the newest one last.
    """

    def __init__(self, limits: Mapping[str, float], loop_s: float) -> None:
        """Begin DISARMED.

        Args:
            limits: seconds that each thing watched may be silent, by name.
            loop_s: seconds that may pass between two calls of ``check``: a control loop that stood
                still does not go on by itself.
        """
        self.state = State.DISARMED
        self.reason = ''
        self.latched = False
        self.history: deque[Transition] = deque(maxlen=_REMEMBERED)
        self._limits = dict(limits)
        self._loop_s = loop_s
        self._paused: set[str] = set()
        self._held: dict[str, None] = {}
        self._checked = _NEVER
        self._forget()

    @property
    def held(self) -> tuple[str, ...]:
        """The e-stop inputs that are pressed now."""
        return tuple(self._held)

    def arm(self, now: float) -> str:
        """Let the arm move.

        Returns:
            '' when it is armed now; else why not.
        """
        if self.state is not State.DISARMED:
            return f'it is {self.state.value}' + (f' ({self.reason})' if self.reason else '')
        if self._held:
            return f'e-stop is pressed: {", ".join(self._held)}'
        silent = [
            name
            for name in self._limits
            if name not in self._paused and not self._is_fresh(self._heard[name], name, now)
        ]
        if silent:
            return f'not heard: {", ".join(silent)}'
        self._checked = now
        self._go(State.ARMED, 'armed', now)
        return ''

    def disarm(self, now: float) -> bool:
        """Stop letting it move; also acknowledges a stop that is not an e-stop.

        Returns:
            Whether it is DISARMED now.
        """
        if self.state is not State.DISARMED and not self.latched:
            self._go(State.DISARMED, 'disarmed', now)
        return self.state is State.DISARMED

    def stop(self, reason: str, now: float) -> None:
        """Stop an arm that is ARMED, for a reason found elsewhere (a limit, the controller)."""
        if self.state is State.ARMED:
            self._go(State.STOPPED, reason, now)

    def estop(self, reason: str, now: float) -> None:
        """Stop, in every state, until ``clear``. The first reason stays."""
        if self.latched:
            self.history.append(Transition(now, self.state, self.state, reason))
            return
        self._go(State.STOPPED, reason, now)
        self.latched = True

    def estop_input(self, name: str, pressed: bool, now: float) -> None:
        """Take the level of an e-stop input.

        Pressed it is an e-stop, and holds until the input itself says that it is released; even
        then the arm stays STOPPED until ``clear``.
        """
        if not pressed:
            self._held.pop(name, None)
        elif name not in self._held:
            self._held[name] = None
            self.estop(f'e-stop {name}', now)

    def clear(self, now: float) -> str:
        """Leave STOPPED for DISARMED, and forget all that was heard.

        Returns:
            '' when it is DISARMED now; else why not.
        """
        if self._held:
            return f'e-stop is pressed: {", ".join(self._held)}'
        if self.state is State.ARMED:
            return 'it is armed: there is nothing to clear'
        self._forget()
        self.latched = False
        if self.state is State.STOPPED:
            self._go(State.DISARMED, 'cleared', now)
        return ''

    def heard(self, what: str, now: float) -> None:
        """Something watched has spoken; a name that is not watched is left alone."""
        if what in self._heard:
            self._heard[what] = now

    def pause(self, what: str) -> None:
        """Do not watch this for now (the learner's actions, while no episode runs)."""
        self._paused.add(what)

    def resume(self, what: str, now: float) -> None:
        """Watch it again; an ARMED arm waits for it as long as its limit says."""
        self._paused.discard(what)
        self._resumed[what] = now

    def check(self, now: float) -> State:
        """Stop an ARMED arm when something watched is silent for longer than its limit.

        To be called in every turn of the control loop.
        """
        if self.state is State.ARMED:
            # Written so that a time that is not a number counts as silence.
            if not abs(now - self._checked) <= self._loop_s:
                self.stop(f'the control loop stood still for {now - self._checked:.2f} s', now)
            for name, limit in self._limits.items():
                since = self._since(name)
                if name not in self._paused and not self._is_fresh(since, name, now):
                    self.stop(f'{name} silent for more than {limit:g} s', now)
        self._checked = now
        return self.state

    def patience(self, now: float) -> float:
        """Seconds until ``check`` stops an ARMED arm if nobody speaks; infinite when it is none."""
        if self.state is not State.ARMED:
            return math.inf
        ends = [
            self._since(name) + limit
            for name, limit in self._limits.items()
            if name not in self._paused
        ]
        return max(0.0, min(ends, default=math.inf) - now)

    def may_move(self, now: float) -> bool:
        """Whether a command may go to the arm at this time; ``check`` is part of it."""
        return self.check(now) is State.ARMED

    def _since(self, name: str) -> float:
        """Since when an ARMED arm waits for what is watched."""
        return max(self._heard[name], self._resumed.get(name, _NEVER))

    def _is_fresh(self, heard: float, name: str, now: float) -> bool:
        # A time ahead of the clock, or none, is no sign of life either.
        return abs(now - heard) <= self._limits[name]

    def _forget(self) -> None:
        self._heard = dict.fromkeys(self._limits, _NEVER)
        self._resumed: dict[str, float] = {}

    def _go(self, state: State, reason: str, now: float) -> None:
        self.history.append(Transition(now, self.state, state, reason))
        self.reason = reason if state is State.STOPPED else ''
        self.state = state
