# SPDX-License-Identifier: Apache-2.0
"""Write a contact sheet of frames, one row per task and one column per camera.

python -m sim.sheet --task drawer-close-v3 door-open-v3 --camera corner2 topview --out sheet.png
"""

import argparse
import sys
from dataclasses import replace

import cv2
import numpy as np

from furl_ros.core.settings import SettingError, add_arguments, from_arguments
from sim.config import SimConfig
from sim.envs import make


def sheet(config: SimConfig, tasks: list[str], cameras: list[str]) -> np.ndarray:
    """Draw the first frame of each task through each camera, captioned: uint8 [H, W, 3], RGB.

    Raises:
        SettingError: as `sim.envs.make`.
    """
    rows = []
    for task in tasks:
        row = []
        for camera in cameras:
            env = make(replace(config, task=task, camera=camera, render=True))
            frame = env.reset().frame
            env.close()
            caption = np.full((16, config.width, 3), 255, np.uint8)
            scale = min(0.4, config.width / 500)
            text = f'{task} {camera}'
            cv2.putText(caption, text, (2, 11), cv2.FONT_HERSHEY_SIMPLEX, scale, (0, 0, 0))
            row.append(np.concatenate([caption, frame]))
        rows.append(np.concatenate(row, axis=1))
    return np.concatenate(rows)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog='python -m sim.sheet', description=__doc__)
    parser.add_argument('--task', nargs='+', default=[SimConfig.task], help='Tasks, one row each.')
    parser.add_argument('--camera', nargs='+', default=['auto'], help='Cameras, one column each.')
    parser.add_argument('--out', required=True, help='PNG file to write.')
    add_arguments(parser, SimConfig, skip=('task', 'camera', 'render'))
    options = parser.parse_args(arguments)
    tasks, cameras = options.task, options.camera
    del options.task, options.camera
    try:
        picture = sheet(from_arguments(SimConfig, options), tasks, cameras)
        if not cv2.imwrite(options.out, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)):
            raise SettingError(f'out is {options.out!r}; accepted: a PNG file that can be written')
    # OpenCV raises for an extension that it does not know.
    except (SettingError, cv2.error) as error:
        print(f'error: {" ".join(str(error).split())}', file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())
