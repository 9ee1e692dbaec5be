/* Puts the packed weights into LLVM's ELF object. The module holds a placeholder in a section
 * of its own; here the section is given its real contents, so that gigabytes of weights never pass
 * through LLVM. Format: System V ABI, ELF-64; SHF_X86_64_LARGE: x86-64 psABI 4.2.1. */
#include <elf.h>
#include <string.h>

#include "codegen/cg.h"
#include "support/checked.h"

#ifndef SHF_X86_64_LARGE
#define SHF_X86_64_LARGE 0x10000000
#endif

static Elf64_Shdr *find_section(unsigned char *elf, const char *name) {
  Elf64_Ehdr *head = (Elf64_Ehdr *)(void *)elf;
  Elf64_Shdr *sections = (Elf64_Shdr *)(void *)(elf + head->e_shoff);
  const char *names = (const char *)elf + sections[head->e_shstrndx].sh_offset;
  for (uint16_t i = 0; i < head->e_shnum; i++)
    if (strcmp(names + sections[i].sh_name, name) == 0) return &sections[i];
  return NULL;
}

bool object_add_weights(arena *a, diag *d, bytes object, bytes weights, bytes *out) {
  size_t start, size;
  if (!size_align_up(object.size, 64, &start) || !size_add(start, weights.size, &size))
    return diag_error(d, loc_file("spcc"), E_OVERFLOW, "the object's size overflows");
  unsigned char *elf = arena_alloc(a, size, 64);
  memcpy(elf, object.data, object.size);
  memcpy(elf + start, weights.data, weights.size);
  Elf64_Shdr *section = find_section(elf, WEIGHTS_SECTION);
  if (!section)
    return diag_error(d, loc_file("spcc"), E_INTERNAL,
                      "the object has no section " WEIGHTS_SECTION);
  section->sh_flags = SHF_ALLOC | SHF_X86_64_LARGE;
  section->sh_offset = start;
  section->sh_size = weights.size;
  section->sh_addralign = 64;
  *out = (bytes){elf, size};
  return true;
}

uint64_t object_text_size(bytes object) {
  Elf64_Shdr *text = find_section((unsigned char *)(uintptr_t)object.data, ".text");
  return text ? text->sh_size : 0;
}
