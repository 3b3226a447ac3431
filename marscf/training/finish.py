"""The end of a training: weights and receipt."""

from pathlib import Path
from typing import Any

from marscf import models
from marscf.errors import MarscfError
from marscf.files import sha256_file
from marscf.models.base import DensityModel
from marscf.runs import config_hash, signed
from marscf.settings import RunConfig
from marscf.training import receipt as receipts
from marscf.training.distributed import Processes
from marscf.training.log import LOG
from marscf.training.state import Record


def finish(
    folder: Path,
    config: RunConfig,
    data_digest: str,
    model: DensityModel,
    record: Record,
    processes: Processes,
    code: str,
) -> dict[str, Any]:
    """Write the weights of `model` (the chosen ones) and the receipt, in the first process; return it.

    `code` is the digest of the code that trained.
    """
    if config.training.validates and record.best_bits_per_dim is None:
        raise MarscfError(
            f"{folder}: no validation was finite, so there are no weights to keep; see log.jsonl"
        )
    receipt: dict[str, Any] = {
        "config_hash": config_hash(config),
        "config": config.to_json(),
        "data_digest": data_digest,
        "weights_sha256": None,
        "steps": record.step,
        "parameters": sum(p.numel() for p in model.parameters()),
        "best_validation_bits_per_dim": record.best_bits_per_dim,
        "best_step": record.best_step,
        "seconds": round(record.seconds, 3),
        "cpu_seconds": round(record.cpu_seconds, 3),
        "train_images_per_second": round(record.timed_images / record.timed_seconds, 2)
        if record.timed_seconds
        else None,
        "peak_memory_bytes": record.peak_memory_bytes,
        "skipped_steps": record.skipped,
        "rollbacks": record.rollbacks,
        "learning_rate_factor": record.learning_rate_factor,
        "events": record.events,
        "code": code,
        "code_version": receipts.code_version(),
        "host": receipts.host(processes.device, processes.count),
    }
    if processes.first:
        models.save(model, config, folder / models.WEIGHTS)
        receipt["weights_sha256"] = sha256_file(folder / models.WEIGHTS)
        if (folder / LOG).is_file():
            receipt["log_sha256"] = sha256_file(folder / LOG)
        receipt = signed(receipt)
        receipts.write(folder, receipt)
    return processes.from_first(receipt)
