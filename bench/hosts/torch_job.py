"""What the two hosts of PyTorch share."""

import os
import sys

import host

# Behind the libraries' own folders: no name of ours may hide one of theirs.
sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))


def prepare(job):
    """The model of ../torch_engine.py and its arguments. As in transformers, a mask of ones alone
    is no mask."""
    import torch
    from torch_engine import Bert

    torch.set_num_threads(job["threads"])
    torch.set_num_interop_threads(1)
    inputs = {k: torch.from_numpy(v) for k, v in host.read_inputs(job, "int64").items()}
    mask = inputs["attention_mask"].bool()
    mask = None if mask.all() else mask[:, None, None, :]
    return Bert(job["model"]), (inputs["input_ids"], mask, inputs["token_type_ids"])


def settings(text):
    import torch

    return {
        "version": torch.__version__,
        "isa_used": torch.backends.cpu.get_cpu_capability(),
        "settings": text,
    }
