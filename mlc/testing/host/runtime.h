// What a kernel compiled for the CPU asks of the runtime that executes it (blocks.cpp, warps.cpp, copies.cpp), and what a launch gives it.
#pragma once
#include <stddef.h>
#include <stdint.h>

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

// The thread that runs, and the block it is in.
struct mlc_host_thread {
  uint3 index;
  unsigned rank;
};
struct mlc_host_block {
  uint3 index;
  dim3 threads, blocks;
  unsigned char *shared;  // dynamic shared memory
};

// How a launch goes about it.
struct mlc_host_settings {
  int order;               // of blocks, warps and lanes: 0 forward, 1 reverse, 2 shuffled
  int early;               // whether asynchronous copies land when they are issued, not when they are waited for
  uint64_t seed;           // of the shuffling
  uint64_t shared_limit;   // bytes of dynamic shared memory that a block may have
  uint64_t switches;       // out: how often a thread was resumed
};

// One kernel of a module, as a launch finds it: `mlc_kernel_NAME`.
struct mlc_host_parameter {
  unsigned bytes, pointee;  // of the parameter, and of what it points at; 0 for void
  char kind, pointee_kind;  // 'p'ointer, 'f'loat, 'i'nteger, 'u'nsigned, 's'truct, 'v'oid
  bool constant;            // what it points at
};
struct mlc_host_kernel {
  // geometry: blocks x, y, z, threads x, y, z; arguments[i] points at parameter i, as for cuLaunchKernel. 0, or 1 and what went wrong.
  int (*launch)(const unsigned *geometry, size_t shared, void **arguments, mlc_host_settings *settings, char *error, size_t error_bytes);
  const mlc_host_parameter *parameters;
  unsigned count;    // of parameters
  unsigned threads;  // that a block has at most, by __launch_bounds__
  unsigned char *shared_begin, *shared_end;  // shared memory of fixed size, of all kernels of the module
};

// Kernels are compiled with hidden symbols: two modules may have kernels of one name.
#pragma GCC visibility push(default)
extern "C" {
extern mlc_host_thread *mlc_host_now;
extern mlc_host_block mlc_host_block_now;
// Tells sanitizers and the meter of accesses that the runtime makes for a kernel; null where nobody asks.
extern void (*mlc_host_observer)(const void *address, unsigned bytes, int writes, void *place);

int mlc_host_launch(const unsigned *geometry, size_t shared, mlc_host_settings *settings, unsigned threads, unsigned char *static_shared,
                    size_t static_bytes, void (*body)(void *), void *argument, char *error, size_t error_bytes);
void mlc_host_barrier(int number, int threads, int line);
void mlc_host_fence(void);
void mlc_host_syncwarp(unsigned mask, int line);
uint64_t mlc_host_shuffle(unsigned mask, uint64_t value, int source, int line);
void mlc_host_gather(unsigned mask, uint64_t value, uint64_t *values, int line);  // values: of 32 lanes, 0 of those not in the mask
void mlc_host_ldmatrix(unsigned *r, const void *row, int matrices, int transposed, int line);
void mlc_host_mma(int kind, void *d, const unsigned *a, const unsigned *b, int line);
void mlc_host_copy(void *shared, const void *global, int bytes, int valid, int line);
void mlc_host_copy_commit(void);
void mlc_host_copy_wait(int groups);
void mlc_host_copy_arrive(unsigned long long *barrier, int line);
void mlc_host_mbarrier_init(unsigned long long *barrier, int count, int line);
void mlc_host_mbarrier_arrive(unsigned long long *barrier, int line);
void mlc_host_mbarrier_wait(unsigned long long *barrier, int parity, int line);
}
#pragma GCC visibility pop
