"""Measurements whose figures stand in the course's texts; each is a command of the Makefile."""
