"""Write the lines of .dvcignore that choose which records of Snakemake DVC keeps.

Run it after an edit of what is kept: python workflow/dvcignore.py

Snakemake keeps a record per output file, `.snakemake/metadata/<base64 of the path>`. DVC has to ignore the
records of the files that it does not keep: a clone that took another's word for its own old figure would not
draw it again. What is kept is said here, in paths.
"""

from pathlib import Path

LEFT_OUT = "reports/"  # how the paths begin whose records are ignored
KEPT = ["/metrics.", "/sampling_speed."]  # but not where this stands in the path: these are in git or DVC

FILE = Path(__file__).parents[1] / ".dvcignore"
BEGIN = "# ---- from here on written by workflow/dvcignore.py, which says it in paths"
RECORDS = ".snakemake/metadata"
DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"  # of base64, for file names


def lines() -> list[str]:
    """Return the patterns: text that begins a path, and text at each of three places in a group of bytes."""
    kept = [f"!{RECORDS}/*{_pattern(text, place)}*" for text in KEPT for place in range(3)]
    return [f"{RECORDS}/{_pattern(LEFT_OUT, 0)}*", *kept]


def _pattern(text: str, place: int) -> str:
    """Return the base64 of text that begins at a place in a group of three bytes."""
    bits = "?" * 8 * place + "".join(f"{byte:08b}" for byte in text.encode())
    bits += "?" * (-len(bits) % 24)
    digits = [_choices(bits[at : at + 6]) for at in range(0, len(bits), 6)]
    return "".join(f"[{found}]" if len(found) > 1 else found for found in digits if len(found) <= 4)


def _choices(bits: str) -> str:
    """Return the digits that six bits can be, `?` being any bit."""
    found = [
        digit
        for value, digit in enumerate(DIGITS)
        if all(bit in ("?", own) for bit, own in zip(bits, f"{value:06b}", strict=True))
    ]
    return "".join(sorted(found, key="-".__eq__))  # last: between two others it would mean a range


if __name__ == "__main__":
    own = FILE.read_text(encoding="utf-8").partition(BEGIN)[0]
    FILE.write_text("\n".join([own + BEGIN, *lines(), ""]), encoding="utf-8")
