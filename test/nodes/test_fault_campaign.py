# SPDX-License-Identifier: Apache-2.0
"""The short form of bench/faults keeps every promise, and its answer can be read."""

import json
from pathlib import Path

from graph_support import TIMEOUT, Command, new_domain

BENCH = Path(__file__).parents[2] / 'bench' / 'faults'
COUNTS = ('lost', 'misjoined', 'foreign', 'unreadable_checkpoints', 'left_over_processes', 'hangs')


def test_no_promise_is_broken_by_one_fault_of_each_kind(tmp_path):
    rows = tmp_path / 'rows.jsonl'
    argv = [str(BENCH), '--short', '--json', '--out', str(rows)]
    with Command(argv, new_domain(), tmp_path) as command:
        try:
            code = command.finish()
        finally:
            # Its graphs are in sessions of their own: it ends them itself.
            command.process.terminate()
            command.process.wait(TIMEOUT)
    result = json.loads(command.output.splitlines()[-1])
    assert result['broken'] == [], command.output
    assert code == 0
    assert {name: result[name] for name in COUNTS} == dict.fromkeys(COUNTS, 0)
    assert result['kills'] == result['pauses'] == 1
    assert result['messages'] == 60 * result['topics']
    assert result['topics'] > 15
    assert result['services'] > 20
    assert 0 < result['worst_recovery_s'] < 300
    assert result['steps'] > 200
    written = [json.loads(line) for line in rows.read_text().splitlines()]
    assert {row['fault'] for row in written} == {
        *('stranger', 'SIGINT', 'pause', 'flood', 'kill', 'full disk', 'read-only', 'end')
    }
    assert not any(row['broken'] for row in written)
