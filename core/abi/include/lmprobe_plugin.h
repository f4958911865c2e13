/* The binary interface between lmprobe and plugins in shared libraries, version 1.0.
 * Generated from the crate lmprobe-abi; its documentation holds the rules. Works as C11 and as C++17. */

#ifndef LMPROBE_PLUGIN_H
#define LMPROBE_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#define LMPROBE_STAMP_MAGIC { 'L', 'M', 'P', 'A', 'B', 'I', 0, 1 }

#if defined(__APPLE__)
#define LMPROBE_STAMP_SECTION "__DATA,__lmprobe_abi"
#else
#define LMPROBE_STAMP_SECTION ".lmprobe_abi"
#endif

#ifdef __cplusplus
#define LMPROBE_EXPORTED extern "C" __attribute__((visibility("default")))
#else
#define LMPROBE_EXPORTED extern __attribute__((visibility("default")))
#endif

/* Defines the stamp; write it once, at the top level of one file. */
#define LMPROBE_DEFINE_STAMP \
  LMPROBE_EXPORTED const struct lmprobe_stamp LMPROBE_STAMP __attribute__((section(LMPROBE_STAMP_SECTION))); \
  const struct lmprobe_stamp LMPROBE_STAMP = \
    { LMPROBE_STAMP_MAGIC, sizeof(struct lmprobe_stamp), LMPROBE_ABI_MAJOR, LMPROBE_ABI_MINOR };

/* The one exported function; declared here so that it can be defined anywhere. */
#define LMPROBE_DECLARE_ENTRY \
  LMPROBE_EXPORTED int32_t lmprobe_plugin_entry_v1( \
    const struct lmprobe_host *host, const struct lmprobe_plugin **plugin, struct lmprobe_error *error);


/*
 Major version of this interface. A plugin of another one is refused.
 */
#define LMPROBE_ABI_MAJOR 1

/*
 Minor version of this interface. Any minor works with any other.
 */
#define LMPROBE_ABI_MINOR 0

/*
 Status: done.
 */
#define LMPROBE_OK 0

/*
 Status: a parameter cannot be honoured.
 */
#define LMPROBE_CONFIG 1

/*
 Status: an input table, tensor or file is not what it should be.
 */
#define LMPROBE_INPUT 2

/*
 Status: stopped because the host asked for it.
 */
#define LMPROBE_CANCELLED 3

/*
 Status: not offered.
 */
#define LMPROBE_UNSUPPORTED 4

/*
 Status: a mistake of the callee.
 */
#define LMPROBE_INTERNAL 5

/*
 Status: the callee panicked. The host calls the plugin no more.
 */
#define LMPROBE_PANIC 6

/*
 Status: not enough memory.
 */
#define LMPROBE_OOM 7

/*
 Status: a file could not be read or written.
 */
#define LMPROBE_IO 8

/*
 Kind of a component: a language model.
 */
#define LMPROBE_KIND_ENCODER 1

/*
 Kind of a component: a way of asking.
 */
#define LMPROBE_KIND_PROBER 2

/*
 Kind of a component: a training signal.
 */
#define LMPROBE_KIND_OBJECTIVE 3

/*
 Kind of a component: a set of questions.
 */
#define LMPROBE_KIND_TASK 4

/*
 Kind of a component: a number about answers.
 */
#define LMPROBE_KIND_METRIC 5

/*
 Capability: one instance may be called from several threads at once.
 */
#define LMPROBE_CAP_CONCURRENT 1

/*
 Capability: the same input and seed give the same bits.
 */
#define LMPROBE_CAP_DETERMINISTIC 2

/*
 Capability: uses the network.
 */
#define LMPROBE_CAP_NEEDS_NETWORK 4

/*
 Capability: each row of the result depends on one row of the input only, so the host may split the input.
 */
#define LMPROBE_CAP_ROW_INDEPENDENT 8

/*
 Wanted of an encoder: hidden states of the layers of the request.
 */
#define LMPROBE_WANT_HIDDEN_STATES 1

/*
 Wanted of an encoder: attention probabilities of every block.
 */
#define LMPROBE_WANT_ATTENTIONS 2

/*
 Wanted of an encoder: the pooler's output.
 */
#define LMPROBE_WANT_POOLED 4

/*
 Wanted of an encoder: masked-language-model logits.
 */
#define LMPROBE_WANT_MLM_LOGITS 8

/*
 Wanted of an encoder: causal-language-model logits.
 */
#define LMPROBE_WANT_LM_LOGITS 16

/*
 Flag of a request: long texts lose their beginning instead of their end.
 */
#define LMPROBE_ENCODE_CUT_LEFT 1

/*
 Flag of a request: the vocabulary pieces of texts that follow other text, without special tokens.
 */
#define LMPROBE_ENCODE_PIECES 2

/*
 Flag of a request: logits are wanted for `rows` only, not for every token.
 */
#define LMPROBE_ENCODE_SOME_ROWS 4

/*
 Level of a message: something a person should know; it is kept in the record of the job.
 */
#define LMPROBE_LOG_WARN 2

/*
 Level of a message: shown with `-v`.
 */
#define LMPROBE_LOG_INFO 3

/*
 Level of a message: shown with `-vv`.
 */
#define LMPROBE_LOG_DEBUG 4

/*
 Major version of DLPack. Of another one, call the deleter and touch nothing else.
 */
#define DLPACK_MAJOR 1

/*
 Minor version of DLPack.
 */
#define DLPACK_MINOR 0

/*
 Device type: main memory, the only one of 1.0.
 */
#define DLPACK_CPU 1

/*
 Type code: signed whole numbers; 64 bits are allowed.
 */
#define DLPACK_INT 0

/*
 Type code: unsigned whole numbers; 8 and 32 bits are allowed.
 */
#define DLPACK_UINT 1

/*
 Type code: floats; 32 bits are allowed.
 */
#define DLPACK_FLOAT 2

/*
 Flag: the values must not be written.
 */
#define DLPACK_READ_ONLY 1

/*
 The data symbol `LMPROBE_STAMP` of a plugin, in section `.lmprobe_abi` (`__DATA,__lmprobe_abi` on macOS).
 */
typedef struct lmprobe_stamp {
  /*
   `LMPABI`, 0, 1.
   */
  uint8_t magic[8];
  /*
   16.
   */
  uint32_t struct_size;
  /*
   [`crate::LMPROBE_ABI_MAJOR`] the plugin was built against.
   */
  uint16_t abi_major;
  /*
   [`crate::LMPROBE_ABI_MINOR`] the plugin was built against.
   */
  uint16_t abi_minor;
} lmprobe_stamp;
/*
 The stamp of this version.
 */
#define lmprobe_stamp_CURRENT (lmprobe_stamp){ .magic = lmprobe_stamp_MAGIC, .struct_size = 16, .abi_major = crate_LMPROBE_ABI_MAJOR, .abi_minor = crate_LMPROBE_ABI_MINOR }

/*
 Borrowed UTF-8, not terminated by a zero byte. `ptr` may be null if `len` is 0.
 */
typedef struct lmprobe_str {
  /*
   The first byte.
   */
  const uint8_t *ptr;
  /*
   Number of bytes.
   */
  size_t len;
} lmprobe_str;

/*
 One call of the host into a plugin. Valid until the called function returns; also on threads that are joined before.
 */
typedef struct lmprobe_call {
  uint8_t _opaque[0];
} lmprobe_call;

/*
 A component that was created with parameters. Only the plugin knows what is in it.
 */
typedef struct lmprobe_instance {
  uint8_t _opaque[0];
} lmprobe_instance;

/*
 Owned bytes: UTF-8, unless said otherwise. All zero is empty and needs no release.
 */
typedef struct lmprobe_buf {
  /*
   The first byte.
   */
  uint8_t *ptr;
  /*
   Number of bytes.
   */
  size_t len;
  /*
   For the maker.
   */
  void *ctx;
  /*
   Frees the bytes; called at most once. Null: nothing is to be freed.
   */
  void (*release)(struct lmprobe_buf *buf);
} lmprobe_buf;

/*
 Zeroed by the caller but for `struct_size`, filled by the callee if it fails. The caller releases both texts.
 */
typedef struct lmprobe_error {
  /*
   Size of this struct in bytes.
   */
  uint32_t struct_size;
  /*
   For the plugin's own numbers.
   */
  int32_t code;
  /*
   What was wrong, where, what to do: a lower-case sentence without a full stop.
   */
  struct lmprobe_buf message;
  /*
   JSON pointer into the parameters, or the name of a column; may be empty.
   */
  struct lmprobe_buf path;
} lmprobe_error;

/*
 One encoder, prober, objective, task or metric.
 */
typedef struct lmprobe_component {
  /*
   Size of this struct in bytes.
   */
  uint32_t struct_size;
  /*
   `LMPROBE_KIND_*`; a host skips kinds it does not know.
   */
  uint32_t kind;
  /*
   `vendor/name`; the vendor is the plugin's name.
   */
  struct lmprobe_str id;
  /*
   Semantic version of the behaviour: the major is raised when the same parameters give other numbers.
   */
  struct lmprobe_str version;
  /*
   One line, for lists.
   */
  struct lmprobe_str summary;
  /*
   JSON Schema (2020-12) of the parameters, an object without references, at most 256 KiB.
   */
  struct lmprobe_str params_schema;
  /*
   `LMPROBE_CAP_*`.
   */
  uint64_t caps;
  /*
   Creates an instance. `params` are a JSON object, complete and checked against the schema; paths are absolute.
   */
  int32_t (*create)(const struct lmprobe_call *call, struct lmprobe_str params, struct lmprobe_instance **instance, struct lmprobe_error *error);
  /*
   Destroys an instance, once.
   */
  void (*destroy)(struct lmprobe_instance *instance);
  /*
   What the instance is or needs, as JSON.
   */
  int32_t (*describe)(struct lmprobe_instance *instance, struct lmprobe_buf *json, struct lmprobe_error *error);
  /*
   `lmprobe_encoder_vt`, `lmprobe_prober_vt`, `lmprobe_objective_vt`, `lmprobe_task_vt` or `lmprobe_metric_vt`, by the kind.
   */
  const void *vtable;
  /*
   The manual in Markdown: what it does, how, an example, a reference. May be empty.
   */
  struct lmprobe_str manual;
  /*
   A JSON object or empty. `families`: the `model_type` values an encoder reads. `recipe`: defaults an objective sets for its training.
   */
  struct lmprobe_str facts;
} lmprobe_component;

/*
 What a shared library offers.
 */
typedef struct lmprobe_plugin {
  /*
   Size of this struct in bytes.
   */
  uint32_t struct_size;
  /*
   Major version of the interface it was built against.
   */
  uint16_t abi_major;
  /*
   Minor version of the interface it was built against.
   */
  uint16_t abi_minor;
  /*
   The vendor of all its components.
   */
  struct lmprobe_str name;
  /*
   Its own version.
   */
  struct lmprobe_str version;
  /*
   SPDX expression.
   */
  struct lmprobe_str license;
  /*
   Compiler and kit, for bug reports.
   */
  struct lmprobe_str build_info;
  /*
   Number of components.
   */
  size_t n_components;
  /*
   The components.
   */
  const struct lmprobe_component *const *components;
  /*
   Called once when the program ends, if it ends in order. May be null.
   */
  void (*shutdown)(void);
} lmprobe_plugin;

/*
 Texts to tokenize, or packed sequences to encode. Where both are given, the sequences count.
 */
typedef struct lmprobe_encode_req {
  /*
   Size of this struct in bytes.
   */
  uint32_t struct_size;
  /*
   0.
   */
  uint32_t reserved;
  /*
   `LMPROBE_WANT_*`, for encoding.
   */
  uint64_t want;
  /*
   Number of texts.
   */
  size_t n_texts;
  /*
   The texts.
   */
  const struct lmprobe_str *texts;
  /*
   The second text of each pair, or null. A second text that is null or empty is none.
   */
  const struct lmprobe_str *pairs;
  /*
   Longest sequence in tokens, special tokens included; 0 is the encoder's own limit.
   */
  uint32_t max_len;
  /*
   Number of layers.
   */
  uint32_t n_layers;
  /*
   Hidden states that are wanted: 0 is the output of the embeddings.
   */
  const uint32_t *layers;
  /*
   Number of packed sequences.
   */
  size_t n_sequences;
  /*
   Their boundaries, `n_sequences + 1` numbers of which the first is 0.
   */
  const uint64_t *offsets;
  /*
   Vocabulary ids, one a token, special tokens included.
   */
  const uint32_t *ids;
  /*
   Segment ids, one a token.
   */
  const uint32_t *type_ids;
  /*
   Number of `rows`.
   */
  size_t n_rows;
  /*
   Packed positions for which logits are wanted, if `LMPROBE_ENCODE_SOME_ROWS` is set.
   */
  const uint64_t *rows;
  /*
   `LMPROBE_ENCODE_*`.
   */
  uint32_t flags;
  /*
   0.
   */
  uint32_t reserved2;
} lmprobe_encode_req;

/*
 `ArrowSchema` of the Arrow specification.
 */
typedef struct ArrowSchema {
  /*
   Type of the column.
   */
  const char *format;
  /*
   Name of the column.
   */
  const char *name;
  /*
   Unused, null.
   */
  const char *metadata;
  /*
   Bit 1 (value 2): cells may be empty.
   */
  int64_t flags;
  /*
   Number of children.
   */
  int64_t n_children;
  /*
   The children.
   */
  struct ArrowSchema **children;
  /*
   Null.
   */
  struct ArrowSchema *dictionary;
  /*
   Frees what belongs to the struct, and sets this field to null.
   */
  void (*release)(struct ArrowSchema *schema);
  /*
   For the maker.
   */
  void *private_data;
} ArrowSchema;

/*
 `ArrowArray` of the Arrow specification.
 */
typedef struct ArrowArray {
  /*
   Number of cells.
   */
  int64_t length;
  /*
   Number of empty cells, -1 if not counted.
   */
  int64_t null_count;
  /*
   Cells to skip in every buffer.
   */
  int64_t offset;
  /*
   Number of buffers.
   */
  int64_t n_buffers;
  /*
   Number of children.
   */
  int64_t n_children;
  /*
   The buffers.
   */
  const void **buffers;
  /*
   The children.
   */
  struct ArrowArray **children;
  /*
   Null.
   */
  struct ArrowArray *dictionary;
  /*
   Frees what belongs to the struct, and sets this field to null.
   */
  void (*release)(struct ArrowArray *array);
  /*
   For the maker.
   */
  void *private_data;
} ArrowArray;

/*
 A table: one record batch. Zeroed is empty and needs no release.
 */
typedef struct lmprobe_table {
  /*
   Names and types; the root is a struct.
   */
  struct ArrowSchema schema;
  /*
   The cells.
   */
  struct ArrowArray array;
} lmprobe_table;

/*
 Version of the struct that follows.
 */
typedef struct DLPackVersion {
  /*
   Major version.
   */
  uint32_t major;
  /*
   Minor version.
   */
  uint32_t minor;
} DLPackVersion;

/*
 Where values lie.
 */
typedef struct DLDevice {
  /*
   Type of the device.
   */
  int32_t device_type;
  /*
   Its number.
   */
  int32_t device_id;
} DLDevice;

/*
 Type of a value.
 */
typedef struct DLDataType {
  /*
   Type code.
   */
  uint8_t code;
  /*
   Bits of a value.
   */
  uint8_t bits;
  /*
   1.
   */
  uint16_t lanes;
} DLDataType;

/*
 A tensor.
 */
typedef struct DLTensor {
  /*
   The allocation.
   */
  void *data;
  /*
   Where it is.
   */
  struct DLDevice device;
  /*
   Number of dimensions, at most 8.
   */
  int32_t ndim;
  /*
   Type of the values.
   */
  struct DLDataType dtype;
  /*
   Sizes of the dimensions.
   */
  int64_t *shape;
  /*
   Steps between values of a dimension, in values; null is compact row-major. The host always fills them in.
   */
  int64_t *strides;
  /*
   First value, in bytes from `data`.
   */
  uint64_t byte_offset;
} DLTensor;

/*
 A tensor and who frees it.
 */
typedef struct DLManagedTensorVersioned {
  /*
   Version of DLPack.
   */
  struct DLPackVersion version;
  /*
   For the maker.
   */
  void *manager_ctx;
  /*
   Frees the tensor and this struct.
   */
  void (*deleter)(struct DLManagedTensorVersioned *tensor);
  /*
   Flags.
   */
  uint64_t flags;
  /*
   The tensor.
   */
  struct DLTensor dl_tensor;
} DLManagedTensorVersioned;

/*
 A tensor and what it is.
 */
typedef struct lmprobe_named_tensor {
  /*
   Its name; in an owned list it lives as long as the list.
   */
  struct lmprobe_str name;
  /*
   The tensor.
   */
  struct DLManagedTensorVersioned *tensor;
} lmprobe_named_tensor;

/*
 An owned list of tensors. Zeroed is empty and needs no release.
 */
typedef struct lmprobe_tensors {
  /*
   The tensors.
   */
  struct lmprobe_named_tensor *items;
  /*
   Their number.
   */
  size_t len;
  /*
   For the maker.
   */
  void *ctx;
  /*
   Frees the list and the names; each tensor has its own deleter.
   */
  void (*release)(struct lmprobe_tensors *tensors);
} lmprobe_tensors;

/*
 Functions of the host. The table lives as long as the process; a null function is not offered by this host.
 */
typedef struct lmprobe_host {
  /*
   Size of this struct in bytes.
   */
  uint32_t struct_size;
  /*
   Major version of the host's interface.
   */
  uint16_t abi_major;
  /*
   Minor version of the host's interface.
   */
  uint16_t abi_minor;
  /*
   Version of the program, for messages only.
   */
  struct lmprobe_str host_version;
  /*
   Tells a person something; levels are `LMPROBE_LOG_*`.
   */
  void (*log)(const struct lmprobe_call *call, uint32_t level, struct lmprobe_str message);
  /*
   `done` of `total` units of a phase (`"questions"`) are finished.
   */
  void (*progress)(const struct lmprobe_call *call, struct lmprobe_str phase, uint64_t done, uint64_t total);
  /*
   Not 0 if the call should return `LMPROBE_CANCELLED` soon.
   */
  int32_t (*cancelled)(const struct lmprobe_call *call);
  /*
   Root of all randomness of the call.
   */
  uint64_t (*seed)(const struct lmprobe_call *call);
  /*
   How many threads the call may use.
   */
  uint32_t (*threads)(const struct lmprobe_call *call);
  /*
   Tells that a file that is no parameter was read; its hash goes into the record of the job.
   */
  int32_t (*record_input)(const struct lmprobe_call *call, struct lmprobe_str path, struct lmprobe_error *error);
  /*
   What the encoder in a slot is, as JSON.
   */
  int32_t (*encoder_describe)(const struct lmprobe_call *call, uint32_t slot, struct lmprobe_buf *json, struct lmprobe_error *error);
  /*
   Tokenizes with the encoder in a slot; one row a token, as `tokenize` of `lmprobe_encoder_vt`.
   */
  int32_t (*encoder_tokenize)(const struct lmprobe_call *call,
                              uint32_t slot,
                              const struct lmprobe_encode_req *request,
                              struct lmprobe_table *tokens,
                              struct lmprobe_error *error);
  /*
   Encodes texts or sequences with the encoder in a slot; besides what is wanted, `offsets` `(batch + 1)` comes back.
   */
  int32_t (*encoder_encode)(const struct lmprobe_call *call,
                            uint32_t slot,
                            const struct lmprobe_encode_req *request,
                            struct lmprobe_tensors *outputs,
                            struct lmprobe_error *error);
  /*
   The text of a vocabulary entry of the encoder in a slot; empty if there is no such entry.
   */
  int32_t (*encoder_token)(const struct lmprobe_call *call, uint32_t slot, uint32_t id, struct lmprobe_buf *text, struct lmprobe_error *error);
} lmprobe_host;

/*
 Operations of an encoder. It runs models; training through it is not offered in 1.0.

 `describe` gives `layers`, `hidden`, `heads`, `vocab`, `max_length`, and optionally `mask` (`{"text", "id"}`), `lowercase`, `pooler`, `mlm_head`, `lm_head`,
 `causal`, `warnings`.
 */
typedef struct lmprobe_encoder_vt {
  /*
   Size of this struct in bytes.
   */
  uint32_t struct_size;
  /*
   0.
   */
  uint32_t reserved;
  /*
   Turns texts into tokens, one row a token, sequences in order: `sequence` and `id` (`l`), and optionally `type_id` (`l`), `special` (`b`), `word` (`l`, may be
   empty), `start` and `end` (`l`, characters), `truncated` (`b`: its sequence lost tokens).
   */
  int32_t (*tokenize)(struct lmprobe_instance *instance,
                      const struct lmprobe_call *call,
                      const struct lmprobe_encode_req *request,
                      struct lmprobe_table *tokens,
                      struct lmprobe_error *error);
  /*
   Runs the model on packed sequences. `f32` tensors by name: `hidden_states` `(wanted layers, tokens, hidden)`, `attentions` `(blocks, cells)` where the cells
   of a block are those of each sequence as `(heads, query, key)`, `pooled` `(batch, hidden)`, `mlm_logits` and `lm_logits` `(rows, vocab)`.
   */
  int32_t (*encode)(struct lmprobe_instance *instance,
                    const struct lmprobe_call *call,
                    const struct lmprobe_encode_req *request,
                    struct lmprobe_tensors *outputs,
                    struct lmprobe_error *error);
  /*
   Reads the weights, before the first `encode`. May be null.
   */
  int32_t (*load)(struct lmprobe_instance *instance, const struct lmprobe_call *call, struct lmprobe_error *error);
  /*
   The text of a vocabulary entry; empty if there is none. May be null.
   */
  int32_t (*token)(struct lmprobe_instance *instance, uint32_t id, struct lmprobe_buf *text, struct lmprobe_error *error);
} lmprobe_encoder_vt;

/*
 Operations of a prober.

 `describe` gives `needs`: `encoders` (0 for a baseline), and optionally `mask_token`, `mlm_head`, `pooler`, `layers`, `randomness`.
 */
typedef struct lmprobe_prober_vt {
  /*
   Size of this struct in bytes.
   */
  uint32_t struct_size;
  /*
   0.
   */
  uint32_t reserved;
  /*
   Asks: from the tables `examples` and `candidates` makes the table `predictions`, one row an example in their order.
   */
  int32_t (*run)(struct lmprobe_instance *instance,
                 const struct lmprobe_call *call,
                 struct lmprobe_table *examples,
                 struct lmprobe_table *candidates,
                 struct lmprobe_table *predictions,
                 struct lmprobe_error *error);
} lmprobe_prober_vt;

/*
 Examples an objective prepared. Only the plugin knows what is in it.
 */
typedef struct lmprobe_examples {
  uint8_t _opaque[0];
} lmprobe_examples;

/*
 Operations of an objective: a loss as value and gradient.

 `describe` gives `needs` as of a prober, `inputs` (forward passes a batch, 1 or 2) and `want`: `hidden` (layers, negative numbers count from the end), `pooled`,
 `mlm_logits` (`"all"`, or `"some"`: of input `i` the rows in the target `mlm_rows.i`); and `sample`, a list of examples of `value_and_grad` for the check of
 gradients: each a list of `{"name", "shape", "values"}` with an optional `"dtype"`.
 */
typedef struct lmprobe_objective_vt {
  /*
   Size of this struct in bytes.
   */
  uint32_t struct_size;
  /*
   0.
   */
  uint32_t reserved;
  /*
   Makes training examples of a corpus: the table `texts` has one column `text`. The encoder is in slot 0. `report` is JSON: `examples`, their number, and `notes`,
   sentences about what was left out or cut.
   */
  int32_t (*prepare)(struct lmprobe_instance *instance,
                     const struct lmprobe_call *call,
                     struct lmprobe_table *texts,
                     struct lmprobe_examples **examples,
                     struct lmprobe_buf *report,
                     struct lmprobe_error *error);
  /*
   Makes a batch of the examples with these numbers. `inputs` has one row a token: `input`, `sequence`, `id` (`l`), optionally `type_id`; `targets` are whatever
   `value_and_grad` needs.
   */
  int32_t (*batch)(struct lmprobe_examples *examples,
                   const struct lmprobe_call *call,
                   size_t n,
                   const uint64_t *chosen,
                   struct lmprobe_table *inputs,
                   struct lmprobe_tensors *targets,
                   struct lmprobe_error *error);
  /*
   Destroys prepared examples, once.
   */
  void (*destroy_examples)(struct lmprobe_examples *examples);
  /*
   The loss and its gradient. Inputs are borrowed: for each input `i` of the batch `hidden_states.i` `(layers, tokens, hidden)`, `pooled.i` `(batch, hidden)` and
   `mlm_logits.i` `(rows, vocab)` as wanted, `offsets.i` `(batch + 1)` as `i64`, and the targets by their names. Bit `i` of `need_grad` asks for the
   gradient of the `i`-th of them, which comes back under its name and in its shape.
   */
  int32_t (*value_and_grad)(struct lmprobe_instance *instance,
                            const struct lmprobe_call *call,
                            size_t n,
                            const struct lmprobe_named_tensor *inputs,
                            uint64_t need_grad,
                            double *value,
                            struct lmprobe_tensors *gradients,
                            struct lmprobe_error *error);
} lmprobe_objective_vt;

/*
 Operations of a task.

 `describe` gives `default_metrics`, as a run file writes them.
 */
typedef struct lmprobe_task_vt {
  /*
   Size of this struct in bytes.
   */
  uint32_t struct_size;
  /*
   0.
   */
  uint32_t reserved;
  /*
   Makes the tables `examples` and `candidates`.
   */
  int32_t (*examples)(struct lmprobe_instance *instance,
                      const struct lmprobe_call *call,
                      struct lmprobe_table *examples,
                      struct lmprobe_table *candidates,
                      struct lmprobe_error *error);
} lmprobe_task_vt;

/*
 Operations of a metric.

 `describe` gives `name`, as it stands in the tables.
 */
typedef struct lmprobe_metric_vt {
  /*
   Size of this struct in bytes.
   */
  uint32_t struct_size;
  /*
   0.
   */
  uint32_t reserved;
  /*
   Makes the table `metric rows` from the table `predictions`.
   */
  int32_t (*compute)(struct lmprobe_instance *instance,
                     const struct lmprobe_call *call,
                     struct lmprobe_table *predictions,
                     struct lmprobe_table *rows,
                     struct lmprobe_error *error);
} lmprobe_metric_vt;

/*
 The type of the one function symbol of a plugin, `lmprobe_plugin_entry_v1`. The result lives as long as the process.
 */
typedef int32_t (*lmprobe_plugin_entry)(const struct lmprobe_host *host, const struct lmprobe_plugin **plugin, struct lmprobe_error *error);

#endif  /* LMPROBE_PLUGIN_H */

/* The layout of 1.0, frozen. */
#ifdef __cplusplus
#define LMPROBE_FROZEN(condition) static_assert(condition, #condition)
#else
#define LMPROBE_FROZEN(condition) _Static_assert(condition, #condition)
#endif
LMPROBE_FROZEN(sizeof(struct lmprobe_stamp) == 16);
LMPROBE_FROZEN(offsetof(struct lmprobe_stamp, magic) == 0);
LMPROBE_FROZEN(offsetof(struct lmprobe_stamp, struct_size) == 8);
LMPROBE_FROZEN(offsetof(struct lmprobe_stamp, abi_major) == 12);
LMPROBE_FROZEN(offsetof(struct lmprobe_stamp, abi_minor) == 14);
LMPROBE_FROZEN(sizeof(struct lmprobe_str) == 16);
LMPROBE_FROZEN(offsetof(struct lmprobe_str, ptr) == 0);
LMPROBE_FROZEN(offsetof(struct lmprobe_str, len) == 8);
LMPROBE_FROZEN(sizeof(struct lmprobe_buf) == 32);
LMPROBE_FROZEN(offsetof(struct lmprobe_buf, ptr) == 0);
LMPROBE_FROZEN(offsetof(struct lmprobe_buf, len) == 8);
LMPROBE_FROZEN(offsetof(struct lmprobe_buf, ctx) == 16);
LMPROBE_FROZEN(offsetof(struct lmprobe_buf, release) == 24);
LMPROBE_FROZEN(sizeof(struct lmprobe_error) == 72);
LMPROBE_FROZEN(offsetof(struct lmprobe_error, struct_size) == 0);
LMPROBE_FROZEN(offsetof(struct lmprobe_error, code) == 4);
LMPROBE_FROZEN(offsetof(struct lmprobe_error, message) == 8);
LMPROBE_FROZEN(offsetof(struct lmprobe_error, path) == 40);
LMPROBE_FROZEN(sizeof(struct ArrowSchema) == 72);
LMPROBE_FROZEN(offsetof(struct ArrowSchema, format) == 0);
LMPROBE_FROZEN(offsetof(struct ArrowSchema, name) == 8);
LMPROBE_FROZEN(offsetof(struct ArrowSchema, metadata) == 16);
LMPROBE_FROZEN(offsetof(struct ArrowSchema, flags) == 24);
LMPROBE_FROZEN(offsetof(struct ArrowSchema, n_children) == 32);
LMPROBE_FROZEN(offsetof(struct ArrowSchema, children) == 40);
LMPROBE_FROZEN(offsetof(struct ArrowSchema, dictionary) == 48);
LMPROBE_FROZEN(offsetof(struct ArrowSchema, release) == 56);
LMPROBE_FROZEN(offsetof(struct ArrowSchema, private_data) == 64);
LMPROBE_FROZEN(sizeof(struct ArrowArray) == 80);
LMPROBE_FROZEN(offsetof(struct ArrowArray, length) == 0);
LMPROBE_FROZEN(offsetof(struct ArrowArray, null_count) == 8);
LMPROBE_FROZEN(offsetof(struct ArrowArray, offset) == 16);
LMPROBE_FROZEN(offsetof(struct ArrowArray, n_buffers) == 24);
LMPROBE_FROZEN(offsetof(struct ArrowArray, n_children) == 32);
LMPROBE_FROZEN(offsetof(struct ArrowArray, buffers) == 40);
LMPROBE_FROZEN(offsetof(struct ArrowArray, children) == 48);
LMPROBE_FROZEN(offsetof(struct ArrowArray, dictionary) == 56);
LMPROBE_FROZEN(offsetof(struct ArrowArray, release) == 64);
LMPROBE_FROZEN(offsetof(struct ArrowArray, private_data) == 72);
LMPROBE_FROZEN(sizeof(struct lmprobe_table) == 152);
LMPROBE_FROZEN(offsetof(struct lmprobe_table, schema) == 0);
LMPROBE_FROZEN(offsetof(struct lmprobe_table, array) == 72);
LMPROBE_FROZEN(sizeof(struct DLTensor) == 48);
LMPROBE_FROZEN(offsetof(struct DLTensor, data) == 0);
LMPROBE_FROZEN(offsetof(struct DLTensor, device) == 8);
LMPROBE_FROZEN(offsetof(struct DLTensor, ndim) == 16);
LMPROBE_FROZEN(offsetof(struct DLTensor, dtype) == 20);
LMPROBE_FROZEN(offsetof(struct DLTensor, shape) == 24);
LMPROBE_FROZEN(offsetof(struct DLTensor, strides) == 32);
LMPROBE_FROZEN(offsetof(struct DLTensor, byte_offset) == 40);
LMPROBE_FROZEN(sizeof(struct DLManagedTensorVersioned) == 80);
LMPROBE_FROZEN(offsetof(struct DLManagedTensorVersioned, version) == 0);
LMPROBE_FROZEN(offsetof(struct DLManagedTensorVersioned, manager_ctx) == 8);
LMPROBE_FROZEN(offsetof(struct DLManagedTensorVersioned, deleter) == 16);
LMPROBE_FROZEN(offsetof(struct DLManagedTensorVersioned, flags) == 24);
LMPROBE_FROZEN(offsetof(struct DLManagedTensorVersioned, dl_tensor) == 32);
LMPROBE_FROZEN(sizeof(struct lmprobe_named_tensor) == 24);
LMPROBE_FROZEN(offsetof(struct lmprobe_named_tensor, name) == 0);
LMPROBE_FROZEN(offsetof(struct lmprobe_named_tensor, tensor) == 16);
LMPROBE_FROZEN(sizeof(struct lmprobe_tensors) == 32);
LMPROBE_FROZEN(offsetof(struct lmprobe_tensors, items) == 0);
LMPROBE_FROZEN(offsetof(struct lmprobe_tensors, len) == 8);
LMPROBE_FROZEN(offsetof(struct lmprobe_tensors, ctx) == 16);
LMPROBE_FROZEN(offsetof(struct lmprobe_tensors, release) == 24);
LMPROBE_FROZEN(sizeof(struct lmprobe_encode_req) == 112);
LMPROBE_FROZEN(offsetof(struct lmprobe_encode_req, struct_size) == 0);
LMPROBE_FROZEN(offsetof(struct lmprobe_encode_req, reserved) == 4);
LMPROBE_FROZEN(offsetof(struct lmprobe_encode_req, want) == 8);
LMPROBE_FROZEN(offsetof(struct lmprobe_encode_req, n_texts) == 16);
LMPROBE_FROZEN(offsetof(struct lmprobe_encode_req, texts) == 24);
LMPROBE_FROZEN(offsetof(struct lmprobe_encode_req, pairs) == 32);
LMPROBE_FROZEN(offsetof(struct lmprobe_encode_req, max_len) == 40);
LMPROBE_FROZEN(offsetof(struct lmprobe_encode_req, n_layers) == 44);
LMPROBE_FROZEN(offsetof(struct lmprobe_encode_req, layers) == 48);
LMPROBE_FROZEN(offsetof(struct lmprobe_encode_req, n_sequences) == 56);
LMPROBE_FROZEN(offsetof(struct lmprobe_encode_req, offsets) == 64);
LMPROBE_FROZEN(offsetof(struct lmprobe_encode_req, ids) == 72);
LMPROBE_FROZEN(offsetof(struct lmprobe_encode_req, type_ids) == 80);
LMPROBE_FROZEN(offsetof(struct lmprobe_encode_req, n_rows) == 88);
LMPROBE_FROZEN(offsetof(struct lmprobe_encode_req, rows) == 96);
LMPROBE_FROZEN(offsetof(struct lmprobe_encode_req, flags) == 104);
LMPROBE_FROZEN(offsetof(struct lmprobe_encode_req, reserved2) == 108);
LMPROBE_FROZEN(sizeof(struct lmprobe_host) == 104);
LMPROBE_FROZEN(offsetof(struct lmprobe_host, struct_size) == 0);
LMPROBE_FROZEN(offsetof(struct lmprobe_host, abi_major) == 4);
LMPROBE_FROZEN(offsetof(struct lmprobe_host, abi_minor) == 6);
LMPROBE_FROZEN(offsetof(struct lmprobe_host, host_version) == 8);
LMPROBE_FROZEN(offsetof(struct lmprobe_host, log) == 24);
LMPROBE_FROZEN(offsetof(struct lmprobe_host, progress) == 32);
LMPROBE_FROZEN(offsetof(struct lmprobe_host, cancelled) == 40);
LMPROBE_FROZEN(offsetof(struct lmprobe_host, seed) == 48);
LMPROBE_FROZEN(offsetof(struct lmprobe_host, threads) == 56);
LMPROBE_FROZEN(offsetof(struct lmprobe_host, record_input) == 64);
LMPROBE_FROZEN(offsetof(struct lmprobe_host, encoder_describe) == 72);
LMPROBE_FROZEN(offsetof(struct lmprobe_host, encoder_tokenize) == 80);
LMPROBE_FROZEN(offsetof(struct lmprobe_host, encoder_encode) == 88);
LMPROBE_FROZEN(offsetof(struct lmprobe_host, encoder_token) == 96);
LMPROBE_FROZEN(sizeof(struct lmprobe_component) == 144);
LMPROBE_FROZEN(offsetof(struct lmprobe_component, struct_size) == 0);
LMPROBE_FROZEN(offsetof(struct lmprobe_component, kind) == 4);
LMPROBE_FROZEN(offsetof(struct lmprobe_component, id) == 8);
LMPROBE_FROZEN(offsetof(struct lmprobe_component, version) == 24);
LMPROBE_FROZEN(offsetof(struct lmprobe_component, summary) == 40);
LMPROBE_FROZEN(offsetof(struct lmprobe_component, params_schema) == 56);
LMPROBE_FROZEN(offsetof(struct lmprobe_component, caps) == 72);
LMPROBE_FROZEN(offsetof(struct lmprobe_component, create) == 80);
LMPROBE_FROZEN(offsetof(struct lmprobe_component, destroy) == 88);
LMPROBE_FROZEN(offsetof(struct lmprobe_component, describe) == 96);
LMPROBE_FROZEN(offsetof(struct lmprobe_component, vtable) == 104);
LMPROBE_FROZEN(offsetof(struct lmprobe_component, manual) == 112);
LMPROBE_FROZEN(offsetof(struct lmprobe_component, facts) == 128);
LMPROBE_FROZEN(sizeof(struct lmprobe_plugin) == 96);
LMPROBE_FROZEN(offsetof(struct lmprobe_plugin, struct_size) == 0);
LMPROBE_FROZEN(offsetof(struct lmprobe_plugin, abi_major) == 4);
LMPROBE_FROZEN(offsetof(struct lmprobe_plugin, abi_minor) == 6);
LMPROBE_FROZEN(offsetof(struct lmprobe_plugin, name) == 8);
LMPROBE_FROZEN(offsetof(struct lmprobe_plugin, version) == 24);
LMPROBE_FROZEN(offsetof(struct lmprobe_plugin, license) == 40);
LMPROBE_FROZEN(offsetof(struct lmprobe_plugin, build_info) == 56);
LMPROBE_FROZEN(offsetof(struct lmprobe_plugin, n_components) == 72);
LMPROBE_FROZEN(offsetof(struct lmprobe_plugin, components) == 80);
LMPROBE_FROZEN(offsetof(struct lmprobe_plugin, shutdown) == 88);
LMPROBE_FROZEN(sizeof(struct lmprobe_encoder_vt) == 40);
LMPROBE_FROZEN(offsetof(struct lmprobe_encoder_vt, struct_size) == 0);
LMPROBE_FROZEN(offsetof(struct lmprobe_encoder_vt, reserved) == 4);
LMPROBE_FROZEN(offsetof(struct lmprobe_encoder_vt, tokenize) == 8);
LMPROBE_FROZEN(offsetof(struct lmprobe_encoder_vt, encode) == 16);
LMPROBE_FROZEN(offsetof(struct lmprobe_encoder_vt, load) == 24);
LMPROBE_FROZEN(offsetof(struct lmprobe_encoder_vt, token) == 32);
LMPROBE_FROZEN(sizeof(struct lmprobe_prober_vt) == 16);
LMPROBE_FROZEN(offsetof(struct lmprobe_prober_vt, struct_size) == 0);
LMPROBE_FROZEN(offsetof(struct lmprobe_prober_vt, reserved) == 4);
LMPROBE_FROZEN(offsetof(struct lmprobe_prober_vt, run) == 8);
LMPROBE_FROZEN(sizeof(struct lmprobe_objective_vt) == 40);
LMPROBE_FROZEN(offsetof(struct lmprobe_objective_vt, struct_size) == 0);
LMPROBE_FROZEN(offsetof(struct lmprobe_objective_vt, reserved) == 4);
LMPROBE_FROZEN(offsetof(struct lmprobe_objective_vt, prepare) == 8);
LMPROBE_FROZEN(offsetof(struct lmprobe_objective_vt, batch) == 16);
LMPROBE_FROZEN(offsetof(struct lmprobe_objective_vt, destroy_examples) == 24);
LMPROBE_FROZEN(offsetof(struct lmprobe_objective_vt, value_and_grad) == 32);
LMPROBE_FROZEN(sizeof(struct lmprobe_task_vt) == 16);
LMPROBE_FROZEN(offsetof(struct lmprobe_task_vt, struct_size) == 0);
LMPROBE_FROZEN(offsetof(struct lmprobe_task_vt, reserved) == 4);
LMPROBE_FROZEN(offsetof(struct lmprobe_task_vt, examples) == 8);
LMPROBE_FROZEN(sizeof(struct lmprobe_metric_vt) == 16);
LMPROBE_FROZEN(offsetof(struct lmprobe_metric_vt, struct_size) == 0);
LMPROBE_FROZEN(offsetof(struct lmprobe_metric_vt, reserved) == 4);
LMPROBE_FROZEN(offsetof(struct lmprobe_metric_vt, compute) == 8);
#undef LMPROBE_FROZEN
