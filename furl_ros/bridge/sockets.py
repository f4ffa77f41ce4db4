# SPDX-License-Identifier: Apache-2.0
"""A process of Fast DDS that stays out of the shared memory.

Who publishes there takes a lock of each reader's. Where a reader was stopped or killed while it
held it, publishing takes a second and more, and keeps the whole process of Python waiting: too long
for one that moves an arm. Sockets hold nobody up.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from xml.etree import ElementTree

PROFILES = 'FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE'
"""Variables of Fast DDS 2 and 3 that name a file."""
BUILTIN = 'FASTDDS_BUILTIN_TRANSPORTS'
"""Variable that counts where no file says which transports there are."""


@contextmanager
def only_sockets() -> Iterator[None]:
    """Have participants that are made within it use the transports of the environment's profile
    but for shared memory.

    Raises:
        xml.etree.ElementTree.ParseError, OSError: the profile cannot be read.
    """
    before = dict(os.environ)
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault(BUILTIN, 'UDPv4')
        for name in PROFILES:
            if path := before.get(name):
                os.environ[name] = os.path.join(folder, f'{name}.xml')
                without_shared_memory(ElementTree.parse(path)).write(os.environ[name])
        try:
            yield
        finally:
            for name in (BUILTIN, *PROFILES):
                os.environ.pop(name, None)
                if name in before:
                    os.environ[name] = before[name]


def without_shared_memory(profiles: ElementTree.ElementTree) -> ElementTree.ElementTree:
    """A profile file of Fast DDS without its transports in shared memory."""
    space = profiles.getroot().tag.partition('}')[0].lstrip('{')
    ElementTree.register_namespace('', space)
    named = {'p': space}
    gone = set()
    for owner in profiles.iterfind('.//p:transport_descriptors', named):
        for transport in owner.findall('p:transport_descriptor', named):
            if transport.findtext('p:type', namespaces=named) == 'SHM':
                gone.add(transport.findtext('p:transport_id', namespaces=named))
                owner.remove(transport)
    for owner in profiles.iterfind('.//p:userTransports', named):
        for used in owner.findall('p:transport_id', named):
            if used.text in gone:
                owner.remove(used)
    return profiles
