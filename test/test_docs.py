# SPDX-License-Identifier: Apache-2.0
"""The site of the documentation is built, and what its pages quote is what the software has."""

import ast
import functools
import re
import subprocess
import sys
from pathlib import Path

import pytest

from furl_ros.bridge.reference import NODES, launch_files, reference

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / 'docs'
PAGES = sorted(DOCS.rglob('*.md'))
QUOTED = re.findall(r'^### `(.+)`$', (DOCS / 'troubleshooting.md').read_text(), re.MULTILINE)
ANY = '…'


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    """The folder of the built site; warnings fail the build."""
    folder = tmp_path_factory.mktemp('site')
    command = [sys.executable, '-m', 'mkdocs', 'build', '--strict', '--site-dir', str(folder)]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    return folder


def test_each_page_becomes_one_of_the_site(site):
    for page in PAGES:
        name = page.relative_to(DOCS).with_suffix('.html')
        assert (site / (name.with_stem('index') if name.stem == 'README' else name)).exists()


def test_pages_are_read_without_a_network(site):
    """Scripts, styles and pictures come with the site."""
    loaded = re.compile(
        r'<(?:script|img|link rel="?stylesheet"?)[^>]*?(?:src|href)="?(https?:[^ ">]+)'
    )
    for page in site.rglob('*.html'):
        assert not loaded.findall(page.read_text()), page


def literals(node):
    """Texts of a program; what is put into them when it runs is ``ANY``."""
    for child in ast.walk(node):
        if isinstance(child, ast.Constant) and isinstance(child.value, str):
            yield child.value
        elif isinstance(child, ast.JoinedStr):
            parts = (p.value if isinstance(p, ast.Constant) else ANY for p in child.values)
            yield ''.join(parts)


@functools.cache
def texts():
    """Everything that the software may say."""
    found = []
    for folder in ('furl_ros', 'sim', 'launch'):
        for path in sorted((ROOT / folder).rglob('*.py')):
            found += literals(ast.parse(path.read_text()))
    tools = [path for path in (ROOT / 'tools').iterdir() if path.is_file()]
    found += [
        path.read_text() for path in [*tools, *(ROOT / 'tools/lib').iterdir()] if path.is_file()
    ]
    return [' '.join(text.split()) for text in found]


@pytest.mark.parametrize('quoted', QUOTED)
def test_troubleshooting_quotes_what_is_said(quoted):
    """The fixed parts of a title stand in one text, in this order."""
    parts = [re.escape(part.strip()) for part in quoted.split(ANY) if part.strip(' :')]
    pattern = re.compile('.*?'.join(parts), re.DOTALL)
    assert any(pattern.search(text) for text in texts())


def commands(page):
    """Lines of the shell on a page, those that go on in the next line as one."""
    for block in re.findall(r'^ *```bash\n(.*?)```', page.read_text(), re.DOTALL | re.MULTILINE):
        yield from block.replace('\\\n', ' ').splitlines()


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.stem)
def test_commands_give_arguments_that_exist(page):
    parameters = set(re.findall(r'^\| `(\w+)` \|', reference(), re.MULTILINE))
    declared = {
        part.split('\n')[0]: set(re.findall(r'^\| `(\w+)` \|', part, re.MULTILINE))
        for part in launch_files().split('\n## ')[1:]
    }
    for line in commands(page):
        line = line.split('#')[0]
        given = set(re.findall(r' (\w+):=', line))
        run = re.search(r'ros2 launch furl_ros (\S+)|tools/train', line)
        if run is not None:
            assert given <= declared[run[1] or 'train.launch.py'] | parameters, line
        node = re.search(r'ros2 run furl_ros (\w+_node)', line)
        if node is not None:
            assert node[1] in NODES, line
            assert set(re.findall(r'-p (\w+):=', line)) <= parameters, line
