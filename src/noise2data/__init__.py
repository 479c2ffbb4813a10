"""noise2data: the reference package of the course.

One idea carries it: every model here lives on a path ``x_t = alpha(t) * x0 + sigma(t) * eps`` from data
(t = 0) to noise (t = 1). The modules build on each other in this order:

- ``paths``: the pairs (alpha, sigma), what a network may predict, and the conversions between these
  predictions;
- ``odes``: steps, trajectories, divergences and log-densities of flows;
- ``mixtures``: Gaussian mixtures, for which score, denoiser and velocity are known exactly;
- ``data``: toy sets in the plane, digits, and image sets through torchvision;
- ``plots``: pictures, animations and sliders in one palette.

Import what you need, for example ``from noise2data.paths import VPCosine``; importing the package itself
loads nothing else.
"""
