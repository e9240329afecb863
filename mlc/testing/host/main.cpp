// A program around the kernels of one text, for sanitizers that want a process of their own:
//
//   program FILE KERNEL ORDER EARLY SEED
//
// FILE: geometry (6 x u32), bytes of shared memory (u64), count (u32), then of each argument: 0 a value, 1 an array, 2 the array of an earlier
// argument (u32); its bytes, or the number of that argument (u64); its content. Arrays are written back. The last line of the output says how far it came.
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string>
#include <vector>

#include "runtime.h"

// Accesses that the runtime makes for a kernel: copies, rows of matrices.
#if defined(MLC_RACE)
extern "C" {
void __tsan_read1_pc(void *address, void *place);
void __tsan_read4_pc(void *address, void *place);
void __tsan_write1_pc(void *address, void *place);
void __tsan_write4_pc(void *address, void *place);
}
static void observe(const void *address, unsigned bytes, int writes, void *place) {
  for (char *at = (char *)address, *end = at + bytes; at < end;) {
    bool word = end - at >= 4 && ((uintptr_t)at & 3) == 0;
    if (word) (writes ? __tsan_write4_pc : __tsan_read4_pc)(at, place);
    else (writes ? __tsan_write1_pc : __tsan_read1_pc)(at, place);
    at += word ? 4 : 1;
  }
}
#else
extern "C" {
void __asan_loadN(const void *address, uintptr_t bytes);
void __asan_storeN(const void *address, uintptr_t bytes);
}
static void observe(const void *address, unsigned bytes, int writes, void *) {
  (writes ? __asan_storeN : __asan_loadN)(address, bytes);
}
#endif

static FILE *file;
static void read(void *place, size_t bytes) {
  if (fread(place, 1, bytes, file) != bytes) exit(3);
}

int main(int argc, char **argv) {
  if (argc != 6 || !(file = fopen(argv[1], "r+b"))) return 3;
  auto *kernel = (const mlc_host_kernel *)dlsym(RTLD_DEFAULT, ("mlc_kernel_" + std::string(argv[2])).c_str());
  if (!kernel) return 3;
  unsigned geometry[6], count;
  uint64_t shared;
  read(geometry, sizeof geometry), read(&shared, sizeof shared), read(&count, sizeof count);
  struct Argument {
    unsigned kind;
    uint64_t bytes;
    long at;
    void *memory;
  };
  std::vector<Argument> given(count);
  std::vector<void *> places(count + 1);
  for (Argument &argument : given) {
    read(&argument.kind, sizeof argument.kind), read(&argument.bytes, sizeof argument.bytes);
    argument.at = ftell(file);
    if (argument.kind == 2) argument.memory = given[argument.bytes].memory;
    else if (posix_memalign(&argument.memory, 256, argument.bytes)) return 3;  // as a GPU aligns what is allocated
    else read(argument.memory, argument.bytes);
    places[&argument - given.data()] = argument.kind ? &argument.memory : argument.memory;
  }
  mlc_host_settings settings = {atoi(argv[3]), atoi(argv[4]), (uint64_t)atoll(argv[5]), 227 << 10, 0};
  char error[512] = "";
  mlc_host_observer = observe;
  int failed = kernel->launch(geometry, shared, places.data(), &settings, error, sizeof error);
  mlc_host_observer = nullptr;
  for (Argument &argument : given)
    if (argument.kind == 1) fseek(file, argument.at, SEEK_SET), fwrite(argument.memory, 1, argument.bytes, file);
  if (fclose(file)) return 3;
  if (failed) fprintf(stderr, "fault: %s\n", error);
  uint64_t blocks = (uint64_t)geometry[0] * geometry[1] * geometry[2], threads = (uint64_t)geometry[3] * geometry[4] * geometry[5];
  printf("finished: %llu blocks of %llu threads, %llu turns\n", (unsigned long long)blocks, (unsigned long long)threads,
         (unsigned long long)settings.switches);
  return failed;
}
