/* The C border between Go and libtorch. C only: cgo and a plain C compiler read it.
 *
 * Every function that can fail returns NULL, or a malloc'd message that the caller frees with
 * ct_free_string; its first byte tells the kind: 'E' plain, 'M' out of memory. Results are last
 * parameters, untouched on failure. Tensors and generators that come out are owned by the caller.
 * Nothing throws across this border. Change a signature or a constant: raise CT_ABI. */
#pragma once
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

#define CT_ABI 9

typedef void *ct_tensor;    /* at::Tensor*    */
typedef void *ct_generator; /* at::Generator* */
typedef void *ct_graph;     /* a recording */

enum { CT_CPU, CT_CUDA };
enum { CT_F32, CT_F64, CT_I64, CT_I32, CT_U8, CT_BOOL, CT_BF16, CT_F16 };

/* ---- library, process-wide switches ---------------------------------------------------- */
int ct_abi(void);
const char *ct_torch_version(void);
int ct_built_with_cuda(void);
char *ct_build_info(char **out);
int ct_onednn_distrusted(void); /* from the first session on */
void ct_free_string(char *s);
char *ct_cuda_device_count(int *out); /* 0 where CUDA is absent */
char *ct_cuda_device_name(int index, char **out);
char *ct_set_deterministic(int on);
char *ct_set_tf32(int on);
char *ct_set_cudnn(int search, int deterministic);
char *ct_throw(int kind); /* for tests: 0 std::runtime_error, 1 c10::Error, 2 int, 3 bad_alloc, 5 cuBLAS without memory, 6 cuDNN without an engine; 4 only warns */

/* ---- a session: the calling OS thread's device, stream, threads and warnings ------------- */
typedef struct {
  int device_type, device_index; /* in */
  int threads;                   /* in: of libtorch's own kernels; 0 leaves them */
  int64_t keep;                  /* in: bytes of freed host memory that the thread may keep to use again; 0: a sixteenth of the machine's */
} ct_session;
char *ct_session_begin(const ct_session *s); /* sessions of one thread nest; a begin that fails changes nothing */
char *ct_session_end(const ct_session *s);
int64_t ct_kept_memory(void); /* for tests: what the calling thread keeps, in bytes */
char *ct_synchronize(const ct_session *s);
char *ct_drain_warnings(char **out); /* of this thread, one a line; NULL when there are none */
int ct_num_threads(void);
int ct_grad_enabled(void);
void ct_set_grad_enabled(int on);
typedef struct {
  int64_t allocated, allocated_peak, reserved, reserved_peak; /* bytes */
  int64_t retries, ooms;
} ct_memory;
char *ct_cuda_memory(int index, ct_memory *out);
char *ct_cuda_reset_peak(int index);
char *ct_cuda_empty_cache(void);

/* ---- tensors ------------------------------------------------------------------------------ */
int64_t ct_live_tensors(void); /* handles that the shim has given out and not got back */
void ct_close(const ct_tensor *t, int64_t n);
char *ct_from_host(const void *data, int dtype, const int64_t *shape, int64_t n, int dev, int index, ct_tensor *out);
char *ct_to_host(ct_tensor t, void *data, int64_t bytes); /* contiguous copy; bytes must match */
char *ct_full(double v, int dtype, const int64_t *shape, int64_t n, int dev, int index, ct_tensor *out);
char *ct_empty(int dtype, const int64_t *shape, int64_t n, int dev, int index, ct_tensor *out);
char *ct_arange(int64_t n, int dev, int index, ct_tensor *out); /* int64 0..n-1 */
char *ct_item(ct_tensor t, double *out);
int ct_dim(ct_tensor t);
int64_t ct_numel(ct_tensor t);
void ct_shape(ct_tensor t, int64_t *out); /* ct_dim values */
int ct_dtype(ct_tensor t);                /* -1: none of the above */
void ct_device(ct_tensor t, int *dev, int *index);
int ct_requires_grad(ct_tensor t);
int ct_is_contiguous(ct_tensor t);

char *ct_to(ct_tensor t, int dtype, int dev, int index, ct_tensor *out); /* dtype, dev -1: as it is */
char *ct_alias(ct_tensor t, ct_tensor *out);                             /* same storage, cut from the graph */
char *ct_share(ct_tensor t, ct_tensor *out);                             /* same tensor, one more handle */
char *ct_clone(ct_tensor t, ct_tensor *out);
char *ct_contiguous(ct_tensor t, int channels_last, ct_tensor *out);
char *ct_requires_grad_(ct_tensor t, int on);

char *ct_reshape(ct_tensor t, const int64_t *shape, int64_t n, ct_tensor *out);
char *ct_flatten(ct_tensor t, ct_tensor *out); /* [N, ...] to [N, -1] */
char *ct_permute(ct_tensor t, const int64_t *dims, int64_t n, ct_tensor *out);
char *ct_expand(ct_tensor t, const int64_t *shape, int64_t n, ct_tensor *out);
char *ct_narrow(ct_tensor t, int64_t dim, int64_t start, int64_t len, ct_tensor *out);
char *ct_cat(const ct_tensor *ts, int64_t n, int64_t dim, ct_tensor *out);
char *ct_index_select(ct_tensor t, int64_t dim, ct_tensor idx, ct_tensor *out);
char *ct_gather(ct_tensor t, int64_t dim, ct_tensor idx, ct_tensor *out);
char *ct_scatter_value(ct_tensor t, int64_t dim, ct_tensor idx, double v, ct_tensor *out);
char *ct_where(ct_tensor cond, ct_tensor a, ct_tensor b, ct_tensor *out);
char *ct_pad(ct_tensor t, const int64_t *pad, int64_t n, double v, ct_tensor *out);

/* A block of host memory, pinned where that is asked for, and its address; and a non-blocking copy of it to a device, which on the
 * host is the block itself. */
char *ct_staging(int64_t bytes, int pinned, ct_tensor *out, void **data);
char *ct_upload(ct_tensor t, int dtype, const int64_t *shape, int64_t n, int dev, int index, ct_tensor *out);
char *ct_cuda_room(int index, int64_t *free_bytes, int64_t *total);

/* Element-wise. _ variants write into the first tensor and return no new one. */
enum { CT_RELU, CT_SIGMOID, CT_TANH, CT_EXP, CT_LOG, CT_SQRT, CT_ABS, CT_SIGN, CT_NEG, CT_SQUARE, CT_FLOOR, CT_ROUND,
       CT_ISFINITE, CT_LOGICAL_NOT, CT_FLIP_HW, CT_HARDSIGMOID, CT_HARDSWISH };
char *ct_unary(int op, ct_tensor t, ct_tensor *out);
enum { CT_ADD, CT_SUB, CT_MUL, CT_DIV, CT_MAXIMUM, CT_MINIMUM, CT_EQ, CT_NE, CT_LT, CT_LE, CT_GT, CT_GE, CT_MATMUL, CT_AND };
char *ct_binary(int op, ct_tensor a, ct_tensor b, ct_tensor *out);
char *ct_scalar(int op, ct_tensor a, double b, ct_tensor *out); /* the same ops but CT_MATMUL, CT_AND */
enum { CT_ADD_, CT_MUL_, CT_DIV_, CT_COPY_ };
char *ct_binary_(int op, ct_tensor a, ct_tensor b, double alpha); /* a += alpha b; a *= b; a /= b; a = b */
enum { CT_FILL_, CT_SCALE_, CT_SHIFT_ };
char *ct_scalar_(int op, ct_tensor a, double v);
char *ct_clamp(ct_tensor t, double lo, double hi, ct_tensor *out);
char *ct_clamp_(ct_tensor t, double lo, double hi);
char *ct_softmax(ct_tensor t, int64_t dim, int log, ct_tensor *out);

/* Reductions over dims; n = 0 means all of them. */
enum { CT_SUM, CT_MEAN, CT_AMAX, CT_AMIN, CT_NORM2, CT_COUNT_NONZERO, CT_ALL, CT_ANY };
char *ct_reduce(int op, ct_tensor t, const int64_t *dims, int64_t n, int keepdim, ct_tensor *out);
char *ct_argmax(ct_tensor t, int64_t dim, ct_tensor *out);
char *ct_kthvalue(ct_tensor t, int64_t k, int64_t dim, ct_tensor *values, ct_tensor *indices); /* k from 1 */
char *ct_topk(ct_tensor t, int64_t k, int64_t dim, int largest, ct_tensor *values, ct_tensor *indices);
/* float32 of t's shape: 0 for the k elements of least magnitude, of equals those that come first, else 1. */
char *ct_mask_smallest(ct_tensor t, int64_t k, ct_tensor *out);
char *ct_sort(ct_tensor t, int64_t dim, int descending, ct_tensor *values, ct_tensor *indices); /* stable */

/* ---- networks ------------------------------------------------------------------------------ */
char *ct_conv2d(ct_tensor x, ct_tensor w, ct_tensor bias, int64_t stride, int64_t padding, int64_t dilation, int64_t groups,
                int relu, ct_tensor *out); /* relu: max(0, convolution) */
/* Which kernels of our own the CPU uses: best (as it is at first), avx512, avx2, base, or off. */
char *ct_set_kernels(const char *name);
char *ct_linear(ct_tensor x, ct_tensor w, ct_tensor bias, ct_tensor *out);
/* Linear with weights that stay as they are for many calls: ct_linear_pack lays w out for the CPU once, or
 * casts it as ct_autocast_once does (elsewhere the result is empty, and ct_linear_packed is ct_linear). Gradients reach x only. */
char *ct_linear_pack(ct_tensor w, ct_tensor *out);
char *ct_linear_packed(ct_tensor x, ct_tensor packed, ct_tensor w, ct_tensor bias, int relu, ct_tensor *out);
char *ct_batch_norm(ct_tensor x, ct_tensor weight, ct_tensor bias, ct_tensor mean, ct_tensor var, int training, double momentum,
                    double eps, ct_tensor *out);
enum { CT_MAX_POOL, CT_AVG_POOL, CT_ADAPTIVE_AVG_POOL, CT_MAX_POOL_RELU };
char *ct_pool2d(int op, ct_tensor x, int64_t k, int64_t stride, int64_t padding, ct_tensor *out);
char *ct_add_relu(ct_tensor a, ct_tensor b, ct_tensor *out); /* max(a + b, 0), of one shape */
char *ct_dropout(ct_tensor x, double p, ct_generator g, ct_tensor *out);
enum { CT_REDUCE_NONE, CT_REDUCE_MEAN, CT_REDUCE_SUM };
char *ct_cross_entropy(ct_tensor logits, ct_tensor target, int reduction, double label_smoothing, ct_tensor *out);
char *ct_kl_div(ct_tensor log_p, ct_tensor q, int reduction, ct_tensor *out);
char *ct_mse(ct_tensor a, ct_tensor b, int reduction, ct_tensor *out);

/* ---- autograd -------------------------------------------------------------------------------- */
char *ct_grad(ct_tensor loss, const ct_tensor *inputs, int64_t n, ct_tensor *out);

/* Regions of the calling thread, which nest: convolutions and matrix products on a kind of device compute in dtype, losses and
 * softmax in float32, gradients in the types of their forward operations. */
char *ct_autocast_begin(int dev, int dtype);
char *ct_autocast_end(void);
/* t in the type that the GPU computes in within a region, where t is a float32 tensor there; else t: for what is cast at every use. */
char *ct_autocast_once(ct_tensor t, ct_tensor *out);

/* ---- CUDA graphs ------------------------------------------------------------------------------ */
char *ct_graph_check(void); /* NULL where this library can record */
/* From begin to end the thread's session records what it asks of its GPU, and nothing is done. What was recorded works on the
 * same memory each time: tensors made meanwhile must live as long as it. A begin that succeeds needs an end, and a close. */
char *ct_graph_begin(ct_graph *out);
char *ct_graph_end(ct_graph g); /* an error where the recording is not valid: then it can only be closed */
char *ct_graph_replay(ct_graph g);
void ct_graph_close(ct_graph g);

/* ---- random numbers -------------------------------------------------------------------------- */
char *ct_generator_new(int dev, int index, ct_generator *out);
void ct_generator_close(ct_generator g);
char *ct_generator_seed(ct_generator g, uint64_t seed);
char *ct_generator_state(ct_generator g, ct_tensor *out); /* uint8 on the CPU */
char *ct_generator_set_state(ct_generator g, ct_tensor state);
enum { CT_UNIFORM_, CT_NORMAL_, CT_BERNOULLI_ };
char *ct_random_(int op, ct_tensor t, double a, double b, ct_generator g); /* uniform [a,b), normal(mean a, std b), bernoulli(a) */

/* ---- updates over lists (in place, no graph) -------------------------------------------------- */
char *ct_list_add_(const ct_tensor *a, const ct_tensor *b, int64_t n, double alpha);
char *ct_list_mul_(const ct_tensor *a, const ct_tensor *b, int64_t n);
char *ct_list_scale_(const ct_tensor *a, int64_t n, double v);
char *ct_list_copy_(const ct_tensor *dst, const ct_tensor *src, int64_t n);
char *ct_set_fused(int on); /* libtorch's one-kernel optimizers: 1 wherever it has them, 0 (the default) on a GPU only */
char *ct_sgd_(const ct_tensor *p, const ct_tensor *g, const ct_tensor *buf, int64_t n, double lr, double momentum,
              double weight_decay, int nesterov, int first);
char *ct_adam_(const ct_tensor *p, const ct_tensor *g, const ct_tensor *m, const ct_tensor *v, int64_t n, double lr, double beta1,
               double beta2, double eps, double weight_decay, int64_t step);
/* g += rho (w - z + u), one rho a tensor: the gradient of rho/2 ||w - z + u||^2. */
char *ct_admm_grad_(const ct_tensor *g, const ct_tensor *w, const ct_tensor *z, const ct_tensor *u, const double *rho, int64_t n);
/* One projected-gradient step of x, in place: ascend along grad, back into the eps-ball round x0 and into [lo, hi].
 * norm 0 = Linf (sign step), 1 = L2 (normalised step, per sample). */
char *ct_pgd_step_(ct_tensor x, ct_tensor grad, ct_tensor x0, double step, double eps, int norm, double lo, double hi);

/* ---- TorchScript ---------------------------------------------------------------------------- */
/* The bytes of a module on the CPU with these tensors under their dotted names and the methods of source; ct_free_string frees them. */
char *ct_script(const char *source, const char *const *names, const ct_tensor *ts, const int *buffers, int64_t n, const char *metadata, char **out, int64_t *bytes);
char *ct_script_run(const void *data, int64_t bytes, ct_tensor x, ct_tensor *out); /* forward(x) of such a module */

#ifdef __cplusplus
}
#endif
