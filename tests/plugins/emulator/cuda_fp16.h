// FP16 in software, rounded to nearest even.
#pragma once

#include "cuda_runtime.h"

#include <cstring>

struct __half
{
    uint16_t bits;
};

struct alignas(4) __half2
{
    __half x, y;
};

inline float __half2float(__half h)
{
    int const exponent = h.bits >> 10 & 31;
    int const mantissa = h.bits & 1023;
    float magnitude = 0.f;
    if (exponent == 31)
        magnitude = mantissa == 0 ? INFINITY : NAN;
    else if (exponent == 0)
        magnitude = std::ldexp(static_cast<float>(mantissa), -24);
    else
        magnitude = std::ldexp(static_cast<float>(mantissa + 1024), exponent - 25);
    return h.bits >> 15 != 0 ? -magnitude : magnitude;
}

inline __half __float2half_rn(float x)
{
    uint16_t const sign = std::signbit(x) ? 0x8000 : 0;
    float const magnitude = std::fabs(x);
    if (std::isnan(x))
        return {static_cast<uint16_t>(sign | 0x7e00)};
    if (magnitude >= 65520.f)
        return {static_cast<uint16_t>(sign | 0x7c00)};
    // The smallest normal exponent serves subnormals and zero too.
    int const exponent = magnitude < 0x1p-14f ? -14 : std::ilogb(magnitude);
    auto const steps = static_cast<unsigned>(std::nearbyint(std::ldexp(magnitude, 10 - exponent)));
    // Normal numbers count their leading 1 in `steps`; a carry out of the mantissa is an exponent.
    unsigned const bits = (static_cast<unsigned>(exponent + 14) << 10) + steps;
    return {static_cast<uint16_t>(sign | bits)};
}

inline __half2 __floats2half2_rn(float low, float high)
{
    return {__float2half_rn(low), __float2half_rn(high)};
}

inline float2 __half22float2(__half2 pair) { return {__half2float(pair.x), __half2float(pair.y)}; }

inline __half2 __hsub2(__half2 a, __half2 b)
{
    return __floats2half2_rn(__half2float(a.x) - __half2float(b.x),
                             __half2float(a.y) - __half2float(b.y));
}
