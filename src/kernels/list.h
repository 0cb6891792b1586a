/* Kernel sets in the order in which they are laid over each other: HTH_KERNELS(name, architecture, mr, nr, unit, bf16 mr,
 * nr, unit) needs `hth_kernels_<name>` in a file of this folder whose last _part names its compiler flags (Makefile), and
 * `hth_has_<name>` in detect.c. mr, nr, unit: its product tile, in f32 and in bf16; 0: it inherits the one above. */
HTH_KERNELS(ref, any, 4, 8, 1, 4, 8, 1)
HTH_KERNELS(avx2, x86, 6, 16, 1, 0, 0, 0)
HTH_KERNELS(avx512, x86, 14, 32, 1, 0, 0, 0)
HTH_KERNELS(avx512vnni, x86, 0, 0, 0, 0, 0, 0)
HTH_KERNELS(avx512bf16, x86, 0, 0, 0, 14, 32, 1)
HTH_KERNELS(amx, x86, 0, 0, 0, 32, 32, 16)
HTH_KERNELS(neon, arm, 12, 8, 1, 0, 0, 0)
HTH_KERNELS(dotprod, arm, 0, 0, 0, 0, 0, 0)
HTH_KERNELS(i8mm, arm, 0, 0, 0, 0, 0, 0)
HTH_KERNELS(neonbf16, arm, 0, 0, 0, 12, 8, 2)
