# SPDX-License-Identifier: Apache-2.0
"""The page of the browser viewer: the scene in 3D, pictures, curves and buttons, with viser."""

import contextlib
import html
import io
from collections.abc import Callable, Mapping, Sequence
from itertools import compress
from socket import gethostname
from typing import NamedTuple

import numpy as np
import viser
from viser import uplot

from furl_ros.monitor.curves import Curves
from furl_ros.monitor.web_guard import Guard, guarding

BOX, SPHERE, CYLINDER, MESH = 'box', 'sphere', 'cylinder', 'mesh'
PICTURES = ('reward', 'camera')
CURVES_WIDTH, PANEL_WIDTH, PICTURE_WIDTH = 340, 420, 340  # pixels
PLOT_HEIGHT = 150
COLOURS = ('#2a6fdb', '#e8772e')  # blue, orange
PLOTS = {
    'success': {'success_rate': 'last 20 episodes', 'eval_success_rate': 'evaluation'},
    'VLM reward': {'vlm_reward': 'mean of a batch'},
    'losses of the critics': {'vlm_critic_loss': 'vlm', 'sac_critic_loss': 'sac'},
    'losses of the actors': {'vlm_actor_loss': 'vlm', 'sac_actor_loss': 'sac'},
    'loss of the reward heads': {'head_loss': 'heads'},
    'steps per second': {'steps_per_second': 'steps/s'},
}
"""Title of each plot, and the figures in it with their names in the legend."""
RANGES = {'success': (-0.05, 1.05)}
FIGURES = tuple(figure for figures in PLOTS.values() for figure in figures)
CALM = {'Pause': 'pause', 'Go on': 'resume', 'Save': 'save', 'Evaluate': 'evaluate'}
"""Labels of the buttons that end nothing, and what each is called in the code."""
STOP, ESTOP = 'stop', 'estop'


class Shape(NamedTuple):
    """A part of the scene, in its own frame: a box, an ellipsoid, a cylinder along z, or a mesh."""

    kind: str
    size: tuple[float, float, float]  # metres along its axes; of a mesh, what scales it
    colour: tuple[int, int, int]
    opacity: float  # 0 to 1
    triangles: np.ndarray | None = None  # of a mesh: corners [triangles, 3, 3]


class Page:
    """One page that all browsers share; who joins late gets what is on it.

    Its methods may be called from any thread; ``on_press``, ``on_prompt``, ``on_rho`` and
    ``on_watchers`` are called in threads of the server.

    Args:
        host: name or address to bind to.
        port: the first free one from here on is taken.
        token: that browsers must know; '' for none.
        on_press: gets the name of the button.
        on_prompt: gets the text that a person typed.
        on_rho: gets the number that a person typed.
        on_watchers: a browser has come or gone.

    Attributes:
        url: where the page is.
    """

    def __init__(
        self,
        host: str,
        port: int,
        token: str,
        *,
        on_press: Callable[[str], None],
        on_prompt: Callable[[str], None],
        on_rho: Callable[[float], None],
        on_watchers: Callable[[], None],
    ) -> None:
        # viser prints a table of its own.
        with guarding(Guard(token)), contextlib.redirect_stdout(io.StringIO()):
            self._server = viser.ViserServer(host, port, label='furl_ros', verbose=False)
        self._forbid_sharing()
        shown = gethostname() if host in ('0.0.0.0', '::') else host
        shown = f'[{shown}]' if ':' in shown else shown
        query = f'?token={token}' if token else ''
        self.url = f'http://{shown}:{self._server.get_port()}/{query}'
        self._shapes: list[viser.SceneNodeHandle] = []
        self._poses = np.empty((0, 7))
        self._plots: dict[str, viser.GuiUplotHandle] = {}
        self._drawn: dict[str, tuple[str, ...]] = {}  # figures of each plot
        self._pictures: dict[str, viser.GuiImageHandle] = {}
        self._build(on_press, on_prompt, on_rho)
        for happened in (self._server.on_client_connect, self._server.on_client_disconnect):
            happened(lambda _: on_watchers())

    @property
    def watchers(self) -> int:
        """Browsers that show the page."""
        return len(self._server.get_clients())

    def close(self) -> None:
        """Stop serving."""
        with contextlib.redirect_stdout(io.StringIO()):
            self._server.stop()

    def show_status(self, rows: Mapping[str, str]) -> None:
        """Show where the run stands: a table of names and texts."""
        self._status.content = _table(rows)

    def show_health(self, rows: Mapping[str, str]) -> None:
        """Show what the nodes say of themselves: a table of names and texts."""
        self._health.content = _table(rows)

    def say(self, text: str) -> None:
        """Show one line: what came of a button."""
        self._said.content = f'<p role="status" style="margin:6px 12px">{html.escape(text)}</p>'

    def show_prompt(self, text: str) -> None:
        """Show the prompt of the run where it can be changed."""
        self._prompt.value = text

    def show_rho(self, rho: float) -> None:
        """Show the weight of the VLM reward where it can be changed."""
        self._rho.value = rho

    def offer_estop(self, there: bool) -> None:
        """Show the e-stop where there is an arm."""
        if self._estop.visible != there:
            self._estop.visible = there

    def show_picture(self, name: str, frame: np.ndarray) -> None:
        """Show a picture, uint8 [H, W, 3], below its name, which is one of ``PICTURES``."""
        # The page shows pictures in their own size.
        times = max(1, PICTURE_WIDTH // frame.shape[1])
        frame = frame.repeat(times, axis=0).repeat(times, axis=1)
        if name in self._pictures:
            self._pictures[name].image = frame
            return
        with self._picture_folder:
            self._pictures[name] = self._server.gui.add_image(
                frame, label=name, format='jpeg', jpeg_quality=85, order=PICTURES.index(name)
            )

    def show_curves(self, curves: Curves) -> None:
        """Show the curves, whose figures are ``FIGURES``."""
        for order, title in enumerate(PLOTS):
            drawn = self._drawn.get(title) or _figures_of(curves, title)
            rows = _rows_of(curves, title, drawn)
            if len(rows[0]) < 2:
                # Another run has begun. viser's plots find no range again once they were empty.
                if title in self._plots:
                    self._plots.pop(title).remove()
                    del self._drawn[title]
            elif title in self._plots:
                self._plots[title].data = rows
            else:
                self._drawn[title] = drawn
                with self._curves_tab:
                    self._plots[title] = self._add_plot(title, drawn, rows, order)

    def show_scene(self, shapes: Sequence[Shape], poses: np.ndarray) -> None:
        """Show a scene in the place of what was there.

        Args:
            shapes: its parts.
            poses: x, y, z in metres and the quaternion w, x, y, z of each, [shapes, 7].
        """
        self._grid.visible = not shapes
        with self._server.atomic():
            for handle in self._shapes:
                handle.remove()
            self._shapes = [
                self._add_shape(f'/scene/{index}', shape, pose)
                for index, (shape, pose) in enumerate(zip(shapes, poses, strict=True))
            ]
        self._poses = poses.copy()
        if shapes:
            self._look_at(poses[:, :3])

    def move_scene(self, poses: np.ndarray) -> None:
        """Move the parts of the scene; poses as in ``show_scene``, of another scene left alone."""
        if poses.shape != self._poses.shape:
            return
        # viser compares each one by itself, which costs far more.
        moved = np.flatnonzero((np.abs(poses - self._poses) > 1e-4).any(axis=1))
        with self._server.atomic():
            for index in moved:
                self._shapes[index].position = poses[index, :3]
                self._shapes[index].wxyz = poses[index, 3:]
        self._poses[moved] = poses[moved]

    def _forbid_sharing(self) -> None:
        """Nothing leaves this machine: viser would open a tunnel to a server of its makers."""
        for message in (viser._messages.ShareUrlRequest, viser._messages.ShareUrlDisconnect):
            self._server._websock_server.unregister_handler(message)
        self._server.gui.configure_theme(show_share_button=False, show_logo=False)

    def _build(
        self,
        on_press: Callable[[str], None],
        on_prompt: Callable[[str], None],
        on_rho: Callable[[float], None],
    ) -> None:
        gui = self._server.gui
        gui.main_panel.dock_right()
        gui.main_panel.set_width(PANEL_WIDTH)
        self._status = gui.add_html('')
        calm = gui.add_button_group('run', tuple(CALM))
        calm.on_click(lambda event: on_press(CALM[event.target.value]))
        stop = gui.add_button('Stop', hint='after a last checkpoint', color='orange')
        stop.on_click(lambda _: on_press(STOP))
        self._estop = gui.add_button('E-stop', hint='the arm stands', color='red', visible=False)
        self._estop.on_click(lambda _: on_press(ESTOP))
        self._said = gui.add_html('')
        self._picture_folder = gui.add_folder('Pictures')
        with gui.add_folder('Change'):
            self._prompt = gui.add_text('prompt', '', hint='the task in words')
            set_prompt = gui.add_button('Set the prompt')
            set_prompt.on_click(lambda _: on_prompt(self._prompt.value))
            self._rho = gui.add_number('rho', 0.0, step=0.01, hint='weight of the VLM reward')
            set_rho = gui.add_button('Set rho')
            set_rho.on_click(lambda _: on_rho(float(self._rho.value)))
        with gui.add_folder('Nodes', expand_by_default=False):
            self._health = gui.add_html('')
        panel = gui.add_panel()
        self._curves_tab = panel.add_tab('Curves')
        panel.dock_left()
        panel.set_width(CURVES_WIDTH)
        scene = self._server.scene
        # The maps of surroundings that viser has by default cost a browser without GPU most.
        scene.configure_environment_map(None)
        scene.configure_default_lights(cast_shadow=False)
        scene.add_light_ambient('/ambient', intensity=1.0)
        self._grid = scene.add_grid('/floor', 4.0, 4.0, cell_size=0.1, section_size=1.0)

    def _add_plot(
        self, title: str, figures: Sequence[str], rows: tuple[np.ndarray, ...], order: int
    ) -> viser.GuiUplotHandle:
        series = [
            uplot.Series(label=label, stroke=colour, width=2, spanGaps=True)
            for (figure, label), colour in zip(PLOTS[title].items(), COLOURS, strict=False)
            if figure in figures
        ]
        scales = {'x': uplot.Scale(time=False)}
        if title in RANGES:
            scales['y'] = uplot.Scale(range=RANGES[title])
        return self._server.gui.add_uplot(
            rows,
            (uplot.Series(label='step'), *series),
            title=title,
            scales=scales,
            height=PLOT_HEIGHT,
            padding=(12, 24, 0, 0),
            order=order,
        )

    def _add_shape(self, name: str, shape: Shape, pose: np.ndarray) -> viser.SceneNodeHandle:
        scene, (x, y, z) = self._server.scene, shape.size
        opacity = None if shape.opacity >= 1.0 else shape.opacity
        common = {
            'color': shape.colour,
            'opacity': opacity,
            'position': pose[:3],
            'wxyz': pose[3:],
        }
        if shape.kind == BOX:
            return scene.add_box(name, dimensions=(x, y, z), **common)
        if shape.kind == SPHERE:
            return scene.add_icosphere(name, radius=0.5, scale=(x, y, z), **common)
        if shape.kind == CYLINDER:
            return scene.add_cylinder(name, radius=0.5, scale=(x, y, z), **common)
        corners = shape.triangles.reshape(-1, 3).astype(np.float32)
        vertices, faces = np.unique(corners, axis=0, return_inverse=True)
        return scene.add_mesh_simple(
            name,
            vertices * np.float32(shape.size),
            faces.reshape(-1, 3),
            flat_shading=True,
            side='double',
            **common,
        )

    def _look_at(self, positions: np.ndarray) -> None:
        """Have browsers that come look at where most of the scene is."""
        middle = np.median(positions, axis=0)
        reach = float(np.quantile(np.linalg.norm(positions - middle, axis=1), 0.8))
        away = max(0.5, 2.5 * reach)
        self._server.initial_camera.look_at = tuple(middle)
        self._server.initial_camera.position = tuple(middle + away * np.array((0.75, -0.6, 0.6)))


def _figures_of(curves: Curves, title: str) -> tuple[str, ...]:
    """The figures that a plot can show: those that are known, all of them in a fixed range."""
    figures = tuple(PLOTS[title])
    known = [bool(np.isfinite(column).any()) for column in curves.columns(*figures)[1:]]
    return figures if title in RANGES and any(known) else tuple(compress(figures, known))


def _rows_of(curves: Curves, title: str, figures: Sequence[str]) -> tuple[np.ndarray, ...]:
    """Steps and figures from the first row on that has one."""
    columns = curves.columns(*figures)
    finite = np.isfinite(columns[1:]).reshape(len(figures), len(columns[0]))
    first = int(np.argmax(finite.any(axis=0))) if finite.any() else len(columns[0])
    columns = tuple(column[first:] for column in columns)
    if title not in RANGES and finite.any():
        # uPlot finds no range for a column that begins with NaN.
        for column, known in zip(columns[1:], finite[:, first:], strict=True):
            column[0] = column[np.argmax(known)]
    return columns


def _table(rows: Mapping[str, str]) -> str:
    """HTML; the texts come from the graph, and are shown as they are."""
    cells = (
        f'<tr><td style="padding-right:1em;opacity:.7">{html.escape(name)}</td>'
        f'<td>{html.escape(text)}</td></tr>'
        for name, text in rows.items()
    )
    return f'<table style="margin:6px 12px;font-size:90%">{"".join(cells)}</table>'
