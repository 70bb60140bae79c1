"""Sums over neighbours as sparse matrix products, which hold nothing as wide as a feature per edge.

The plain way gathers a row per edge and adds them up; on CPU that takes 30 times as long as torch's own kernels
for products with sparse rows, and memory that grows with edges times width.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from unmask_graph.nn.adjacency import Adjacency, EdgeList

with warnings.catch_warnings():  # torch says once in a process that sparse rows are in beta
    warnings.simplefilter("ignore")
    torch.sparse_csr_tensor([0, 0], [], [], (1, 1), dtype=torch.float)


def aggregate(adjacency: Adjacency | EdgeList, x: Tensor, weight: Tensor | None = None) -> Tensor:
    """``y[i] = sum over edges j -> i of weight[edge] * x[j]``, in float32 (float64 where ``x`` is) also under autocast.

    Args:
        adjacency: R targets, C sources, E edges.
        x: ``[C, D]``.
        weight: ``[E]``, in the order of ``adjacency``'s edges; None: 1.

    Returns:
        ``[R, D]``; zeros where no edge goes to.
    """
    dtype = torch.promote_types(x.dtype, torch.float)
    if isinstance(adjacency, EdgeList):
        sent = x.to(dtype)[adjacency.source]  # [E, D]
        return sums(adjacency, sent if weight is None else sent * weight.to(dtype)[:, None])
    if weight is None:
        weight = torch.ones(len(adjacency.source), dtype=dtype, device=x.device)
    return _Aggregate.apply(weight.to(dtype), x.to(dtype), adjacency)


def sums(adjacency: Adjacency | EdgeList, values: Tensor) -> Tensor:
    """Values of edges ``[E]`` or ``[E, D]`` summed over the edges into each target, ``[R]`` or ``[R, D]``."""
    if isinstance(adjacency, EdgeList):
        return sums_at(adjacency.target, values, adjacency.num_targets)
    return torch.segment_reduce(values, "sum", lengths=adjacency.degree, initial=0)


def edge_softmax(adjacency: Adjacency | EdgeList, scores: Tensor) -> Tensor:
    """Scores ``[E]`` of edges as shares ``[E]`` that sum to 1 over the edges into each target."""
    if isinstance(adjacency, EdgeList):
        peak = maxima_at(adjacency.target, scores, adjacency.num_targets)
        risen = (scores - peak[adjacency.target]).exp()
        return risen / sums(adjacency, risen)[adjacency.target]
    peak = torch.segment_reduce(scores.detach(), "max", offsets=adjacency.start)
    risen = (scores - peak[adjacency.target]).exp()
    total = torch.segment_reduce(risen, "sum", offsets=adjacency.start)
    return risen / total[adjacency.target]


def sums_at(index: Tensor, values: Tensor, size: int) -> Tensor:
    """Rows of ``values`` ``[E]`` or ``[E, D]`` added up where ``index`` ``[E]`` says: ``[size]`` or ``[size, D]``."""
    return values.new_zeros(size, *values.shape[1:]).scatter_add(0, _rows(index, values), values)


def maxima_at(index: Tensor, values: Tensor, size: int) -> Tensor:
    """Likewise, the largest of them; minus infinity where there is none."""
    none = values.new_full((size, *values.shape[1:]), float("-inf"))
    return none.scatter_reduce(0, _rows(index, values), values, "amax")


def _rows(index: Tensor, values: Tensor) -> Tensor:
    return index if values.ndim == 1 else index[:, None].expand(-1, values.shape[1])


class _Aggregate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, x: Tensor, adjacency: Adjacency) -> Tensor:
        ctx.save_for_backward(weight, x)
        ctx.adjacency = adjacency
        return product(adjacency.start, adjacency.source, weight, x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        weight, x = ctx.saved_tensors
        adjacency: Adjacency = ctx.adjacency
        grad = grad.contiguous()
        grad_weight = grad_x = None
        if ctx.needs_input_grad[0]:  # the product of gradient and source, at edges only
            grad_weight = _products_at(adjacency, grad, x)
        if ctx.needs_input_grad[1]:
            start, target, order = adjacency.reverse
            grad_x = product(start, target, weight[order], grad)
        return grad_weight, grad_x, None


def product(start: Tensor, column: Tensor, value: Tensor, dense: Tensor) -> Tensor:
    """The product of a sparse matrix in compressed rows, ``[R, C]``, with ``dense`` ``[C, D]``, without gradient."""
    size = (len(start) - 1, len(dense))
    if dense.device.type in ("cpu", "cuda"):
        matrix = torch.sparse_csr_tensor(start, column, value, size)
        if dense.device.type == "cpu":  # torch's own kernel: twice as quick as MKL's, which a plain product calls
            return torch.sparse.mm(matrix, dense, "sum")
        return matrix @ dense
    row = torch.arange(size[0], device=start.device).repeat_interleave(start.diff())
    return dense.new_zeros(size[0], dense.shape[1]).index_add_(0, row, dense[column] * value[:, None])


def _products_at(adjacency: Adjacency, left: Tensor, right: Tensor) -> Tensor:
    """``left[target] . right[source]`` of each edge, ``[E]``."""
    if left.device.type not in ("cpu", "cuda"):
        return (left[adjacency.target] * right[adjacency.source]).sum(-1)
    ones = left.new_ones(len(adjacency.source))
    pattern = torch.sparse_csr_tensor(adjacency.start, adjacency.source, ones, (len(left), len(right)))
    return torch.sparse.sampled_addmm(pattern, left, right.t(), beta=0.0).values()
