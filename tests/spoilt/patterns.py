"""What lies over a picture: screens, moiré, lines, canvas, the print of identity cards."""

import cv2
import numpy as np

from tests.spoilt.basis import Picture, Spoil, clipped, colours_of, resized


def screen(pixels: float, degrees: float, out: int, blur: float = 0.6) -> Spoil:
    """Photograph a screen: stripes of red, green and blue with dark gaps, turned and tilted, sampled anew."""

    def spoil(p: Picture) -> Picture:
        side = 750
        lit = colours_of(resized(p, 250, 250)).repeat(3, axis=0).repeat(3, axis=1)
        mask = np.zeros_like(lit)
        for colour in range(3):
            mask[:, colour::3, colour] = 1.0
        mask[2::3] *= 0.3
        shown = cv2.GaussianBlur(lit * (0.25 + 2.0 * mask), (0, 0), blur)
        tilt = 0.04 * side
        corners = np.array([[0, 0], [side, 0], [side, side], [0, side]], dtype=np.float32)
        seen = np.array([[0, tilt], [side, 0], [side - tilt, side], [tilt, side]], dtype=np.float32)
        matrix = cv2.getPerspectiveTransform(corners, seen * np.float32(out / side))
        turn = np.vstack([cv2.getRotationMatrix2D((out / 2, out / 2), degrees, pixels), [0, 0, 1]])
        return clipped(np.asarray(cv2.warpPerspective(shown, turn @ matrix, (out, out)), dtype=np.float64))

    return spoil


def waves(period: float, strength: float, degrees: float, coloured: bool = False) -> Spoil:
    """Moiré as cameras make it: bands of a few pixels over everything."""

    def spoil(p: Picture) -> Picture:
        y, x = np.mgrid[0 : p.shape[0], 0 : p.shape[1]]
        a = np.radians(degrees)
        along = x * np.cos(a) + y * np.sin(a) + (x - y) ** 2 / 3000
        phases = np.array([0, 2.1, 4.2]) if coloured else np.zeros(3)
        band = np.cos(2 * np.pi * along[:, :, None] / period + phases)
        return clipped(colours_of(p) * (1 + strength * band))

    return spoil


def interlaced(shift: int) -> Spoil:
    def spoil(p: Picture) -> Picture:
        done = p.copy()
        done[1::2] = np.roll(done[1::2], shift, axis=1)
        return done

    return spoil


def dark_lines(every: int, thick: int = 1, strength: float = 1.0, axis: int = 0) -> Spoil:
    """Scan lines, blinds."""

    def spoil(p: Picture) -> Picture:
        done = colours_of(np.swapaxes(p, 0, 1) if axis else p)
        for row in range(thick):
            done[row::every] *= 1 - strength
        return clipped(np.swapaxes(done, 0, 1) if axis else done)

    return spoil


def guilloche(strength: float, period: float = 10) -> Spoil:
    """Fine wavy lines over the face, as on visas and identity cards."""

    def spoil(p: Picture) -> Picture:
        y, x = np.mgrid[0 : p.shape[0], 0 : p.shape[1]]
        lines = np.zeros(p.shape[:2])
        for phase in (0, 2, 4):
            bend = y + 8 * np.sin(x / 17 + phase) + 3 * np.sin(x / 5 + phase)
            lines = np.maximum(lines, np.exp(-(((bend % period) - period / 2) ** 2) / 0.8))
        ink_colour = np.array([0.2, 0.45, 0.4])
        return clipped(colours_of(p) * (1 - strength * lines[:, :, None]) + ink_colour * strength * lines[:, :, None])

    return spoil


def lettered(strength: float) -> Spoil:
    """A watermark, again and again."""

    def spoil(p: Picture) -> Picture:
        mask = np.zeros(p.shape[:2], dtype=np.uint8)
        for row in range(-20, p.shape[0] + 40, 28):
            cv2.putText(mask, "SPECIMEN " * 4, (-(row % 50), row), cv2.FONT_HERSHEY_SIMPLEX, 0.7, 255, 2)
        cover = mask[:, :, None] / 255 * strength
        return clipped(colours_of(p) * (1 - cover) + cover)

    return spoil


def woven(period: int, strength: float) -> Spoil:
    """Canvas, or a lens with a crosshatch."""

    def spoil(p: Picture) -> Picture:
        y, x = np.mgrid[0 : p.shape[0], 0 : p.shape[1]]
        weave = np.sin(2 * np.pi * x / period) * np.sin(2 * np.pi * y / period)
        return clipped(colours_of(p) * (1 + strength * weave[:, :, None]))

    return spoil
