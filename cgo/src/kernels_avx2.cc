#define CT_VECTOR 8
#define CT_TABLE kernels_avx2
#include "kernels.inc"
