/* Quantised tensors of MLX folders. Affine: levels packed into 32-bit words, with a scale and a bias for each group of
 * 32, 64 or 128 columns: value = scale * level + bias. They are laid out anew as blocks of quant/list.h:
 * q4_1 for 2 to 4 bits and q5_1 for 5, which say the same number for number where scales and biases are f16 values
 * (bf16 ones nearly always are); mlx8 otherwise and for 6 and 8 bits. Or mxfp4, which are the blocks of that name. Left out:
 * nvfp4, mxfp8. */
#ifndef HTH_FORMATS_HF_MLX_H
#define HTH_FORMATS_HF_MLX_H

#include "formats/hf.h"
#include "quant/quant.h"

/* How a tensor is quantised, from "quantization" in config.json. */
struct hth_mlx_layout {
	int64_t bits, group; /* bits 0: the folder says that it is not */
	bool mxfp4;          /* 4 bits in groups of 32; else affine */
};
/* Checks "quantization" as a whole; HTH_ERR_UNAVAILABLE for other modes. */
HTH_MUST enum hth_status hth_mlx_check(const struct hth_hf *h, struct hth_err *err);
bool hth_mlx_is(const struct hth_hf *h); /* the folder has quantised tensors */

struct hth_mlx_tensor {
	const struct hth_st_tensor *weight, *scales, *biases; /* (N, C*bits/32) u32, (N, C/group) twice; or (E, N, ..) */
	size_t scales_number, biases_number;                  /* in the folder; mxfp4 has no biases: NULL */
	struct hth_mlx_layout layout;
	int64_t rows, cols; /* (N, C), or (E * N, C) */
};
/* The parts that belong to the u32 tensor `weight`, with their shapes checked. */
HTH_MUST enum hth_status hth_mlx_find(const struct hth_hf *h, const struct hth_st_tensor *weight,
				      struct hth_mlx_tensor *out, struct hth_err *err);
/* The block format that says t, and the bytes of it. */
HTH_MUST enum hth_status hth_mlx_blocks(const struct hth_mlx_tensor *t, enum hth_quant *quant, uint64_t *bytes,
					struct hth_err *err);
/* out: as many bytes as hth_mlx_blocks said, with the format it said. */
HTH_MUST enum hth_status hth_mlx_repack(const struct hth_mlx_tensor *t, enum hth_quant quant, uint8_t *out,
					struct hth_err *err);

#endif
