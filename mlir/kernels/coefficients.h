// Made by `python -m mlir.fit` from engines/npu/numerics.py: do not edit.
#pragma once

constexpr float POWER[3] = {0x1.fff61a0000000p-1f, 0x1.683f1a0000000p-1f, 0x1.f0ed480000000p-3f};
constexpr float EXP2[4] = {0x1.fff61a0000000p-1f, 0x1.62e0c20000000p-1f, 0x1.f0ed480000000p-3f, 0x1.ca1d020000000p-5f};
constexpr float GELU_LIMIT = 0x1.9c00000000000p+3f;
constexpr float GELU_EDGES[2] = {0x1.0000000000000p+1f, 0x1.8000000000000p+2f};
constexpr float GELU_CENTRES[3] = {0x1.0000000000000p+0f, 0x1.0000000000000p+2f, 0x1.2e00000000000p+3f};
constexpr float GELU[3][4] = {
    {-0x1.540c700000000p+1f, -0x1.199dd60000000p+1f, -0x1.255ac80000000p-1f, -0x1.d84ca00000000p-6f},
    {-0x1.de53a40000000p+3f, -0x1.86227a0000000p+2f, -0x1.5ed8800000000p-1f, -0x1.3399680000000p-8f},
    {-0x1.1350580000000p+6f, -0x1.b87a280000000p+3f, -0x1.6d33260000000p-1f, -0x1.202af40000000p-11f},
};
