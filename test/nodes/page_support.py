# SPDX-License-Identifier: Apache-2.0
"""How tests look at the viewer's page in a headless Chromium."""

import pytest
from chromium import find_chromium

# Points of the longest curve that is drawn, from a test point of viser's.
POINTS = """
Math.max(...Object.values(window.__viserTestpoints?.uplots ?? {}).map(u => u.chart.data[0].length))
"""
# viser's own pictures are drawings.
PICTURES = """
[...document.querySelectorAll('img')].map(i => i.src).filter(s => !s.includes('svg'))
""".strip()
PICTURE = f'{PICTURES}[0]'
TEXT = 'document.body.innerText'
# What is drawn without a graphics card costs by the pixel.
SMALL_PAGE = (800, 400)

needs_chromium = pytest.mark.skipif(not find_chromium()[0], reason=find_chromium()[1])
