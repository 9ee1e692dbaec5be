/* -g: every function says which line of the model it was made for, so that debuggers and profilers
 * show layers as places in model.yaml. Functions that layers share have the first one's. */
#include <llvm-c/DebugInfo.h>
#include <string.h>

#include "codegen/build.h"

static LLVMMetadataRef file_of(const bld *b, const char *path) {
  return LLVMDIBuilderCreateFile(b->debug, path, strlen(path), "", 0);
}

static void module_flag(const bld *b, const char *key, uint32_t value) {
  LLVMAddModuleFlag(b->mod, LLVMModuleFlagBehaviorWarning, key, strlen(key),
                    LLVMValueAsMetadata(k32(b, value)));
}

void b_debug_begin(bld *b) {
  enum { DWARF = 4 }; /* tools of Debian 12 take the file numbers of version 5 for others */
  module_flag(b, "Debug Info Version", LLVMDebugMetadataVersion());
  module_flag(b, "Dwarf Version", DWARF);
  b->debug = LLVMCreateDIBuilder(b->mod);
  LLVMDIBuilderCreateCompileUnit(b->debug, LLVMDWARFSourceLanguageC99, file_of(b, "spcc"), "spcc",
                                 4, 1, "", 0, 0, "", 0, LLVMDWARFEmissionLineTablesOnly, 0, 0, 0,
                                 "", 0, "", 0);
  b_debug_place(b, NULL, 0);
}

void b_debug_place(bld *b, const char *file, uint32_t line) {
  b->debug_file = file ? file : "spcc";
  b->debug_line = line;
}

void b_debug_function(bld *b, const char *name) {
  if (!b->debug) return;
  LLVMMetadataRef file = file_of(b, b->debug_file);
  LLVMMetadataRef type = LLVMDIBuilderCreateSubroutineType(b->debug, file, NULL, 0, LLVMDIFlagZero);
  LLVMMetadataRef fn =
      LLVMDIBuilderCreateFunction(b->debug, file, name, strlen(name), "", 0, file, b->debug_line,
                                  type, 1, 1, b->debug_line, LLVMDIFlagArtificial, 1);
  LLVMSetSubprogram(b->fn, fn);
  LLVMSetCurrentDebugLocation2(b->b,
                               LLVMDIBuilderCreateDebugLocation(b->cx, b->debug_line, 0, fn, NULL));
}

void b_debug_end(bld *b) {
  if (!b->debug) return;
  LLVMDIBuilderFinalize(b->debug);
  LLVMDisposeDIBuilder(b->debug);
  b->debug = NULL;
}
