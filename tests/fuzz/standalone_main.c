/* Runs a fuzz target over all files of the folders given, so that compilers without libFuzzer
 * replay the corpora. An empty folder is an error: a test of nothing must not pass. */
#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static int by_name(const struct dirent **a, const struct dirent **b) {
  return strcmp((*a)->d_name, (*b)->d_name);
}

static int is_visible(const struct dirent *e) {
  return e->d_name[0] != '.';
}

/* The input stands in memory of exactly its size, so that reading past its end is noticed. */
static bool run_file(const char *path) {
  FILE *f = fopen(path, "rb");
  if (!f) return false;
  fseek(f, 0, SEEK_END);
  long size = ftell(f);
  rewind(f);
  unsigned char *data = size < 0 ? NULL : malloc(size ? (size_t)size : 1);
  bool good = data && fread(data, 1, (size_t)size, f) == (size_t)size;
  fclose(f);
  printf("%s\n", path);
  fflush(stdout); /* the last line names the file that crashed */
  if (good) LLVMFuzzerTestOneInput(data, (size_t)size);
  free(data);
  return good;
}

/* Number of files that ran; -1 when the folder or one of them cannot be read. */
static int run_folder(const char *folder) {
  struct dirent **entry;
  int count = scandir(folder, &entry, is_visible, by_name);
  bool good = count >= 0;
  for (int i = 0; i < count; i++) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, entry[i]->d_name);
    good = good && run_file(path);
    free(entry[i]);
  }
  if (count >= 0) free(entry);
  return good ? count : -1;
}

int main(int argc, char **argv) {
  int total = 0;
  for (int i = 1; i < argc; i++) {
    int count = run_folder(argv[i]);
    if (count <= 0) {
      fprintf(stderr, "%s: %s\n", argv[i], count ? "cannot be read" : "holds no files");
      return 1;
    }
    total += count;
  }
  printf("%d inputs\n", total);
  return total ? 0 : 1;
}
