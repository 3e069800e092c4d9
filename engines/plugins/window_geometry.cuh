// Where the tokens of a window of the shifted map lie in the map itself.
#pragma once

#include "attention.h"

#include <cuda_runtime.h>

namespace vitrine
{

/// Swin's additive mask value (Liu et al. 2021).
constexpr float kMasked = -100.f;

/// A token's place in its window, and whether the cyclic shift brought it there.
struct alignas(4) Place // one load
{
    signed char row;
    signed char column;
    signed char wrapped; ///< bit 1: in the last `shift` rows of a window; bit 0: columns
};

__host__ __device__ inline Place place(WindowAttention const& p, int token)
{
    int const row = token / p.window;
    int const column = token % p.window;
    int const wrapped =
        (row >= p.window - p.shift ? 2 : 0) + (column >= p.window - p.shift ? 1 : 0);
    return {static_cast<signed char>(row), static_cast<signed char>(column),
            static_cast<signed char>(wrapped)};
}

__host__ __device__ inline int64_t count_windows(WindowAttention const& p)
{
    return static_cast<int64_t>(p.batch) * (p.height / p.window) * (p.width / p.window);
}

/// The n-th window: first by image, then by row of windows.
struct Window
{
    int image; ///< token at the image's upper left corner
    int top;
    int left;
    int edge; ///< bits of Place::wrapped that separate tokens: only windows at the lower and right
              ///< edge hold tokens from both ends of the image

    __device__ Window(WindowAttention const& p, unsigned n)
    {
        unsigned const across = p.width / p.window;
        unsigned const down = p.height / p.window;
        unsigned const line = n / across; // of windows
        image = line / down * p.height * p.width;
        top = line % down * p.window;
        left = n % across * p.window;
        edge = (top + p.window == p.height ? 2 : 0) + (left + p.window == p.width ? 1 : 0);
    }

    /// Index, in the unshifted map, of a token of the map rolled by -shift.
    __device__ int token(WindowAttention const& p, Place place) const
    {
        int row = top + place.row + p.shift;
        int column = left + place.column + p.shift;
        row -= row >= p.height ? p.height : 0;
        column -= column >= p.width ? p.width : 0;
        return image + row * p.width + column;
    }

    /// Whether two tokens were not neighbours before the roll.
    __device__ bool apart(Place a, Place b) const { return ((a.wrapped ^ b.wrapped) & edge) != 0; }
};

} // namespace vitrine
