// The kernels' warp instructions on the host, from the fragment layouts that the PTX ISA documents:
// written from its text, not from the kernels.
#pragma once

#include <cuda_fp16.h>
#include <cuda_runtime.h>

namespace emulator
{

inline __half2 halves(unsigned word)
{
    __half2 pair;
    std::memcpy(&pair, &word, sizeof pair);
    return pair;
}

struct Product
{
    float* d;
    unsigned a[4], b[2];
};

/// mma.m16n8k16: elements of each operand by "groupID" and "threadID_in_group".
inline int const product = add(
    [](Fiber* lanes)
    {
        float a[16][16], b[16][8];
        for (int lane = 0; lane < 32; ++lane)
        {
            auto const& mine = *static_cast<Product*>(lanes[lane].operand);
            int const group = lane >> 2;
            int const in_group = lane % 4;
            for (int i = 0; i < 8; ++i)
            {
                int const row = i < 2 || (i >= 4 && i < 6) ? group : group + 8;
                int const column = in_group * 2 + (i & 1) + (i < 4 ? 0 : 8);
                __half2 const pair = halves(mine.a[i / 2]);
                a[row][column] = __half2float(i % 2 == 0 ? pair.x : pair.y);
            }
            for (int i = 0; i < 4; ++i)
            {
                int const row = in_group * 2 + (i & 1) + (i < 2 ? 0 : 8);
                __half2 const pair = halves(mine.b[i / 2]);
                b[row][group] = __half2float(i % 2 == 0 ? pair.x : pair.y);
            }
        }
        for (int lane = 0; lane < 32; ++lane)
            for (int i = 0; i < 4; ++i)
            {
                int const row = (lane >> 2) + (i < 2 ? 0 : 8);
                int const column = lane % 4 * 2 + (i & 1);
                float sum = static_cast<Product*>(lanes[lane].operand)->d[i];
                for (int k = 0; k < 16; ++k)
                    sum += a[row][k] * b[k][column];
                static_cast<Product*>(lanes[lane].operand)->d[i] = sum;
            }
    });

struct Matrices
{
    unsigned* r;
    __half const* row;
};

/// ldmatrix.m8n8.x4: the addresses of threads 8i to 8i + 7 are the rows of matrix i.
template <bool kTransposed>
void load(Fiber* lanes)
{
    for (int matrix = 0; matrix < 4; ++matrix)
    {
        uint16_t elements[8][8];
        for (int row = 0; row < 8; ++row)
        {
            auto const* const source = static_cast<Matrices*>(lanes[matrix * 8 + row].operand)->row;
            if (reinterpret_cast<std::uintptr_t>(source) % 16 != 0)
                fail("ldmatrix of a misaligned row");
            std::memcpy(elements[row], source, 16);
        }
        for (int lane = 0; lane < 32; ++lane)
        {
            int const major = lane / 4;
            int const minor = lane % 4 * 2;
            unsigned const low = kTransposed ? elements[minor][major] : elements[major][minor];
            unsigned const high =
                kTransposed ? elements[minor + 1][major] : elements[major][minor + 1];
            static_cast<Matrices*>(lanes[lane].operand)->r[matrix] = high << 16 | low;
        }
    }
}

inline int const matrices = add(load<false>);
inline int const matrices_transposed = add(load<true>);

} // namespace emulator

namespace vitrine
{

inline unsigned char* shared_memory()
{
    auto const address = reinterpret_cast<std::uintptr_t>(emulator::block.shared.data());
    return reinterpret_cast<unsigned char*>((address + 15) / 16 * 16);
}

inline void multiply(float (&d)[4], unsigned const (&a)[4], unsigned b0, unsigned b1)
{
    emulator::Product operand{d, {a[0], a[1], a[2], a[3]}, {b0, b1}};
    emulator::meet(emulator::product, operand);
}

inline void load_matrices(unsigned (&r)[4], __half const* row)
{
    emulator::Matrices operand{r, row};
    emulator::meet(emulator::matrices, operand);
}

inline void load_matrices_transposed(unsigned (&r)[4], __half const* row)
{
    emulator::Matrices operand{r, row};
    emulator::meet(emulator::matrices_transposed, operand);
}

inline void start_copy(void* shared, void const* global, bool valid)
{
    if (reinterpret_cast<std::uintptr_t>(shared) % 16 != 0 ||
        reinterpret_cast<std::uintptr_t>(global) % 16 != 0)
        emulator::fail("a copy of 16 misaligned bytes");
    // Until it has arrived nobody may rely on the old bytes or on the new ones: NaN.
    std::memset(shared, 0xff, 16);
    emulator::block.running->copies.push_back({shared, valid ? global : nullptr});
}

inline void finish_copies()
{
    for (emulator::Copy const& copy : emulator::block.running->copies)
        if (copy.source != nullptr)
            std::memcpy(copy.target, copy.source, 16);
        else
            std::memset(copy.target, 0, 16);
    emulator::block.running->copies.clear();
}

inline float power_of_two(float x) { return std::exp2(x); }

} // namespace vitrine
