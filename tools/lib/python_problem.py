# SPDX-License-Identifier: Apache-2.0
"""Print why the running interpreter cannot make the environment, or nothing when it can.

Takes the accepted versions as one argument, separated by spaces. Written to run under any Python 3,
so that an old one is told apart from none.
"""

import os
import sys
import sysconfig
from importlib.util import find_spec

version = '.'.join(str(number) for number in sys.version_info[:2])
if version not in sys.argv[1].split():
    print('is version ' + version)
elif not find_spec('venv') or not find_spec('ensurepip'):
    print('lacks venv (Debian: python' + version + '-venv)')
elif not os.path.exists(os.path.join(sysconfig.get_path('include'), 'Python.h')):
    print('lacks its headers (Debian: python' + version + '-dev)')
