# SPDX-License-Identifier: Apache-2.0
"""A node for the tests of the command line: one of each thing that it can look at."""

import rclpy
from rcl_interfaces.msg import FloatingPointRange, ParameterDescriptor, SetParametersResult
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import Float64MultiArray, Int32, String
from std_srvs.srv import SetBool


class TinyNode(Node):
    """Publishes a count and what it has heard, switches, and has parameters."""

    def __init__(self) -> None:
        super().__init__('tiny', namespace='lab')
        bounds = FloatingPointRange(from_value=0.0, to_value=1.0)
        self.declare_parameter(
            'gain',
            0.5,
            ParameterDescriptor(description='How much.', floating_point_range=[bounds]),
        )
        self.declare_parameter('label', 'red')
        self.declare_parameter('nested.numbers', [1, 2, 3])
        self.add_on_set_parameters_callback(self._check_parameters)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._count = self.create_publisher(Int32, 'count', 10)
        self._numbers = self.create_publisher(Float64MultiArray, 'numbers', latched)
        self._numbers.publish(Float64MultiArray(data=[float(i) for i in range(300)]))
        self._heard = self.create_publisher(String, '/heard', latched)
        self.create_subscription(String, 'words', self._heard.publish, 10)
        self.create_service(SetBool, 'switch', self._switch)
        self.create_timer(0.05, self._publish_count)
        self._next = 0

    def _publish_count(self) -> None:
        self._count.publish(Int32(data=self._next))
        self._next += 1

    def _switch(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        response.success = request.data
        response.message = 'switched'
        return response

    def _check_parameters(self, parameters: list) -> SetParametersResult:
        accepted = all(p.value != 'green' for p in parameters)
        return SetParametersResult(successful=accepted, reason='' if accepted else 'not green')


def main() -> None:
    """Run until a signal comes."""
    rclpy.init()
    node = TinyNode()
    print('tiny node ready', flush=True)
    try:
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == '__main__':
    main()
