#define CT_VECTOR 4
#define CT_TABLE kernels_base
#include "kernels.inc"
