"""What of a device's heat spoils a run: the method's ceiling at the start, and the reasons for which NVML slows a clock
that are no part of normal work."""

from __future__ import annotations

CEILING_C = 45.0
"""A run starts below it (methodology, "Thermal Management"); a campaign may set its own gate otherwise."""

HW_SLOWDOWN, SW_THERMAL, HW_THERMAL, HW_POWER_BRAKE = 0x8, 0x20, 0x40, 0x80
"""Bits of ``nvmlClocksEventReasons``."""

THROTTLING = HW_SLOWDOWN | SW_THERMAL | HW_THERMAL | HW_POWER_BRAKE
"""Any of these in a run rejects it."""
