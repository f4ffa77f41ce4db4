# SPDX-License-Identifier: Apache-2.0
"""The ament_python package furl_ros: the nodes and their cores, and the simulation beside them."""

from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.develop import develop

PACKAGE = 'furl_ros'


def share(folder: str) -> tuple[str, list[str]]:
    """A folder's files, to install under share/furl_ros/<folder>.

    With --symlink-install colcon runs this file among links to the sources, where the link to a
    file that has since been deleted dangles: is_file leaves those out.
    """
    files = sorted(str(path) for path in Path(folder).glob('*') if path.is_file())
    return (f'share/{PACKAGE}/{folder}', files)


class PortableDevelop(develop):
    """What setup.cfg says of executables, for `colcon build --symlink-install` as well.

    `develop` ignores that setting and writes its own interpreter's path into them, with the faults
    that setup.cfg tells of.
    """

    def write_script(self, script_name: str, contents: str, *options: object) -> None:
        interpreter = self.get_finalized_command('build_scripts').executable
        _, _, body = contents.partition('\n')
        super().write_script(script_name, f'#!{interpreter}\n{body}', *options)


setup(
    name=PACKAGE,
    version='0.1.0',
    packages=find_packages(include=['furl_ros', 'furl_ros.*', 'sim', 'sim.*']),
    package_data={'furl_ros.core': ['model_configs/*.json', 'weights/*.safetensors']},
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{PACKAGE}']),
        (f'share/{PACKAGE}', ['package.xml']),
        share('launch'),
        share('config'),
        share('config/robots'),
    ],
    maintainer='furl_ros maintainers',
    maintainer_email='maintainers@users.noreply.github.com',
    description='A robot learns a manipulation task from a sentence: FuRL as a ROS 2 graph',
    license='Apache-2.0',
    python_requires='>=3.10',
    cmdclass={'develop': PortableDevelop},
    entry_points={
        'console_scripts': [
            'sim_node = furl_ros.entry:sim_node',
            'reward_node = furl_ros.entry:reward_node',
            'alignment_node = furl_ros.entry:alignment_node',
            'learner_node = furl_ros.entry:learner_node',
            'evaluate_node = furl_ros.entry:evaluate_node',
            'arm_node = furl_ros.entry:arm_node',
            'camera_node = furl_ros.entry:camera_node',
            'monitor_node = furl_ros.entry:monitor_node',
            'web_node = furl_ros.entry:web_node',
            'mock_arm_node = furl_ros.entry:mock_arm_node',
            'video_node = furl_ros.entry:video_node',
            'record_node = furl_ros.entry:record_node',
            'policy_node = furl_ros.entry:policy_node',
            'status = furl_ros.entry:status',
            'play = furl_ros.entry:play',
            'local_train = furl_ros.entry:local_train',
            'report = furl_ros.entry:report',
            'sweep = furl_ros.entry:sweep',
            'score_bag = furl_ros.entry:score_bag',
            'demonstrate = furl_ros.entry:demonstrate',
            'operator = furl_ros.entry:operator',
            'align_bag = furl_ros.entry:align_bag',
        ],
    },
)
