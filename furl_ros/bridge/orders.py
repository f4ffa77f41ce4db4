# SPDX-License-Identifier: Apache-2.0
"""What people ask of a learner: its services and its action."""

import queue
import threading

from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.callback_groups import ReentrantCallbackGroup
from std_srvs.srv import Trigger

from furl_interfaces.action import Train
from furl_ros.bridge.goal_results import GoalResults
from furl_ros.bridge.node import FurlNode
from furl_ros.bridge.status import Status


class Orders:
    """~/start, ~/cancel, ~/pause, ~/resume, ~/save_checkpoint and train: received here.

    The main thread takes an order with ``take`` and says with ``end`` what came of it; meanwhile it
    looks at ``cancelled``, ``paused`` and ``take_save``. Everything else happens in the executor's
    thread.

    Args:
        node: makes services, action and timer.
        status: is published once a second, also as the feedback of a goal.
        total_steps: those of an order that names no number.
    """

    def __init__(self, node: FurlNode, status: Status, total_steps: int) -> None:
        self._node, self._status, self._total_steps = node, status, total_steps
        self._targets: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._busy = self._save_asked = False
        self._cancel = threading.Event()
        self._pause = threading.Event()
        self._goal: ServerGoalHandle | None = None
        self.results = GoalResults(node)
        node.create_service(Trigger, '~/start', self._on_start)
        node.create_service(Trigger, '~/cancel', self._on_cancel)
        node.create_service(Trigger, '~/pause', self._on_pause)
        node.create_service(Trigger, '~/resume', self._on_resume)
        node.create_service(Trigger, '~/save_checkpoint', self._on_save)
        self._action = ActionServer(
            node,
            Train,
            'train',
            execute_callback=self._on_goal,
            goal_callback=self._on_goal_request,
            cancel_callback=lambda _: CancelResponse.ACCEPT,
            # A goal that is being awaited would block the other callbacks of its group.
            callback_group=ReentrantCallbackGroup(),
        )
        node.create_timer(1.0, self._tell, clock=node.steady_clock)

    def give(self, target: int = 0) -> None:
        """Have the main thread train until ``target`` environment steps; 0: ``total_steps``."""
        self._busy = True
        self._cancel.clear()
        self._targets.put(target or self._total_steps)

    def take(self, timeout: float) -> int | None:
        """The steps to train until; None when nobody asks within this time (seconds)."""
        try:
            return self._targets.get(timeout=timeout)
        except queue.Empty:
            return None

    @property
    def cancelled(self) -> bool:
        """Whether the training is to end now."""
        return self._cancel.is_set()

    @property
    def paused(self) -> bool:
        """Whether the training is to stand still until further notice."""
        return self._pause.is_set()

    def take_save(self) -> bool:
        """Whether a checkpoint was asked for since the last call."""
        if not self._save_asked:
            return False
        self._save_asked = False
        return True

    def end(self, result: Train.Result) -> None:
        """The order was carried out, or could not be; the next one may come."""
        self._pause.clear()
        self._cancel.clear()
        self.results.give(result)
        self._busy = False

    def _on_start(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """~/start: train to the configured number of steps."""
        response.success = not self._busy
        response.message = 'already training' if self._busy else 'started'
        if not self._busy:
            self.give()
        return response

    def _on_cancel(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """~/cancel: stop the training after its last checkpoint."""
        response.success = self._busy
        response.message = 'stopping' if self._busy else 'not training'
        if self._busy:
            self._cancel.set()
        return response

    def _on_pause(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """~/pause: stand still as soon as nothing is lost by it, until ~/resume."""
        response.success = self._busy and not self.paused
        if response.success:
            response.message = 'pausing'
            self._pause.set()
        else:
            response.message = 'paused already' if self._busy else 'not training'
        return response

    def _on_resume(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """~/resume: go on after ~/pause."""
        response.success = self.paused
        response.message = 'going on' if self.paused else 'not paused'
        self._pause.clear()
        return response

    def _on_save(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """~/save_checkpoint: have the main thread write a checkpoint as soon as it can."""
        response.success = self._busy and self._status.has_begun
        response.message = 'saving' if response.success else 'not training: nothing to save'
        if response.success:
            self._save_asked = True
        return response

    def _on_goal_request(self, _: Train.Goal) -> GoalResponse:
        """Train action: one goal at a time."""
        if self._busy or not self.results.expect():
            return GoalResponse.REJECT
        self._busy = True
        return GoalResponse.ACCEPT

    async def _on_goal(self, handle: ServerGoalHandle) -> Train.Result:
        """Train action: waits for the main thread without blocking the executor."""
        self._goal = handle
        self.give(int(handle.request.total_steps))
        result = await self.results.take()
        self._goal = None
        if handle.is_cancel_requested:
            handle.canceled()
        elif result.error_code == Train.Result.OK:
            handle.succeed()
        else:
            handle.abort()
        return result

    def _tell(self) -> None:
        """Publish the status, and feed a running Train goal."""
        status = self._status.publish()
        if self._goal is not None:
            if self._goal.is_cancel_requested:
                self._cancel.set()
            self._goal.publish_feedback(Train.Feedback(status=status))
