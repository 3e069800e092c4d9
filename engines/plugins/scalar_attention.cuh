// Attention in FP32 arithmetic, for FP32 tensors and for shapes the tensor-core kernels refuse.
#pragma once

#include "attention.h"
#include "launch.h"
#include "tile.cuh"

#include <algorithm>
#include <type_traits>

namespace vitrine
{

__device__ __forceinline__ float load(float const* p) { return *p; }
__device__ __forceinline__ float load(__half const* p) { return __half2float(*p); }
__device__ __forceinline__ float load(signed char const* p) { return *p; }
__device__ __forceinline__ void store(float* p, float x) { *p = x; }
__device__ __forceinline__ void store(__half* p, float x) { *p = __float2half_rn(x); }
__device__ __forceinline__ void store(signed char* p, float x) { *p = to_int8(x); }

/// How a block is cut: each warp owns `kRows` queries; heads are padded to 32 * kColumns.
template <int kColumns>
struct Cut
{
    static constexpr int kWarps = kColumns <= 2 ? 8 : 4;
    static constexpr int kRows = kColumns <= 2 ? 8 : 4;
    static constexpr int kQueries = kWarps * kRows;
    static constexpr int kThreads = kWarps * 32;
    static constexpr int kWidth = kColumns * 32;

    struct Shared
    {
        float query[kQueries][kWidth];
        float weight[kQueries][32];
        float value[32][kWidth];
        float key[32][kWidth + 1]; // odd, so that 32 lanes on 32 keys meet 32 banks
    };
};

__device__ __forceinline__ float warp_maximum(float x)
{
    for (int step = 16; step > 0; step /= 2)
        x = fmaxf(x, __shfl_xor_sync(kWholeWarp, x, step));
    return x;
}

__device__ __forceinline__ float warp_sum(float x)
{
    for (int step = 16; step > 0; step /= 2)
        x += __shfl_xor_sync(kWholeWarp, x, step);
    return x;
}

/// Queries of one block against 32 keys at a time, one lane a key, then one lane a column.
///
/// A Problem has `queries(), keys(), size(), value_size()` and `slice(n)`, the n-th independent
/// attention; a slice has `query(row, column)`, `key`, `value`, `score(dot, row, key)`, which
/// scales the product and adds what must be added, and `write(row, column, x)`.
template <class Problem, int kColumns>
__global__ void __launch_bounds__(Cut<kColumns>::kThreads) scalar_attention(Problem problem)
{
    using Block = Cut<kColumns>;
    auto& shared = *reinterpret_cast<typename Block::Shared*>(shared_memory());
    int const lane = threadIdx.x % 32;
    int const warp = threadIdx.x / 32;
    int const mine = warp * Block::kRows; // first of this warp's rows of the tile
    int const tiles = (problem.queries() + Block::kQueries - 1) / Block::kQueries;
    int const first = blockIdx.x % tiles * Block::kQueries;
    auto const slice = problem.slice(blockIdx.x / tiles);

    for (int row = mine; row < mine + Block::kRows; ++row)
        for (int column = lane; column < problem.size(); column += 32)
            shared.query[row][column] =
                first + row < problem.queries() ? slice.query(first + row, column) : 0.f;

    float maximum[Block::kRows];
    float sum[Block::kRows] = {};
    float output[Block::kRows][kColumns] = {};
#pragma unroll
    for (int row = 0; row < Block::kRows; ++row)
        maximum[row] = -INFINITY;

    for (int start = 0; start < problem.keys(); start += 32)
    {
        int const count = min(32, problem.keys() - start);
        __syncthreads(); // the previous tile is done with
        for (int key = warp; key < count; key += Block::kWarps)
        {
            for (int column = lane; column < problem.size(); column += 32)
                shared.key[key][column] = slice.key(start + key, column);
#pragma unroll
            for (int i = 0; i < kColumns; ++i)
                shared.value[key][i * 32 + lane] =
                    i * 32 + lane < problem.value_size() ? slice.value(start + key, i * 32 + lane)
                                                         : 0.f;
        }
        __syncthreads();

        float dot[Block::kRows] = {};
        if (lane < count)
            for (int column = 0; column < problem.size(); ++column)
#pragma unroll
                for (int row = 0; row < Block::kRows; ++row)
                    dot[row] = fmaf(shared.query[mine + row][column], shared.key[lane][column],
                                    dot[row]);
#pragma unroll
        for (int row = 0; row < Block::kRows; ++row)
        {
            int const query = min(first + mine + row, problem.queries() - 1);
            float const score =
                lane < count ? slice.score(dot[row], query, start + lane) : -INFINITY;
            float const now = fmaxf(maximum[row], warp_maximum(score));
            float const base = now == -INFINITY ? 0.f : now; // all masked: not -inf - -inf
            float const weight = expf(score - base);
            float const shrink = expf(maximum[row] - base);
            maximum[row] = now;
            sum[row] = sum[row] * shrink + weight;
#pragma unroll
            for (int i = 0; i < kColumns; ++i)
                output[row][i] *= shrink;
            shared.weight[mine + row][lane] = weight;
        }
        __syncwarp();
        for (int key = 0; key < count; ++key)
#pragma unroll
            for (int i = 0; i < kColumns; ++i)
            {
                float const value = shared.value[key][i * 32 + lane];
#pragma unroll
                for (int row = 0; row < Block::kRows; ++row)
                    output[row][i] = fmaf(shared.weight[mine + row][key], value, output[row][i]);
            }
    }

#pragma unroll
    for (int row = 0; row < Block::kRows; ++row)
    {
        float const total = warp_sum(sum[row]);
#pragma unroll
        for (int i = 0; i < kColumns; ++i)
            if (first + mine + row < problem.queries() && i * 32 + lane < problem.value_size())
                slice.write(first + mine + row, i * 32 + lane, output[row][i] / total);
    }
}

/// `slices` independent attentions of `problem`, head sizes up to kLargestHead.
template <class Problem>
cudaError_t launch_scalar(Problem const& problem, int64_t slices, void* stream)
{
    auto const run = [&](auto columns)
    {
        constexpr int kColumns = decltype(columns)::value;
        using Block = Cut<kColumns>;
        int64_t const tiles = (problem.queries() + Block::kQueries - 1) / Block::kQueries;
        return launch(scalar_attention<Problem, kColumns>, problem, tiles * slices,
                      Block::kThreads, sizeof(typename Block::Shared), stream);
    };
    int const widest = std::max(problem.size(), problem.value_size());
    if (widest <= 32)
        return run(std::integral_constant<int, 1>{});
    if (widest <= 64)
        return run(std::integral_constant<int, 2>{});
    return run(std::integral_constant<int, 4>{});
}

} // namespace vitrine
