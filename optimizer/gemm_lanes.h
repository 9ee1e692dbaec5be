/* A product for one element type and width of vectors; gemm.c includes this once for each.
 *
 * FN(name) names its functions, TARGET is their attribute; REAL and VIEW are the types, BYTES is
 * the width of a vector, ROWS how many rows a tile of registers has. A tile has two vectors of
 * columns. */

enum {
  FN(WIDTH) = BYTES / sizeof(REAL),
  FN(COLS) = 2 * FN(WIDTH),
  FN(DEPTH) = 1024 / sizeof(REAL)
};

typedef REAL FN(vector) __attribute__((vector_size(BYTES), may_alias));

/* Rows of a, ROWS at a time: element p of such a panel's row r is at p * ROWS + r. */
TARGET static void FN(pack_left)(REAL *out, VIEW a, size_t rows, size_t depth) {
  for (size_t i = 0; i < rows; i += ROWS, out += ROWS * depth) {
    size_t count = rows - i < ROWS ? rows - i : ROWS;
    if (count < ROWS) memset(out, 0, ROWS * depth * sizeof *out);
    const REAL *from = a.at + i * a.row;
    if (a.row == 1) {
      for (size_t p = 0; p < depth; p++)
        for (size_t r = 0; r < count; r++)
          out[p * ROWS + r] = from[p * a.col + r];
    } else {
      for (size_t r = 0; r < count; r++)
        for (size_t p = 0; p < depth; p++)
          out[p * ROWS + r] = from[r * a.row + p * a.col];
    }
  }
}

/* Up to COLS columns of b: element p of column j is at p * COLS + j. */
TARGET static void FN(pack_right)(REAL *out, VIEW b, size_t cols, size_t depth) {
  if (cols < FN(COLS)) memset(out, 0, FN(COLS) * depth * sizeof *out);
  if (b.col == 1) {
    for (size_t p = 0; p < depth; p++)
      memcpy(out + p * FN(COLS), b.at + p * b.row, cols * sizeof *out);
  } else {
    for (size_t j = 0; j < cols; j++)
      for (size_t p = 0; p < depth; p++)
        out[p * FN(COLS) + j] = b.at[p * b.row + j * b.col];
  }
}

/* sum[ROWS, COLS] = left right. */
TARGET static void FN(tile)(const REAL *left, const REAL *right, size_t depth, REAL *sum) {
  FN(vector) s[ROWS][2] = {{{0}}};
  const FN(vector) *b = (const void *)right;
  for (size_t p = 0; p < depth; p++, left += ROWS, b += 2)
    for (size_t r = 0; r < ROWS; r++) {
      s[r][0] += left[r] * b[0];
      s[r][1] += left[r] * b[1];
    }
  memcpy(sum, s, sizeof s);
}

TARGET static void FN(store)(spo_into into, const REAL *sum, size_t rows, size_t cols, REAL *c,
                             size_t row) {
  for (size_t r = 0; r < rows; r++, c += row, sum += FN(COLS))
    for (size_t j = 0; j < cols; j++)
      c[j] = into == SPO_SET ? sum[j] : into == SPO_ADD ? c[j] + sum[j] : c[j] - sum[j];
}

/* Up to 128 rows and DEPTH products. */
TARGET static void FN(block)(spo_into into, size_t m, size_t n, size_t depth, VIEW a, VIEW b,
                             REAL *c, size_t row) {
  _Alignas(64) REAL left[LEFT * FN(DEPTH)], right[FN(DEPTH) * FN(COLS)], sum[ROWS * FN(COLS)];
  FN(pack_left)(left, a, m, depth);
  for (size_t j = 0; j < n; j += FN(COLS), b.at += FN(COLS) * b.col) {
    size_t cols = n - j < FN(COLS) ? n - j : FN(COLS);
    FN(pack_right)(right, b, cols, depth);
    for (size_t i = 0; i < m; i += ROWS) {
      FN(tile)(left + i * depth, right, depth, sum);
      FN(store)(into, sum, m - i < ROWS ? m - i : ROWS, cols, c + i * row + j, row);
    }
  }
}

TARGET static void FN(gemm)(spo_into into, size_t m, size_t n, size_t k, VIEW a, VIEW b, REAL *c,
                            size_t row) {
  for (size_t i = 0; i < m; i += LEFT)
    for (size_t p = 0; p < k; p += FN(DEPTH)) {
      VIEW above = {a.at + i * a.row + p * a.col, a.row, a.col};
      VIEW beside = {b.at + p * b.row, b.row, b.col};
      FN(block)(p > 0 && into == SPO_SET ? SPO_ADD : into, m - i < LEFT ? m - i : LEFT, n,
                k - p < FN(DEPTH) ? k - p : FN(DEPTH), above, beside, c + i * row, row);
    }
}

#undef FN
#undef TARGET
#undef BYTES
#undef ROWS
