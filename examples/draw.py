"""Draws the six example sketches: `python examples/draw.py [FOLDER]`.

Each sketch is a list of strokes; a stroke is a few points that a hand would pass through. A smooth curve is laid
through them, the pressure rises and falls along it, and the hand shakes a little.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sketchcolor.images import save_image

Points = list[tuple[float, float]]
OVERSAMPLE = 3


class Pen:
    """Draws on a white page of (height, width) px with strokes through (x, y) points."""

    def __init__(self, height: int, width: int, *, thick: float = 3.2, seed: int = 0) -> None:
        """A fresh page; `thick` is the stroke width in px."""
        self.page = np.full((height * OVERSAMPLE, width * OVERSAMPLE), 255, np.uint8)
        self.thick = thick
        self.rng = np.random.default_rng(seed)

    def stroke(self, points: Points, *, closed: bool = False, thick: float | None = None) -> None:
        """One stroke through the points (centripetal Catmull-Rom), with pressure and a slight tremor."""
        p = np.array(points, float)
        p = np.vstack([p[-1], p, p[0], p[1]]) if closed else np.vstack([2 * p[0] - p[1], p, 2 * p[-1] - p[-2]])
        curve = np.vstack([self._segment(*p[i : i + 4]) for i in range(len(p) - 3)])
        shake = self.rng.normal(0, 1, (len(curve) // 12 + 3, 2))
        at = np.linspace(0, len(shake) - 1, len(curve))
        for axis in range(2):
            curve[:, axis] += 0.55 * np.interp(at, np.arange(len(shake)), shake[:, axis])
        width = (thick or self.thick) * OVERSAMPLE
        for i, (x, y) in enumerate(curve):
            along = i / max(1, len(curve) - 1)
            pressure = 0.86 + 0.14 * math.sin(9 * along) if closed else 0.7 + 0.3 * math.sin(math.pi * along) ** 0.5
            centre = (round(x * OVERSAMPLE * 16), round(y * OVERSAMPLE * 16))
            cv2.circle(self.page, centre, round(width * pressure / 2 * 16), 20, -1, cv2.LINE_AA, 4)

    def line(self, *points: tuple[float, float], thick: float | None = None) -> None:
        """Straight strokes from point to point."""
        for (x0, y0), (x1, y1) in zip(points, points[1:], strict=False):
            self.stroke([(x0, y0), ((x0 + x1) / 2, (y0 + y1) / 2), (x1, y1)], thick=thick)

    def oval(
        self,
        x: float,
        y: float,
        rx: float,
        ry: float,
        *,
        start: float = 0,
        end: float = 360,
        tilt: float = 0,
        thick: float | None = None,
    ) -> None:
        """An ellipse, or an arc of it, in degrees clockwise from the right."""
        whole = end - start >= 360
        angles = np.deg2rad(np.linspace(start, end, 17)[: 16 if whole else 17])
        t = math.radians(tilt)
        points = [
            (
                x + rx * math.cos(a) * math.cos(t) - ry * math.sin(a) * math.sin(t),
                y + rx * math.cos(a) * math.sin(t) + ry * math.sin(a) * math.cos(t),
            )
            for a in angles
        ]
        self.stroke(points, closed=whole, thick=thick)

    def dot(self, x: float, y: float, radius: float) -> None:
        """A filled dot."""
        centre = (round(x * OVERSAMPLE), round(y * OVERSAMPLE))
        cv2.circle(self.page, centre, round(radius * OVERSAMPLE), 20, -1, cv2.LINE_AA)

    @staticmethod
    def _segment(a: NDArray[Any], b: NDArray[Any], c: NDArray[Any], d: NDArray[Any]) -> NDArray[Any]:
        t = np.linspace(0, 1, max(4, int(np.linalg.norm(c - b) * 1.5)))[:, None]
        return np.asarray(
            0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
        )

    def finish(self) -> NDArray[Any]:
        """The page, RGB uint8."""
        size = (self.page.shape[1] // OVERSAMPLE, self.page.shape[0] // OVERSAMPLE)
        return np.asarray(cv2.cvtColor(cv2.resize(self.page, size, interpolation=cv2.INTER_AREA), cv2.COLOR_GRAY2RGB))


def cat() -> NDArray[Any]:
    """A cat's face, close up, ears at the page's upper edge."""
    pen = Pen(400, 560, seed=1)
    pen.stroke([(132, 150), (120, 90), (128, 22), (165, 44), (208, 82)])
    pen.stroke([(208, 82), (270, 66), (340, 80)])
    pen.stroke([(340, 80), (386, 40), (430, 14), (436, 80), (420, 150)])
    pen.stroke(
        [
            (132, 150),
            (104, 200),
            (106, 258),
            (150, 312),
            (215, 348),
            (290, 360),
            (360, 340),
            (414, 292),
            (440, 236),
            (438, 186),
            (420, 150),
        ]
    )
    pen.stroke([(146, 120), (142, 76), (150, 58), (184, 94)], thick=2.4)
    pen.stroke([(366, 90), (398, 56), (415, 50), (412, 110)], thick=2.4)
    for x in (208, 346):
        pen.oval(x, 190, 34, 30)
        pen.oval(x, 190, 9, 24)
    pen.stroke([(254, 258), (278, 252), (302, 258), (290, 276), (278, 284), (266, 276), (254, 258)])
    pen.stroke([(278, 284), (278, 302)])
    pen.stroke([(278, 302), (262, 318), (240, 316), (226, 304)])
    pen.stroke([(278, 302), (294, 318), (316, 316), (330, 304)])
    pen.stroke([(258, 246), (246, 210), (250, 170)], thick=2.2)
    pen.stroke([(298, 246), (310, 210), (306, 170)], thick=2.2)
    for dy in (0, 16, 32):
        pen.stroke([(216, 284 + dy / 3), (150, 272 + dy), (70, 272 + 1.6 * dy)], thick=1.6)
        pen.stroke([(340, 284 + dy / 3), (410, 272 + dy), (500, 272 + 1.6 * dy)], thick=1.6)
    pen.stroke([(150, 312), (118, 350), (92, 399)])
    pen.stroke([(414, 292), (450, 340), (470, 399)])
    pen.stroke([(272, 80), (270, 108), (272, 130)], thick=2.4)
    pen.stroke([(244, 82), (246, 104), (250, 120)], thick=2.4)
    pen.stroke([(304, 80), (300, 104), (294, 120)], thick=2.4)
    return pen.finish()


def coffee() -> NDArray[Any]:
    """A cup of coffee, seen from above, with its handle."""
    pen = Pen(440, 520, seed=2)
    pen.oval(270, 150, 150, 112)
    pen.oval(270, 152, 128, 92)
    pen.oval(270, 190, 100, 54)
    pen.stroke(
        [(120, 156), (132, 232), (164, 282), (214, 306), (270, 312), (326, 306), (376, 282), (408, 232), (420, 156)]
    )
    pen.stroke([(180, 294), (160, 330), (152, 376), (172, 398), (202, 388), (218, 352), (230, 310)])
    pen.stroke([(186, 332), (178, 358), (184, 370), (196, 360), (204, 334), (196, 322), (186, 332)], thick=2.4)
    return pen.finish()


def rocket() -> NDArray[Any]:
    """A rocket on its pad."""
    pen = Pen(480, 520, seed=3)
    pen.stroke(
        [
            (236, 400),
            (236, 250),
            (236, 140),
            (240, 100),
            (260, 62),
            (280, 100),
            (284, 140),
            (284, 250),
            (284, 400),
        ]
    )
    pen.line((236, 400), (284, 400))
    pen.stroke([(236, 140), (260, 146), (284, 140)])
    pen.stroke([(236, 230), (260, 236), (284, 230)])
    pen.stroke([(236, 330), (222, 360), (216, 402), (236, 400)])
    pen.stroke([(284, 330), (298, 360), (304, 402), (284, 400)])
    pen.oval(260, 182, 12, 13)
    pen.line((206, 404), (314, 404), (322, 440), (198, 440), (206, 404))
    pen.line((8, 440), (198, 440))
    pen.line((322, 440), (512, 440))
    return pen.finish()


def portrait() -> NDArray[Any]:
    """An astronaut in a space suit, half length."""
    pen = Pen(520, 440, seed=4)
    pen.stroke([(160, 130), (152, 84), (176, 44), (222, 30), (268, 44), (292, 88), (284, 134), (270, 150)])
    pen.stroke([(160, 130), (166, 148), (172, 152)])
    pen.stroke([(172, 104), (172, 152), (188, 186), (222, 202), (254, 186), (270, 150), (270, 104)])
    pen.stroke([(172, 104), (196, 96), (214, 78), (240, 94), (270, 104)])
    for x in (200, 244):
        pen.oval(x, 126, 9, 5, thick=2.2)
        pen.dot(x, 126, 2.6)
        pen.stroke([(x - 12, 114), (x, 109), (x + 12, 113)], thick=2.2)
    pen.stroke([(222, 128), (216, 150), (226, 153)], thick=2.2)
    pen.stroke([(202, 168), (222, 176), (242, 167)], thick=2.4)
    pen.stroke([(202, 168), (222, 170), (242, 167)], thick=2)
    pen.line((200, 194), (196, 232))
    pen.line((244, 193), (250, 232))
    pen.oval(224, 236, 96, 44, start=-40, end=220)
    pen.stroke([(150, 208), (168, 190), (190, 184)])
    pen.stroke([(298, 208), (276, 190), (256, 184)])
    pen.oval(224, 234, 70, 28, start=-20, end=200, thick=2.4)
    pen.stroke([(132, 256), (84, 280), (52, 330), (36, 410), (22, 519)])
    pen.stroke([(316, 256), (366, 282), (394, 336), (410, 420), (420, 519)])
    pen.stroke([(110, 360), (112, 440), (106, 519)])
    pen.stroke([(340, 362), (338, 440), (344, 519)])
    pen.line((224, 282), (226, 519))
    pen.oval(164, 372, 32, 34)
    pen.line((262, 346), (316, 340), (320, 376), (266, 382), (262, 346))
    return pen.finish()


def motorcycle() -> NDArray[Any]:
    """A motorcycle from the side."""
    pen = Pen(400, 600, seed=5)
    for x, y in ((160, 278), (466, 284)):
        pen.oval(x, y, 78, 76)
        pen.oval(x, y, 56, 54)
        pen.oval(x, y, 14, 14)
    pen.stroke([(86, 190), (120, 184), (160, 196), (214, 232)])
    pen.stroke([(86, 190), (84, 172), (120, 164), (150, 162)])
    pen.stroke([(128, 164), (136, 138), (168, 130), (190, 148), (232, 152), (286, 148)])
    pen.stroke([(150, 162), (180, 176), (240, 178), (286, 168)])
    pen.stroke(
        [
            (286, 148),
            (316, 126),
            (362, 122),
            (392, 144),
            (380, 172),
            (330, 188),
            (286, 192),
            (240, 212),
            (214, 232),
        ]
    )
    pen.stroke([(286, 148), (284, 170), (286, 192)])
    pen.stroke([(392, 144), (412, 166), (440, 226), (466, 284)])
    pen.stroke([(380, 172), (398, 190), (424, 240), (452, 288)])
    pen.stroke([(396, 222), (430, 196), (480, 194), (530, 214), (552, 246), (510, 226), (470, 216), (432, 222)])
    pen.oval(424, 130, 24, 24)
    pen.stroke([(400, 134), (388, 108), (366, 94), (340, 96)])
    pen.stroke([(270, 204), (266, 256), (290, 298), (350, 302), (384, 276), (378, 226), (350, 196)])
    pen.oval(318, 262, 30, 30)
    pen.line((282, 214), (366, 212), thick=2.4)
    pen.line((278, 228), (372, 226), thick=2.4)
    pen.stroke([(290, 298), (230, 296), (160, 300), (100, 318), (104, 300), (170, 282), (250, 280)])
    pen.stroke([(214, 232), (190, 258), (164, 276)])
    pen.line((266, 300), (250, 356), (268, 358))
    pen.line((6, 362), (594, 366), thick=2.2)
    return pen.finish()


def planet() -> NDArray[Any]:
    """A planet with rivers."""
    pen = Pen(460, 460, seed=6)
    pen.oval(230, 230, 186, 184)
    pen.oval(170, 226, 30, 31)
    pen.stroke([(186, 200), (214, 150), (262, 116), (330, 106)])
    pen.stroke([(214, 150), (224, 110), (256, 74)], thick=2.4)
    pen.stroke([(188, 252), (220, 300), (276, 336), (344, 344)])
    pen.stroke([(220, 300), (232, 346), (268, 386)], thick=2.4)
    pen.stroke([(142, 214), (110, 196), (76, 198)], thick=2.4)
    pen.stroke([(200, 230), (262, 226), (320, 236)], thick=2)
    for x, y in ((40, 60), (420, 50), (430, 410), (36, 404)):
        pen.line((x - 9, y), (x + 9, y), thick=2.2)
        pen.line((x, y - 9), (x, y + 9), thick=2.2)
    return pen.finish()


def main() -> None:
    """Draw all six into the folder named, or beside this file."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    for draw in (cat, coffee, rocket, portrait, motorcycle, planet):
        save_image(folder / f"{draw.__name__}.png", draw())


if __name__ == "__main__":
    main()
