/* Names of models, inputs and outputs: identifiers in C and C++ alike. */
#include "frontend/model_name.h"

#include <string.h>

enum { MAX_NAME = 63 };

/* Keywords of C and C++, macros that compilers of GNU C have, and names of the C library that a
 * program uses for itself. */
static const char *const reserved[] = {
    "NULL",
    "abort",
    "alignas",
    "alignof",
    "and",
    "and_eq",
    "asm",
    "assert",
    "atomic",
    "auto",
    "bitand",
    "bitor",
    "bool",
    "break",
    "calloc",
    "case",
    "catch",
    "char",
    "char16_t",
    "char32_t",
    "char8_t",
    "class",
    "co_await",
    "co_return",
    "co_yield",
    "compl",
    "complex",
    "concept",
    "const",
    "const_cast",
    "consteval",
    "constexpr",
    "constinit",
    "continue",
    "decltype",
    "default",
    "delete",
    "do",
    "double",
    "dynamic_cast",
    "else",
    "enum",
    "errno",
    "exit",
    "explicit",
    "export",
    "extern",
    "false",
    "float",
    "for",
    "free",
    "friend",
    "goto",
    "i386",
    "if",
    "imaginary",
    "inline",
    "int",
    "int16_t",
    "int32_t",
    "int64_t",
    "int8_t",
    "linux",
    "long",
    "main",
    "malloc",
    "memcpy",
    "memmove",
    "memset",
    "mutable",
    "namespace",
    "new",
    "noexcept",
    "noreturn",
    "not",
    "not_eq",
    "nullptr",
    "operator",
    "or",
    "or_eq",
    "printf",
    "private",
    "protected",
    "public",
    "realloc",
    "register",
    "reinterpret_cast",
    "requires",
    "restrict",
    "return",
    "short",
    "signed",
    "size_t",
    "sizeof",
    "static",
    "static_assert",
    "static_cast",
    "stderr",
    "stdin",
    "stdout",
    "struct",
    "switch",
    "template",
    "this",
    "thread_local",
    "throw",
    "true",
    "try",
    "typedef",
    "typeid",
    "typename",
    "typeof",
    "typeof_unqual",
    "uint16_t",
    "uint32_t",
    "uint64_t",
    "uint8_t",
    "union",
    "unix",
    "unsigned",
    "using",
    "virtual",
    "void",
    "volatile",
    "wchar_t",
    "while",
    "xor",
    "xor_eq",
};

static bool is_reserved(const char *name) {
  for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++)
    if (strcmp(name, reserved[i]) == 0) return true;
  return false;
}

static bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_word_char(char c) {
  return is_letter(c) || (c >= '0' && c <= '9') || c == '_';
}

bool model_name_ok(const char *name) {
  size_t length = strlen(name);
  if (length == 0 || length > MAX_NAME || !is_letter(name[0])) return false;
  for (size_t i = 0; i < length; i++)
    if (!is_word_char(name[i])) return false;
  /* Functions inside are <name>.…, and those of LLVM's own are llvm.… */
  return strncmp(name, "spcc", 4) != 0 && strcmp(name, "llvm") != 0 && !is_reserved(name);
}

const char *model_name_from_path(arena *a, const char *path) {
  const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
  const char *dot = strrchr(base, '.');
  size_t length = dot && dot > base ? (size_t)(dot - base) : strlen(base);
  if (length > MAX_NAME - 2) length = MAX_NAME - 2;
  char *name = arena_strndup(a, base, length);
  for (char *c = name; *c; c++)
    if (!is_word_char(*c)) *c = '_';
  return model_name_ok(name) ? name : arena_printf(a, "m_%s", name);
}
