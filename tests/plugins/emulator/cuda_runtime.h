// CUDA's language and launches on the host: a block at a time, its threads as fibers.
#pragma once

#include "cuda_runtime_api.h"
#include "fibers.h"

#include <algorithm>
#include <cmath>
#include <type_traits>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)

using std::max;
using std::min;

struct dim3
{
    unsigned x, y, z;
    dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

struct alignas(8) uint2
{
    unsigned x, y;
};
struct alignas(16) uint4
{
    unsigned x, y, z, w;
};
struct alignas(8) float2
{
    float x, y;
};
struct alignas(2) char2
{
    signed char x, y;
};
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline char2 make_char2(signed char x, signed char y) { return {x, y}; }

namespace emulator
{

inline int processors = 4;
inline int shared_memory_limit = 96 * 1024;

/// Adds a warp operation; its number is what lanes wait in.
inline std::vector<Operation> operations;
inline int add(Operation operation)
{
    operations.push_back(std::move(operation));
    return static_cast<int>(operations.size()) - 1;
}

/// Brings this lane's operand to a warp operation, which may change it.
template <class T>
void meet(int operation, T& operand)
{
    block.running->operand = &operand;
    suspend(Wait::kWarp, operation);
}

struct Shuffle
{
    float value, result;
    int mask;
};

inline int const shuffle_xor = add(
    [](Fiber* lanes)
    {
        for (int lane = 0; lane < 32; ++lane)
        {
            auto* const mine = static_cast<Shuffle*>(lanes[lane].operand);
            mine->result = static_cast<Shuffle*>(lanes[lane ^ mine->mask].operand)->value;
        }
    });
inline int const synchronise = add([](Fiber*) {});

} // namespace emulator

inline void __syncthreads() { emulator::suspend(emulator::Wait::kBlock, 0); }

inline void __syncwarp() { emulator::suspend(emulator::Wait::kWarp, emulator::synchronise); }

inline float __shfl_xor_sync(unsigned, float value, int mask)
{
    emulator::Shuffle operand{value, 0.f, mask};
    emulator::meet(emulator::shuffle_xor, operand);
    return operand.result;
}

inline float __fdividef(float x, float y) { return x / y; }

/// Bytes of b:a picked by the four low nibbles of `selector`.
inline unsigned __byte_perm(unsigned a, unsigned b, unsigned selector)
{
    uint64_t const bytes = static_cast<uint64_t>(b) << 32 | a;
    unsigned result = 0;
    for (int i = 0; i < 4; ++i)
        result |= (bytes >> (selector >> 4 * i & 7) * 8 & 0xff) << 8 * i;
    return result;
}

inline int __float2int_rn(float x)
{
    float const near = std::nearbyintf(x); // to even, the host's default
    return static_cast<int>(std::fmin(std::fmax(near, -2147483648.f), 2147483520.f));
}

enum cudaFuncAttribute
{
    cudaFuncAttributeMaxDynamicSharedMemorySize = 8,
};

struct cudaLaunchConfig_t
{
    dim3 gridDim, blockDim;
    std::size_t dynamicSmemBytes = 0;
    cudaStream_t stream = nullptr;
};

inline cudaError_t cudaGetDevice(int* device)
{
    *device = 0;
    return cudaSuccess;
}

inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr which, int)
{
    *value = which == cudaDevAttrMultiProcessorCount ? emulator::processors
                                                     : emulator::shared_memory_limit;
    return cudaSuccess;
}

inline cudaError_t cudaFuncSetAttribute(void const*, cudaFuncAttribute, int bytes)
{
    return bytes <= emulator::shared_memory_limit ? cudaSuccess : cudaErrorInvalidValue;
}

template <class Kernel>
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, Kernel, int, std::size_t)
{
    *blocks = 1;
    return cudaSuccess;
}

template <class Problem>
cudaError_t cudaLaunchKernelEx(
    cudaLaunchConfig_t const* config, void (*kernel)(Problem), Problem const& problem)
{
    emulator::Block& block = emulator::block;
    if (config->dynamicSmemBytes > static_cast<std::size_t>(emulator::shared_memory_limit))
        return cudaErrorInvalidValue;
    blockDim.x = config->blockDim.x;
    block.shared.resize(config->dynamicSmemBytes + 16);
    block.kernel = [&] { kernel(problem); };
    for (blockIdx.x = 0; blockIdx.x < config->gridDim.x; ++blockIdx.x)
        emulator::run_block(emulator::operations);
    return cudaSuccess;
}
