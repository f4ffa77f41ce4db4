# SPDX-License-Identifier: Apache-2.0
"""docs/parameters.md says what the settings say."""

from pathlib import Path

from furl_ros.bridge.reference import reference


def test_the_page_of_parameters_is_up_to_date():
    page = Path(__file__).parents[2] / 'docs' / 'parameters.md'
    assert page.read_text() == reference(), (
        'run: python -m furl_ros.bridge.reference > docs/parameters.md'
    )
