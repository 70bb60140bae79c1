"""Triton kernels of farthest-point sampling and of nearest neighbours. Importing it imports Triton.

Squares and sums follow the rule of `distances`: launched without fusing multiplication and addition, they give the same
bits as on CPU. Ties go to the lowest index by comparing indices, not by trusting a reduction's order.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl


def launch(kernel: Any, num_programs: int, block: int, *arguments: Any, **sizes: Any) -> None:
    """Runs ``num_programs`` of ``kernel`` on the device of the first argument."""
    if num_programs:
        with torch.cuda.device_of(arguments[0]):
            warps = min(max(block // 256, 1), 8)
            kernel[(num_programs,)](*arguments, block=block, num_warps=warps, enable_fp_fusion=False, **sizes)


@triton.jit
def farthest(points, nearest, start, chosen, num_points, num_centres, block: tl.constexpr):
    cloud = tl.program_id(0).to(tl.int64)
    points += cloud * num_points * 3
    nearest += cloud * num_points
    chosen += cloud * num_centres
    lane = tl.arange(0, block)
    centre = tl.load(start + cloud)
    for place in range(num_centres):
        tl.store(chosen + place, centre)
        x = tl.load(points + centre * 3)
        y = tl.load(points + centre * 3 + 1)
        z = tl.load(points + centre * 3 + 2)
        best = tl.full([block], -2.0, nearest.dtype.element_ty)  # below padding, which is -1
        best_at = tl.zeros([block], tl.int64)
        for first in range(0, num_points, block):
            at = first + lane
            inside = at < num_points
            dx = tl.load(points + at * 3, mask=inside, other=0.0) - x
            dy = tl.load(points + at * 3 + 1, mask=inside, other=0.0) - y
            dz = tl.load(points + at * 3 + 2, mask=inside, other=0.0) - z
            distance = (dx * dx + dy * dy) + dz * dz
            distance = tl.minimum(tl.load(nearest + at, mask=inside, other=-2.0), distance)
            tl.store(nearest + at, distance, mask=inside)
            farther = distance > best  # strictly: a lane's earlier index stays
            best = tl.where(farther, distance, best)
            best_at = tl.where(farther, at.to(tl.int64), best_at)
        centre = tl.min(tl.where(best == tl.max(best, axis=0), best_at, num_points), axis=0)
        tl.debug_barrier()  # what was stored is read in the next round


@triton.jit
def nearest(queries, points, valid, found, num_queries, num_points, k, block: tl.constexpr, room: tl.constexpr):
    query = tl.program_id(0).to(tl.int64)
    cloud = query // num_queries
    points += cloud * num_points * 3
    valid += cloud * num_points
    x = tl.load(queries + query * 3)
    y = tl.load(queries + query * 3 + 1)
    z = tl.load(queries + query * 3 + 2)
    slot = tl.arange(0, room)
    # the k smallest keys so far, in no order: at first unlike numbers after all keys; slots beyond k are never the last
    held = tl.where(slot < k, 0x7FFFFFFFFFFFFFFF - slot.to(tl.int64), -1)
    last = tl.max(held, axis=0)
    lane = tl.arange(0, block)
    for first in range(0, num_points, block):
        at = first + lane
        inside = at < num_points
        dx = x - tl.load(points + at * 3, mask=inside, other=0.0)
        dy = y - tl.load(points + at * 3 + 1, mask=inside, other=0.0)
        dz = z - tl.load(points + at * 3 + 2, mask=inside, other=0.0)
        distance = ((dx * dx + dy * dy) + dz * dz).to(tl.float32)
        real = tl.load(valid + at, mask=inside, other=0) != 0
        distance = tl.where(real, distance, float("inf"))
        keys = (distance.to(tl.int32, bitcast=True).to(tl.int64) << 32) | at.to(tl.int64)
        keys = tl.where(inside, keys, 0x7FFFFFFFFFFFFFFF)
        least = tl.min(keys, axis=0)
        while least < last:
            held = tl.where(held == last, least, held)
            keys = tl.where(keys == least, 0x7FFFFFFFFFFFFFFF, keys)
            last = tl.max(held, axis=0)
            least = tl.min(keys, axis=0)
    tl.store(found + query * k + slot, held, mask=slot < k)
