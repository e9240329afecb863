// The switch between fibers on x86-64.
#include "fibers.h"

#if defined(__x86_64__) && !defined(MLC_UCONTEXT)
asm(R"(
.text
.p2align 4
.globl mlc_host_switch
.hidden mlc_host_switch
.type mlc_host_switch,@function
mlc_host_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size mlc_host_switch,.-mlc_host_switch
.globl mlc_host_fiber_entry
.hidden mlc_host_fiber_entry
.type mlc_host_fiber_entry,@function
mlc_host_fiber_entry:
  xorl %ebp, %ebp
  call mlc_host_fiber_main
  ud2
.size mlc_host_fiber_entry,.-mlc_host_fiber_entry
)");
#endif
