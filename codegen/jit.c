/* In-process loading of a compiled object, by LLVM's ORC: for verify, bench and the tests. */
#include <llvm-c/Core.h>
#include <llvm-c/Error.h>
#include <llvm-c/LLJIT.h>
#include <llvm-c/Orc.h>
#include <llvm-c/Target.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/codegen.h"

struct jit_model {
  LLVMOrcLLJITRef jit;
};

static bool failed(diag *d, LLVMErrorRef e) {
  if (!e) return false;
  char *text = LLVMGetErrorMessage(e);
  diag_error(d, loc_file("spcc"), E_INTERNAL, "loading the compiled model: %s", text);
  LLVMDisposeErrorMessage(text);
  return true;
}

/* Address of <name><suffix>; 0 after an error. */
static uint64_t lookup(diag *d, LLVMOrcLLJITRef jit, const char *name, const char *suffix) {
  char symbol[128];
  LLVMOrcExecutorAddress at = 0;
  snprintf(symbol, sizeof symbol, "%s%s", name, suffix);
  return failed(d, LLVMOrcLLJITLookup(jit, &at, symbol)) ? 0 : at;
}

static bool add_object(diag *d, LLVMOrcLLJITRef jit, const codegen_result *r) {
  LLVMOrcJITDylibRef lib = LLVMOrcLLJITGetMainJITDylib(jit);
  LLVMOrcDefinitionGeneratorRef libc;
  if (failed(d, LLVMOrcCreateDynamicLibrarySearchGeneratorForProcess(
                    &libc, LLVMOrcLLJITGetGlobalPrefix(jit), NULL, NULL)))
    return false;
  LLVMOrcJITDylibAddGenerator(lib, libc);
  LLVMMemoryBufferRef copy = LLVMCreateMemoryBufferWithMemoryRangeCopy((const char *)r->object.data,
                                                                       r->object.size, "spcc");
  return !failed(d, LLVMOrcLLJITAddObjectFile(jit, lib, copy));
}

jit_model *jit_load(diag *d, const codegen_result *r, const char *name, jit_entry *entry) {
  LLVMInitializeX86TargetInfo();
  LLVMInitializeX86Target();
  LLVMInitializeX86TargetMC();
  LLVMInitializeX86AsmPrinter();
  LLVMOrcLLJITRef jit;
  if (failed(d, LLVMOrcCreateLLJIT(&jit, NULL))) return NULL;
  uint64_t run = 0, workspace = 0, info = 0;
  if (add_object(d, jit, r)) {
    run = lookup(d, jit, name, "_run");
    workspace = lookup(d, jit, name, "_workspace");
    info = lookup(d, jit, name, "_info");
  }
  jit_model *m = run && workspace && info ? malloc(sizeof *m) : NULL;
  if (!m) {
    LLVMConsumeError(LLVMOrcDisposeLLJIT(jit));
    return NULL;
  }
  m->jit = jit;
  memcpy(&entry->run, &run, sizeof run);
  memcpy(&entry->workspace, &workspace, sizeof workspace);
  memcpy(&entry->info, &info, sizeof info);
  return m;
}

void jit_free(jit_model *m) {
  if (!m) return;
  LLVMConsumeError(LLVMOrcDisposeLLJIT(m->jit));
  free(m);
}
