// FusedAttention as `scalar_attention` reads it.
#pragma once

#include "scalar_attention.cuh"

namespace vitrine
{

/// A slice is a head of an image.
template <class T>
struct ScalarFused : FusedAttention
{
    struct Slice
    {
        T const* q;
        T const* k;
        T const* v;
        T const* b;
        T* o;
        FusedAttention const& p;

        __device__ float query(int row, int column) const
        {
            return load(q + static_cast<int64_t>(row) * p.size + column);
        }
        __device__ float key(int row, int column) const
        {
            return load(k + static_cast<int64_t>(row) * p.size + column);
        }
        __device__ float value(int row, int column) const
        {
            return load(v + static_cast<int64_t>(row) * p.value_size + column);
        }
        __device__ float score(float dot, int row, int key) const
        {
            float const scaled = dot * p.scale;
            return b == nullptr
                       ? scaled
                       : scaled + load(b + row * p.bias_stride[2] + key * p.bias_stride[3]);
        }
        __device__ void write(int row, int column, float x) const
        {
            store(o + static_cast<int64_t>(row) * p.value_size + column, x);
        }
    };

    __host__ __device__ int queries() const { return FusedAttention::queries; }
    __host__ __device__ int keys() const { return FusedAttention::keys; }
    __host__ __device__ int size() const { return FusedAttention::size; }
    __host__ __device__ int value_size() const { return FusedAttention::value_size; }

    __device__ Slice slice(int64_t n) const
    {
        T const* const bias_of_head =
            bias == nullptr ? nullptr
                            : static_cast<T const*>(bias) + n / heads * bias_stride[0] +
                                  n % heads * bias_stride[1];
        return {static_cast<T const*>(query) + n * queries() * size(),
                static_cast<T const*>(key) + n * keys() * size(),
                static_cast<T const*>(value) + n * keys() * value_size(),
                bias_of_head,
                static_cast<T*>(output) + n * queries() * value_size(),
                *this};
    }
};

} // namespace vitrine
