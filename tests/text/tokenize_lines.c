/* tokenize_lines [-u | -c | -a] [-k] [-s] [-x] [-m MAX] vocab.txt < lines > ids
 *
 * Writes the ids of each line of stdin, parted by spaces. -u: uncased, the default; -c: cased, with
 * accents; -a: lower case, with accents; -k: CJK characters are no words; -s: "[SEP]" in the text
 * is text; -x: the lines are hex digits of bytes, so that they can hold any; -m: at most MAX ids.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

#include "text/spcc_wordpiece.h"

typedef struct command {
  spcc_wordpiece_options options;
  bool hex;
  size_t max;
  const char *vocab;
} command;

static bool parse_arguments(int argc, char **argv, command *c) {
  *c = (command){.options = spcc_wordpiece_defaults(), .max = 1 << 20};
  for (int option; (option = getopt(argc, argv, "ucaksxm:")) != -1;) {
    switch (option) {
    case 'u':
      break;
    case 'c':
      c->options.lowercase = false;
      c->options.strip_accents = false;
      break;
    case 'a':
      c->options.strip_accents = false;
      break;
    case 'k':
      c->options.split_cjk = false;
      break;
    case 's':
      c->options.match_special = false;
      break;
    case 'x':
      c->hex = true;
      break;
    case 'm':
      c->max = strtoul(optarg, NULL, 10);
      break;
    default:
      return false;
    }
  }
  c->vocab = argv[optind];
  return optind + 1 == argc && c->max >= 2;
}

/* Replaces hex digits by their bytes; returns how many, -1 when it is not hex. */
static ssize_t from_hex(char *text, size_t size) {
  for (size_t i = 0; i < size / 2; i++) {
    char digits[3] = {text[2 * i], text[2 * i + 1], '\0'};
    char *end;
    text[i] = (char)strtoul(digits, &end, 16);
    if (end != digits + 2) return -1;
  }
  return size % 2 == 0 ? (ssize_t)(size / 2) : -1;
}

static spcc_wordpiece_status write_ids(const spcc_wordpiece *t, const char *text, size_t size,
                                       int32_t *ids, size_t max) {
  size_t count;
  spcc_wordpiece_status status = spcc_wordpiece_encode(t, text, size, ids, max, &count, NULL);
  for (size_t i = 0; status == SPCC_WORDPIECE_OK && i < count; i++)
    printf("%d%c", ids[i], i + 1 < count ? ' ' : '\n');
  return status;
}

static int tokenize_input(const command *c, const spcc_wordpiece *t, int32_t *ids) {
  char *line = NULL;
  size_t room = 0;
  ssize_t size;
  int failed = 0;
  while (!failed && (size = getline(&line, &room, stdin)) >= 0) {
    if (size > 0 && line[size - 1] == '\n') size--;
    if (c->hex) size = from_hex(line, (size_t)size);
    failed = size < 0 || write_ids(t, line, (size_t)size, ids, c->max) != SPCC_WORDPIECE_OK;
  }
  free(line);
  return failed || ferror(stdin) || fflush(stdout) != 0;
}

int main(int argc, char **argv) {
  command c;
  if (!parse_arguments(argc, argv, &c)) {
    fprintf(stderr, "usage: %s [-u | -c | -a] [-k] [-s] [-x] [-m MAX] vocab.txt\n", argv[0]);
    return 2;
  }
  spcc_wordpiece *t;
  spcc_wordpiece_status status = spcc_wordpiece_open(c.vocab, &c.options, &t);
  if (status != SPCC_WORDPIECE_OK) {
    fprintf(stderr, "%s: error: %s\n", c.vocab, spcc_wordpiece_status_text(status));
    return 1;
  }
  int32_t *ids = malloc(c.max * sizeof *ids);
  int failed = ids == NULL || tokenize_input(&c, t, ids);
  free(ids);
  spcc_wordpiece_free(t);
  return failed ? 3 : 0;
}
