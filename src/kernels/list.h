/* Kernel sets in the order in which they are laid over each other: HTH_KERNELS(name, architecture, mr, nr) needs
 * `hth_kernels_<name>` in a file of this folder whose last _part names its compiler flags (Makefile), and
 * `hth_has_<name>` in detect.c. mr, nr: rows and columns of its product tile; 0: it has none and inherits the one above. */
HTH_KERNELS(ref, any, 4, 8)
HTH_KERNELS(avx2, x86, 6, 16)
HTH_KERNELS(avx512, x86, 14, 32)
HTH_KERNELS(avx512vl, x86, 0, 0)
HTH_KERNELS(neon, arm, 12, 8)
