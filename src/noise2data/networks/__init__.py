"""The networks: functions net(x, c, y=None) of a noisy sample x, a time or noise level c, and a label y.

- ``embeddings``: numbers and positions as sines and cosines;
- ``mlp``: for points, x (B, d);
- ``unet``, ``dit``: for images, x (B, C, H, W): convolutions with skips, and a transformer;
- ``text``: captions in the place of labels;
- ``autoencoder``: images to latents and back;
- ``adapters``: LoRA and ControlNet, which teach a trained network something new.

c is (B,), one real number for each sample, and every network has a keyword ``time_scale`` that multiplies it before its
embedding. Import what you need, for example ``from noise2data.networks.unet import UNet``.
"""
