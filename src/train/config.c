/* Defaults of a run. They are the ones that the option table shows. */
#include "train/config.h"

void hth_train_config_init(struct hth_train_config *c)
{
	*c = (struct hth_train_config){
		.output_dir = "runs/default",
		.type = HTH_TRAIN_LORA,
		.rank = 8,
		.alpha = 16,
		.target = {true, true, true, true, true, true, true},
		.n_layers = -1,
		.batch_size = 4,
		.accumulation = 1,
		.epochs = 3,
		.learning_rate = 2e-4,
		.schedule = HTH_SCHEDULE_COSINE,
		.warmup_steps = -1,
		.warmup_ratio = 0.03,
		.weight_decay = 0.01,
		.beta1 = 0.9,
		.beta2 = 0.999,
		.adam_eps = 1e-8,
		.bias_correction = true,
		.max_grad_norm = 1.0,
		.shuffle = true,
		.data_cfg = {.targets = HTH_TARGET_ASSISTANT, .overlong = HTH_OVERLONG_DROP},
		.val_fraction = 0.05,
		.keep_checkpoints = 3,
		.report_every = 10,
		.share_prefix = true,
		.compute = HTH_COMPUTE_AUTO,
		.sample_rows = 3,
	};
}
