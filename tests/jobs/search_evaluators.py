"""Evaluators of the tests of ``autobuild search``, found by name; they leave a line a call in a file."""

from __future__ import annotations

import time


def quick(arch):
    with open("calls.txt", "a") as file:
        file.write(f"{arch}\n")
    text = str(arch)
    if "w3k5-w3k5" in text:
        raise ValueError("<b>out of memory</b>")
    return {"acc": 0.5 + sum(int(c) for c in text if c.isdigit()) / 100, "ms": float(text.count("w"))}


def slow(arch):
    try:
        return quick(arch)
    finally:
        time.sleep(0.15)
