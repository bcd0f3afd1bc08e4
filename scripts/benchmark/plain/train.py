"""A conventional PyTorch script with DataLoader and SummaryWriter, for Hydra's basic launcher.

It does what a run of mlplab does: two rings of points, split and scaled; a 2-6-6-2 tanh network;
Adam; train and validation metrics of every epoch as scalars; the best weights by validation loss,
evaluated on the test split and saved. Started by ../sweep_cost.py.
"""

from __future__ import annotations

import copy
from pathlib import Path

import hydra
import numpy as np
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.tensorboard import SummaryWriter


def make_splits(seed: int, num_samples: int) -> list[TensorDataset]:
    generator = np.random.default_rng(seed)
    y = np.arange(num_samples) % 2
    radius = np.where(
        y == 0, generator.uniform(0, 0.45, num_samples), generator.uniform(0.55, 1.0, num_samples)
    )
    angle = generator.uniform(0, 2 * np.pi, num_samples)
    x = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    order = generator.permutation(num_samples)
    train, val, test = np.split(order, [int(0.6 * num_samples), int(0.8 * num_samples)])
    x = (x - x[train].mean(0)) / x[train].std(0)
    return [
        TensorDataset(torch.from_numpy(x[rows]).float(), torch.from_numpy(y[rows]))
        for rows in (train, val, test)
    ]


@torch.no_grad()
def evaluate(model: nn.Module, data: TensorDataset, loss: nn.Module) -> tuple[float, float]:
    x, y = data.tensors
    logits = model(x)
    return loss(logits, y).item(), (logits.argmax(1) == y).double().mean().item()


@hydra.main(config_path=".", config_name="config", version_base="1.3")
def main(config: DictConfig) -> None:
    torch.manual_seed(config.seed)
    train, val, test = make_splits(config.seed, config.num_samples)
    model = nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 2))
    optimizer, loss = torch.optim.Adam(model.parameters(), lr=config.lr), nn.CrossEntropyLoss()
    loader = DataLoader(train, batch_size=config.batch_size, shuffle=True)
    folder = Path(HydraConfig.get().runtime.output_dir)
    best, best_loss = copy.deepcopy(model.state_dict()), float("inf")
    with SummaryWriter(str(folder)) as writer:
        for epoch in range(1, config.epochs + 1):
            for x, y in loader:
                optimizer.zero_grad()
                loss(model(x), y).backward()
                optimizer.step()
            for name, data in (("train", train), ("val", val)):
                split_loss, accuracy = evaluate(model, data, loss)
                writer.add_scalar(f"{name}/loss", split_loss, epoch)
                writer.add_scalar(f"{name}/accuracy", accuracy, epoch)
            if split_loss < best_loss:
                best, best_loss = copy.deepcopy(model.state_dict()), split_loss
        model.load_state_dict(best)
        writer.add_scalar("test/accuracy", evaluate(model, test, loss)[1], config.epochs)
    torch.save(best, folder / "best.pt")


if __name__ == "__main__":
    main()
