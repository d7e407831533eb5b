"""The canary's song on an NVIDIA GPU: a matrix times a vector, which is what decoding one sequence does.

Runs as a program of its own (``python -m actors.canary.gemv SECONDS [UUID]``), so that its CUDA context is gone when it
ends: one that stays alive keeps a GB10 out of its idle state. It needs the driver's library and nothing else: the
kernel is PTX, which the driver compiles for the device that is there. A kernel rather than a device copy, because the
slow state that it is here to find leaves copies at full speed and slows a matrix-vector product three times
(tonyd2wild/DeepSeek-V4.1-Flash-vLLM-DGX-Spark#1).
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import time
from collections.abc import Callable
from ctypes import byref, c_float, c_int, c_size_t, c_uint, c_uint64, c_void_p
from functools import partial
from statistics import median
from typing import Any

ROWS = COLUMNS = 8192
"""256 MiB of float32: four times what the second-level cache of an H200 holds, ten times that of a GB10."""
WARM_UP_S = 0.15
"""The clocks leave their idle state first."""
ROUNDS = 25
WARPS = 8
"""Rows to a block of threads, one warp each."""

PTX = b"""
.version 6.3
.target sm_75
.address_size 64
.visible .entry gemv(.param .u64 a, .param .u64 x, .param .u64 y, .param .u32 columns)
{
    .reg .pred %done, %hop, %first;
    .reg .b32 %lane, %row, %left, %columns, %t, %sum_bits, %other_bits;
    .reg .f32 %sum, %other, %a0, %a1, %a2, %a3, %x0, %x1, %x2, %x3;
    .reg .b64 %a, %x, %y, %offset;

    // One warp to a row: 16 bytes to a lane and step, 512 to a warp.
    mov.u32 %t, %tid.x;
    and.b32 %lane, %t, 31;
    mov.u32 %row, %ntid.x;
    mov.u32 %left, %ctaid.x;
    mad.lo.u32 %row, %row, %left, %t;
    shr.u32 %row, %row, 5;
    ld.param.u32 %columns, [columns];
    ld.param.u64 %a, [a];
    ld.param.u64 %x, [x];
    mul.lo.u32 %t, %row, %columns;
    mul.wide.u32 %offset, %t, 4;
    add.u64 %a, %a, %offset;
    mul.wide.u32 %offset, %lane, 16;
    add.u64 %a, %a, %offset;
    add.u64 %x, %x, %offset;
    mov.f32 %sum, 0f00000000;
    mov.u32 %left, %columns;
step:
    ld.global.nc.v4.f32 {%a0, %a1, %a2, %a3}, [%a];
    ld.global.nc.v4.f32 {%x0, %x1, %x2, %x3}, [%x];
    fma.rn.f32 %sum, %a0, %x0, %sum;
    fma.rn.f32 %sum, %a1, %x1, %sum;
    fma.rn.f32 %sum, %a2, %x2, %sum;
    fma.rn.f32 %sum, %a3, %x3, %sum;
    add.u64 %a, %a, 512;
    add.u64 %x, %x, 512;
    sub.u32 %left, %left, 128;
    setp.ne.u32 %done, %left, 0;
    @%done bra step;

    // The lanes' parts become one: each adds its neighbour's at distance 16, 8, 4, 2, 1.
    mov.u32 %t, 16;
halve:
    mov.b32 %sum_bits, %sum;
    shfl.sync.bfly.b32 %other_bits, %sum_bits, %t, 31, 0xffffffff;
    mov.b32 %other, %other_bits;
    add.f32 %sum, %sum, %other;
    shr.u32 %t, %t, 1;
    setp.ne.u32 %hop, %t, 0;
    @%hop bra halve;

    setp.ne.u32 %first, %lane, 0;
    @%first ret;
    ld.param.u64 %y, [y];
    mul.wide.u32 %offset, %row, 4;
    add.u64 %y, %y, %offset;
    st.global.f32 [%y], %sum;
    ret;
}
"""


class CudaError(Exception):
    """A call of the driver that failed, by name, or a device that is not the one that was asked for."""


def uuid_text(uuid: bytes) -> str:
    """As NVML writes it, without the ``GPU-`` or ``MIG-`` before it."""
    digits = uuid.hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _call(cuda: ctypes.CDLL, name: str, *arguments: Any) -> None:
    code = getattr(cuda, name)(*arguments)
    if code:
        text = ctypes.c_char_p()
        cuda.cuGetErrorString(code, byref(text))
        raise CudaError(f"{name}: {text.value.decode() if text.value else f'error {code}'}")


def _is_device(call: Callable[..., None], handle: c_int, uuid: str) -> None:
    """Raises CudaError where it is another."""
    told = (ctypes.c_ubyte * 16)()
    call("cuDeviceGetUuid_v2", byref(told), handle)
    if uuid_text(bytes(told)) != uuid.partition("-")[2].lower():
        raise CudaError(f"CUDA gave the device {uuid_text(bytes(told))} for {uuid}")


def _filled(call: Callable[..., None], count: int, value: float) -> c_uint64:
    """Memory of the device with ``count`` float32 of that value."""
    pointer = c_uint64()
    call("cuMemAlloc_v2", byref(pointer), c_size_t(4 * count))
    bits = c_uint.from_buffer(c_float(value))
    call("cuMemsetD32_v2", pointer, bits, c_size_t(count))
    return pointer


def bandwidth_gb_s(uuid: str | None = None, seconds: float = 0.0) -> float:
    """Bytes of the matrix per second, median over :data:`ROUNDS` rounds, or as many as ``seconds`` take, on the GPU or
    MIG instance of that UUID; on CUDA's first device without one.

    Raises CudaError, and OSError where there is no driver.
    """
    if uuid is not None:
        # Before the driver is loaded: it shows this process that device alone, whatever the caller's variable hides.
        os.environ["CUDA_VISIBLE_DEVICES"] = uuid
    call = partial(_call, ctypes.CDLL("libcuda.so.1"))
    handle, context, module, kernel = c_int(), c_void_p(), c_void_p(), c_void_p()
    call("cuInit", c_uint(0))
    call("cuDeviceGet", byref(handle), c_int(0))
    if uuid is not None:
        _is_device(call, handle, uuid)
    call("cuDevicePrimaryCtxRetain", byref(context), handle)
    call("cuCtxSetCurrent", context)
    call("cuModuleLoadData", byref(module), PTX)
    call("cuModuleGetFunction", byref(kernel), module, b"gemv")
    matrix, vector, product = (
        _filled(call, count, value) for count, value in ((ROWS * COLUMNS, 1.0), (COLUMNS, 0.5), (ROWS, 0.0))
    )
    began, ended = c_void_p(), c_void_p()
    for event in (began, ended):
        call("cuEventCreate", byref(event), c_uint(0))
    given = [matrix, vector, product, c_uint(COLUMNS)]
    pointers = (c_void_p * len(given))(*(ctypes.cast(ctypes.pointer(one), c_void_p) for one in given))

    def round_s() -> float:
        call("cuEventRecord", began, c_void_p())
        call(
            "cuLaunchKernel", kernel, ROWS // WARPS, 1, 1, 32 * WARPS, 1, 1, c_uint(0), c_void_p(), pointers, c_void_p()
        )
        call("cuEventRecord", ended, c_void_p())
        call("cuEventSynchronize", ended)
        took_ms = c_float()
        call("cuEventElapsedTime", byref(took_ms), began, ended)
        return took_ms.value / 1e3

    warm = time.monotonic() + WARM_UP_S
    while time.monotonic() < warm:
        round_s()
    took_s: list[float] = []
    until = time.monotonic() + seconds
    while len(took_s) < ROUNDS or time.monotonic() < until:
        took_s.append(round_s())
    answer = (c_float * ROWS)()
    call("cuMemcpyDtoH_v2", answer, product, c_size_t(4 * ROWS))
    if set(answer) != {COLUMNS / 2}:
        raise CudaError("the product is wrong: the kernel did not do its work")
    return 4 * ROWS * COLUMNS / median(took_s) / 1e9


if __name__ == "__main__":
    print(json.dumps({"gb_s": bandwidth_gb_s(sys.argv[2] if len(sys.argv) > 2 else None, float(sys.argv[1]))}))
