/* A plugin in one file of C11, to be read from top to bottom.
 *
 * It has a metric, `example-c/share-right`, and an encoder, `example-c/hashed`. The metric shows how a table comes in and goes out, the encoder how texts and
 * tensors do. Neither needs a library but that of C: a table is a few arrays, a tensor is one.
 *
 * Three rules run through the file. Who makes something frees it, through the `release` or `deleter` it carries. What comes in may be of any of the allowed
 * formats, what goes out is of one we choose. And a function that fails leaves its outputs untouched and says why in `error`.
 *
 * Build it with `make`, and look at the result with `lmprobe plugin inspect libexample_c.so`. */

#include <lmprobe_plugin.h>

#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The stamp is read from the file before anything of it runs. The entry, at the end of this file, is the one function that others see. */
LMPROBE_DEFINE_STAMP
LMPROBE_DECLARE_ENTRY

#define TEXT(literal) { (const uint8_t *)(literal), sizeof(literal) - 1 }

/* The host's functions. The table lives as long as the process, so the pointer may be kept. */
static const struct lmprobe_host *host;

/* ---- Errors and bytes ---------------------------------------------------------------------------------------------------------------------------------- */

static void release_buf(struct lmprobe_buf *buf) {
  free(buf->ptr);
  buf->release = NULL;
}

/* Gives a copy of bytes to the host, which calls `release` when it has read them. */
static int32_t give_bytes(struct lmprobe_buf *buf, const void *bytes, size_t len) {
  uint8_t *copy = malloc(len == 0 ? 1 : len);
  if (copy == NULL) return LMPROBE_OOM;
  memcpy(copy, bytes, len);
  *buf = (struct lmprobe_buf){ copy, len, NULL, release_buf };
  return LMPROBE_OK;
}

/* Says why a function fails, and returns its status. `path` is a JSON pointer into the parameters or the name of a column. */
static int32_t fail(struct lmprobe_error *error, int32_t status, const char *path, const char *format, ...) {
  char message[256];
  va_list arguments;
  va_start(arguments, format);
  int len = vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  if (len < 0) len = 0;
  if ((size_t)len >= sizeof message) len = sizeof message - 1;
  /* Without memory for the message the status alone must do. */
  (void)give_bytes(&error->message, message, (size_t)len);
  (void)give_bytes(&error->path, path, strlen(path));
  return status;
}

static int32_t out_of_memory(struct lmprobe_error *error) {
  return fail(error, LMPROBE_OOM, "", "there is not enough memory");
}

/* The host asks a long call to stop by this flag. A host may lack the function, as every one of its functions. */
static bool is_cancelled(const struct lmprobe_call *call) {
  return host->cancelled != NULL && host->cancelled(call) != 0;
}

/* ---- Reading a table ----------------------------------------------------------------------------------------------------------------------------------- */

/* The host sends text as `U`, with offsets of 64 bits, whole numbers as `l`, and checks what it sends. Nevertheless a plugin looks at the formats: a later host
 * might send `u` or `i`. `array->offset` cells of every buffer are skipped. */

struct column {
  const struct ArrowArray *array;
  const char *format;
};

static bool find_column(const struct lmprobe_table *table, const char *name, struct column *found) {
  for (int64_t i = 0; i < table->schema.n_children; i++) {
    if (strcmp(table->schema.children[i]->name, name) == 0) {
      *found = (struct column){ table->array.children[i], table->schema.children[i]->format };
      return true;
    }
  }
  return false;
}

/* A bit for each cell, lowest first: 1 is filled, 0 is empty. No bits at all: every cell is filled. */
static bool is_filled(const struct ArrowArray *array, int64_t row) {
  const uint8_t *bits = array->buffers[0];
  int64_t bit = array->offset + row;
  return bits == NULL || (bits[bit / 8] >> (bit % 8) & 1) != 0;
}

static int64_t whole(const struct column *column, int64_t row) {
  int64_t at = column->array->offset + row;
  return column->format[0] == 'l' ? ((const int64_t *)column->array->buffers[1])[at] : ((const int32_t *)column->array->buffers[1])[at];
}

static struct lmprobe_str text(const struct column *column, int64_t row) {
  int64_t at = column->array->offset + row, start, end;
  if (column->format[0] == 'U') {
    const int64_t *offsets = column->array->buffers[1];
    start = offsets[at], end = offsets[at + 1];
  } else {
    const int32_t *offsets = column->array->buffers[1];
    start = offsets[at], end = offsets[at + 1];
  }
  if (start == end) return (struct lmprobe_str){ NULL, 0 };
  return (struct lmprobe_str){ (const uint8_t *)column->array->buffers[2] + start, (size_t)(end - start) };
}

/* ---- Making a table ------------------------------------------------------------------------------------------------------------------------------------ */

#define MOST_COLUMNS 10

/* Everything that belongs to a table, in one allocation's reach: the two `release` functions below free it when both were called. */
struct made_table {
  int64_t rows;
  int columns;
  int references;
  struct ArrowSchema schemas[MOST_COLUMNS];
  struct ArrowArray arrays[MOST_COLUMNS];
  struct ArrowSchema *schema_list[MOST_COLUMNS];
  struct ArrowArray *array_list[MOST_COLUMNS];
  const void *buffers[MOST_COLUMNS][3];
  const void *root_buffers[1];
};

static void free_table(struct made_table *made) {
  for (int c = 0; c < made->columns; c++) {
    for (int b = 0; b < 3; b++) free((void *)made->buffers[c][b]);
  }
  free(made);
}

/* Schema and array are released one by one, in any order. */
static void drop_reference(struct made_table *made) {
  if (--made->references == 0) free_table(made);
}

static void release_schema(struct ArrowSchema *schema) {
  schema->release = NULL;
  drop_reference(schema->private_data);
}

static void release_array(struct ArrowArray *array) {
  array->release = NULL;
  drop_reference(array->private_data);
}

/* The children belong to the root: only its `release` frees anything. Importers want one on each nevertheless. */
static void release_child_schema(struct ArrowSchema *schema) { schema->release = NULL; }
static void release_child_array(struct ArrowArray *array) { array->release = NULL; }

static struct made_table *new_table(int64_t rows) {
  struct made_table *made = calloc(1, sizeof *made);
  if (made != NULL) made->rows = rows;
  return made;
}

/* Appends a column with its buffers, which the table frees from now on. `n_buffers` is 3 for text and 2 for everything else. */
static void add_column(struct made_table *made, const char *name, const char *format, int n_buffers, void *bits, int64_t empty, void *first, void *second) {
  int c = made->columns++;
  made->buffers[c][0] = bits, made->buffers[c][1] = first, made->buffers[c][2] = second;
  made->schemas[c] = (struct ArrowSchema){ .format = format, .name = name, .flags = 2, .release = release_child_schema };
  made->arrays[c] = (struct ArrowArray){
    .length = made->rows, .null_count = empty, .n_buffers = n_buffers, .buffers = made->buffers[c], .release = release_child_array,
  };
  made->schema_list[c] = &made->schemas[c];
  made->array_list[c] = &made->arrays[c];
}

/* One byte more than asked for: `malloc(0)` may return NULL, which would look like a failure. */
static void *room(size_t bytes) { return calloc(1, bytes + 1); }

static bool add_texts(struct made_table *made, const char *name, const struct lmprobe_str *cells) {
  size_t bytes = 0;
  for (int64_t row = 0; row < made->rows; row++) bytes += cells[row].len;
  int64_t *offsets = room(((size_t)made->rows + 1) * sizeof *offsets);
  uint8_t *data = room(bytes);
  uint8_t *bits = room((size_t)made->rows / 8 + 1);
  if (offsets == NULL || data == NULL || bits == NULL) {
    free(offsets), free(data), free(bits);
    return false;
  }
  int64_t empty = 0;
  for (int64_t row = 0; row < made->rows; row++) {
    if (cells[row].len > 0) memcpy(data + offsets[row], cells[row].ptr, cells[row].len);
    offsets[row + 1] = offsets[row] + (int64_t)cells[row].len;
    /* A null pointer marks an empty cell; an empty text has a pointer. */
    if (cells[row].ptr != NULL) bits[row / 8] |= (uint8_t)(1 << row % 8);
    else empty++;
  }
  add_column(made, name, "U", 3, bits, empty, offsets, data);
  return true;
}

static bool add_values(struct made_table *made, const char *name, const char *format, const void *cells, size_t width) {
  void *values = room((size_t)made->rows * width);
  if (values == NULL) return false;
  if (made->rows > 0) memcpy(values, cells, (size_t)made->rows * width);
  add_column(made, name, format, 2, NULL, 0, values, NULL);
  return true;
}

/* Truth values are bits, lowest first. */
static bool add_flags(struct made_table *made, const char *name, const bool *cells) {
  uint8_t *bits = room((size_t)made->rows / 8 + 1);
  if (bits == NULL) return false;
  for (int64_t row = 0; row < made->rows; row++) {
    if (cells[row]) bits[row / 8] |= (uint8_t)(1 << row % 8);
  }
  add_column(made, name, "b", 2, NULL, 0, bits, NULL);
  return true;
}

/* From here on the table belongs to the host. */
static void give_table(struct made_table *made, struct lmprobe_table *out) {
  made->references = 2;
  out->schema = (struct ArrowSchema){
    .format = "+s", .name = "", .n_children = made->columns, .children = made->schema_list, .release = release_schema, .private_data = made,
  };
  out->array = (struct ArrowArray){
    .length = made->rows, .n_buffers = 1, .buffers = made->root_buffers, .n_children = made->columns, .children = made->array_list,
    .release = release_array, .private_data = made,
  };
}

/* ---- Parameters ---------------------------------------------------------------------------------------------------------------------------------------- */

/* The host checks parameters against the schema before it calls `create`, and fills in defaults. With one whole number to read, a scanner of a dozen lines does;
 * with more of them, take a JSON library. It looks at keys of the outermost object only, so that `{"note": "\"k\": 2", "k": 3}` gives 3. */

static size_t skip_space(struct lmprobe_str json, size_t at) {
  while (at < json.len && memchr(" \t\r\n", json.ptr[at], 4) != NULL) at++;
  return at;
}

/* From the opening quote to behind the closing one, or to the end. */
static size_t skip_string(struct lmprobe_str json, size_t at) {
  for (at++; at < json.len && json.ptr[at] != '"'; at++) {
    if (json.ptr[at] == '\\') at++;
  }
  return at < json.len ? at + 1 : json.len;
}

static bool whole_parameter(struct lmprobe_str json, const char *key, uint64_t *value) {
  size_t depth = 0, length = strlen(key);
  for (size_t at = 0; at < json.len;) {
    uint8_t byte = json.ptr[at];
    if (byte != '"') {
      if (byte == '{' || byte == '[') depth++;
      if ((byte == '}' || byte == ']') && depth > 0) depth--;
      at++;
      continue;
    }
    size_t end = skip_string(json, at), colon = skip_space(json, end);
    bool wanted = depth == 1 && end - at == length + 2 && memcmp(json.ptr + at + 1, key, length) == 0 && colon < json.len && json.ptr[colon] == ':';
    at = end;
    if (!wanted) continue;
    size_t digit = skip_space(json, colon + 1), first = digit;
    uint64_t number = 0;
    for (; digit < json.len && json.ptr[digit] >= '0' && json.ptr[digit] <= '9'; digit++) {
      unsigned next = json.ptr[digit] - '0';
      if (number > (UINT64_MAX - next) / 10) return false;
      number = number * 10 + next;
    }
    /* `2.5` and `2e1` are no whole numbers for us. */
    if (digit == first || (digit < json.len && memchr(".eE", json.ptr[digit], 3) != NULL)) return false;
    *value = number;
    return true;
  }
  return false;
}

/* ---- The metric ---------------------------------------------------------------------------------------------------------------------------------------- */

/* An instance is whatever we make of it: the host only carries the pointer around. */
struct share_right {
  uint64_t k;
};

static int32_t share_right_create(
    const struct lmprobe_call *call, struct lmprobe_str params, struct lmprobe_instance **instance, struct lmprobe_error *error) {
  (void)call;
  uint64_t k;
  if (!whole_parameter(params, "k", &k) || k == 0) return fail(error, LMPROBE_CONFIG, "/k", "`k` is no whole number of at least 1");
  struct share_right *made = malloc(sizeof *made);
  if (made == NULL) return out_of_memory(error);
  made->k = k;
  *instance = (struct lmprobe_instance *)made;
  return LMPROBE_OK;
}

static void destroy(struct lmprobe_instance *instance) { free(instance); }

static int metric_name(const struct share_right *metric, char name[40]) {
  return snprintf(name, 40, "share-right@%llu", (unsigned long long)metric->k);
}

static int32_t share_right_describe(struct lmprobe_instance *instance, struct lmprobe_buf *json, struct lmprobe_error *error) {
  char name[40], description[64];
  metric_name((const struct share_right *)instance, name);
  int len = snprintf(description, sizeof description, "{\"name\":\"%s\"}", name);
  return give_bytes(json, description, (size_t)len) == LMPROBE_OK ? LMPROBE_OK : out_of_memory(error);
}

/* Wilson's score interval of a proportion (Wilson 1927), in the order of operations of the program's own, so that the numbers are the same to the last bit. The
 * Makefile says `-ffp-contract=off` because a product and a sum fused into one operation are rounded once instead of twice. */
static void wilson(uint64_t hits_count, uint64_t count, double *low, double *high) {
  const double z = 1.959963984540054; /* the 97.5 % quantile of the standard normal distribution */
  double hits = (double)hits_count, n = (double)count;
  double p = hits / n;
  double z2 = z * z;
  double centre = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
  double half = z / (1.0 + z2 / n) * sqrt(p * (1.0 - p) / n + z2 / (4.0 * n * n));
  double least = centre - half, most = centre + half;
  *low = least > 0.0 ? least : 0.0;
  *high = most < 1.0 ? most : 1.0;
}

struct question {
  struct lmprobe_str relation;
  bool hit;
};

static int by_relation(const void *a, const void *b) {
  const struct lmprobe_str *x = &((const struct question *)a)->relation, *y = &((const struct question *)b)->relation;
  size_t shorter = x->len < y->len ? x->len : y->len;
  int order = shorter == 0 ? 0 : memcmp(x->ptr, y->ptr, shorter);
  return order != 0 ? order : (x->len > y->len) - (x->len < y->len);
}

/* Gives the rows: one over all questions, then one for each relation in byte order. `questions` are sorted. */
static bool give_rows(const char *name, const struct question *questions, int64_t n, struct lmprobe_table *out) {
  int64_t rows = 1;
  for (int64_t i = 0; i < n; i++) rows += i == 0 || by_relation(&questions[i - 1], &questions[i]) != 0;

  const struct lmprobe_str micro = TEXT("micro"), relation = TEXT("relation"), method = TEXT("wilson"), fraction = TEXT("fraction");
  const struct lmprobe_str metric = { (const uint8_t *)name, strlen(name) };
  /* Columns of `U`, `g`, `l` and `b`, as the table `metric rows` has them. Counts cross as `l`. */
  struct lmprobe_str *texts = room((size_t)rows * 5 * sizeof *texts);
  double *reals = room((size_t)rows * 3 * sizeof *reals);
  int64_t *counts = room((size_t)rows * sizeof *counts);
  bool *flags = room((size_t)rows * sizeof *flags);
  struct made_table *made = new_table(rows);
  bool done = false;
  if (texts == NULL || reals == NULL || counts == NULL || flags == NULL || made == NULL) goto end;

  int64_t start = 0;
  for (int64_t row = 0; row < rows; row++) {
    int64_t end = row == 0 ? n : start + 1;
    while (end < n && by_relation(&questions[start], &questions[end]) == 0) end++;
    uint64_t hits = 0;
    for (int64_t i = start; i < end; i++) hits += questions[i].hit;
    texts[row] = metric;
    texts[rows + row] = row == 0 ? micro : relation;
    /* A null pointer is an empty cell. A relation whose name is an empty text still has a pointer. */
    struct lmprobe_str label = row == 0 ? (struct lmprobe_str){ NULL, 0 } : questions[start].relation;
    if (row > 0 && label.ptr == NULL) label.ptr = (const uint8_t *)"";
    texts[2 * rows + row] = label;
    texts[3 * rows + row] = method;
    texts[4 * rows + row] = fraction;
    reals[row] = (double)hits / (double)(end - start);
    wilson(hits, (uint64_t)(end - start), &reals[rows + row], &reals[2 * rows + row]);
    counts[row] = end - start;
    flags[row] = true;
    if (row > 0) start = end;
  }
  done = add_texts(made, "metric", texts) && add_texts(made, "aggregate", texts + rows) && add_texts(made, "relation", texts + 2 * rows)
    && add_values(made, "value", "g", reals, sizeof *reals) && add_values(made, "ci_low", "g", reals + rows, sizeof *reals)
    && add_values(made, "ci_high", "g", reals + 2 * rows, sizeof *reals) && add_texts(made, "ci_method", texts + 3 * rows)
    && add_values(made, "n", "l", counts, sizeof *counts) && add_texts(made, "unit", texts + 4 * rows) && add_flags(made, "higher_is_better", flags);
end:
  if (done) give_table(made, out);
  else if (made != NULL) free_table(made);
  free(texts), free(reals), free(counts), free(flags);
  return done;
}

static int32_t share_right_compute(
    struct lmprobe_instance *instance, const struct lmprobe_call *call, struct lmprobe_table *predictions, struct lmprobe_table *rows,
    struct lmprobe_error *error) {
  const struct share_right *metric = (const struct share_right *)instance;
  struct column relation, rank;
  if (!find_column(predictions, "relation", &relation) || (strcmp(relation.format, "U") != 0 && strcmp(relation.format, "u") != 0))
    return fail(error, LMPROBE_INPUT, "relation", "there is no column `relation` of texts");
  if (!find_column(predictions, "rank", &rank) || (strcmp(rank.format, "l") != 0 && strcmp(rank.format, "i") != 0))
    return fail(error, LMPROBE_INPUT, "rank", "there is no column `rank` of whole numbers");
  int64_t n = predictions->array.length;
  if (n == 0) return fail(error, LMPROBE_INPUT, "", "the predictions have no row, so there is nothing to average");
  if (is_cancelled(call)) return LMPROBE_CANCELLED;

  struct question *questions = room((size_t)n * sizeof *questions);
  if (questions == NULL) return out_of_memory(error);
  for (int64_t row = 0; row < n; row++) {
    /* An empty rank: no right answer is among the candidates. */
    int64_t found = is_filled(rank.array, row) ? whole(&rank, row) : 0;
    questions[row] = (struct question){ text(&relation, row), found > 0 && (uint64_t)found <= metric->k };
  }
  qsort(questions, (size_t)n, sizeof *questions, by_relation);
  char name[40];
  metric_name(metric, name);
  bool done = give_rows(name, questions, n, rows);
  free(questions);
  if (!done) return out_of_memory(error);
  /* The input is ours from the call on. We could leave it to the host; releasing it ourselves shows how, and frees memory sooner. */
  predictions->array.release(&predictions->array);
  predictions->schema.release(&predictions->schema);
  return LMPROBE_OK;
}

/* ---- The encoder: tokens ------------------------------------------------------------------------------------------------------------------------------- */

/* A model without weights: a word's vector is a hash of the word. It knows nothing, and its numbers can be computed by anyone with a pencil and patience. */

#define LAYERS 2
#define HIDDEN 16
#define HEADS 2
#define VOCAB 512
#define MAX_LENGTH 512
#define RESERVED 8 /* ids below are special or unused */
#define CLS 1
#define SEP 2
#define MASK 4

static int32_t hashed_create(
    const struct lmprobe_call *call, struct lmprobe_str params, struct lmprobe_instance **instance, struct lmprobe_error *error) {
  (void)call, (void)params;
  *instance = malloc(1);
  return *instance != NULL ? LMPROBE_OK : out_of_memory(error);
}

static int32_t hashed_describe(struct lmprobe_instance *instance, struct lmprobe_buf *json, struct lmprobe_error *error) {
  (void)instance;
  static const char description[] =
    "{\"layers\":2,\"hidden\":16,\"heads\":2,\"vocab\":512,\"max_length\":512,\"mask\":{\"text\":\"[MASK]\",\"id\":4},\"pooler\":true}";
  return give_bytes(json, description, sizeof description - 1) == LMPROBE_OK ? LMPROBE_OK : out_of_memory(error);
}

/* FNV-1a with 64 bits. */
static uint32_t word_id(const uint8_t *word, size_t len) {
  if (len == 6 && memcmp(word, "[MASK]", 6) == 0) return MASK;
  uint64_t hash = 0xcbf29ce484222325u;
  for (size_t i = 0; i < len; i++) hash = (hash ^ word[i]) * 0x100000001b3u;
  return (uint32_t)(RESERVED + hash % (VOCAB - RESERVED));
}

static bool is_space(uint8_t byte) { return byte == ' ' || (byte >= '\t' && byte <= '\r'); }

/* Bytes that begin a character: all but the later bytes of UTF-8. */
static bool begins_character(uint8_t byte) { return (byte & 0xc0) != 0x80; }

/* The columns of tokens, growing. */
struct tokens {
  size_t len, room;
  int64_t *columns[5]; /* sequence, id, type_id, start, end */
  bool *special, *truncated;
};

static void free_tokens(struct tokens *tokens) {
  for (int c = 0; c < 5; c++) free(tokens->columns[c]);
  free(tokens->special), free(tokens->truncated);
}

static bool grow(struct tokens *tokens) {
  if (tokens->len < tokens->room) return true;
  size_t wanted = tokens->room == 0 ? 64 : 2 * tokens->room;
  for (int c = 0; c < 5; c++) {
    int64_t *column = realloc(tokens->columns[c], wanted * sizeof *column);
    if (column == NULL) return false;
    tokens->columns[c] = column;
  }
  bool *special = realloc(tokens->special, wanted * sizeof *special);
  if (special == NULL) return false;
  tokens->special = special;
  bool *truncated = realloc(tokens->truncated, wanted * sizeof *truncated);
  if (truncated == NULL) return false;
  tokens->truncated = truncated;
  tokens->room = wanted;
  return true;
}

static bool push(struct tokens *tokens, int64_t sequence, uint32_t id, int64_t type_id, bool special, int64_t start, int64_t end) {
  if (!grow(tokens)) return false;
  size_t at = tokens->len++;
  tokens->columns[0][at] = sequence, tokens->columns[1][at] = id, tokens->columns[2][at] = type_id;
  tokens->columns[3][at] = start, tokens->columns[4][at] = end;
  tokens->special[at] = special, tokens->truncated[at] = false;
  return true;
}

/* Appends the words of a text. Positions are in characters, as the interface wants them. */
static bool push_words(struct tokens *tokens, int64_t sequence, int64_t type_id, struct lmprobe_str text) {
  int64_t characters = 0;
  for (size_t at = 0; at < text.len;) {
    size_t end = at;
    int64_t first = characters;
    while (end < text.len && !is_space(text.ptr[end])) characters += begins_character(text.ptr[end++]);
    if (end > at && !push(tokens, sequence, word_id(text.ptr + at, end - at), type_id, false, first, characters)) return false;
    while (end < text.len && is_space(text.ptr[end])) end++, characters++;
    at = end;
  }
  return true;
}

/* Removes `count` tokens from `at` on. */
static void remove_tokens(struct tokens *tokens, size_t at, size_t count) {
  size_t behind = tokens->len - at - count;
  for (int c = 0; c < 5; c++) memmove(tokens->columns[c] + at, tokens->columns[c] + at + count, behind * sizeof(int64_t));
  memmove(tokens->special + at, tokens->special + at + count, behind);
  tokens->len -= count;
}

/* `[CLS] words [SEP]`, or `[CLS] words [SEP] words [SEP]` for a pair. A sequence that is too long loses words of its longer part,
 * of the second one if both are as long. */
static bool push_sequence(struct tokens *tokens, const struct lmprobe_encode_req *request, size_t number, size_t limit) {
  bool pieces = (request->flags & LMPROBE_ENCODE_PIECES) != 0, cut_left = (request->flags & LMPROBE_ENCODE_CUT_LEFT) != 0;
  int64_t sequence = (int64_t)number;
  size_t parts = request->pairs != NULL && !pieces ? 2 : 1, specials = pieces ? 0 : parts + 1, start = tokens->len, begin[2], words[2] = { 0, 0 };
  if (!pieces && !push(tokens, sequence, CLS, 0, true, 0, 0)) return false;
  for (size_t part = 0; part < parts; part++) {
    begin[part] = tokens->len;
    if (!push_words(tokens, sequence, (int64_t)part, part == 0 ? request->texts[number] : request->pairs[number])) return false;
    words[part] = tokens->len - begin[part];
    if (!pieces && !push(tokens, sequence, SEP, (int64_t)part, true, 0, 0)) return false;
  }
  size_t length = words[0] + words[1] + specials, excess = length > limit ? length - limit : 0;
  for (size_t left = excess; left > 0;) {
    size_t longer = parts == 2 && words[1] >= words[0], lost = words[longer] - (parts == 2 ? words[!longer] : 0);
    lost = lost == 0 ? 1 : lost < left ? lost : left;
    if (words[longer] == 0) break;
    remove_tokens(tokens, cut_left ? begin[longer] : begin[longer] + words[longer] - lost, lost);
    words[longer] -= lost, left -= lost;
    if (longer == 0 && parts == 2) begin[1] -= lost;
  }
  for (size_t at = start; at < tokens->len; at++) tokens->truncated[at] = excess > 0;
  return true;
}

static int32_t hashed_tokenize(
    struct lmprobe_instance *instance, const struct lmprobe_call *call, const struct lmprobe_encode_req *request, struct lmprobe_table *out,
    struct lmprobe_error *error) {
  (void)instance;
  size_t limit = request->max_len == 0 || request->max_len > MAX_LENGTH ? MAX_LENGTH : request->max_len;
  if (limit < 3) return fail(error, LMPROBE_CONFIG, "", "a sequence of %zu tokens has no room for a word", limit);
  struct tokens tokens = { 0 };
  bool cancelled = false, there = true;
  for (size_t i = 0; i < request->n_texts && there && !cancelled; i++) {
    there = push_sequence(&tokens, request, i, limit);
    cancelled = is_cancelled(call);
  }
  static const char *const names[] = { "sequence", "id", "type_id", "start", "end" };
  struct made_table *made = there && !cancelled ? new_table((int64_t)tokens.len) : NULL;
  bool done = made != NULL;
  for (int c = 0; c < 5 && done; c++) done = add_values(made, names[c], "l", tokens.columns[c], sizeof(int64_t));
  done = done && add_flags(made, "special", tokens.special) && add_flags(made, "truncated", tokens.truncated);
  if (done) give_table(made, out);
  else if (made != NULL) free_table(made);
  free_tokens(&tokens);
  return done ? LMPROBE_OK : cancelled ? LMPROBE_CANCELLED : out_of_memory(error);
}

/* The text of an id. A hash has no way back, so only the special ones have any. */
static int32_t hashed_token(struct lmprobe_instance *instance, uint32_t id, struct lmprobe_buf *text, struct lmprobe_error *error) {
  (void)instance;
  const char *found = id == CLS ? "[CLS]" : id == SEP ? "[SEP]" : id == MASK ? "[MASK]" : "";
  return give_bytes(text, found, strlen(found)) == LMPROBE_OK ? LMPROBE_OK : out_of_memory(error);
}

/* ---- The encoder: tensors ------------------------------------------------------------------------------------------------------------------------------ */

/* A tensor with its sizes, its steps and its values in one allocation, so that one `free` is its deleter. */
struct made_tensor {
  struct DLManagedTensorVersioned tensor;
  int64_t shape[3], strides[3];
  float values[];
};

static void delete_tensor(struct DLManagedTensorVersioned *tensor) { free(tensor->manager_ctx); }

static struct made_tensor *new_tensor(int dimensions, const size_t shape[]) {
  size_t count = 1;
  for (int d = 0; d < dimensions; d++) {
    /* Sizes come from the host's request; a product of them need not fit. */
    if (shape[d] != 0 && count > (SIZE_MAX / 8) / sizeof(float) / shape[d]) return NULL;
    count *= shape[d];
  }
  struct made_tensor *made = calloc(1, sizeof *made + count * sizeof(float));
  if (made == NULL) return NULL;
  int64_t step = 1;
  for (int d = dimensions - 1; d >= 0; d--) {
    made->shape[d] = (int64_t)shape[d], made->strides[d] = step;
    step *= (int64_t)shape[d];
  }
  made->tensor = (struct DLManagedTensorVersioned){
    .version = { DLPACK_MAJOR, DLPACK_MINOR },
    .manager_ctx = made,
    .deleter = delete_tensor,
    .dl_tensor = { made->values, { DLPACK_CPU, 0 }, dimensions, { DLPACK_FLOAT, 32, 1 }, made->shape, made->strides, 0 },
  };
  return made;
}

/* The list is freed on its own; its names are literals here, and the tensors have their deleters. */
static void release_list(struct lmprobe_tensors *tensors) {
  free(tensors->items);
  tensors->release = NULL;
}

/* The finaliser of SplitMix64 (Steele, Lea, Flood 2014). */
static uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

/* The output of the embeddings: a number in [-1, 1) with 24 bits, which a float holds exactly. */
static float embedding(uint32_t id, size_t dim) {
  double unit = (double)(mix((uint64_t)id * 1000003u + dim) >> 40) / 16777216.0;
  return (float)(unit * 2.0 - 1.0);
}

/* A layer moves every token half way to the mean of its sequence, as uniform attention would. `states` are (layers + 1, tokens, hidden). */
static void run_layers(const struct lmprobe_encode_req *request, size_t tokens, float *states) {
  size_t layer_size = tokens * HIDDEN;
  for (size_t t = 0; t < tokens; t++) {
    for (size_t d = 0; d < HIDDEN; d++) states[t * HIDDEN + d] = embedding(request->ids[t], d);
  }
  for (size_t layer = 1; layer <= LAYERS; layer++) {
    const float *before = states + (layer - 1) * layer_size;
    float *after = states + layer * layer_size;
    for (size_t s = 0; s < request->n_sequences; s++) {
      size_t start = request->offsets[s], end = request->offsets[s + 1];
      for (size_t d = 0; d < HIDDEN; d++) {
        double sum = 0.0;
        for (size_t t = start; t < end; t++) sum += before[t * HIDDEN + d];
        float mean = (float)(sum / (double)(end - start));
        for (size_t t = start; t < end; t++) after[t * HIDDEN + d] = 0.5f * before[t * HIDDEN + d] + 0.5f * mean;
      }
    }
  }
}

static struct made_tensor *hidden_states(const struct lmprobe_encode_req *request, size_t tokens, const float *states) {
  struct made_tensor *made = new_tensor(3, (size_t[]){ request->n_layers, tokens, HIDDEN });
  for (size_t i = 0; made != NULL && i < request->n_layers; i++) {
    if (tokens > 0) memcpy(made->values + i * tokens * HIDDEN, states + request->layers[i] * tokens * HIDDEN, tokens * HIDDEN * sizeof(float));
  }
  return made;
}

/* Each block has the cells of each sequence as (heads, query, key), all of them one over the length. */
static struct made_tensor *attentions(const struct lmprobe_encode_req *request) {
  size_t cells = 0;
  for (size_t s = 0; s < request->n_sequences; s++) {
    size_t length = request->offsets[s + 1] - request->offsets[s];
    cells += HEADS * length * length;
  }
  struct made_tensor *made = new_tensor(2, (size_t[]){ LAYERS, cells });
  float *next = made != NULL ? made->values : NULL;
  for (size_t block = 0; made != NULL && block < LAYERS; block++) {
    for (size_t s = 0; s < request->n_sequences; s++) {
      size_t length = request->offsets[s + 1] - request->offsets[s];
      for (size_t cell = 0; cell < HEADS * length * length; cell++) *next++ = 1.0f / (float)length;
    }
  }
  return made;
}

/* The first token of each sequence in the last layer. */
static struct made_tensor *pooled(const struct lmprobe_encode_req *request, size_t tokens, const float *states) {
  struct made_tensor *made = new_tensor(2, (size_t[]){ request->n_sequences, HIDDEN });
  for (size_t s = 0; made != NULL && s < request->n_sequences; s++) {
    memcpy(made->values + s * HIDDEN, states + (LAYERS * tokens + request->offsets[s]) * HIDDEN, HIDDEN * sizeof(float));
  }
  return made;
}

static int32_t check_request(const struct lmprobe_encode_req *request, struct lmprobe_error *error) {
  const uint64_t offered = LMPROBE_WANT_HIDDEN_STATES | LMPROBE_WANT_ATTENTIONS | LMPROBE_WANT_POOLED;
  if ((request->want & ~offered) != 0) return fail(error, LMPROBE_UNSUPPORTED, "", "hidden states, attentions and the pooler's output are all there is");
  for (uint32_t i = 0; i < request->n_layers; i++) {
    if (request->layers[i] > LAYERS) return fail(error, LMPROBE_INPUT, "", "there is no layer %u; the last one is %d", (unsigned)request->layers[i], LAYERS);
  }
  if (request->offsets == NULL) return fail(error, LMPROBE_INPUT, "", "texts are to be tokenized before they are encoded");
  for (size_t s = 0; s < request->n_sequences; s++) {
    if (request->offsets[s + 1] <= request->offsets[s]) return fail(error, LMPROBE_INPUT, "", "sequence %zu has no tokens", s);
  }
  for (size_t t = 0; t < request->offsets[request->n_sequences]; t++) {
    if (request->ids[t] >= VOCAB) return fail(error, LMPROBE_INPUT, "", "there is no id %u; the last one is %d", (unsigned)request->ids[t], VOCAB - 1);
  }
  return LMPROBE_OK;
}

static int32_t hashed_encode(
    struct lmprobe_instance *instance, const struct lmprobe_call *call, const struct lmprobe_encode_req *request, struct lmprobe_tensors *outputs,
    struct lmprobe_error *error) {
  (void)instance;
  int32_t status = check_request(request, error);
  if (status != LMPROBE_OK) return status;
  if (is_cancelled(call)) return LMPROBE_CANCELLED;
  size_t tokens = request->offsets[request->n_sequences], n = 0;
  float *states = room((LAYERS + 1) * tokens * HIDDEN * sizeof *states);
  struct lmprobe_named_tensor *items = room(3 * sizeof *items);
  bool done = states != NULL && items != NULL;
  if (done) {
    run_layers(request, tokens, states);
    const struct lmprobe_str names[] = { TEXT("hidden_states"), TEXT("attentions"), TEXT("pooled") };
    for (int i = 0; i < 3 && done; i++) {
      if ((request->want & (LMPROBE_WANT_HIDDEN_STATES << i)) == 0) continue;
      struct made_tensor *made = i == 0 ? hidden_states(request, tokens, states) : i == 1 ? attentions(request) : pooled(request, tokens, states);
      done = made != NULL;
      if (done) items[n++] = (struct lmprobe_named_tensor){ names[i], &made->tensor };
    }
  }
  free(states);
  if (!done) {
    for (size_t i = 0; i < n; i++) delete_tensor(items[i].tensor);
    free(items);
    return out_of_memory(error);
  }
  *outputs = (struct lmprobe_tensors){ items, n, NULL, release_list };
  return LMPROBE_OK;
}

/* ---- What this plugin offers --------------------------------------------------------------------------------------------------------------------------- */

static const struct lmprobe_metric_vt share_right_functions = { sizeof(struct lmprobe_metric_vt), 0, share_right_compute };

static const struct lmprobe_component share_right = {
  .struct_size = sizeof(struct lmprobe_component),
  .kind = LMPROBE_KIND_METRIC,
  .id = TEXT("example-c/share-right"),
  .version = TEXT("1.0.0"),
  .summary = TEXT("share of questions with a right answer among the first k candidates"),
  .params_schema = TEXT(
    "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{\"k\":{\"type\":\"integer\",\"minimum\":1,\"default\":1,"
    "\"description\":\"How many candidates count, the best first.\"}}}"),
  .caps = LMPROBE_CAP_CONCURRENT | LMPROBE_CAP_DETERMINISTIC,
  .create = share_right_create,
  .destroy = destroy,
  .describe = share_right_describe,
  .vtable = &share_right_functions,
  .manual = TEXT(
    "# What it measures\n\nThe share of questions whose best right answer has rank `k` or better, over all questions and for each relation, with Wilson's 95 % "
    "interval.\n\n# Example\n\n```yaml\nmetrics: [{use: example-c/share-right, k: 10}]\n```\n\n# Reference\n\nWilson, Probable inference (1927).\n"),
  .facts = { NULL, 0 },
};

static const struct lmprobe_encoder_vt hashed_functions = {
  .struct_size = sizeof(struct lmprobe_encoder_vt),
  .tokenize = hashed_tokenize,
  .encode = hashed_encode,
  .token = hashed_token,
};

static const struct lmprobe_component hashed = {
  .struct_size = sizeof(struct lmprobe_component),
  .kind = LMPROBE_KIND_ENCODER,
  .id = TEXT("example-c/hashed"),
  .version = TEXT("1.0.0"),
  .summary = TEXT("a model without weights whose word vectors are hashes"),
  .params_schema = TEXT("{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{}}"),
  .caps = LMPROBE_CAP_CONCURRENT | LMPROBE_CAP_DETERMINISTIC,
  .create = hashed_create,
  .destroy = destroy,
  .describe = hashed_describe,
  .vtable = &hashed_functions,
  .manual = TEXT(
    "# What it does\n\nWords are what stands between spaces. The vector of a word is a hash of it, and each of two layers moves it half way to the mean of its "
    "sequence. It knows nothing, so a prober that finds something in it has a mistake.\n\n# Example\n\n```yaml\nencoders: {nothing: {use: example-c/hashed}}\n```\n"),
  .facts = { NULL, 0 },
};

static const struct lmprobe_component *const components[] = { &share_right, &hashed };

static const struct lmprobe_plugin plugin = {
  .struct_size = sizeof(struct lmprobe_plugin),
  .abi_major = LMPROBE_ABI_MAJOR,
  .abi_minor = LMPROBE_ABI_MINOR,
  .name = TEXT("example-c"),
  .version = TEXT("1.0.0"),
  .license = TEXT("Apache-2.0"),
  .build_info = TEXT("C11"),
  .n_components = sizeof components / sizeof components[0],
  .components = components,
};

int32_t lmprobe_plugin_entry_v1(const struct lmprobe_host *of_process, const struct lmprobe_plugin **offered, struct lmprobe_error *error) {
  (void)error;
  host = of_process;
  *offered = &plugin;
  return LMPROBE_OK;
}
