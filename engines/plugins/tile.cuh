// Attention of one warp on tiles in shared memory: scores, online softmax, weighted sum.
#pragma once

#include <intrinsics.cuh> // angle brackets: the tests' include path replaces it

#include <cmath>

namespace vitrine
{

constexpr unsigned kWholeWarp = 0xffffffffu;
constexpr float kLog2E = 1.4426950408889634f;

/// Halves from one row of a tile to the next. The 16 extra bytes put eight successive rows in
/// eight different groups of four banks, so that ldmatrix meets no bank conflict.
template <int kHead>
constexpr int kStride = kHead + 8;

/// Two floats rounded to FP16, `low` in the low half.
__device__ __forceinline__ unsigned pack(float low, float high)
{
    __half2 const pair = __floats2half2_rn(low, high);
    return *reinterpret_cast<unsigned const*>(&pair);
}

/// Four int8 as FP16, in order. The byte b + 128 in the low bits of 1024 reads 1152 + b, exactly.
__device__ __forceinline__ uint2 widen(unsigned bytes)
{
    unsigned const biased = bytes ^ 0x80808080u;
    unsigned const thousands[2] = {__byte_perm(biased, 0x64646464u, 0x4140),
                                   __byte_perm(biased, 0x64646464u, 0x4342)};
    __half2 const base = __floats2half2_rn(1152.f, 1152.f);
    __half2 const pairs[2] = {
        __hsub2(*reinterpret_cast<__half2 const*>(&thousands[0]), base),
        __hsub2(*reinterpret_cast<__half2 const*>(&thousands[1]), base)};
    return make_uint2(*reinterpret_cast<unsigned const*>(&pairs[0]),
                      *reinterpret_cast<unsigned const*>(&pairs[1]));
}

/// What a lane hands ldmatrix for a 16 x 16 tile whose quadrants come as upper left, lower left,
/// upper right, lower right: operand a as it is, operand b transposed.
template <int kHead>
__device__ __forceinline__ __half const* down_then_right(__half const* tile)
{
    int const lane = threadIdx.x % 32;
    return tile + (lane % 16) * kStride<kHead> + lane / 16 * 8;
}

/// The same as upper left, upper right, lower left, lower right: operand b as it is, for 16 of its
/// columns, which are rows here.
template <int kHead>
__device__ __forceinline__ __half const* right_then_down(__half const* tile)
{
    int const lane = threadIdx.x % 32;
    return tile + (lane / 16 * 8 + lane % 8) * kStride<kHead> + lane / 8 % 2 * 8;
}

/// Operand a of `kTiles` x 16 rows of a tile.
template <int kTiles, int kHead>
__device__ __forceinline__ void load_query(
    unsigned (&query)[kTiles][kHead / 16][4], __half const* rows)
{
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile)
#pragma unroll
        for (int step = 0; step < kHead / 16; ++step)
            load_matrices(query[tile][step],
                          down_then_right<kHead>(rows + tile * 16 * kStride<kHead> + step * 16));
}

/// scores = query @ key.T. Groups of 16 keys from `count` on are skipped, and score 0.
template <int kTiles, int kHead, int kKeys>
__device__ __forceinline__ void score(float (&scores)[kTiles][kKeys / 8][4],
                                      unsigned const (&query)[kTiles][kHead / 16][4],
                                      __half const* key, int count)
{
#pragma unroll
    for (int first = 0; first < kKeys; first += 16)
    {
#pragma unroll
        for (int tile = 0; tile < kTiles; ++tile)
#pragma unroll
            for (int i = 0; i < 8; ++i)
                scores[tile][first / 8 + i / 4][i % 4] = 0.f;
        if (first >= count)
            continue;
#pragma unroll
        for (int step = 0; step < kHead / 16; ++step)
        {
            unsigned b[4];
            load_matrices(b, right_then_down<kHead>(key + first * kStride<kHead> + step * 16));
#pragma unroll
            for (int tile = 0; tile < kTiles; ++tile)
            {
                multiply(scores[tile][first / 8], query[tile][step], b[0], b[1]);
                multiply(scores[tile][first / 8 + 1], query[tile][step], b[2], b[3]);
            }
        }
    }
}

/// output += weights @ value. Weights in FP16; groups of 16 keys from `count` on are skipped.
template <int kTiles, int kHead, int kKeys>
__device__ __forceinline__ void mix(float (&output)[kTiles][kHead / 8][4],
                                    float const (&weights)[kTiles][kKeys / 8][4],
                                    __half const* value, int count)
{
#pragma unroll
    for (int first = 0; first < kKeys; first += 16)
    {
        if (first >= count)
            continue;
        unsigned a[kTiles][4]; // the sums' fragment is the next product's operand, halved
#pragma unroll
        for (int tile = 0; tile < kTiles; ++tile)
#pragma unroll
            for (int i = 0; i < 4; ++i)
            {
                float const(&pair)[4] = weights[tile][first / 8 + i / 2];
                a[tile][i] = pack(pair[i % 2 * 2], pair[i % 2 * 2 + 1]);
            }
#pragma unroll
        for (int step = 0; step < kHead / 16; ++step)
        {
            unsigned b[4];
            load_matrices_transposed(
                b, down_then_right<kHead>(value + first * kStride<kHead> + step * 16));
#pragma unroll
            for (int tile = 0; tile < kTiles; ++tile)
            {
                multiply(output[tile][step * 2], a[tile], b[0], b[1]);
                multiply(output[tile][step * 2 + 1], a[tile], b[2], b[3]);
            }
        }
    }
}

/// Running maximum and sum of two rows, g and g + 8 of a fragment; the sum is this lane's share.
struct Rows
{
    float maximum[2] = {-INFINITY, -INFINITY};
    float sum[2] = {0.f, 0.f};
};

/// Replaces scores by 2 ** (factor * (score - maximum so far)), and says by what earlier sums
/// shrink. The factor is positive; it holds log2(e), and what scores were not yet scaled by.
///
/// Online softmax: Milakov and Gimelshein 2018, algorithm 3.
template <int kFragments>
__device__ __forceinline__ void online_softmax(
    float (&scores)[kFragments][4], float factor, Rows& rows, float (&shrink)[2])
{
#pragma unroll
    for (int row = 0; row < 2; ++row)
    {
        float maximum = rows.maximum[row];
#pragma unroll
        for (int n = 0; n < kFragments; ++n)
            maximum = fmaxf(maximum, fmaxf(scores[n][row * 2], scores[n][row * 2 + 1]));
        // Four neighbouring lanes share a row.
        maximum = fmaxf(maximum, __shfl_xor_sync(kWholeWarp, maximum, 1));
        maximum = fmaxf(maximum, __shfl_xor_sync(kWholeWarp, maximum, 2));
        // With every key masked so far, subtracting -inf would give NaN.
        float const base = maximum == -INFINITY ? 0.f : -maximum * factor;
        shrink[row] = power_of_two(fmaf(rows.maximum[row], factor, base));
        rows.maximum[row] = maximum;
        float sum = rows.sum[row] * shrink[row];
#pragma unroll
        for (int n = 0; n < kFragments; ++n)
#pragma unroll
            for (int i = row * 2; i < row * 2 + 2; ++i)
            {
                scores[n][i] = power_of_two(fmaf(scores[n][i], factor, base));
                sum += scores[n][i];
            }
        rows.sum[row] = sum;
    }
}

__device__ __forceinline__ void put_pair(__half* target, float low, float high)
{
    *reinterpret_cast<unsigned*>(target) = pack(low, high);
}

__device__ __forceinline__ signed char to_int8(float x)
{
    return static_cast<signed char>(max(-128, min(127, __float2int_rn(x))));
}

__device__ __forceinline__ void put_pair(signed char* target, float low, float high)
{
    *reinterpret_cast<char2*>(target) = make_char2(to_int8(low), to_int8(high));
}

/// Divides 16 rows by their sums, multiplies by `factor`, and leaves them as T in rows of a tile
/// that this warp alone uses, from where they are written in whole chunks. Columns from `size` on,
/// a multiple of 8, become 0.
template <class T, int kHead>
__device__ __forceinline__ void stage(__half* tile, float const (&output)[kHead / 8][4],
                                      Rows const& rows, float factor, int size)
{
    int const lane = threadIdx.x % 32;
#pragma unroll
    for (int row = 0; row < 2; ++row)
    {
        float sum = rows.sum[row];
        sum += __shfl_xor_sync(kWholeWarp, sum, 1);
        sum += __shfl_xor_sync(kWholeWarp, sum, 2);
        float const weight = __fdividef(factor, sum); // the sum is far below 2 ** 126
        T* line = reinterpret_cast<T*>(tile + (lane / 4 + row * 8) * kStride<kHead>);
#pragma unroll
        for (int n = 0; n < kHead / 8; ++n)
            put_pair(line + n * 8 + lane % 4 * 2,
                     n * 8 < size ? output[n][row * 2] * weight : 0.f,
                     n * 8 < size ? output[n][row * 2 + 1] * weight : 0.f);
    }
    __syncwarp();
}

} // namespace vitrine
