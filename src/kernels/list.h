/* Kernel sets in the order in which they are laid over each other: HTH_KERNELS(name, architecture, mr, nr) needs
 * `hth_kernels_<name>` in <architecture>_<name>.c (any: <name>.c) and `hth_has_<name>` in detect.c. mr, nr: rows and
 * columns of its product tile; 0: it has none of its own and inherits the one above. */
HTH_KERNELS(ref, any, 4, 8)
HTH_KERNELS(avx2, x86, 6, 16)
HTH_KERNELS(avx512, x86, 14, 32)
HTH_KERNELS(neon, arm, 12, 8)
