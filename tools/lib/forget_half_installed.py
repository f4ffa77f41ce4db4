# SPDX-License-Identifier: Apache-2.0
"""Make pip install again what it was installing when it was killed.

pip takes a package for installed as soon as its METADATA exists, but writes RECORD last, and moves
what it replaces to names that begin with `~`: a package without RECORD, or with such a name, is the
half of an interrupted installation.
"""

import shutil
import sysconfig
from pathlib import Path


def main() -> None:
    """Remove the traces of interrupted installations from the running virtual environment."""
    packages = Path(sysconfig.get_path('purelib'))
    halves = [path for path in packages.glob('*.dist-info') if not (path / 'RECORD').exists()]
    for path in [*halves, *packages.glob('~*')]:
        print(f'half installed: {path.name}')
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


if __name__ == '__main__':
    main()
