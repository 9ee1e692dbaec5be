"""SparseGPT of one layer by libspo and by the reference algorithm in PyTorch, for bench/sparsifiers.py.

The PyTorch side is the algorithm of the SparseGPT paper as its authors wrote it: the Hessian by
matmul over batches of sequences, its inverse by cholesky, cholesky_inverse and cholesky again, and
column after column in blocks of 128 with lazy updates; unstructured, 50 %, f32. Both sides have the
same shapes and threads; the times of the Hessian and of pruning are apart.
"""

import math
import subprocess
import time

import torch

BLOCK, BATCH, SPARSITY, DAMPING = 128, 2048, 0.5, 0.01


def hessian(x):
    """x is [tokens, inputs]; 2 X X' / samples, updated batch by batch."""
    h = torch.zeros(x.shape[1], x.shape[1])
    samples = 0
    for batch in x.split(BATCH):
        inputs = batch.t()
        h *= samples / (samples + 1)
        samples += 1
        inputs = math.sqrt(2 / samples) * inputs.float()
        h += inputs.matmul(inputs.t())
    return h


def prune(w, h):
    dead = torch.diag(h) == 0
    h[dead, dead] = 1
    w[:, dead] = 0
    diag = torch.arange(w.shape[1])
    h[diag, diag] += DAMPING * torch.mean(torch.diag(h))
    h = torch.linalg.cholesky(h)
    h = torch.cholesky_inverse(h)
    inverse = torch.linalg.cholesky(h, upper=True)
    for begin in range(0, w.shape[1], BLOCK):
        end = min(begin + BLOCK, w.shape[1])
        count = end - begin
        block = w[:, begin:end].clone()
        result = torch.zeros_like(block)
        error = torch.zeros_like(block)
        corner = inverse[begin:end, begin:end]
        scores = block**2 / (torch.diag(corner).reshape((1, -1))) ** 2
        threshold = torch.sort(scores.flatten())[0][int(scores.numel() * SPARSITY)]
        mask = scores <= threshold
        for i in range(count):
            column = block[:, i]
            d = corner[i, i]
            q = column.clone()
            q[mask[:, i]] = 0
            result[:, i] = q
            e = (column - q) / d
            block[:, i:] -= e.unsqueeze(1).matmul(corner[i, i:].unsqueeze(0))
            error[:, i] = e
        w[:, begin:end] = result
        w[:, end:] -= error.matmul(inverse[begin:end, end:])
    return w


def time_torch(args):
    """Seconds of the Hessian and of pruning."""
    x = torch.randn(args.tokens, args.cols)
    w = torch.randn(args.rows, args.cols) * 0.05
    start = time.perf_counter()
    h = hessian(x)
    middle = time.perf_counter()
    prune(w, h)
    return middle - start, time.perf_counter() - middle


def time_libspo(args):
    """The same."""
    command = [args.probe, "sparsegpt", args.rows, args.cols, args.tokens, args.threads]
    out = subprocess.run([str(c) for c in command], check=True, capture_output=True, text=True)
    return tuple(float(v) for v in out.stdout.split())
