// Starting a kernel, with as much shared memory as it asks for.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

namespace vitrine
{

/// An attribute of the current device, 0 where it cannot be asked.
inline int attribute(cudaDeviceAttr which)
{
    int device = 0;
    int value = 0;
    if (cudaGetDevice(&device) != cudaSuccess ||
        cudaDeviceGetAttribute(&value, which, device) != cudaSuccess)
        return 0;
    return value;
}

/// Lets a kernel have all the shared memory that a block can have. The limit is the same for every
/// problem, since threads that enqueue different ones share it.
template <class Problem>
cudaError_t allow_shared_memory(void (*kernel)(Problem))
{
    return cudaFuncSetAttribute(reinterpret_cast<void const*>(kernel),
                                cudaFuncAttributeMaxDynamicSharedMemorySize,
                                attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin));
}

/// `kernel(problem)` on a one-dimensional grid.
template <class Problem>
cudaError_t launch(void (*kernel)(Problem), Problem const& problem, int64_t blocks, int threads,
                   std::size_t shared, void* stream)
{
    if (blocks > INT32_MAX)
        return cudaErrorInvalidConfiguration;
    cudaError_t const status = allow_shared_memory(kernel);
    if (status != cudaSuccess)
        return status;
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(static_cast<unsigned>(blocks));
    config.blockDim = dim3(static_cast<unsigned>(threads));
    config.dynamicSmemBytes = shared;
    config.stream = static_cast<cudaStream_t>(stream);
    return cudaLaunchKernelEx(&config, kernel, problem);
}

inline bool aligned(void const* pointer)
{
    return reinterpret_cast<std::uintptr_t>(pointer) % 16 == 0;
}

} // namespace vitrine
