/* Calls an exported library on inputs that lie in files, and writes its outputs to files.

   call_library THREADS DIMS... -- INPUT... -- OUTPUT BYTES...

   Linked with a library called libmodel.so, whatever the model: benchmarks/artifacts.py makes both. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "model.h"

enum { MOST = 256 };

static void *aligned(size_t bytes) {
  void *place = NULL;
  if (posix_memalign(&place, 64, bytes + 64)) exit(3);
  return place;
}

static void *read_file(const char *name) {
  FILE *file = fopen(name, "rb");
  if (!file || fseek(file, 0, SEEK_END)) exit(4);
  long bytes = ftell(file);
  rewind(file);
  void *place = aligned(bytes);
  if (fread(place, 1, bytes, file) != (size_t)bytes) exit(4);
  fclose(file);
  return place;
}

static void write_file(const char *name, const void *place, size_t bytes) {
  FILE *file = fopen(name, "wb");
  if (!file || fwrite(place, 1, bytes, file) != bytes || fclose(file)) exit(5);
}

int main(int count, char **words) {
  int64_t dims[MOST];
  const void *inputs[MOST];
  void *outputs[MOST];
  const char *names[MOST];
  size_t bytes[MOST];
  int at = 2, found = 0;
  for (; at < count && strcmp(words[at], "--"); at++) dims[found++] = strtoll(words[at], NULL, 10);
  for (at++, found = 0; at < count && strcmp(words[at], "--"); at++) inputs[found++] = read_file(words[at]);
  for (at++, found = 0; at + 1 < count; at += 2, found++) {
    names[found] = words[at];
    bytes[found] = strtoull(words[at + 1], NULL, 10);
    outputs[found] = aligned(bytes[found]);
  }
  model_threads(atoi(words[1]));
  int64_t workspace = model_workspace(dims);
  if (workspace < 0) return 2;
  void *memory = aligned(workspace);
  for (int turn = 0; turn < 2; turn++) /* the second run finds the workspace as the first left it */
    if (model_run(dims, inputs, outputs, memory, NULL)) return 1;
  for (int i = 0; i < found; i++) write_file(names[i], outputs[i], bytes[i]);
  printf("%lld\n", (long long)workspace);
  return 0;
}
