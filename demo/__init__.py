"""The main job on an example: labs, a class graded, the book, and both served on localhost."""
