// softmax(scale q k.T + bias) v without its score matrix in memory: FlashAttention (Dao et al.
// 2022, algorithm 1; the loop order is that of Dao 2023), on mma.sync.
#include "scalar_fused.cuh"

namespace vitrine
{
namespace
{

constexpr int kWarps = 4;

/// 64 keys a tile, 32 where more would not fit in registers, or in the 64 KiB of sm_75.
template <int kHead, int kTiles>
constexpr int kTileKeys = kHead * kTiles <= 64 ? 64 : 32;

/// Query tile, and keys and values twice: one tile is computed on while the next arrives.
template <int kHead, int kTiles>
constexpr int kSharedHalves =
    (kWarps * 16 * kTiles + 4 * kTileKeys<kHead, kTiles>)*kStride<kHead>;

/// Starts copying kRows rows of a (total, width) matrix, from `first` on, into a tile.
/// What is outside the matrix becomes zero.
template <int kHead, int kRows>
__device__ __forceinline__ void start_rows(
    __half* tile, __half const* matrix, int first, int total, int width)
{
    constexpr int kThreads = kWarps * 32;
    constexpr int kChunks = kRows * kHead / 8;
#pragma unroll
    for (int step = 0; step < kChunks; step += kThreads)
    {
        int const i = step + threadIdx.x;
        if (kChunks % kThreads != 0 && i >= kChunks)
            break;
        int const row = i / (kHead / 8);
        int const column = i % (kHead / 8) * 8;
        // The address must be good even where nothing is read from it.
        __half const* const source =
            matrix + static_cast<int64_t>(min(first + row, total - 1)) * width;
        start_copy(tile + row * kStride<kHead> + column, source + (column < width ? column : 0),
                   first + row < total && column < width);
    }
}

/// Scales the scores of 16 rows and adds the bias. kWhole: all of these keys exist.
template <bool kWhole, int kFragments>
__device__ __forceinline__ void add_bias(float (&scores)[kFragments][4], FusedAttention const& p,
                                         __half const* bias, int first_row, int first_key)
{
    int const lane = threadIdx.x % 32;
    int const step = static_cast<int>(p.bias_stride[3]);
#pragma unroll
    for (int i = 0; i < 4; ++i)
    {
        int const row = min(first_row + lane / 4 + i / 2 * 8, p.queries - 1);
        __half const* const line = bias + row * p.bias_stride[2];
#pragma unroll
        for (int n = 0; n < kFragments; ++n)
        {
            int const key = first_key + n * 8 + lane % 4 * 2 + i % 2;
            int const existing = kWhole ? key : min(key, p.keys - 1);
            scores[n][i] = fmaf(scores[n][i], p.scale, __half2float(line[existing * step]));
        }
    }
}

/// Scores of keys from the `count`-th on become -inf.
template <int kFragments>
__device__ __forceinline__ void mask(float (&scores)[kFragments][4], int count)
{
    int const first = threadIdx.x % 4 * 2;
#pragma unroll
    for (int n = 0; n < kFragments; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i)
            if (first + n * 8 + i % 2 >= count)
                scores[n][i] = -INFINITY;
}

/// A warp's queries against one tile of keys and values. kWhole: all keys of the tile exist.
template <bool kWhole, int kHead, int kTiles>
__device__ __forceinline__ void attend(float (&output)[kTiles][kHead / 8][4], Rows (&rows)[kTiles],
                                       unsigned const (&query)[kTiles][kHead / 16][4],
                                       __half const* key, __half const* value,
                                       FusedAttention const& p, __half const* bias, int first_row,
                                       int first_key)
{
    constexpr int kKeys = kTileKeys<kHead, kTiles>;
    int const count = kWhole ? kKeys : p.keys - first_key;
    float const factor = bias == nullptr ? p.scale * kLog2E : kLog2E;
    float scores[kTiles][kKeys / 8][4];
    score<kTiles, kHead, kKeys>(scores, query, key, count);
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile)
    {
        if (bias != nullptr)
            add_bias<kWhole>(scores[tile], p, bias, first_row + tile * 16, first_key);
        if (!kWhole)
            mask(scores[tile], count);
        float shrink[2];
        online_softmax(scores[tile], factor, rows[tile], shrink);
#pragma unroll
        for (int n = 0; n < kHead / 8; ++n)
#pragma unroll
            for (int i = 0; i < 4; ++i)
                output[tile][n][i] *= shrink[i / 2];
    }
    mix<kTiles, kHead, kKeys>(output, scores, value, count);
}

/// A block owns 64 * kTiles queries of one head, a warp 16 * kTiles of them.
///
/// Two tiles a warp halve the traffic of shared memory: every fragment of keys and values is
/// loaded once for both. kHead is the head size rounded up; columns beyond it are zero.
template <int kHead, int kTiles>
__global__ void __launch_bounds__(kWarps * 32) fused_attention(FusedAttention p)
{
    constexpr int kQueries = kWarps * 16 * kTiles;
    constexpr int kKeys = kTileKeys<kHead, kTiles>;
    constexpr int kTile = kKeys * kStride<kHead>;
    auto* const query = reinterpret_cast<__half*>(shared_memory());
    __half* const keys = query + kQueries * kStride<kHead>;
    __half* const values = keys + 2 * kTile;

    int const blocks = (p.queries + kQueries - 1) / kQueries;
    int const first = blockIdx.x % blocks * kQueries;
    int64_t const slice = blockIdx.x / blocks;
    auto const* const k = static_cast<__half const*>(p.key) + slice * p.keys * p.size;
    auto const* const v = static_cast<__half const*>(p.value) + slice * p.keys * p.value_size;
    auto const* bias = static_cast<__half const*>(p.bias);
    if (bias != nullptr)
        bias += slice / p.heads * p.bias_stride[0] + slice % p.heads * p.bias_stride[1];

    int const mine = threadIdx.x / 32 * 16 * kTiles;
    bool const active = first + mine < p.queries;
    start_rows<kHead, kQueries>(query,
                                static_cast<__half const*>(p.query) + slice * p.queries * p.size,
                                first, p.queries, p.size);
    start_rows<kHead, kKeys>(keys, k, 0, p.keys, p.size);
    start_rows<kHead, kKeys>(values, v, 0, p.keys, p.value_size);
    finish_copies();
    __syncthreads();

    unsigned fragments[kTiles][kHead / 16][4];
    load_query<kTiles, kHead>(fragments, query + mine * kStride<kHead>);
    float output[kTiles][kHead / 8][4] = {};
    Rows rows[kTiles];
    for (int start = 0, buffer = 0; start < p.keys; start += kKeys, buffer ^= 1)
    {
        if (start + kKeys < p.keys)
        {
            int const next = (buffer ^ 1) * kTile;
            start_rows<kHead, kKeys>(keys + next, k, start + kKeys, p.keys, p.size);
            start_rows<kHead, kKeys>(values + next, v, start + kKeys, p.keys, p.value_size);
        }
        __half const* const key = keys + buffer * kTile;
        __half const* const value = values + buffer * kTile;
        if (active && start + kKeys <= p.keys)
            attend<true, kHead, kTiles>(output, rows, fragments, key, value, p, bias,
                                        first + mine, start);
        else if (active)
            attend<false, kHead, kTiles>(output, rows, fragments, key, value, p, bias,
                                         first + mine, start);
        finish_copies();
        __syncthreads();
    }

    if (!active)
        return;
    __half* const staged = query + mine * kStride<kHead>;
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile)
        stage<__half, kHead>(staged + tile * 16 * kStride<kHead>, output[tile], rows[tile], 1.f,
                             kHead);
    auto* const target = static_cast<__half*>(p.output) + slice * p.queries * p.value_size;
    for (int i = threadIdx.x % 32; i < 16 * kTiles * kHead / 8; i += 32)
    {
        int const row = i / (kHead / 8);
        int const column = i % (kHead / 8) * 8;
        if (first + mine + row < p.queries && column < p.value_size)
            *reinterpret_cast<uint4*>(
                target + static_cast<int64_t>(first + mine + row) * p.value_size + column) =
                *reinterpret_cast<uint4 const*>(staged + row * kStride<kHead> + column);
    }
}

template <int kHead, int kTiles>
cudaError_t launch_fused(FusedAttention const& p, void* stream)
{
    constexpr int kQueries = kWarps * 16 * kTiles;
    int64_t const blocks = (p.queries + kQueries - 1) / kQueries;
    return launch(fused_attention<kHead, kTiles>, p, blocks * p.batch * p.heads, kWarps * 32,
                  sizeof(__half) * kSharedHalves<kHead, kTiles>, stream);
}

/// Two tiles a warp, unless that leaves processors without work.
template <int kHead>
cudaError_t launch_narrow(FusedAttention const& p, void* stream)
{
    int64_t const pairs = static_cast<int64_t>(p.batch) * p.heads * ((p.queries + 127) / 128);
    return pairs >= 2 * attribute(cudaDevAttrMultiProcessorCount)
               ? launch_fused<kHead, 2>(p, stream)
               : launch_fused<kHead, 1>(p, stream);
}

cudaError_t launch_half(FusedAttention const& p, void* stream)
{
    bool const whole_chunks = p.size % 8 == 0 && p.value_size % 8 == 0 && aligned(p.query) &&
                              aligned(p.key) && aligned(p.value) && aligned(p.output);
    // A positive scale does not change which score is the largest.
    if (!whole_chunks || !(p.scale > 0.f))
        return launch_scalar(ScalarFused<__half>{p}, static_cast<int64_t>(p.batch) * p.heads,
                             stream);
    int const widest = std::max(p.size, p.value_size);
    if (widest <= 32)
        return launch_narrow<32>(p, stream);
    if (widest <= 64)
        return launch_narrow<64>(p, stream);
    if (widest <= 80)
        return launch_fused<80, 1>(p, stream);
    if (widest <= 96)
        return launch_fused<96, 1>(p, stream);
    return launch_fused<128, 1>(p, stream);
}

bool valid(FusedAttention const& p)
{
    bool const positive = p.batch >= 0 && p.heads >= 0 && p.queries >= 0 && p.keys > 0;
    bool const narrow = p.size > 0 && p.size <= kLargestHead && p.value_size > 0 &&
                        p.value_size <= kLargestHead;
    bool const contiguous = p.bias_stride[3] == 0 || p.bias_stride[3] == 1;
    return positive && narrow && contiguous && (p.type == kFloat || p.type == kHalf);
}

} // namespace
} // namespace vitrine

VITRINE_API int vitrine_fused_attention(vitrine::FusedAttention const* problem, void* stream)
{
    using namespace vitrine;
    FusedAttention const& p = *problem;
    if (!valid(p))
        return cudaErrorInvalidValue;
    int64_t const slices = static_cast<int64_t>(p.batch) * p.heads;
    if (slices == 0 || p.queries == 0)
        return cudaSuccess;
    return p.type == kHalf ? launch_half(p, stream)
                           : launch_scalar(ScalarFused<float>{p}, slices, stream);
}
