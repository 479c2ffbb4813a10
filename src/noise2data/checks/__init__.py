"""The visible checks of each lab, one module a lab, and the fixtures that they pass in."""
