"""Measure timelines of long videos against labelled ones, and choose a timeline's parameters."""
