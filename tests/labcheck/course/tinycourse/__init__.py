"""A course of one small lab, for the tests of labcheck."""
