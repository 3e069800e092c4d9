// The two operators as C functions on device memory: what the plugins and the tests call.
#pragma once

#include <cstdint>

#if defined(__GNUC__)
#define VITRINE_API extern "C" __attribute__((visibility("default")))
#else
#define VITRINE_API extern "C"
#endif

namespace vitrine
{

/// Largest head size, largest side of a window.
constexpr int kLargestHead = 128;
constexpr int kLargestWindow = 12;

enum Type : int32_t
{
    kFloat = 0,
    kHalf = 1,
    kInt8 = 2,
};

/// softmax(scale * q @ k.T + bias) @ v on contiguous tensors, all of one type (kFloat or kHalf).
struct FusedAttention
{
    void const* query;      ///< (batch, heads, queries, size)
    void const* key;        ///< (batch, heads, keys, size)
    void const* value;      ///< (batch, heads, keys, value_size)
    void const* bias;       ///< null, or read at the sum of index * bias_stride
    void* output;           ///< (batch, heads, queries, value_size)
    int64_t bias_stride[4]; ///< in elements: batch, head, query, key (1); 0 where broadcast
    int32_t batch;
    int32_t heads;
    int32_t queries;
    int32_t keys;
    int32_t size;
    int32_t value_size;
    float scale;
    Type type;
};

/// Swin's shifted-window attention; the map, of less than 2**31 tokens, is read and written where
/// it lies, unshifted.
struct WindowAttention
{
    void const* qkv;  ///< (batch, height, width, 3 * heads * size), of `type`
    void const* bias; ///< (heads, window**2, window**2), of `bias_type`
    void* output;     ///< (batch, height, width, heads * size), of `type`
    int32_t batch;
    int32_t height; ///< a multiple of window
    int32_t width;  ///< a multiple of window
    int32_t heads;
    int32_t size;
    int32_t window;
    int32_t shift; ///< 0 to window - 1
    float scale;
    float qkv_scale;    ///< real value of one step of an int8 qkv; 1 for other types
    float output_scale; ///< real value of one step of an int8 output; 1 for other types
    Type type;
    Type bias_type; ///< as `type`; kHalf or kFloat where that is kInt8
};

} // namespace vitrine

/// Enqueues the operator on `stream` (a cudaStream_t).
///
/// Returns a cudaError_t: cudaErrorInvalidValue for what the structure's comments do not allow,
/// cudaErrorInvalidDeviceFunction or cudaErrorNoKernelImageForDevice where the library holds no
/// code for this device. A row whose every score is -inf gives NaN, as softmax does.
VITRINE_API int vitrine_fused_attention(vitrine::FusedAttention const* problem, void* stream);
VITRINE_API int vitrine_window_attention(vitrine::WindowAttention const* problem, void* stream);
