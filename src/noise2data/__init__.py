"""noise2data: the reference package of the course.

One idea carries it: every model here lives on a path ``x_t = alpha(t) * x0 + sigma(t) * eps`` from data
(t = 0) to noise (t = 1). The modules build on each other in this order:

- ``schedules``: the discrete schedules of DDPM;
- ``paths``: the pairs (alpha, sigma), what a network may predict, and the conversions between these predictions;
- ``odes``: steps, trajectories, divergences and log-densities of flows;
- ``mixtures``: Gaussian mixtures, for which score, denoiser and velocity are known exactly;
- ``denoiser``: any network, whatever it predicts, as an estimate of the data;
- ``guidance``: denoisers made from others, which ask more of a label;
- ``objectives``: the losses, one line under many weights, and the times at which they are taken;
- ``samplers``: the one line that turns an estimate of the data into a sample, and its variations;
- ``likelihood``: the density that a denoiser assigns to data;
- ``distillation``: losses that teach fewer steps, progressive and consistency;
- ``flows``: couplings, reflow and straightness of flow matching;
- ``networks``: perceptron, U-Net, transformer, autoencoder, adapters, embeddings;
- ``discrete``: chains over tokens, uniform and absorbing;
- ``data``, ``shapes``: toy sets in the plane, digits, image sets; captioned shapes and their reader;
- ``processes``, ``training``: one loop for every model, on one process or many;
- ``metrics``: distances between samples, and the judge of digits;
- ``checkpoints``: small trained models, and the script that makes them;
- ``plots``: pictures in one palette;
- ``widgets``: films, and pictures under the reader's hand;
- ``checks``: the visible checks of the labs.

Import what you need, for example ``from noise2data.paths import VPCosine``; importing the package itself
loads nothing else.
"""
