"""A system's training step, evaluation and sampling: beside another public code, and beside a record."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from marscf.bench import peers
from marscf.bench.measure import counted_flops, interleaved, matmul_rate, peak_bytes, profiled, ratio
from marscf.bench.report import COMPILED, OURS, PEER, YARDSTICK
from marscf.bench.work import Work, as_trained, prepare
from marscf.config import load_config, resolve
from marscf.errors import ConfigError
from marscf.evaluation.sampling import seeded
from marscf.files import read_json
from marscf.models import build
from marscf.models.base import DensityModel
from marscf.settings import RunConfig
from marscf.studies.machine import machine
from marscf.studies.weights import smooth_images

SLOWER = 1.1  # as many times as long as in the record, and a step is said to be slower


def bench_system(
    work: str,
    config: RunConfig,
    device: torch.device,
    batch_size: int,
    repeats: int,
    code: Path | None = None,
    fuse: bool = False,
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Time one kind of work of a run's model, in turn with the yardstick and with a peer's; float32.

    Returns a row for each, and the machine's facts. `code` is a checkout of the peer; with `fuse` ours is
    measured compiled, too. The yardstick is fixed work of torch's own: a time divided by its time can be
    compared with that of another day.
    """
    model = system_model(config, device)
    x = smooth_images(batch_size, model.shape, model.grey_levels, torch.device("cpu")).to(device)
    works: dict[str, Work] = {OURS: prepare(work, model, x)}
    if fuse:
        works[COMPILED] = prepare(work, model, x, fuse=True)
        works[COMPILED].call()  # compiles, which is not part of the work
    if code is not None:
        if work == "sampling" and not peers.can_draw(config.system, code):
            raise ConfigError(f"--peer {code}: it draws a sample in hours, not in seconds")
        theirs = peers.load(config.system, code, config.options, model.shape, device)
        works[PEER] = _prepare_peer(work, theirs, x)
    works[YARDSTICK] = yardstick(device)
    with seeded("bench", 0):
        peaks = [peak_bytes(one.call, device) for one in works.values()]
        times = interleaved([one.call for one in works.values()], repeats, device)
        flops = counted_flops(works[OURS].call)
        shares = {name: profiled(one.call, device)[0] for name, one in works.items()}
    by_name = dict(zip(works, times, strict=True))
    rows = []
    for (name, one), own, peak in zip(works.items(), times, peaks, strict=True):
        rows.append(
            {
                **{"work": work, "system": config.system, "implementation": name},
                **{"shape": "×".join(map(str, model.shape)), "batch_size": batch_size},
                "parameters": sum(parameter.numel() for parameter in one.model.parameters()),
                "median_seconds": own.median,
                "images_per_second": batch_size / own.median,
                "yardsticks": ratio(own, by_name[YARDSTICK])[0],
                "peak_megabytes": None if peak is None else peak / 1e6,
                "times_as_fast_as_peer": ratio(by_name[PEER], own)[0] if PEER in by_name else None,
            }
        )
    facts = {
        "machine": machine(device),
        "scale": config.scale,
        "options": dict(config.options),
        "gigaflop": flops / 1e9,
        "profile": shares,
    }
    return rows, {**facts, "matmul_flops": {"float32": matmul_rate(device)}}


def bench_config(
    system: str, scale: str, dataset: str, code: Path | None, side: int | None = None, **options: Any
) -> RunConfig:
    """Return a run's config with the options that a peer fixes, images of `side`, and other `options`."""
    config = load_config()
    resolved = resolve(config, scale, dataset, system, 0)
    chosen = {**resolved.options, **peers.fixed_options(system, code), **options}
    values = {**resolved.to_json(), "options": chosen}
    if side:
        values["data"] |= {"shape": [resolved.data.shape[0], side, side]}
    return RunConfig.from_json(values, f"bench of {system}")


def slower(rows: list[dict[str, Any]], record: Path) -> str | None:
    """Return in words how much longer our step takes than in a record of the same machine, or None.

    Both are measured in yardsticks, so a machine that is busy today does not count. Raises `ConfigError`
    where the record is of other work, or of another machine.
    """
    now = next(row for row in rows if row["implementation"] == OURS)
    then = next(row for row in read_json(record)["rows"] if row["implementation"] == OURS)
    for name in ("work", "system", "shape", "batch_size", "parameters"):
        if now[name] != then[name]:
            raise ConfigError(f"--against {record}: its {name} is {then[name]}, not {now[name]}")
    times = now["yardsticks"] / then["yardsticks"]
    if times <= SLOWER:
        return None
    return f"{now['system']}, {now['work']}: takes {times:.2f} times as long as in {record}"


def system_model(config: RunConfig, device: torch.device) -> DensityModel:
    """Return a run's model with weights as of one that is trained, by smooth images."""
    torch.manual_seed(0)
    model = build(config)
    as_trained(model, smooth_images(16, model.shape, model.grey_levels, torch.device("cpu")))
    return model.to(device)


def _prepare_peer(work: str, model: peers.PeerModel, x: Tensor) -> Work:
    """The same work on the same images, as the peer's own scripts do it."""
    model.train(work == "training")
    if work == "sampling":
        return Work(torch.no_grad()(lambda: model.draw(len(x))), model)
    if work == "evaluation":
        return Work(torch.no_grad()(lambda: model.nats(x)), model)
    optimiser = torch.optim.Adamax(model.parameters(), lr=1e-5)

    def step() -> None:
        optimiser.zero_grad()
        model.before_step()
        (model.nats(x) / len(x)).backward()
        optimiser.step()

    return Work(step, model)


def yardstick(device: torch.device) -> Work:
    """Fixed work of torch's own kernels: a training step of a small network, of the mix that flows have."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(12, 64, 3, padding=1), nn.Tanh(), nn.Conv2d(64, 64, 1), nn.Sigmoid())
    net = nn.Sequential(*net, nn.Conv2d(64, 24, 3, padding=1)).to(device)
    x = torch.randn(16, 12, 16, 16, device=device)

    def call() -> None:
        for _ in range(4):
            net.zero_grad()
            shift, scale = net(x).chunk(2, 1)
            (functional.softplus(scale) + (x + shift).square().mul(0.5)).mean().backward()

    return Work(call, net)
