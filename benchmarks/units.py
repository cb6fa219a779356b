"""Figures as people read them: `16 ms`, `127 µs`, `1.1 KiB`."""


def number(value: float) -> str:
    """Return a number with two or three significant digits, and never an exponent."""
    if value >= 100:
        return f"{value:,.0f}"
    if value >= 9.95:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 0.95 else f"{float(f'{value:.1g}'):f}".rstrip("0").rstrip(".")


def seconds(value: float) -> str:
    for size, unit in ((1.0, "s"), (1e-3, "ms")):
        if value >= size:
            return f"{number(value / size)} {unit}"
    return f"{number(value * 1e6)} µs"


def size(value: float) -> str:
    for unit, name in ((1024.0**3, "GiB"), (1024.0**2, "MiB"), (1024.0, "KiB")):
        if value >= unit:
            return f"{number(value / unit)} {name}"
    return f"{value:.0f} bytes"
