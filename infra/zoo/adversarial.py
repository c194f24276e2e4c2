"""Adversarial training: each step's images are replaced by AEs of a short PGD on the model itself.

Source: Madry et al., "Towards deep learning models resistant to adversarial attacks", ICLR 2018.
"""

from types import MethodType
from typing import Any

import torch
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper


def train_on_aes(model: BaseModel, *, eps: float, steps: int) -> None:
    """Replace the model's train step by a train step on AEs.

    Args:
        model: An mmseg segmenter whose preprocessor normalises pixels of 0 to 255.
        eps: The L-infinity bound, a fraction of the pixel range [0, 1].
        steps: The number of PGD steps of size 2 eps / steps, from a uniform start.
    """

    def train_step(
        self: BaseModel, data: dict[str, Any], optim_wrapper: OptimWrapper
    ) -> dict[str, torch.Tensor]:
        batch = self.data_preprocessor(data, training=True)
        batch["inputs"] = attacked(self, batch, eps=eps, steps=steps)
        with optim_wrapper.optim_context(self):
            losses = self(**batch, mode="loss")
        loss, logged = self.parse_losses(losses)
        optim_wrapper.update_params(loss)
        return logged

    model.train_step = MethodType(train_step, model)


def attacked(model: BaseModel, batch: dict[str, Any], *, eps: float, steps: int) -> torch.Tensor:
    """Return AEs of a preprocessed batch, made on the model in evaluation mode.

    Args:
        model: The segmenter; its mode is kept.
        batch: ``inputs``, float N x 3 x H x W, normalised; and ``data_samples`` with labels.
        eps: The L-infinity bound, a fraction of the pixel range [0, 1].
        steps: The number of steps.

    Returns:
        float N x 3 x H x W, normalised, within eps of ``inputs`` and within the pixel range.
    """
    clean, std = batch["inputs"], model.data_preprocessor.std
    radius, step = 255 * eps / std, 2 * 255 * eps / steps / std
    darkest, brightest = ((level - model.data_preprocessor.mean) / std for level in (0.0, 255.0))
    low, high = torch.maximum(clean - radius, darkest), torch.minimum(clean + radius, brightest)
    # Padded pixels lie outside the range of some channels; they stay as they are.
    low, high = torch.minimum(low, clean), torch.maximum(high, clean)
    images = low + (high - low) * torch.rand_like(clean)
    training = model.training
    model.eval()
    for _ in range(steps):
        images = images.detach().requires_grad_(True)
        losses = model(images, batch["data_samples"], mode="loss")
        (gradient,) = torch.autograd.grad(model.parse_losses(losses)[0], images)
        images = torch.minimum(torch.maximum(images + step * gradient.sign(), low), high)
    model.train(training)
    return images.detach()
