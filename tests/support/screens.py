"""Sizes of the screens that the browser tests use [px]."""

PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1200, "height": 800}
