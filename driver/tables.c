/* The tables of the command line, as arrays. */
#include "driver/driver.h"

#define ON(name) (1u << CMD_##name)
#define ON_ALL ((1u << CMD_COUNT) - 1)

const flag_info flag_table[FLAG_COUNT] = {
#define FLAG(id, spelling, kind, value, lo, hi, commands, doc)                                     \
  {spelling, FLAG_##kind, value, lo, hi, commands, doc},
#include "driver/flags.def"
#undef FLAG
};

const command_info command_table[CMD_COUNT] = {
#define COMMAND(name, lo, hi, operands, doc) {#name, lo, hi, operands, doc, cmd_##name},
#include "driver/commands.def"
#undef COMMAND
};
