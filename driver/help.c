/* --help, out of the tables. */
#include <stdio.h>
#include <string.h>

#include "driver/driver.h"

enum { DOC_COLUMN = 26, WIDTH = 96 };

/* Prints `text` from column `at` on, broken at blanks, further lines indented to DOC_COLUMN. */
static void print_wrapped(const char *text) {
  int column = DOC_COLUMN;
  while (*text) {
    int word = (int)strcspn(text, " ");
    if (column > DOC_COLUMN && column + 1 + word > WIDTH) {
      printf("\n%*s", DOC_COLUMN, "");
      column = DOC_COLUMN;
    } else if (column > DOC_COLUMN) {
      column += printf(" ");
    }
    column += printf("%.*s", word, text);
    text += word + (text[word] == ' ');
  }
  printf("\n");
}

static void print_flag(const flag_info *f) {
  bool is_long = f->spelling[0] == '-' && f->spelling[1] && f->spelling[2];
  const char *between = f->kind == FLAG_SWITCH ? "" : is_long ? "=" : " ";
  bool optional = f->kind == FLAG_SECONDS;
  int column = printf("  %s%s%s%s%s", f->spelling, optional ? "[" : "", between, f->value,
                      optional ? "]" : "");
  if (column >= DOC_COLUMN)
    printf("\n%*s", DOC_COLUMN, "");
  else
    printf("%*s", DOC_COLUMN - column, "");
  print_wrapped(f->doc);
}

static void print_commands(void) {
  printf("\nCommands (each has a --help of its own):\n");
  for (int i = 0; i < CMD_COUNT; i++)
    if (i != CMD_compile)
      printf("  spcc %s%s%s\n%*s%s\n", command_table[i].name, *command_table[i].operands ? " " : "",
             command_table[i].operands, DOC_COLUMN, "", command_table[i].doc);
}

void help_print(const driver *dr) {
  const command_info *c = &command_table[dr->command];
  bool compile = dr->command == CMD_compile;
  printf("Usage: spcc%s%s%s%s [flags]\n%c%s\n", compile ? "" : " ", compile ? "" : c->name,
         *c->operands ? " " : "", c->operands, c->doc[0] - 'a' + 'A', c->doc + 1);
  printf("\nFlags:\n");
  for (int i = 0; i < FLAG_COUNT; i++)
    if (flag_table[i].commands >> dr->command & 1) print_flag(&flag_table[i]);
  if (compile) print_commands();
}
