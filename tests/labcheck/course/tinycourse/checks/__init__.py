"""Visible checks."""
