// Threads of a CUDA block as fibers of one thread of the host.
//
// A fiber runs until it must wait for others: for its warp, or for its block. It goes on when all
// that have not returned wait at the same kind of place; if they never do, the program aborts,
// since a GPU would hang or compute nonsense there.
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

struct Index
{
    unsigned x;
};

/// CUDA's built-in variables, as the running fiber sees them.
inline Index threadIdx, blockIdx, blockDim;

namespace emulator
{

enum class Wait
{
    kNothing,
    kWarp,
    kBlock,
    kReturned,
};

[[noreturn]] inline void fail(char const* what)
{
    std::fprintf(stderr, "emulated kernel: %s\n", what);
    std::abort();
}

/// An asynchronous copy that has not arrived.
struct Copy
{
    void* target;
    void const* source; ///< null for zeros
};

struct Fiber
{
    ucontext_t start;
    jmp_buf point;
    bool started = false;
    Wait wait = Wait::kNothing;
    int operation = 0; ///< which warp operation it waits in
    unsigned thread = 0;
    void* operand = nullptr; ///< what it brought to the warp operation
    std::vector<Copy> copies;
    std::unique_ptr<char[]> stack;
};

struct Block
{
    std::vector<Fiber> fibers;
    std::function<void()> kernel;
    Fiber* running = nullptr;
    std::vector<unsigned char> shared;
    jmp_buf scheduler;
};

inline Block block;

inline void enter()
{
    block.kernel();
    block.running->wait = Wait::kReturned;
    _longjmp(block.scheduler, 1);
}

/// Gives way to the other fibers until what is waited for has come.
inline void suspend(Wait wait, int operation)
{
    Fiber* const self = block.running;
    self->wait = wait;
    self->operation = operation;
    if (_setjmp(self->point) == 0)
        _longjmp(block.scheduler, 1);
}

inline void resume(Fiber& fiber)
{
    block.running = &fiber;
    threadIdx.x = fiber.thread;
    if (_setjmp(block.scheduler) != 0)
        return;
    if (fiber.started)
        _longjmp(fiber.point, 1);
    fiber.started = true;
    setcontext(&fiber.start);
}

using Operation = std::function<void(Fiber*)>; // on the 32 lanes of a warp

/// Ends the wait of each lane of a warp once all are in the same operation, which is done then.
inline bool release_warp(Fiber* lanes, std::vector<Operation> const& operations)
{
    for (int lane = 0; lane < 32; ++lane)
        if (lanes[lane].wait != Wait::kWarp)
            return false;
    for (int lane = 1; lane < 32; ++lane)
        if (lanes[lane].operation != lanes[0].operation)
            fail("lanes of a warp are in different operations");
    operations[lanes[0].operation](lanes);
    for (int lane = 0; lane < 32; ++lane)
        lanes[lane].wait = Wait::kNothing;
    return true;
}

inline bool release_block()
{
    for (Fiber const& fiber : block.fibers)
        if (fiber.wait != Wait::kBlock) // a thread that returned early counts as an error
            return false;
    for (Fiber& fiber : block.fibers)
        fiber.wait = Wait::kNothing;
    return true;
}

inline void start_fibers()
{
    constexpr std::size_t kStack = 256 * 1024;
    block.fibers.resize(blockDim.x);
    for (unsigned thread = 0; thread < blockDim.x; ++thread)
    {
        Fiber& fiber = block.fibers[thread];
        if (!fiber.stack)
            fiber.stack.reset(new char[kStack]);
        fiber.thread = thread;
        fiber.started = false;
        fiber.wait = Wait::kNothing;
        fiber.copies.clear();
        getcontext(&fiber.start);
        fiber.start.uc_stack.ss_sp = fiber.stack.get();
        fiber.start.uc_stack.ss_size = kStack;
        fiber.start.uc_link = nullptr;
        makecontext(&fiber.start, enter, 0);
    }
}

inline void run_block(std::vector<Operation> const& operations)
{
    start_fibers();
    std::memset(block.shared.data(), 0xff, block.shared.size()); // NaN, until written
    for (;;)
    {
        bool moved = false;
        bool all_returned = true;
        for (unsigned turn = 0; turn < blockDim.x; turn += 32)
        {
            // Warps have no order on a GPU; here every other block runs them backwards.
            unsigned const first = blockIdx.x % 2 == 0 ? turn : blockDim.x - 32 - turn;
            do
                for (unsigned thread = first; thread < first + 32; ++thread)
                    if (block.fibers[thread].wait == Wait::kNothing)
                    {
                        moved = true;
                        resume(block.fibers[thread]);
                    }
            while (release_warp(&block.fibers[first], operations));
            for (unsigned thread = first; thread < first + 32; ++thread)
                all_returned = all_returned && block.fibers[thread].wait == Wait::kReturned;
        }
        if (all_returned)
            return;
        if (!release_block() && !moved)
            fail("threads wait for others that never come");
    }
}

} // namespace emulator
