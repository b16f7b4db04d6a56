"""Violations: how they are asked for, drawn by time and grouped into incidents. Pure; knows no store and no page."""
