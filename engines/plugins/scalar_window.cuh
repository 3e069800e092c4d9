// WindowAttention as `scalar_attention` reads it.
#pragma once

#include "scalar_attention.cuh"
#include "window_geometry.cuh"

namespace vitrine
{

__device__ __forceinline__ float load_bias(WindowAttention const& p, int64_t index)
{
    return p.bias_type == kHalf ? load(static_cast<__half const*>(p.bias) + index)
                                : load(static_cast<float const*>(p.bias) + index);
}

/// A slice is a head of a window.
template <class T>
struct ScalarWindow : WindowAttention
{
    struct Slice
    {
        WindowAttention const& p;
        Window window;
        int head;

        __device__ float part(int which, int token, int column) const
        {
            int64_t const row = window.token(p, place(p, token)) * int64_t{3} + which;
            return load(static_cast<T const*>(p.qkv) + (row * p.heads + head) * p.size + column) *
                   p.qkv_scale;
        }
        __device__ float query(int token, int column) const { return part(0, token, column); }
        __device__ float key(int token, int column) const { return part(1, token, column); }
        __device__ float value(int token, int column) const { return part(2, token, column); }
        __device__ float score(float dot, int query, int key) const
        {
            int const tokens = p.window * p.window;
            int64_t const line = (static_cast<int64_t>(head) * tokens + query) * tokens;
            bool const masked = window.apart(place(p, query), place(p, key));
            return dot * p.scale + load_bias(p, line + key) + (masked ? kMasked : 0.f);
        }
        __device__ void write(int token, int column, float x) const
        {
            int64_t const row = window.token(p, place(p, token));
            store(static_cast<T*>(p.output) + (row * p.heads + head) * p.size + column,
                  x / p.output_scale);
        }
    };

    __host__ __device__ int queries() const { return window * window; }
    __host__ __device__ int keys() const { return window * window; }
    __host__ __device__ int value_size() const { return WindowAttention::size; }
    __host__ __device__ int size() const { return WindowAttention::size; }
    __device__ Slice slice(int64_t n) const
    {
        return {*this, Window(*this, static_cast<unsigned>(n / heads)), static_cast<int>(n % heads)};
    }
};

} // namespace vitrine
