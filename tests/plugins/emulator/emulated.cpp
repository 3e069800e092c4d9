// The kernels' sources as a host library, with the launch functions that the GPU's has.
#include <intrinsics.cuh>

#include "fused_attention.cu"
#include "window_attention.cu"

/// What the imaginary device has; bounds which paths the launch functions take.
VITRINE_API void emulate_device(int processors, int shared_memory)
{
    emulator::processors = processors;
    emulator::shared_memory_limit = shared_memory;
}

VITRINE_API uint16_t emulated_half(float x) { return __float2half_rn(x).bits; }

VITRINE_API float emulated_float(uint16_t bits) { return __half2float({bits}); }
