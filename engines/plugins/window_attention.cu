// Swin's shifted-window attention (Liu et al. 2021, section 3.2) on the map as it lies in memory:
// shift, partition, mask and their inverses are addresses, so that the map is read once and written
// once.
#include "scalar_window.cuh"

namespace vitrine
{
namespace
{

/// What a tensor-core block needs to know besides the operator's arguments.
struct WindowProblem : WindowAttention
{
    int buffers;          ///< windows in shared memory: 2 to load one while the other is computed
    int blocks_per_head;
};

/// Largest window a kernel holds, in tokens; smaller ones are padded to it.
constexpr int kSmallWindow = 64;
constexpr int kLargeWindow = kLargestWindow * kLargestWindow;

constexpr int kPlaces = kLargeWindow * sizeof(Place); // bytes, a multiple of 16

/// Halves of the queries of a window and head, or of its keys, or values.
template <int kTokens, int kHead>
constexpr int kPart = kTokens * kStride<kHead>;

/// Halves of one buffer: queries, keys and values.
template <int kTokens, int kHead>
constexpr int kBuffer = 3 * kPart<kTokens, kHead>;

__device__ __forceinline__ void start_chunk(__half* target, __half const* source)
{
    start_copy(target, source, true);
}

/// Eight int8 become halves, so that one kernel serves both types; products of int8 are exact.
__device__ __forceinline__ void start_chunk(__half* target, signed char const* source)
{
    uint2 const bytes = *reinterpret_cast<uint2 const*>(source);
    uint2 const low = widen(bytes.x);
    uint2 const high = widen(bytes.y);
    *reinterpret_cast<uint4*>(target) = make_uint4(low.x, low.y, high.x, high.y);
}

/// Starts loading a window's queries, keys and values of one head, 8 elements a thread and step.
template <class T, int kTokens, int kHead>
__device__ __forceinline__ void start_window(
    __half* buffer, Place const* places, WindowProblem const& p, Window const& window, int head)
{
    constexpr int kChunks = kHead / 8;
    int const channels = p.heads * p.size;
    auto const* const qkv = static_cast<T const*>(p.qkv) + head * p.size;
#pragma unroll
    for (int step = 0; step < kTokens * kChunks; step += kTokens * 2)
    {
        int const token = (step + threadIdx.x) / kChunks;
        int const column = (step + threadIdx.x) % kChunks * 8;
        if (token >= p.window * p.window || column >= p.size)
            continue;
        T const* const source =
            qkv + static_cast<int64_t>(window.token(p, places[token])) * (3 * channels) + column;
        __half* const target = buffer + token * kStride<kHead> + column;
#pragma unroll
        for (int part = 0; part < 3; ++part)
            start_chunk(target + part * kPart<kTokens, kHead>, source + part * channels);
    }
}

/// A lane's bias in FP16, two registers a fragment; -inf for keys that pad the window.
template <int kTokens>
__device__ __forceinline__ void load_biases(
    unsigned (&bias)[kTokens / 8][2], WindowAttention const& p, int head, int first_row)
{
    int const lane = threadIdx.x % 32;
    int const tokens = p.window * p.window;
#pragma unroll
    for (int n = 0; n < kTokens / 8; ++n)
#pragma unroll
        for (int row = 0; row < 2; ++row)
        {
            int const query = min(first_row + lane / 4 + row * 8, tokens - 1);
            int64_t const line = (static_cast<int64_t>(head) * tokens + query) * tokens;
            int const key = n * 8 + lane % 4 * 2;
            bias[n][row] = pack(key < tokens ? load_bias(p, line + key) : -INFINITY,
                                key + 1 < tokens ? load_bias(p, line + key + 1) : -INFINITY);
        }
}

/// Scales the scores of 16 rows, adds the bias, and masks what the shift brought together.
template <int kTokens>
__device__ __forceinline__ void finish_scores(
    float (&scores)[kTokens / 8][4], unsigned const (&bias)[kTokens / 8][2], float scale,
    Window const& window, Place const* places, int first_row, bool shifted)
{
    int const lane = threadIdx.x % 32;
#pragma unroll
    for (int n = 0; n < kTokens / 8; ++n)
#pragma unroll
        for (int row = 0; row < 2; ++row)
        {
            float2 const add = __half22float2(*reinterpret_cast<__half2 const*>(&bias[n][row]));
            scores[n][row * 2] = fmaf(scores[n][row * 2], scale, add.x);
            scores[n][row * 2 + 1] = fmaf(scores[n][row * 2 + 1], scale, add.y);
        }
    if (!shifted || window.edge == 0)
        return;
#pragma unroll
    for (int n = 0; n < kTokens / 8; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i)
        {
            Place const query = places[first_row + lane / 4 + i / 2 * 8];
            Place const key = places[n * 8 + lane % 4 * 2 + i % 2];
            scores[n][i] += window.apart(query, key) ? kMasked : 0.f;
        }
}

/// Writes 16 rows from a warp's tile to where their tokens lie, 8 elements a lane and step.
template <class T, int kHead>
__device__ __forceinline__ void write_rows(__half const* tile, Place const* places,
                                           WindowProblem const& p, Window const& window, int head,
                                           int first_row)
{
    using Chunk = std::conditional_t<sizeof(T) == 2, uint4, uint2>;
    int const tokens = p.window * p.window;
    auto* const output = static_cast<T*>(p.output) + head * p.size;
    for (int i = threadIdx.x % 32; i < 16 * kHead / 8; i += 32)
    {
        int const row = i / (kHead / 8);
        int const column = i % (kHead / 8) * 8;
        if (first_row + row >= tokens || column >= p.size)
            continue;
        T const* const staged =
            reinterpret_cast<T const*>(tile + row * kStride<kHead>) + column;
        int64_t const token = window.token(p, places[first_row + row]);
        T* const target = output + token * (p.heads * p.size) + column;
        *reinterpret_cast<Chunk*>(target) = *reinterpret_cast<Chunk const*>(staged);
    }
}

/// A warp's 16 queries of a window that lies in a buffer, from scores to the output.
///
/// All scores of a row fit in registers, so the softmax takes one pass.
template <class T, int kTokens, int kHead>
__device__ __forceinline__ void compute_window(
    __half* buffer, unsigned const (&bias)[kTokens / 8][2], Place const* places,
    WindowProblem const& p, Window const& window, int head, int first_row)
{
    __half* const query = buffer + first_row * kStride<kHead>;
    __half const* const key = buffer + kPart<kTokens, kHead>;
    unsigned fragments[1][kHead / 16][4];
    float scores[1][kTokens / 8][4];
    float output[1][kHead / 8][4] = {};
    float shrink[2]; // of sums that do not exist yet
    Rows rows;
    load_query<1, kHead>(fragments, query);
    score<1, kHead, kTokens>(scores, fragments, key, kTokens);
    finish_scores<kTokens>(scores[0], bias, p.scale * p.qkv_scale * p.qkv_scale, window, places,
                           first_row, p.shift > 0);
    online_softmax(scores[0], kLog2E, rows, shrink);
    mix<1, kHead, kTokens>(output, scores, key + kPart<kTokens, kHead>, kTokens);
    stage<T, kHead>(query, output[0], rows, p.qkv_scale / p.output_scale, p.size);
    write_rows<T, kHead>(query, places, p, window, head, first_row);
}

/// A block keeps one head and its bias, and walks over windows; a warp owns 16 of their queries.
///
/// T is the type of the map, kTokens the most tokens of a window, kHead the head size rounded up.
template <class T, int kTokens, int kHead>
__global__ void __launch_bounds__(kTokens * 2) window_attention(WindowProblem p)
{
    auto* const places = reinterpret_cast<Place*>(shared_memory());
    auto* const buffers = reinterpret_cast<__half*>(shared_memory() + kPlaces);
    int const tokens = p.window * p.window;
    for (int i = threadIdx.x; i < kTokens; i += blockDim.x)
        places[i] = place(p, min(i, tokens - 1));
    // What no token fills is zero and stays it: products with NaN would be NaN.
    for (int i = threadIdx.x; i < p.buffers * kBuffer<kTokens, kHead> / 8; i += blockDim.x)
        reinterpret_cast<uint4*>(buffers)[i] = make_uint4(0, 0, 0, 0);
    __syncthreads();

    int const head = blockIdx.x % p.heads;
    int const mine = threadIdx.x / 32 * 16;
    unsigned n = blockIdx.x / p.heads;
    Window window(p, n);
    start_window<T, kTokens, kHead>(buffers, places, p, window, head);
    unsigned bias[kTokens / 8][2];
    load_biases<kTokens>(bias, p, head, mine);

    for (__half* buffer = buffers;;)
    {
        finish_copies();
        __syncthreads();
        n += p.blocks_per_head;
        bool const more = n < count_windows(p);
        Window const next(p, n);
        __half* const other = buffers + (buffer == buffers ? kBuffer<kTokens, kHead> : 0);
        if (more && p.buffers == 2)
            start_window<T, kTokens, kHead>(other, places, p, next, head);
        if (mine < tokens)
            compute_window<T, kTokens, kHead>(buffer, bias, places, p, window, head, mine);
        if (!more)
            return;
        if (p.buffers == 2)
            buffer = other;
        else
        {
            __syncthreads(); // every warp is done with the only buffer
            start_window<T, kTokens, kHead>(buffers, places, p, next, head);
        }
        window = next;
    }
}

template <class T>
cudaError_t launch_scalar_window(WindowAttention const& p, void* stream)
{
    return launch_scalar(ScalarWindow<T>{p}, count_windows(p) * p.heads, stream);
}

/// As many blocks as the device holds at once; two buffers where they fit and copies can overlap.
template <class T, int kTokens, int kHead>
cudaError_t launch_window(WindowAttention const& arguments, void* stream)
{
    WindowProblem p{arguments, 1, 1};
    std::size_t const most = attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin);
    std::size_t const buffer = sizeof(__half) * kBuffer<kTokens, kHead>;
    if (sizeof(T) == 2 && kPlaces + 2 * buffer <= most)
        p.buffers = 2;
    std::size_t const shared = kPlaces + p.buffers * buffer;
    if (shared > most)
        return launch_scalar_window<T>(p, stream);

    auto* const kernel = window_attention<T, kTokens, kHead>;
    int const threads = kTokens * 2;
    cudaError_t status = allow_shared_memory(kernel);
    int resident = 0;
    if (status == cudaSuccess)
        status = cudaOccupancyMaxActiveBlocksPerMultiprocessor(&resident, kernel, threads, shared);
    if (status != cudaSuccess)
        return status;
    int64_t const blocks =
        static_cast<int64_t>(resident) * attribute(cudaDevAttrMultiProcessorCount);
    p.blocks_per_head = static_cast<int>(
        std::min(count_windows(p), std::max<int64_t>(1, blocks / p.heads)));
    return launch(kernel, p, static_cast<int64_t>(p.blocks_per_head) * p.heads, threads, shared,
                  stream);
}

template <class T>
cudaError_t launch_type(WindowAttention const& p, void* stream)
{
    bool const small = p.window * p.window <= kSmallWindow;
    // Large windows of wide heads exceed the registers; no model is known to have them.
    if (p.size % 8 != 0 || !aligned(p.qkv) || !aligned(p.output) || (!small && p.size > 64))
        return launch_scalar_window<T>(p, stream);
    if (!small)
        return p.size <= 32 ? launch_window<T, kLargeWindow, 32>(p, stream)
                            : launch_window<T, kLargeWindow, 64>(p, stream);
    if (p.size <= 32)
        return launch_window<T, kSmallWindow, 32>(p, stream);
    return p.size <= 64 ? launch_window<T, kSmallWindow, 64>(p, stream)
                        : launch_window<T, kSmallWindow, 128>(p, stream);
}

bool valid(WindowAttention const& p)
{
    bool const tiles = p.window > 0 && p.window <= kLargestWindow && p.shift >= 0 &&
                       p.shift < p.window && p.height % p.window == 0 && p.width % p.window == 0;
    bool const sizes = p.batch >= 0 && p.height >= 0 && p.width >= 0 && p.heads > 0 && p.size > 0 &&
                       p.size <= kLargestHead;
    bool const types = p.type == kInt8 ? p.bias_type == kHalf || p.bias_type == kFloat
                                       : (p.type == kHalf || p.type == kFloat) &&
                                             p.bias_type == p.type;
    // Tokens are counted in 32 bits; maps with more of them fit no memory.
    bool const countable = static_cast<int64_t>(p.height) * p.width <= INT32_MAX &&
                           static_cast<int64_t>(p.height) * p.width * p.batch <= INT32_MAX;
    return tiles && sizes && types && countable && p.qkv_scale > 0.f && p.output_scale > 0.f;
}

} // namespace
} // namespace vitrine

VITRINE_API int vitrine_window_attention(vitrine::WindowAttention const* problem, void* stream)
{
    using namespace vitrine;
    WindowAttention const& p = *problem;
    if (!valid(p))
        return cudaErrorInvalidValue;
    if (count_windows(p) == 0)
        return cudaSuccess;
    switch (p.type)
    {
    case kHalf: return launch_type<__half>(p, stream);
    case kInt8: return launch_type<signed char>(p, stream);
    default: return launch_scalar_window<float>(p, stream);
    }
}
