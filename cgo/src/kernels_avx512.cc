#define CT_VECTOR 16
#define CT_TABLE kernels_avx512
#include "kernels.inc"
