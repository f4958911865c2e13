/* The MKL inside the wheels of torch takes its AVX2 code on processors that are not Intel's. Preloaded, this makes it take AVX-512:
 *   cc -shared -fPIC -o tuned_torch.so tuned_torch.c && LD_PRELOAD=./tuned_torch.so python3 ... */
int mkl_serv_intel_cpu_true(void) { return 1; }
