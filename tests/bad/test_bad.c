/* Runs the cases of bad input (see bad_case.h): the exit code and every byte of the messages.
 *
 * `test_bad --print FILE` prints the cases of cases/FILE with the messages that spcc gives now. */
#include <sys/socket.h>
#include <sys/un.h>

#include "bad_case.h"
#include "frontend/recipe.h"
#include "tests/run_suite.h"
#include "tiny_bert.h"

static bad_case *cases;
static size_t case_count;

/* ---- what every case begins with ---- */

typedef struct setting {
  const char *key, *value;
} setting;

enum { SETTINGS = 32 };
static const setting config_start[SETTINGS] = {
    {"model_type", "\"bert\""},       {"hidden_size", "4"},       {"num_hidden_layers", "1"},
    {"num_attention_heads", "2"},     {"intermediate_size", "6"}, {"vocab_size", "7"},
    {"max_position_embeddings", "5"}, {"type_vocab_size", "2"}};

static const char model_start[] = "spcc: 1\n"
                                  "weights: x.safetensors\n"
                                  "inputs: [{name: x, type: \"f32[B,2]\"}]\n"
                                  "graph: [{name: y, op: mul, in: x, weight: v}]\n"
                                  "outputs: [y]\n";

static void write_weights(void) {
  static const float numbers[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  static const int64_t ids[4] = {0, 1, 2, 3};
  const st_write_tensor t[] = {
      {.name = "w", .dtype = "F32", .rank = 2, .dim = {3, 2}, .data = numbers, .size = 24},
      {.name = "b", .dtype = "F32", .rank = 1, .dim = {3}, .data = numbers, .size = 12},
      {.name = "v", .dtype = "F32", .rank = 1, .dim = {2}, .data = numbers, .size = 8},
      {.name = "t", .dtype = "F32", .rank = 2, .dim = {4, 2}, .data = numbers, .size = 32},
      {.name = "ids", .dtype = "I64", .rank = 1, .dim = {4}, .data = ids, .size = 32}};
  ck_assert(st_write(mem, d, "w.safetensors", t, 5, NULL));
}

static void write_config(const setting *settings) {
  const char *text = "{";
  for (int i = 0; i < SETTINGS; i++)
    if (settings[i].key && strcmp(settings[i].value, "-") != 0)
      text = arena_printf(mem, "%s%s\n\"%s\": %s", text, text[1] ? "," : "", settings[i].key,
                          settings[i].value);
  put_text("hf/config.json", arena_printf(mem, "%s\n}\n", text));
}

/* ---- sections ---- */

static void set_config(setting *settings, const bad_section *s) {
  int i = 0;
  while (i < SETTINGS - 1 && settings[i].key && strcmp(settings[i].key, s->arg[1]) != 0)
    i++;
  const char *value = s->arg[2];
  for (int k = 3; k < BAD_ARGS && *s->arg[k]; k++)
    value = arena_printf(mem, "%s %s", value, s->arg[k]);
  settings[i] = (setting){s->arg[1], value};
}

static unsigned char hex_byte(const char *s) {
  char two[3] = {s[0], s[1], 0};
  return (unsigned char)strtoul(two, NULL, 16);
}

static void put_bytes(const char *name, const char *text) {
  char *to = arena_alloc(mem, strlen(text) + 1, 1);
  size_t n = 0;
  for (const char *s = text; *s; s++) {
    if (*s == '\n') continue;
    bool escaped = s[0] == '\\' && s[1] == 'x';
    to[n++] = escaped ? (char)hex_byte(s + 2) : *s;
    s += escaped ? 3 : 0;
  }
  put_file(name, to, n);
}

/* The value of an option such as "length=12", or NULL. */
static const char *option(const bad_section *s, const char *name) {
  for (int i = 2; i < BAD_ARGS; i++)
    if (strncmp(s->arg[i], name, strlen(name)) == 0) return s->arg[i] + strlen(name);
  return NULL;
}

static void put_weights(const bad_section *s) {
  const char *length = option(s, "length="), *zeros = option(s, "zeros="),
             *data = option(s, "data=");
  size_t header = strlen(s->text);
  if (header) header--; /* the last line end */
  size_t body = data ? strlen(data) / 2 : zeros ? strtoul(zeros, NULL, 10) : 0;
  unsigned char *image = arena_alloc(mem, 8 + header + body, 1);
  uint64_t claimed = length ? strtoull(length, NULL, 10) : header;
  for (int i = 0; i < 8; i++)
    image[i] = (unsigned char)(claimed >> 8 * i);
  memcpy(image + 8, s->text, header);
  for (size_t i = 0; data && i < body; i++)
    image[8 + header + i] = hex_byte(data + 2 * i);
  put_file(s->arg[1], image, 8 + header + body);
}

static void put_raw(const bad_section *s) {
  size_t n = strtoul(option(s, "zeros="), NULL, 10);
  put_file(s->arg[1], arena_alloc(mem, n + 1, 1), n);
}

static void put_socket(const char *name) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  strcpy(address.sun_path, name);
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
  close(fd);
}

static void apply(const bad_section *s, setting *settings) {
  const char *kind = s->arg[0], *name = s->arg[1];
  if (strcmp(kind, "file") == 0)
    put_text(name, s->text);
  else if (strcmp(kind, "bytes") == 0)
    put_bytes(name, s->text);
  else if (strcmp(kind, "config") == 0)
    set_config(settings, s);
  else if (strcmp(kind, "weights") == 0)
    put_weights(s);
  else if (strcmp(kind, "raw") == 0)
    put_raw(s);
  else if (strcmp(kind, "dir") == 0)
    ck_assert_int_eq(mkdir(name, 0777), 0);
  else if (strcmp(kind, "fifo") == 0)
    ck_assert_int_eq(mkfifo(name, 0666), 0);
  else if (strcmp(kind, "socket") == 0)
    put_socket(name);
  else if (strcmp(kind, "remove") == 0)
    ck_assert_int_eq(remove(name), 0);
  else if (strcmp(kind, "link") == 0)
    ck_assert_int_eq(symlink(s->arg[2], name), 0);
  else if (strcmp(kind, "hardlink") == 0)
    ck_assert_int_eq(link(s->arg[2], name), 0);
  else
    ck_abort_msg("unknown section '%s'", kind);
}

/* ---- running ---- */

static const char *messages(void) {
  const char *all = "";
  for (const diag_message *m = diag_first(d); m; m = m->next)
    all = arena_printf(mem, "%s%s\n", all, diag_format(mem, m));
  return all;
}

/* True when the case speaks of `word`: what it does not speak of need not be written. */
static bool mentions(const bad_case *c, const char *word) {
  return strstr(c->source, word) != NULL;
}

/* The recipe, for three weights. */
static void read_recipe(void) {
  static const char *const weights[] = {"layer.0.query.weight", "layer.0.key.weight",
                                        "layer.1.query.weight"};
  uint32_t entry_of[3];
  const recipe *r = recipe_read(mem, d, "recipe.yaml");
  bool ok = r && recipe_choose(mem, d, r, weights, 3, entry_of);
  ck_assert_msg(ok == (diag_errors(d) == 0), "a recipe and errors exclude each other");
}

static void read_model(void) {
  model_source *m = model_read(mem, d, "model.yaml", NULL);
  if (m && m->weights) st_close(m->weights, d);
  ck_assert_msg((m != NULL) == (diag_errors(d) == 0), "a model and errors exclude each other");
}

/* Sets a case up in the scratch folder and reads its model or recipe; the messages. */
static const char *run(const bad_case *c, int *code) {
  setting settings[SETTINGS];
  memcpy(settings, config_start, sizeof settings);
  tiny_bert t = {.layers = 1, .pooler = true};
  bool folder_used = mentions(c, "hf");
  if (folder_used) tiny_write(&t, "hf");
  if (folder_used) write_config(settings);
  if (mentions(c, "w.safetensors")) write_weights();
  put_text("model.yaml", model_start);
  for (const bad_section *s = c->first; s; s = s->next) {
    apply(s, settings);
    if (strcmp(s->arg[0], "config") == 0) write_config(settings);
  }
  d = diag_new(mem);
  if (mentions(c, "recipe.yaml"))
    read_recipe();
  else
    read_model();
  *code = diag_exit_code(d);
  return messages();
}

START_TEST(bad) {
  const bad_case *c = &cases[_i];
  ck_assert_msg(c->expected != NULL, "%s: %s: no section expect", c->file, c->name);
  int code;
  const char *got = run(c, &code);
  ck_assert_msg(strcmp(got, c->expected) == 0, "%s: %s\n--- got\n%s--- expected\n%s", c->file,
                c->name, got, c->expected);
  ck_assert_msg(code == c->code, "%s: %s: exit code %d, expected %d", c->file, c->name, code,
                c->code);
}
END_TEST

/* Codes that no content of an input file can cause; their tests are elsewhere. */
static bool is_of_inputs(enum err code) {
  switch (code) {
  case E_WRITE:
  case E_MEMORY:
  case E_TOOL:
  case E_OBJECT:
  case E_W_CHANGED:
  case E_NOT_SPD:
  case E_TARGET:
  case E_SAME:
  case E_IR:
  case E_IR_VERSION:
  case E_IR_SSA:
  case E_IR_PLAN:
  case E_NPY:
  case E_RUN:
  case E_VERIFY:
  case E_INTERNAL:
    return false;
  default:
    return true;
  }
}

START_TEST(every_code_has_a_case) {
  for (enum err code = 0; code < ERR_COUNT; code++) {
    const char *mark = arena_printf(mem, "[%s]\n", err_name(code));
    bool found = false;
    for (size_t i = 0; i < case_count; i++)
      found |= cases[i].expected && strstr(cases[i].expected, mark);
    ck_assert_msg(found || !is_of_inputs(code),
                  "no case of tests/bad/cases ends in %sadd one, or list it above", mark);
  }
}
END_TEST

/* ---- printing ---- */

static const char *print_file; /* NULL: test */

START_TEST(print) {
  const bad_case *c = &cases[_i];
  if (strcmp(c->file, print_file) != 0) return;
  int code;
  const char *got = run(c, &code);
  printf("%s--- expect %d\n%s", c->source, code, got);
  fflush(stdout);
}
END_TEST

int main(int argc, char **argv) {
  arena *a = arena_new((size_t)1 << 26, scratch_full, NULL);
  cases = bad_cases_read(a, SPCC_SOURCE_DIR "/tests/bad", &case_count);
  if (argc == 3 && strcmp(argv[1], "--print") == 0) print_file = argv[2];
  TCase *t = untimed_case("bad");
  tcase_add_checked_fixture(t, scratch_setup, scratch_teardown);
  tcase_add_loop_test(t, print_file ? print : bad, 0, (int)case_count);
  if (!print_file) tcase_add_test(t, every_code_has_a_case);
  Suite *s = suite_create("bad");
  suite_add_tcase(s, t);
  SRunner *r = srunner_create(s);
  srunner_run_all(r, print_file ? CK_SILENT : CK_NORMAL);
  int failed = srunner_ntests_failed(r);
  srunner_free(r);
  arena_free(a);
  return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
