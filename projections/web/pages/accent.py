"""The stylesheet of a frame's accent: a colour of the host, as far as it can be read."""

from __future__ import annotations

from typing import Final

#: Of a text on its background, by WCAG 4.5; what is on a tinted notice has less than on paper.
_MIN_CONTRAST: Final = 5.5
#: As in the stylesheet.
_LIGHT_PAPER: Final = "ffffff"
_DARK_PAPER: Final = "12161b"
_STEPS: Final = 50


def accent_css(colour: str) -> str:
    """Return the style of links and buttons in a colour, rrggbb, darker or lighter if it must."""
    light, dark = _readable(colour, _LIGHT_PAPER), _readable(colour, _DARK_PAPER)
    link = f"light-dark(#{light}, #{dark})"
    return f":root {{ --link: {link}; --focus: {link}; --button: #{light}; --on-button: #fff; }}\n"


def _readable(colour: str, paper: str) -> str:
    """Return the colour nearest to one, on its way to black or white, that can be read on paper."""
    goal = 0 if _luminance(paper) > 0.5 else 255
    parts = [int(colour[place : place + 2], 16) for place in (0, 2, 4)]
    for step in range(_STEPS + 1):
        mixed = "".join(f"{round(part + (goal - part) * step / _STEPS):02x}" for part in parts)
        lights = sorted((_luminance(mixed), _luminance(paper)))
        if (lights[1] + 0.05) / (lights[0] + 0.05) >= _MIN_CONTRAST:
            break
    return mixed


def _luminance(colour: str) -> float:
    """Return the relative luminance of a colour (WCAG 2)."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
