// What the kernels need of the hardware, one function an instruction. Tests on machines without
// a GPU put another file of this name first on the include path.
#pragma once

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace vitrine
{

/// Dynamic shared memory of the block, aligned to 16 bytes.
__device__ __forceinline__ unsigned char* shared_memory()
{
    extern __shared__ __align__(16) unsigned char memory[];
    return memory;
}

/// d += a b for a warp: a 16 x 16 by rows, b 16 x 8 by columns, FP16 products, FP32 sums.
///
/// Lane l holds, with g = l / 4 and t = l % 4 (PTX ISA, "Matrix Fragments for mma.m16n8k16"):
/// a[0], a[1] rows g and g + 8 of columns 2t, 2t + 1; a[2], a[3] the same of columns 2t + 8, 2t + 9;
/// b0 rows 2t, 2t + 1 and b1 rows 2t + 8, 2t + 9 of column g;
/// d[0], d[1] row g and d[2], d[3] row g + 8 of columns 2t, 2t + 1.
__device__ __forceinline__ void multiply(
    float (&d)[4], unsigned const (&a)[4], unsigned b0, unsigned b1)
{
#if __CUDA_ARCH__ >= 800
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
    // Turing's instruction is half as deep; its fragments are the halves of the other's.
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(b0));
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[2]), "r"(a[3]), "r"(b1));
#endif
}

/// Four 8 x 8 matrices of FP16 from shared memory: lanes 8i to 8i + 7 point at the rows of matrix
/// i, and lane l receives elements 2t, 2t + 1 of row g of each.
__device__ __forceinline__ void load_matrices(unsigned (&r)[4], __half const* row)
{
    unsigned const address = static_cast<unsigned>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
}

/// As load_matrices, with each matrix transposed: lane l receives rows 2t, 2t + 1 of column g.
__device__ __forceinline__ void load_matrices_transposed(unsigned (&r)[4], __half const* row)
{
    unsigned const address = static_cast<unsigned>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
}

/// Starts copying 16 aligned bytes from global to shared memory, or writes zeros if not `valid`.
__device__ __forceinline__ void start_copy(void* shared, void const* global, bool valid)
{
#if __CUDA_ARCH__ >= 800
    unsigned const address = static_cast<unsigned>(__cvta_generic_to_shared(shared));
    int const bytes = valid ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :
                 : "r"(address), "l"(global), "r"(bytes)
                 : "memory");
#else
    *static_cast<uint4*>(shared) =
        valid ? *static_cast<uint4 const*>(global) : make_uint4(0, 0, 0, 0);
#endif
}

/// Waits for the copies that this thread started; other threads see them after a barrier.
__device__ __forceinline__ void finish_copies()
{
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_all;" ::: "memory");
#endif
}

/// 2 ** x, to about 2 units in the last place; 0 for results below the normal range.
__device__ __forceinline__ float power_of_two(float x)
{
    float result;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
    return result;
}

} // namespace vitrine
