# SPDX-License-Identifier: Apache-2.0
"""A line below the log: it never gets into the log's lines."""

import io

from furl_ros.bridge.live_line import ERASE, Screen


def left_over(written):
    """What a terminal shows in the end: its lines, the last one being the live one."""
    lines = []
    for line in written.split('\n'):
        lines.append(line.rpartition(ERASE)[2])
    return lines


def test_log_lines_stay_whole_and_the_line_stays_below():
    terminal = io.StringIO()
    screen = Screen(terminal)
    print('before', file=screen)
    screen.show('step 1')
    print('one', 'line', file=screen)
    screen.show('step 2')
    screen.write('two\nlines\n')
    assert left_over(terminal.getvalue()) == ['before', 'one line', 'two', 'lines', 'step 2']
    screen.show('')
    assert left_over(terminal.getvalue())[-1] == ''


def test_nothing_is_drawn_into_a_line_that_is_not_whole():
    terminal = io.StringIO()
    screen = Screen(terminal)
    screen.write('half a ')
    screen.show('step 1')
    assert terminal.getvalue() == 'half a '
    screen.write('line\n')
    assert left_over(terminal.getvalue()) == ['half a line', 'step 1']


def test_a_line_is_cut_to_the_width_of_the_terminal(monkeypatch):
    monkeypatch.setenv('COLUMNS', '20')
    terminal = io.StringIO()
    Screen(terminal).show('x' * 50)
    assert left_over(terminal.getvalue()) == ['x' * 19]


def test_without_a_line_what_is_written_is_unchanged():
    terminal = io.StringIO()
    screen = Screen(terminal)
    screen.write('a')
    screen.write('b\n')
    screen.write('')
    assert terminal.getvalue() == 'ab\n'
    assert not screen.isatty()
