"""Checks of ours, loaded by checkov."""

from pathlib import Path

__all__ = [p.stem for p in Path(__file__).parent.glob("[!_]*.py")]
