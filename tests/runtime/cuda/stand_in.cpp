// A stand-in for libcuda.so.1 on a machine without a GPU: pycuda's own code and mlc's calls run against it, end to end.
//
// Device memory is memory of the host, filled with 0xff (NaN). Modules are shared objects that mlc.testing makes of CUDA C. Work on a stream is
// queued and not done before something waits for it, so that what is read, overwritten or freed too early is found. Driver rules that mlc has to
// keep are tested: a current context, addresses inside of allocations, grids without zeros, shared memory that was asked for, kernels that the
// module has. The functions `stand_in_*` at the end are for tests.
#include <dlfcn.h>
#include <elf.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

typedef int Result;
typedef uint64_t Pointer;
enum {
  OK = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NOT_INITIALIZED = 3, NO_DEVICE = 100, INVALID_CONTEXT = 201, NO_BINARY = 209, UNSUPPORTED_PTX = 222,
  INVALID_HANDLE = 400, NOT_FOUND = 500, NOT_READY = 600, ILLEGAL_ADDRESS = 700, LAUNCH_FAILED = 719, NOT_SUPPORTED = 801, CAPTURE = 900
};

// Of mlc/testing/host/runtime.h
struct Parameter { unsigned bytes, pointee; char kind, pointee_kind; bool constant; };
struct Settings { int order, early; uint64_t seed, shared_limit, switches; };
struct Kernel {
  int (*launch)(const unsigned *geometry, size_t shared, void **arguments, Settings *settings, char *error, size_t error_bytes);
  const Parameter *parameters;
  unsigned count, threads;
};

struct Allocation { uint64_t bytes; int ordinal; };
typedef std::function<Result()> Work;
struct Stream {
  std::deque<Work> queue;
  bool capturing = false;
  std::vector<Work> captured;
};
struct Event { double time = 0; bool recorded = false; Stream *stream = nullptr; size_t behind = 0; };
struct Graph { std::vector<Work> work; };
struct Function { const Kernel *kernel; std::string name; int shared = 48 << 10; };
struct Module { void *handle; std::map<std::string, Function *> functions; };

static std::recursive_mutex lock;
static std::map<Pointer, Allocation> allocations;
static std::map<std::string, long> counts, bytes_of;
static std::map<std::string, std::pair<long, int>> planned;  // function -> calls before it fails, code
static uint64_t total_memory = 1ull << 30, used_memory = 0;
static int sticky = 0, device_count = 1, capability = 90, uid_of_contexts = 0;
static Stream legacy;
static thread_local std::vector<void *> contexts;
static char primary;
static double clock_now = 0;
static bool initialized = false;
static std::string last_kernel_error;
static std::vector<Stream *> streams;

#define ENTER(NAME)                                            \
  std::lock_guard<std::recursive_mutex> guard(lock);           \
  if (Result planned_result = entered(NAME)) return planned_result
#define CURRENT() \
  if (contexts.empty()) return INVALID_CONTEXT

static bool fatal(int code) { return code == ILLEGAL_ADDRESS || (code >= 714 && code <= 719); }
static Result entered(const char *name) {
  counts[name]++;
  if (!initialized && strcmp(name, "cuInit") && strcmp(name, "cuGetErrorString") && strcmp(name, "cuDriverGetVersion")) return NOT_INITIALIZED;
  auto found = planned.find(name);
  if (found != planned.end() && found->second.first-- == 0) {
    int code = found->second.second;
    planned.erase(found);
    if (fatal(code)) sticky = code;
    return code;
  }
  return strncmp(name, "cuGet", 5) && strncmp(name, "cuCtxP", 6) ? sticky : OK;
}

static bool inside(Pointer address, uint64_t bytes) {
  auto found = allocations.upper_bound(address);
  if (found == allocations.begin()) return false;
  --found;
  return address + bytes <= found->first + found->second.bytes;
}

static Result put(Stream *stream, Work work) {
  if (stream->capturing) stream->captured.push_back(std::move(work));
  else stream->queue.push_back(std::move(work));
  return OK;
}
static Result drain(Stream *stream, size_t keep = 0) {
  while (stream->queue.size() > keep) {
    Work work = std::move(stream->queue.front());
    stream->queue.pop_front();
    Result code = sticky ? sticky : work();
    if (code) {
      if (fatal(code)) sticky = code;
      stream->queue.clear();
      return code;
    }
  }
  return sticky;
}
static Stream *of(void *handle) { return (uintptr_t)handle <= 2 ? &legacy : (Stream *)handle; }

#define EXPORT extern "C" __attribute__((visibility("default")))

EXPORT Result cuInit(unsigned) {
  std::lock_guard<std::recursive_mutex> guard(lock);
  if (Result code = entered("cuInit")) return code;
  initialized = true;
  return OK;
}
EXPORT Result cuDriverGetVersion(int *version) { *version = 13000; return OK; }
EXPORT Result cuGetErrorString(int code, const char **text) {
  static const std::map<int, const char *> texts = {
      {OK, "no error"}, {INVALID_VALUE, "invalid argument"}, {OUT_OF_MEMORY, "out of memory"}, {NOT_INITIALIZED, "initialization error"},
      {NO_DEVICE, "no CUDA-capable device is detected"}, {INVALID_CONTEXT, "invalid device context"},
      {NO_BINARY, "no kernel image is available for execution on the device"},
      {UNSUPPORTED_PTX, "the provided PTX was compiled with an unsupported toolchain version."}, {INVALID_HANDLE, "invalid resource handle"},
      {NOT_FOUND, "named symbol not found"}, {NOT_READY, "device not ready"}, {ILLEGAL_ADDRESS, "an illegal memory access was encountered"},
      {LAUNCH_FAILED, "unspecified launch failure"}, {NOT_SUPPORTED, "operation not supported"},
      {CAPTURE, "operation not permitted when stream is capturing"}};
  auto found = texts.find(code);
  *text = found == texts.end() ? "unrecognized error code" : found->second;
  return found == texts.end() ? INVALID_VALUE : OK;
}

// Devices and contexts ------------------------------------------------------------------------------------------------
EXPORT Result cuDeviceGetCount(int *count) { ENTER("cuDeviceGetCount"); *count = device_count; return OK; }
EXPORT Result cuDeviceGet(int *device, int ordinal) {
  ENTER("cuDeviceGet");
  *device = ordinal;
  return ordinal < device_count ? OK : 101;
}
EXPORT Result cuDeviceGetName(char *name, int size, int) { snprintf(name, size, "Stand-in"); return OK; }
EXPORT Result cuDeviceComputeCapability(int *major, int *minor, int) { *major = capability / 10, *minor = capability % 10; return OK; }
EXPORT Result cuDeviceTotalMem_v2(size_t *bytes, int) { *bytes = total_memory; return OK; }
EXPORT Result cuDeviceGetAttribute(int *value, int attribute, int) {
  ENTER("cuDeviceGetAttribute");
  switch (attribute) {
    case 16: *value = 132; break;         // MULTIPROCESSOR_COUNT
    case 75: *value = capability / 10; break;
    case 76: *value = capability % 10; break;
    case 97: *value = 227 << 10; break;   // MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
    default: *value = 0;
  }
  return OK;
}
EXPORT Result cuDevicePrimaryCtxRetain(void **context, int) { ENTER("cuDevicePrimaryCtxRetain"); *context = &primary; return OK; }
EXPORT Result cuDevicePrimaryCtxRelease_v2(int) { return OK; }
EXPORT Result cuCtxPushCurrent_v2(void *context) { ENTER("cuCtxPushCurrent"); contexts.push_back(context); return OK; }
EXPORT Result cuCtxPopCurrent_v2(void **context) {
  ENTER("cuCtxPopCurrent");
  CURRENT();
  *context = contexts.back();
  contexts.pop_back();
  return OK;
}
EXPORT Result cuCtxGetDevice(int *device) { ENTER("cuCtxGetDevice"); CURRENT(); *device = 0; return OK; }
EXPORT Result cuCtxSynchronize() {
  ENTER("cuCtxSynchronize");
  CURRENT();
  for (Stream *stream : streams)
    if (Result code = drain(stream)) return code;
  return drain(&legacy);
}

// Memory --------------------------------------------------------------------------------------------------------------
EXPORT Result cuMemGetInfo_v2(size_t *free, size_t *total) {
  ENTER("cuMemGetInfo");
  CURRENT();
  *free = total_memory - used_memory, *total = total_memory;
  return OK;
}
EXPORT Result cuMemAlloc_v2(Pointer *address, size_t bytes) {
  ENTER("cuMemAlloc");
  CURRENT();
  if (!bytes) return INVALID_VALUE;
  if (used_memory + bytes > total_memory) return OUT_OF_MEMORY;
  void *made = nullptr;
  if (posix_memalign(&made, 256, bytes)) return OUT_OF_MEMORY;
  memset(made, 0xff, bytes);
  *address = (Pointer)made;
  allocations[*address] = {bytes, 0};
  used_memory += bytes;
  return OK;
}
EXPORT Result cuMemFree_v2(Pointer address) {
  ENTER("cuMemFree");
  CURRENT();
  auto found = allocations.find(address);
  if (found == allocations.end()) return INVALID_VALUE;
  memset((void *)address, 0xff, found->second.bytes);  // whoever still uses it finds NaN, and not his values
  used_memory -= found->second.bytes;
  allocations.erase(found);
  free((void *)address);
  return OK;
}
EXPORT Result cuMemHostAlloc(void **address, size_t bytes, unsigned) {
  ENTER("cuMemHostAlloc");
  CURRENT();
  if (posix_memalign(address, 4096, bytes)) return OUT_OF_MEMORY;
  memset(*address, 0xff, bytes);
  return OK;
}
EXPORT Result cuMemFreeHost(void *address) { ENTER("cuMemFreeHost"); CURRENT(); free(address); return OK; }

static Result copy(const char *name, Pointer target, Pointer source, size_t bytes, bool to, bool from) {
  if ((to && !inside(target, bytes)) || (from && !inside(source, bytes))) return INVALID_VALUE;
  bytes_of[name] += bytes;
  memmove((void *)target, (void *)source, bytes);
  return OK;
}
#define COPY(NAME, TARGET, SOURCE, TO, FROM)                                                               \
  EXPORT Result NAME##_v2(TARGET target, SOURCE source, size_t bytes) {                                    \
    ENTER(#NAME);                                                                                          \
    CURRENT();                                                                                             \
    if (Result code = drain(&legacy)) return code;                                                         \
    return copy(#NAME, (Pointer)target, (Pointer)source, bytes, TO, FROM);                                 \
  }                                                                                                        \
  EXPORT Result NAME##Async_v2(TARGET target, SOURCE source, size_t bytes, void *stream) {                 \
    ENTER(#NAME "Async");                                                                                  \
    CURRENT();                                                                                             \
    return put(of(stream), [=] { return copy(#NAME "Async", (Pointer)target, (Pointer)source, bytes, TO, FROM); }); \
  }
COPY(cuMemcpyHtoD, Pointer, const void *, true, false)
COPY(cuMemcpyDtoH, void *, Pointer, false, true)
COPY(cuMemcpyDtoD, Pointer, Pointer, true, true)

EXPORT Result cuPointerGetAttribute(void *value, int attribute, Pointer address) {
  ENTER("cuPointerGetAttribute");
  if (attribute != 9 || !inside(address, 1)) return INVALID_VALUE;
  *(int *)value = (--allocations.upper_bound(address))->second.ordinal;
  return OK;
}

// Streams and events --------------------------------------------------------------------------------------------------
EXPORT Result cuStreamCreate(void **stream, unsigned) {
  ENTER("cuStreamCreate");
  CURRENT();
  streams.push_back(new Stream);
  *stream = streams.back();
  return OK;
}
EXPORT Result cuStreamDestroy_v2(void *handle) {
  ENTER("cuStreamDestroy");
  CURRENT();
  Stream *stream = of(handle);
  drain(stream);
  for (size_t i = 0; i < streams.size(); ++i)
    if (streams[i] == stream) streams.erase(streams.begin() + i);
  delete stream;
  return OK;
}
EXPORT Result cuStreamSynchronize(void *stream) {
  ENTER("cuStreamSynchronize");
  CURRENT();
  return of(stream)->capturing ? CAPTURE : drain(of(stream));
}
EXPORT Result cuStreamQuery(void *stream) { ENTER("cuStreamQuery"); return of(stream)->queue.empty() ? OK : NOT_READY; }
EXPORT Result cuStreamWaitEvent(void *stream, void *event, unsigned) {
  ENTER("cuStreamWaitEvent");
  CURRENT();
  Stream *other = ((Event *)event)->stream;
  return other ? put(of(stream), [=] { return drain(other); }) : OK;
}
EXPORT Result cuEventCreate(void **event, unsigned) { ENTER("cuEventCreate"); CURRENT(); *event = new Event; return OK; }
EXPORT Result cuEventDestroy_v2(void *event) { ENTER("cuEventDestroy"); CURRENT(); delete (Event *)event; return OK; }
EXPORT Result cuEventRecord(void *event, void *stream) {
  ENTER("cuEventRecord");
  CURRENT();
  Event *found = (Event *)event;
  found->stream = of(stream), found->recorded = false;
  return put(found->stream, [=] { found->recorded = true, found->time = clock_now; return OK; });
}
EXPORT Result cuEventQuery(void *event) { ENTER("cuEventQuery"); return ((Event *)event)->recorded ? OK : NOT_READY; }
EXPORT Result cuEventSynchronize(void *event) {
  ENTER("cuEventSynchronize");
  CURRENT();
  return ((Event *)event)->stream ? drain(((Event *)event)->stream) : OK;
}
EXPORT Result cuEventElapsedTime_v2(float *milliseconds, void *begin, void *end) {
  ENTER("cuEventElapsedTime");
  if (!((Event *)begin)->recorded || !((Event *)end)->recorded) return NOT_READY;
  *milliseconds = (float)(((Event *)end)->time - ((Event *)begin)->time);
  return OK;
}

// Graphs --------------------------------------------------------------------------------------------------------------
EXPORT Result cuStreamBeginCapture_v2(void *stream, int) {
  ENTER("cuStreamBeginCapture");
  if (of(stream) == &legacy) return CAPTURE;
  of(stream)->capturing = true;
  return OK;
}
EXPORT Result cuStreamEndCapture(void *stream, void **graph) {
  ENTER("cuStreamEndCapture");
  if (!of(stream)->capturing) return INVALID_VALUE;
  of(stream)->capturing = false;
  *graph = new Graph{std::move(of(stream)->captured)};
  of(stream)->captured.clear();
  return OK;
}
EXPORT Result cuGraphInstantiateWithFlags(void **made, void *graph, unsigned long long) {
  ENTER("cuGraphInstantiate");
  *made = new Graph(*(Graph *)graph);
  return OK;
}
EXPORT Result cuGraphLaunch(void *graph, void *stream) {
  ENTER("cuGraphLaunch");
  CURRENT();
  for (const Work &work : ((Graph *)graph)->work) put(of(stream), work);
  return OK;
}
EXPORT Result cuGraphDestroy(void *graph) { ENTER("cuGraphDestroy"); delete (Graph *)graph; return OK; }
EXPORT Result cuGraphExecDestroy(void *graph) { ENTER("cuGraphExecDestroy"); delete (Graph *)graph; return OK; }

// Modules and launches ------------------------------------------------------------------------------------------------
static uint64_t elf_bytes(const void *image) {
  const Elf64_Ehdr *head = (const Elf64_Ehdr *)image;
  if (memcmp(head->e_ident, ELFMAG, SELFMAG)) return 0;
  return head->e_shoff + (uint64_t)head->e_shnum * head->e_shentsize;
}
EXPORT Result cuModuleLoadDataEx(void **module, const void *image, unsigned, int *, void **) {
  ENTER("cuModuleLoadData");
  CURRENT();
  uint64_t bytes = elf_bytes(image);
  if (!bytes) return NO_BINARY;
  char path[] = "/tmp/mlc-stand-in-XXXXXX";  // a name of its own: the loader knows what it has loaded by that
  int file = mkstemp(path);
  bool written = write(file, image, bytes) == (ssize_t)bytes;
  close(file);
  void *handle = written ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : nullptr;
  unlink(path);
  if (!handle) { fprintf(stderr, "stand-in: %s\n", dlerror()); return NO_BINARY; }
  *module = new Module{handle, {}};
  return OK;
}
EXPORT Result cuModuleLoadData(void **module, const void *image) { return cuModuleLoadDataEx(module, image, 0, nullptr, nullptr); }
EXPORT Result cuModuleUnload(void *module) { ENTER("cuModuleUnload"); CURRENT(); return OK; }
EXPORT Result cuModuleGetFunction(void **function, void *module, const char *name) {
  ENTER("cuModuleGetFunction");
  CURRENT();
  void *kernel = dlsym(((Module *)module)->handle, (std::string("mlc_kernel_") + name).c_str());
  if (!kernel) return NOT_FOUND;
  *function = new Function{(const Kernel *)kernel, name};
  return OK;
}
EXPORT Result cuFuncSetAttribute(void *function, int attribute, int value) {
  ENTER("cuFuncSetAttribute");
  CURRENT();
  if (attribute != 8 || value > 227 << 10) return INVALID_VALUE;
  ((Function *)function)->shared = value;
  return OK;
}
EXPORT Result cuLaunchKernel(void *handle, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, void *stream,
                             void **, void **extra) {
  ENTER("cuLaunchKernel");
  CURRENT();
  Function *function = (Function *)handle;
  const Kernel *kernel = function->kernel;
  if (!gx || !gy || !gz || !bx || !by || !bz || bx * by * bz > kernel->threads || gy > 65535 || gz > 65535) return INVALID_VALUE;
  if ((int)shared > function->shared || extra[0] != (void *)1 || extra[2] != (void *)2) return INVALID_VALUE;
  std::vector<char> buffer((char *)extra[1], (char *)extra[1] + *(size_t *)extra[3]);
  std::vector<size_t> places;
  size_t end = 0;
  for (unsigned i = 0; i < kernel->count; ++i) {
    const Parameter &parameter = kernel->parameters[i];
    end = (end + parameter.bytes - 1) / parameter.bytes * parameter.bytes;
    places.push_back(end);
    end += parameter.bytes;
  }
  if (end != buffer.size()) return INVALID_VALUE;
  return put(of(stream), [=]() mutable {
    std::vector<void *> arguments;
    for (size_t place : places) arguments.push_back(&buffer[place]);
    for (unsigned i = 0; i < kernel->count; ++i) {
      Pointer address = *(Pointer *)arguments[i];
      if (kernel->parameters[i].kind == 'p' && address && !inside(address, 0)) {
        last_kernel_error = function->name + ": argument " + std::to_string(i) + " is no address of the device";
        return (Result)ILLEGAL_ADDRESS;
      }
    }
    arguments.push_back(nullptr);
    unsigned geometry[6] = {gx, gy, gz, bx, by, bz};
    Settings settings = {0, 0, 1, 227 << 10, 0};
    char error[512] = "";
    clock_now += 1;
    if (kernel->launch(geometry, shared, arguments.data(), &settings, error, sizeof error)) {
      last_kernel_error = function->name + ": " + error;
      return (Result)LAUNCH_FAILED;
    }
    counts["kernels"]++;
    return (Result)OK;
  });
}

// What pycuda links against and mlc does not use ----------------------------------------------------------------------
#define ABSENT(NAME) EXPORT Result NAME() { return NOT_SUPPORTED; }
ABSENTS

// For tests -----------------------------------------------------------------------------------------------------------
EXPORT void stand_in_reset() {
  std::lock_guard<std::recursive_mutex> guard(lock);
  planned.clear(), counts.clear(), bytes_of.clear();
  sticky = 0, device_count = 1, capability = 90, total_memory = 1ull << 30;
  last_kernel_error.clear();
}
EXPORT long stand_in_count(const char *name) { std::lock_guard<std::recursive_mutex> guard(lock); return counts[name]; }
EXPORT long stand_in_bytes(const char *name) { std::lock_guard<std::recursive_mutex> guard(lock); return bytes_of[name]; }
EXPORT void stand_in_fail(const char *name, int code, long after) { std::lock_guard<std::recursive_mutex> guard(lock); planned[name] = {after, code}; }
EXPORT void stand_in_machine(int devices, int sm, uint64_t memory) { device_count = devices, capability = sm, total_memory = memory; }
EXPORT void stand_in_move(Pointer address, int ordinal) { allocations[address].ordinal = ordinal; }
EXPORT uint64_t stand_in_used() { std::lock_guard<std::recursive_mutex> guard(lock); return used_memory; }
EXPORT long stand_in_allocations() { std::lock_guard<std::recursive_mutex> guard(lock); return allocations.size(); }
EXPORT const char *stand_in_kernel_error() { return last_kernel_error.c_str(); }
