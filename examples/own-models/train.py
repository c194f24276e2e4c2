"""Train the three networks for some seconds on scenes that are not among the ten images."""

import my_nets
import numpy as np
import torch
from draw_images import draw

scenes = [draw(seed) for seed in range(100, 140)]
images = torch.from_numpy(np.stack([image for image, _ in scenes])).permute(0, 3, 1, 2) / 255
labels = torch.from_numpy(np.stack([label for _, label in scenes])).long()
for name in ("near", "far", "wide"):
    torch.manual_seed(0)
    net = getattr(my_nets, name)()
    optimiser = torch.optim.Adam(net.parameters(), lr=0.01)
    for step in range(60):
        part = slice(8 * (step % 5), 8 * (step % 5) + 8)
        loss = torch.nn.functional.cross_entropy(net(images[part]), labels[part], ignore_index=255)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    torch.save(net.state_dict(), f"{name}.pth")
    print(f"{name}: loss {loss.item():.2f}")
