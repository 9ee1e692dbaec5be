/* What a run leaves alone: no system call, no malloc, errno and the floating-point state as they
 * were; and it computes the same whatever that state is. */
#include <check.h>
#include <errno.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <xmmintrin.h>

#include "call.h"
#include "tests/run_suite.h"

static const shape usual = {.batch = 3, .sequence = 65, .mask = true, .types = true};

/* ---- system calls ---- */

/* In a child process in which any system call but read, write, exit and sigreturn kills; returns
 * the child's wait status. */
static int in_strict_mode(void (*act)(buffers *), buffers *b) {
  pid_t child = fork();
  ck_assert_int_ge(child, 0);
  if (child == 0) {
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) != 0) syscall(SYS_exit, 99);
    act(b);
    syscall(SYS_exit, 0);
  }
  int status;
  ck_assert_int_eq(waitpid(child, &status, 0), child);
  return status;
}

static void run_strictly(buffers *b) {
  spcc_status status = b->model->run(b->call);
  if (status != SPCC_OK) syscall(SYS_exit, 10 + (int)status);
}

static void make_system_call(buffers *b) {
  (void)b;
  syscall(SYS_getpid);
}

START_TEST(no_system_call) {
  const shape shapes[] = {
      usual, {.batch = 1, .sequence = 1}, {.batch = 4, .sequence = 80, .mask = true, .threads = 3}};
  const model *models[] = {&tiny, &generic, &other};
  for (size_t i = 0; i < 9; i++) {
    buffers b;
    buffers_init(&b, models[i % 3], shapes[i / 3], PLAIN, 1);
    run_ok(&b); /* the dynamic linker has found memcpy now */
    int status = in_strict_mode(run_strictly, &b);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s: wait status %x",
                  b.model->name, (unsigned)status);
    buffers_free(&b);
  }
}
END_TEST

START_TEST(the_check_for_system_calls_works) {
  int status = in_strict_mode(make_system_call, NULL);
  ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "wait status %x",
                (unsigned)status);
}
END_TEST

/* ---- malloc: the linker's --wrap leads all calls of the program's objects here ---- */

static size_t allocations;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);

void *__wrap_malloc(size_t size) {
  allocations++;
  return __real_malloc(size);
}
void *__wrap_calloc(size_t count, size_t size) {
  allocations++;
  return __real_calloc(count, size);
}
void *__wrap_realloc(void *memory, size_t size) {
  allocations++;
  return __real_realloc(memory, size);
}

START_TEST(no_malloc) {
  buffers b;
  buffers_init(&b, &tiny, usual, PLAIN, 1);
  ck_assert_uint_gt(allocations, 0); /* of buffers_init: the wrapping works */
  allocations = 0;
  spcc_status status = tiny.run(b.call);
  size_t counted = allocations;
  ck_assert_int_eq(status, SPCC_OK);
  ck_assert_uint_eq(counted, 0);
  buffers_free(&b);
}
END_TEST

/* ---- errno, MXCSR, the x87 control word ---- */

static uint16_t x87_control(void) {
  uint16_t word;
  __asm__ volatile("fnstcw %0" : "=m"(word));
  return word;
}

static void set_x87_control(uint16_t word) {
  __asm__ volatile("fldcw %0" : : "m"(word));
}

typedef struct state {
  uint32_t mxcsr;
  uint16_t x87;
  int error;
} state;

/* Runs b in a given state; returns the one that it leaves. */
static state run_in_state(buffers *b, state s) {
  state before = {_mm_getcsr(), x87_control(), errno}, after;
  _mm_setcsr(s.mxcsr);
  set_x87_control(s.x87);
  errno = s.error;
  spcc_status status = b->model->run(b->call);
  after = (state){_mm_getcsr(), x87_control(), errno};
  _mm_setcsr(before.mxcsr);
  set_x87_control(before.x87);
  errno = before.error;
  ck_assert_int_eq(status, SPCC_OK);
  return after;
}

enum { MXCSR_DEFAULT = 0x1f80, X87_DEFAULT = 0x37f };

START_TEST(state_is_kept) {
  static const state states[] = {
      {MXCSR_DEFAULT, X87_DEFAULT, 0},
      {MXCSR_DEFAULT | 0x8040, X87_DEFAULT, EINTR}, /* flush to zero, denormals are zero */
      {MXCSR_DEFAULT | 0x6000, 0x0f7f, 1234},       /* both round towards zero */
      {MXCSR_DEFAULT | 0x2000, 0x007f, ENOMEM},     /* downwards; single precision in the x87 */
      {MXCSR_DEFAULT | 0x003f, X87_DEFAULT, 0},     /* all exceptions have happened */
      {0x0000, X87_DEFAULT, 0},                     /* every exception traps */
  };
  for (uint32_t threads = 0; threads < 4; threads++) {
    buffers expected, b;
    shape s = usual;
    s.threads = threads;
    buffers_init(&expected, &tiny, s, PLAIN, 1);
    run_ok(&expected);
    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++) {
      buffers_init(&b, &tiny, s, PLAIN, 1);
      state left = run_in_state(&b, states[i]);
      ck_assert_uint_eq(left.mxcsr, states[i].mxcsr);
      ck_assert_uint_eq(left.x87, states[i].x87);
      ck_assert_int_eq(left.error, states[i].error);
      same_outputs(&expected, &b);
      buffers_free(&b);
    }
    buffers_free(&expected);
  }
}
END_TEST

/* A call that is refused must not leave another state either. */
START_TEST(state_is_kept_when_refused) {
  buffers b;
  buffers_init(&b, &tiny, usual, PLAIN, 1);
  b.in[IN_IDS][0] = -1; /* found only while the run is under way */
  errno = 77;
  uint32_t before = _mm_getcsr();
  spcc_status status = tiny.run(b.call);
  uint32_t after = _mm_getcsr();
  int error = errno;
  ck_assert_int_eq(status, SPCC_E_INDEX);
  ck_assert_uint_eq(before, after);
  ck_assert_int_eq(error, 77);
  buffers_free(&b);
}
END_TEST

/* ---- what the caller's functions see ---- */

static uint32_t callbacks, other_states; /* how many, and the bits of MXCSR that were not its own */

static void note_state(void) {
  callbacks++;
  other_states |= _mm_getcsr() ^ MXCSR_DEFAULT;
}

static void noting_for(const spcc_exec *exec, uint32_t n, void (*task)(void *, uint32_t),
                       void *arg) {
  (void)exec;
  for (uint32_t i = 0; i < n; i++) {
    note_state();
    task(arg, i);
  }
  note_state();
}

static void noting_hook(const spcc_exec *exec, uint32_t step, uint32_t enter) {
  (void)exec, (void)step, (void)enter;
  note_state();
}

/* Threads that parallel_for or a hook starts inherit the state: it has to be the caller's. */
START_TEST(callbacks_have_the_callers_state) {
  const model *models[] = {&tiny, &generic, &other};
  for (uint32_t i = 0; i < 9; i++) {
    shape s = usual;
    s.threads = i / 3 + 1;
    buffers b;
    buffers_init(&b, models[i % 3], s, PLAIN, 1);
    spcc_exec exec = reverse_exec(s.threads);
    exec.parallel_for = noting_for;
    exec.hook = noting_hook;
    spcc_call call = *b.call;
    call.exec = &exec;
    callbacks = other_states = 0;
    _mm_setcsr(MXCSR_DEFAULT);
    spcc_status status = b.model->run(&call);
    _mm_setcsr(MXCSR_DEFAULT);
    ck_assert_int_eq(status, SPCC_OK);
    ck_assert_uint_gt(callbacks, 0);
    ck_assert_uint_eq(other_states & ~0x3fu, 0); /* but for the flags of what has happened */
    buffers_free(&b);
  }
}
END_TEST

int main(void) {
  Suite *s = suite_create("abi_purity");
  TCase *c = untimed_case("purity");
  tcase_add_test(c, no_system_call);
  tcase_add_test(c, the_check_for_system_calls_works);
  tcase_add_test(c, no_malloc);
  tcase_add_test(c, state_is_kept);
  tcase_add_test(c, state_is_kept_when_refused);
  tcase_add_test(c, callbacks_have_the_callers_state);
  suite_add_tcase(s, c);
  return run_suite(s);
}
