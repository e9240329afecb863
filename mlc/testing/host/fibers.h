// A thread of a block is a fiber: a stack of its own, switched to and from by hand. A switch saves the registers that calls preserve, about 2 ns.
#pragma once
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

constexpr size_t STACK = 256 << 10, GUARD_PAGE = 4096;

// A new stack, with a page below it that faults; null where there is no memory. Only what is touched takes memory.
static inline char *new_stack() {
  void *low = mmap(nullptr, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (low == MAP_FAILED) return nullptr;
  if (mprotect(low, GUARD_PAGE, PROT_NONE)) return nullptr;
  return (char *)low;
}

extern "C" void mlc_host_fiber_main(void) __attribute__((visibility("hidden"), used));

#if defined(__x86_64__) && !defined(MLC_UCONTEXT)

struct Context {
  void *stack_pointer = nullptr;
};
extern "C" void mlc_host_switch(void **save, void *load) __attribute__((visibility("hidden")));
extern "C" void mlc_host_fiber_entry(void) __attribute__((visibility("hidden")));
static inline void make_context(Context &context, char *stack) {
  void **top = (void **)(stack + STACK);
  *--top = nullptr;  // the stack is on a boundary of 16 bytes at the call in mlc_host_fiber_entry
  *--top = nullptr;
  *--top = (void *)mlc_host_fiber_entry;  // where the first switch returns to
  for (int i = 0; i < 6; ++i) *--top = nullptr;
  context.stack_pointer = top;
}
static inline void switch_context(Context &from, Context &to) { mlc_host_switch(&from.stack_pointer, to.stack_pointer); }

#else  // other processors, by the C library: a system call for each switch

#include <ucontext.h>
struct Context {
  ucontext_t registers;
};
static inline void make_context(Context &context, char *stack) {
  getcontext(&context.registers);
  context.registers.uc_stack.ss_sp = stack + GUARD_PAGE;
  context.registers.uc_stack.ss_size = STACK - GUARD_PAGE;
  context.registers.uc_link = nullptr;
  makecontext(&context.registers, mlc_host_fiber_main, 0);
}
static inline void switch_context(Context &from, Context &to) { swapcontext(&from.registers, &to.registers); }

#endif
